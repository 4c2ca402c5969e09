using System.Text;
using Foretoken.Numerics;

namespace Foretoken.Tests.Tokenization;

/// <summary>
/// Texts that mix what pre-tokenizers and byte-level BPE distinguish: letters of many scripts, numbers, spaces, breaks, marks, emoji,
/// contractions.
/// </summary>
internal static class RandomText
{
    private static readonly string[] s_parts =
    [
        "a", "the", "Hello", "Straße", "naïve", "don't", "I'LL", "we've", "'s", "'S", "'\u017F", "'re", "'l", "'", "''", "\"", "x'd",
        "0", "1", "42", "2024", "1234567", "٣٤", "Ⅷ", "½", "𝟘𝟙", " ", "  ", "   ", "\t", "\n", "\r\n", "\n\n", " \n ", "\u00A0", "\u3000",
            "\u2028", "\u0085", "\u200B",
        ".", ",", "!?", "...", "->", "==", "#### ", "_", "/*", "“”", "—", "😀", "👩‍👩‍👧", "🇩🇪", "𐐷", "中文", "日本語", "한국어", "עברית", "हिन्दी",
            "e\u0301", "\u0301", "\u0000", "\u001C",
        "\u007F", "\uFFFD", "\uFEFF", "ǅ", "ʰ", "ª", "€", "∑", "K", "\U000E0001", "\uE000",
    ];

    public static string Mixed(SeededRandom random, int parts)
    {
        var text = new StringBuilder();
        for (int i = 0; i < parts; i++)
            text.Append(random.Chance(0.1) ? AnyRune(random).ToString() : random.Pick(s_parts));
        return text.ToString();
    }

    public static string FromAlphabet(SeededRandom random, string alphabet, int length)
    {
        var text = new StringBuilder();
        for (int i = 0; i < length; i++)
            text.Append(alphabet[random.Next(alphabet.Length)]);
        return text.ToString();
    }

    private static Rune AnyRune(SeededRandom random)
    {
        while (true)
        {
            if (Rune.TryCreate(random.Next(random.Chance(0.5) ? 0x3000 : 0x110000), out Rune rune))
                return rune;
        }
    }
}
