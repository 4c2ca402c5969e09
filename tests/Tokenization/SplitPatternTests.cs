using System.Text.RegularExpressions;
using Foretoken.Numerics;
using Foretoken.Tokenization;

namespace Foretoken.Tests.Tokenization;

public class SplitPatternTests
{
    public static TheoryData<string> Names => ["Gpt2", "Llama3", "Qwen2"];

    private static SplitPattern Pattern(string name) => name switch
    {
        "Gpt2" => SplitPattern.Gpt2,
        "Llama3" => SplitPattern.Llama3,
        _ => SplitPattern.Qwen2,
    };

    /// <summary>
    /// .NET's engine sees UTF-16 units, so code points beyond the basic plane are replaced by basic ones of the same class, and the lengths
    /// mapped back. ſ is spelled out because .NET's case-insensitive matching does not fold it.
    /// </summary>
    private static List<string> SplitByRegex(string name, string text)
    {
        string expression = Pattern(name).Expression.Replace("(?i:'s|", "(?i:'[s\u017F]|", StringComparison.Ordinal);
        var basic = new System.Text.StringBuilder();
        var widths = new List<int>();
        foreach (System.Text.Rune rune in text.EnumerateRunes())
        {
            widths.Add(rune.Utf16SequenceLength);
            basic.Append(rune.IsBmp ? (char)rune.Value : System.Text.Rune.IsLetter(rune) ? 'ʘ' : System.Text.Rune.IsNumber(rune) ? '\u2180'
                : '\u2603');
        }
        var pieces = new List<string>();
        int start = 0;
        foreach (Match match in Regex.Matches(basic.ToString(), expression))
        {
            int length = widths.GetRange(match.Index, match.Length).Sum();
            pieces.Add(text.Substring(start, length));
            start += length;
        }
        Assert.Equal(text.Length, start);
        return pieces;
    }

    [Theory]
    [MemberData(nameof(Names))]
    public void Scanner_cuts_like_the_published_expression(string name)
    {
        var random = new SeededRandom(7, (ulong)name.Length);
        for (int round = 0; round < 4000; round++)
        {
            string text = RandomText.Mixed(random, random.Next(1, 14));
            Assert.Equal(SplitByRegex(name, text), Pattern(name).Split(text));
        }
    }

    [Fact]
    public void Qwen2_isolates_every_digit_and_keeps_the_space_with_the_word()
    {
        Assert.Equal(["What", " is", " ", "3", "7", " +", " ", "4", "8", "?\n", "####", " ", "8", "5"],
            SplitPattern.Qwen2.Split("What is 37 + 48?\n#### 85"));
        Assert.Equal(["x", "'LL", "  ", " y", " \n\n", " ", " z"], SplitPattern.Qwen2.Split("x'LL   y \n\n  z"));
    }

    [Fact]
    public void Llama3_groups_digits_by_three_and_gpt2_does_not_cut_them()
    {
        Assert.Equal(["123", "456", "7"], SplitPattern.Llama3.Split("1234567"));
        Assert.Equal(["1234567"], SplitPattern.Gpt2.Split("1234567"));
    }

    [Fact]
    public void Expressions_are_recognised_by_their_exact_text_only()
    {
        Assert.Same(SplitPattern.Llama3, SplitPattern.Find(SplitPattern.Llama3.Expression));
        Assert.Null(SplitPattern.Find(SplitPattern.Llama3.Expression + " "));
    }
}
