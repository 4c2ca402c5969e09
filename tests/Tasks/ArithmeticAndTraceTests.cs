using System.Globalization;
using System.Text;
using System.Text.RegularExpressions;
using Foretoken.Numerics;
using Foretoken.Training.Tasks;

namespace Foretoken.Tests.Tasks;

/// <summary>Solves arithmetic and trace problems a second time from their text.</summary>
public class ArithmeticAndTraceTests
{
    [Fact]
    public void Arithmetic_answers_and_every_column_are_right()
    {
        var task = new ArithmeticTask();
        for (int i = 0; i < 4000; i++)
        {
            TaskExample example = task.Generate(new SeededRandom(21, (ulong)i), i % 10, i % 4 == 0 ? Split.HeldOut : Split.Train);
            string key = example.Key["arithmetic/".Length..];
            int at = 0;
            Assert.Equal(example.Answer, Evaluate(key, ref at).ToString(CultureInfo.InvariantCulture));
            Assert.Equal(Numbers(key), Numbers(example.Prompt));
            foreach (Match column in Regex.Matches(example.Solution, @"^(\d)([+*])(\d)\+(\d)=(\d\d)$", RegexOptions.Multiline))
            {
                int a = Int(column, 1), b = Int(column, 3), carry = Int(column, 4);
                Assert.Equal((column.Groups[2].Value == "+" ? a + b : a * b) + carry, Int(column, 5));
            }
            foreach (Match column in Regex.Matches(example.Solution, @"^(\d)-(\d)-(\d)=(\d) b(\d)$", RegexOptions.Multiline))
            {
                Assert.Equal(Int(column, 1) - Int(column, 2) - Int(column, 3), Int(column, 4) - 10 * Int(column, 5));
            }
            foreach (Match step in Regex.Matches(example.Solution, @"^(\d\d)=(\d)\*(\d)\+(\d)$", RegexOptions.Multiline))
            {
                Assert.Equal(Int(step, 1), Int(step, 2) * Int(step, 3) + Int(step, 4));
                Assert.True(Int(step, 4) < Int(step, 2));
            }
        }
    }

    [Theory]
    [InlineData(47, '+', 85, "47+85: 74|58\n7+5+0=12\n4+8+1=13\n231 -> 132\n")]
    [InlineData(62, '-', 15, "62-15: 26|51\n2-5-0=7 b1\n6-1-1=4 b0\n74 -> 47\n")]
    [InlineData(21, '-', 19, "21-19: 12|91\n1-9-0=2 b1\n2-1-1=0 b0\n20 -> 2\n")]
    [InlineData(34, '*', 6, "34*6: 43|6\n6*4+0=24\n6*3+2=20\n402 -> 204\n")]
    [InlineData(126, '/', 6, "126/6: 126|6\n01=6*0+1\n12=6*2+0\n06=6*1+0\n021 -> 21\n")]
    public void Scratchpad_has_the_documented_form(int left, char operation, int right, string expected)
    {
        var steps = new StringBuilder();
        ColumnArithmetic.Append(steps, left, operation, right);
        Assert.Equal(expected, steps.ToString());
    }

    [Fact]
    public void Products_with_two_digits_add_shifted_partial_products()
    {
        var steps = new StringBuilder();
        Assert.Equal(123 * 45, ColumnArithmetic.Multiply(steps, 123, 45));
        Assert.Contains("516 -> 615\n", steps.ToString(), StringComparison.Ordinal);
        Assert.Contains("0294 -> 4920\n615+4920: 5160|0294\n", steps.ToString(), StringComparison.Ordinal);
    }

    [Fact]
    public void Scratchpad_refuses_negative_differences_and_remainders()
    {
        Assert.Throws<ArgumentException>(() => ColumnArithmetic.Subtract(new StringBuilder(), 3, 5));
        Assert.Throws<ArgumentException>(() => ColumnArithmetic.Divide(new StringBuilder(), 10, 3));
        Assert.Throws<ArgumentException>(() => ColumnArithmetic.Append(new StringBuilder(), 1, '%', 1));
    }

    [Fact]
    public void Trace_answers_equal_those_of_an_interpreter()
    {
        var task = new TraceTask();
        int loops = 0, stories = 0;
        for (int i = 0; i < 4000; i++)
        {
            TaskExample example = task.Generate(new SeededRandom(22, (ulong)i), i % 10, i % 4 == 0 ? Split.HeldOut : Split.Train);
            Dictionary<string, int> state = Interpret(example.Prompt, ref loops, ref stories);
            Match final = Regex.Match(example.Solution, @"^So (\w+)=(\d+)$", RegexOptions.Multiline);
            Assert.True(final.Success, example.Solution);
            Assert.Equal(example.Answer, final.Groups[2].Value);
            Assert.True(state.TryGetValue(final.Groups[1].Value, out int value) && value == int.Parse(example.Answer, CultureInfo.InvariantCulture), example.Prompt);
            string question = example.Prompt[(example.Prompt.LastIndexOfAny(['\n', ';', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9']) + 1)..];
            Assert.Matches($@"\b{final.Groups[1].Value}\b", question);
            string last = example.Solution[..example.Solution.IndexOf("So ", StringComparison.Ordinal)].TrimEnd('\n').Split(" ->")[^1];
            Assert.Equal(state.OrderBy(pair => pair.Key), Regex.Matches(last, @"(\w+)=(\d+)").Select(m => KeyValuePair.Create(m.Groups[1].Value, Int(m, 2))).OrderBy(pair => pair.Key));
        }
        Assert.True(loops > 200 && stories > 500);
    }

    private static Dictionary<string, int> Interpret(string prompt, ref int loops, ref int stories)
    {
        var state = new Dictionary<string, int>();
        const string Pattern = @"(?:repeat (?<times>\d+) times: )?\b(?<t>[a-z]) = (?<l>\w+)(?: (?<op>[+*-]) (?<r>\w+))?" +
            @"|(?<one>[A-Z]\w+) (?<verb>has|gives|loses|drops|sells|finds|buys|gets) (?<n>\d+) \w+(?: to (?<two>[A-Z]\w+))?\.";
        foreach (Match match in Regex.Matches(prompt, Pattern))
        {
            if (match.Groups["one"].Success)
            {
                stories++;
                string one = match.Groups["one"].Value;
                int amount = int.Parse(match.Groups["n"].Value, CultureInfo.InvariantCulture);
                switch (match.Groups["verb"].Value)
                {
                    case "has": state[one] = amount; break;
                    case "gives": state[one] -= amount; state[match.Groups["two"].Value] += amount; break;
                    case "loses" or "drops" or "sells": state[one] -= amount; break;
                    default: state[one] += amount; break;
                }
                continue;
            }
            int times = match.Groups["times"].Success ? int.Parse(match.Groups["times"].Value, CultureInfo.InvariantCulture) : 1;
            loops += times > 1 ? 1 : 0;
            for (int k = 0; k < times; k++)
            {
                int Value(string group) => state.TryGetValue(match.Groups[group].Value, out int v) ? v : int.Parse(match.Groups[group].Value, CultureInfo.InvariantCulture);
                state[match.Groups["t"].Value] = match.Groups["op"].Value switch { "+" => Value("l") + Value("r"), "-" => Value("l") - Value("r"), "*" => Value("l") * Value("r"), _ => Value("l") };
            }
        }
        return state;
    }

    private static int Evaluate(string text, ref int at)
    {
        if (text[at] != '(')
        {
            int start = at;
            while (at < text.Length && char.IsAsciiDigit(text[at]))
            {
                at++;
            }
            return int.Parse(text.AsSpan(start, at - start), CultureInfo.InvariantCulture);
        }
        at++;
        int left = Evaluate(text, ref at);
        char operation = text[at++];
        int right = Evaluate(text, ref at);
        at++;
        return operation switch { '+' => left + right, '-' => left - right, '*' => left * right, _ => left % right == 0 ? left / right : throw new InvalidOperationException(text) };
    }

    private static string[] Numbers(string text) => [.. Regex.Matches(text, @"\d+").Select(m => m.Value).Order(StringComparer.Ordinal)];

    private static int Int(Match match, int group) => int.Parse(match.Groups[group].Value, CultureInfo.InvariantCulture);
}
