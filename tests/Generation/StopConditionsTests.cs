using System.Text;
using Foretoken.Generation;
using Foretoken.Numerics;

namespace Foretoken.Tests.Generation;

public class StopConditionsTests
{
    private static readonly string[] Pieces = ["", "a", "b", "ab", "aab", "ba", "é", "END", "E", "N", "D", " "];
    private static readonly byte[][] Bytes = Pieces.Select(Encoding.UTF8.GetBytes).ToArray();

    [Fact]
    public void A_stop_string_is_found_across_tokens_and_its_beginning_is_held_back()
    {
        var stops = new StopConditions([], ["END"], t => Bytes[t]);
        Assert.False(stops.Accept(1));
        Assert.Equal(1, stops.ShownBytes);
        Assert.False(stops.Accept(8));
        Assert.Equal(1, stops.ShownBytes);
        Assert.False(stops.Accept(8));
        Assert.Equal(2, stops.ShownBytes);
        Assert.False(stops.Accept(9));
        Assert.Equal(2, stops.ShownBytes);
        Assert.True(stops.Accept(10));
        Assert.Equal(2, stops.ShownBytes);
    }

    [Fact]
    public void What_was_held_back_is_shown_when_the_answer_ends_otherwise()
    {
        var stops = new StopConditions([11], ["END"], t => Bytes[t]);
        Assert.False(stops.Accept(8));
        Assert.Equal(0, stops.ShownBytes);
        Assert.True(stops.Accept(11));
        Assert.Equal(StopConditions.All, stops.ShownBytes);
        Assert.True(stops.EndedByToken); // so its own text is not shown

        stops = new StopConditions([11], ["END"], t => Bytes[t]);
        Assert.False(stops.Accept(8));
        stops.Flush();
        Assert.Equal(StopConditions.All, stops.ShownBytes);
        Assert.False(stops.EndedByToken);
    }

    [Fact]
    public void Random_texts_stop_where_a_search_of_the_whole_text_stops()
    {
        var random = new SeededRandom(3);
        string[][] stopSets = [["aab"], ["abab", "b a"], ["aaaa", "ba", "é"], ["END"], ["aabaaab", "baab"], ["éa"]];
        int stopped = 0;
        for (int run = 0; run < 600; run++)
        {
            string[] set = stopSets[run % stopSets.Length];
            var stops = new StopConditions([], set, t => Bytes[t]);
            var text = new StringBuilder();
            bool ended = false;
            for (int i = 0; i < 30 && !ended; i++)
            {
                int token = random.Next(Pieces.Length);
                text.Append(Pieces[token]);
                ended = stops.Accept(token);
                (int start, bool found) = EarliestEnd(text.ToString(), set);
                Assert.Equal(found, ended);
                string shown = text.ToString()[..(found ? start : text.Length - LongestBeginning(text.ToString(), set))];
                Assert.Equal(Encoding.UTF8.GetByteCount(shown), stops.ShownBytes);
            }

            stopped += ended ? 1 : 0;
        }

        Assert.InRange(stopped, 200, 580);
    }

    private static (int Start, bool Found) EarliestEnd(string text, string[] set)
    {
        for (int end = 1; end <= text.Length; end++)
        {
            string? longest = set.Where(s => text[..end].EndsWith(s, StringComparison.Ordinal)).MaxBy(s => s.Length);
            if (longest is not null) return (end - longest.Length, true);
        }

        return (0, false);
    }

    private static int LongestBeginning(string text, string[] set)
    {
        for (int length = Math.Min(text.Length, set.Max(s => s.Length)); length > 0; length--)
        {
            if (set.Any(s => s.StartsWith(text[^length..], StringComparison.Ordinal))) return length;
        }

        return 0;
    }
}
