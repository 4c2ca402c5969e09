using System.Text;
using Foretoken.Numerics;
using Foretoken.Tokenization;
using Foretoken.Tokenization.Jinja;

namespace Foretoken.Tests.Tokenization;

/// <summary>Random damage to files and templates may be harmless or refused, but never end in another exception or without end.</summary>
public class DamagedInputTests
{
    private static readonly string[] s_templates =
    [
        "{%- set ns = namespace(a=1, b='x') %}{% for message in messages[::-1] %}{%- set i = (messages|length - 1) - loop.index0 %}{% if ns.a and message.role == \"user\" " +
            "and not (message.content.startswith('<t>') and message.content[:2] is string) %}{%- set ns.b = i ~ '' %}{% elif loop.last or i > 3 %}x{% else %}{{- message.content|trim }}{% endif %}{% endfor %}",
        "{% macro f(x, y=[1, 2.5, {'k': none}]) %}{% for k, v in y[-1].items() if k != 'z' %}{{ k }}={{ v | tojson(indent=2) }}{% else %}-{% endfor %}{% endmacro %}{{ f(1) + f(2, y=[{}]) }}",
        "{{ messages | selectattr('role', 'in', ['user', 'x']) | map(attribute='content') | list | join(', ') | replace('a', 'bb') | upper }}{{ 1 if 2 < 3 <= 3 else -4 // 2 ** 3 % 5 }}",
        "{% set x %}a{{ 'b' * 3 }}{% endset %}{% raw %}{{ no }}{% endraw %}{# note #}{{ x.split('b', 1)[0].strip() | default('d', true) }}{% with y = range(1, 9, 2) %}{{ y | sort(reverse=true) | first }}{% endwith %}",
    ];

    private static string Damage(SeededRandom random, string text, string alphabet)
    {
        var damaged = new StringBuilder(text);
        for (int change = random.Next(1, 4); change > 0; change--)
        {
            int at = random.Next(damaged.Length), length = random.Next(1, Math.Min(6, damaged.Length - at + 1));
            switch (random.Next(4))
            {
                case 0:
                    damaged.Remove(at, Math.Min(length, damaged.Length - at - 1));
                    break;
                case 1:
                    damaged[at] = alphabet[random.Next(alphabet.Length)];
                    break;
                case 2:
                    damaged.Insert(at, alphabet[random.Next(alphabet.Length)]);
                    break;
                default:
                    damaged.Insert(random.Next(damaged.Length), damaged.ToString(at, Math.Min(length, damaged.Length - at)));
                    break;
            }
        }
        return damaged.ToString();
    }

    [Fact]
    public void Damaged_templates_render_or_are_refused()
    {
        var random = new SeededRandom(41);
        ChatMessage[] chat = [new("user", "banana <t>"), new("assistant", "ok 😀"), new("x", "")];
        int rendered = 0, refused = 0;
        for (int round = 0; round < 6000; round++)
        {
            string template = Damage(random, s_templates[round % s_templates.Length], "{}%#()[]|.,:'\"-+*/~<>=! \n0123xyzif");
            try
            {
                _ = ChatTemplate.Parse(template, new JinjaLimits(MaxSteps: 5_000, MaxCharacters: 100_000)).Render(chat);
                rendered++;
            }
            catch (TokenizerException)
            {
                refused++;
            }
        }
        Assert.True(rendered > 300 && refused > 300, $"{rendered} rendered, {refused} refused");
    }

    [Fact]
    public void Damaged_tokenizer_files_load_or_are_refused()
    {
        var random = new SeededRandom(43);
        string[] files =
        [
            (TokenizerJson.SentencePiece(["h", "▁h"], "▁ h") with { Vocabulary = ["<unk>", "<s>", "</s>", "<0x41>", "▁", "h", "▁h"] }).ToString(),
            (new TokenizerJson(["a", "b", "ab"], ["a b"])
            {
                Added = TokenizerJson.AddedToken(3, "<x>", "\"lstrip\":true,\"rstrip\":true,\"single_word\":true,\"normalized\":true"),
                Normalizer = """{"type":"NFC"}""",
                PreTokenizer = """{"type":"Sequence","pretokenizers":[{"type":"Digits","individual_digits":true},{"type":"Metaspace","replacement":"▁"}]}""",
                Decoder = """{"type":"Metaspace","replacement":"▁","prepend_scheme":"first"}""",
            }).ToString(),
        ];
        int loaded = 0, refused = 0;
        for (int round = 0; round < 4000; round++)
        {
            string json = Damage(random, files[round % files.Length], "{}[]\",:0123456789.-ab▁\\untrefals<>");
            try
            {
                BpeTokenizer tokenizer = BpeTokenizer.FromJson(Encoding.UTF8.GetBytes(json));
                _ = tokenizer.Decode(tokenizer.EncodeToIds("hab a <x> é 12 </s>\uD800", addBos: true));
                loaded++;
            }
            catch (TokenizerException)
            {
                refused++;
            }
        }
        Assert.True(loaded > 200 && refused > 200, $"{loaded} loaded, {refused} refused");
    }
}
