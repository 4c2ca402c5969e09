using System.Globalization;
using System.Text.RegularExpressions;
using Foretoken.Numerics;
using Foretoken.Training.Tasks;

namespace Foretoken.Tests.Tasks;

public class VariedArithmeticTests
{
    private const int Samples = 6000;
    private static readonly Lazy<TaskExample[]> s_examples = new(() =>
        [.. Enumerable.Range(0, Samples).Select(i => new VariedArithmeticTask().Generate(new SeededRandom(41, (ulong)i), i % 10, Split.Train))]);

    [Fact]
    public void Answers_are_those_of_the_key_and_the_prompt_holds_its_numbers_and_no_others()
    {
        foreach (TaskExample example in s_examples.Value)
        {
            string key = example.Key["arithmetic/".Length..];
            Assert.Equal(example.Answer, Evaluate(key).ToString(CultureInfo.InvariantCulture));
            Assert.EndsWith("\n#### " + example.Answer, example.Solution, StringComparison.Ordinal);
            Assert.Equal(Numbers(key), Numbers(example.Prompt));
            Assert.DoesNotMatch(@"[{}|]|[a-z] [.,?]|[^.]\.\.[^.]", example.Prompt);
        }
    }

    [Fact]
    public void The_training_bucket_of_varied_arithmetic_never_shows_a_held_out_problem_or_wording()
    {
        string[] kept = [.. HeldOutWordings.Templates().Select(HeldOutWordings.Normalize)];
        Assert.All(HeldOutWordings.Templates(), template => Assert.True(HeldOutWordings.Contains("Hello, " + template)));
        Assert.True(kept.Length > 100);
        Assert.True(HeldOutWordings.Contains("Ben has 7 bags with 31 lemons each. How many lemons is that?"));
        Assert.False(HeldOutWordings.Contains("Ben has 7 bags. In each are 31 lemons. How many lemons?"));
        foreach (TaskExample example in s_examples.Value)
        {
            Assert.Equal(Split.Train, TaskSplit.Of(example.Key));
            Assert.StartsWith("arithmetic/", example.Key, StringComparison.Ordinal);
            string prompt = HeldOutWordings.Normalize(example.Prompt);
            Assert.DoesNotContain(kept, template => prompt.Contains(template, StringComparison.Ordinal));
        }
    }

    [Fact]
    public void Hardly_two_stories_have_the_same_wording_and_divisions_have_up_to_five_digits()
    {
        string[] wordings = [.. s_examples.Value.Where((_, i) => i % 10 >= 5).Select(example => HeldOutWordings.Normalize(example.Prompt)).Where(text => text.Contains('@', StringComparison.Ordinal))];
        Assert.True(wordings.Length > 500);
        Assert.True(wordings.Distinct().Count() > wordings.Length * 0.95, $"{wordings.Distinct().Count()} of {wordings.Length}");
        int[] dividends = [.. s_examples.Value.SelectMany(example => Regex.Matches(example.Solution, @"^(\d+)/\d: ", RegexOptions.Multiline)).Select(match => match.Groups[1].Length)];
        Assert.All(Enumerable.Range(2, 4), digits => Assert.True(dividends.Count(length => length == digits) > 50, $"{digits} digits"));
    }

    [Fact]
    public void Plain_gains_and_losses_of_a_story_add_up_to_its_answer()
    {
        int told = 0;
        foreach (TaskExample example in s_examples.Value)
        {
            if (Regex.Match(example.Prompt, @"^(\w+) has (\d+) (\w+)\. (?:Then )?\1 (buys|wins|finds|loses|drops|sells) (\d+)\b(?! for)[^\d.]*\. How many \3 ") is { Success: true } match)
            {
                told++;
                int change = int.Parse(match.Groups[5].Value, CultureInfo.InvariantCulture);
                int end = int.Parse(match.Groups[2].Value, CultureInfo.InvariantCulture) + (match.Groups[4].Value is "buys" or "wins" or "finds" ? change : -change);
                Assert.Equal(end.ToString(CultureInfo.InvariantCulture), example.Answer);
            }
        }
        Assert.True(told > 0);
    }

    private static string[] Numbers(string text) => [.. Regex.Matches(text, @"\d+").Select(match => match.Value).Order(StringComparer.Ordinal)];

    /// <summary>Reduces the innermost parentheses until a number is left.</summary>
    private static int Evaluate(string key)
    {
        while (Regex.Match(key, @"\((\d+)([-+*/])(\d+)\)") is { Success: true } match)
        {
            int a = int.Parse(match.Groups[1].Value, CultureInfo.InvariantCulture), b = int.Parse(match.Groups[3].Value, CultureInfo.InvariantCulture);
            int value = match.Groups[2].Value switch { "+" => a + b, "-" => a - b, "*" => a * b, _ => a % b == 0 ? a / b : -1 };
            Assert.True(value >= 0, key);
            key = key[..match.Index] + value.ToString(CultureInfo.InvariantCulture) + key[(match.Index + match.Length)..];
        }
        return int.Parse(key, CultureInfo.InvariantCulture);
    }
}
