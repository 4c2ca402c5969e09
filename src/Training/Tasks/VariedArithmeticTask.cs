using System.Text;
using Foretoken.Numerics;

namespace Foretoken.Training.Tasks;

/// <summary>
/// The training bucket "arithmetic-varied": the problems of <see cref="ArithmeticTask"/> in hundreds of thousands of wordings, with longer stories and
/// divisions of up to five digits, because few wordings and few divisions are learned by heart instead of understood. It shares the keys of
/// "arithmetic", so what is held out of one is held out of the other, and it refuses every wording that is kept for evaluation.
/// </summary>
public sealed class VariedArithmeticTask : SplitTask
{
    private const int Largest = 99_999;

    private static readonly string[] s_two = ["a+b-c", "a-b+c", "a+b+c", "a-b-c", "a*b+c", "a*b-c", "(a+b)*c"];
    private static readonly string[] s_long =
        ["a+b*c", "a-b*c", "(a-b)*c", "a/b+c", "a/b-c", "(a+b)/c", "(a-b)/c", "a*b/c", "a*b+c*d", "a*b-c*d", "a+b+c-d", "a+b-c+d", "a-b+c-d", "a-b-c+d", "a+b+c+d", "a*b-c-d", "a*b+c-d", "a*b-c+d", "a*b+c+d"];
    private static readonly string[] s_longest = ["a+b-c+d-e", "a-b+c-d+e", "a+b+c-d-e", "a-b-c+d+e", "a*b+c-d+e", "a*b-c+d-e", "a+b*c-d", "a-b+c*d", "a+b-c*d"];

    private static readonly Dictionary<char, string[]> s_nouns = new()
    {
        ['+'] = ["{a} added to {b}", "{a} and {b} more", "{a} increased by {b}", "{b} more than {a}", "{a} with {b} on top", "{a} and then {b} more", "the total when {b} joins {a}"],
        ['-'] = ["{a} without {b}", "{a} reduced by {b}", "{a} lowered by {b}", "{b} taken from {a}", "{b} subtracted from {a}", "the rest of {a} after {b} are gone", "what remains of {a} after losing {b}"],
        ['*'] = ["{a} groups of {b}", "{a} rows of {b}", "{a} lots of {b}", "{b} taken {a} times", "{a} times the number {b}", "{b} added up {a} times", "the total of {a} groups of {b}"],
        ['/'] = ["one of {b} equal parts of {a}", "{a} shared by {b}", "the share of each if {b} share {a}", "{a} cut into {b} equal parts", "one part when {a} is cut into {b} equal parts", "how often {b} fits into {a}", "the number of groups of {b} in {a}"],
    };

    private static readonly Dictionary<char, string[]> s_orders = new()
    {
        ['+'] = ["add {b}", "then add {b}", "put {b} on top", "go up by {b}", "count {b} more", "give it {b} more"],
        ['-'] = ["take away {b}", "subtract {b}", "then subtract {b}", "go down by {b}", "remove {b}", "lose {b}"],
        ['*'] = ["multiply by {b}", "multiply it by {b}", "take that {b} times", "make it {b} times as big"],
        ['/'] = ["divide by {b}", "divide it by {b}", "share that by {b}", "cut it into {b} equal parts and keep one"],
    };

    private static readonly string[] s_frames =
        ["What is {0}?", "What number is {0}?", "Which number is {0}?", "Tell me {0}.", "Find {0}.", "Work out {0}.", "How much is {0}?", "I need to know {0}.", "Show me {0}.", "Say {0}.", "Write down {0}.",
         "What do we get for {0}?", "Give the value of {0}.", "Can you find {0}?", "The question is: {0}", "Our teacher asks for {0}.", "{0}?", "Please give me {0}.", "Let us find {0}.", "Count for me: {0}"];

    private static readonly string[] s_starts = ["Start with {0}", "Take {0}", "Begin with {0}", "Think of {0}", "Start at {0}", "Take the number {0}", "Write {0}", "You have {0}", "The first number is {0}"];
    private static readonly string[] s_ends = ["What do you get?", "What is the result?", "What number is it now?", "Where do you end?", "How much is it?", "What comes out?", "Tell me the result.", "What is left in the end?", "Which number do you have now?"];

    /// <inheritdoc/>
    public override string Bucket => "arithmetic-varied";

    /// <summary>One name for both buckets: what is held out of one is held out of the other.</summary>
    protected override string KeyPrefix => "arithmetic";

    /// <inheritdoc/>
    protected override TaskExample Draft(SeededRandom random, int level, Phrasing phrasing)
    {
        string prompt, shape;
        Expression expression;
        do
        {
            shape = PickShape(random, level);
            int[] operands;
            do
            {
                operands = PickOperands(random, level, shape);
                expression = Expression.FromShape(shape, operands);
            }
            while (expression.Value is null or > Largest || !ArithmeticTask.Fits(expression, Largest + 1));
            prompt = Prompt(random, phrasing, shape, operands, expression);
        }
        while (HeldOutWordings.Contains(prompt));
        var steps = new StringBuilder();
        int answer = expression.AppendSteps(steps);
        return Example(prompt, steps.ToString(), StoryGrammar.Number(answer), expression.Canonical());
    }

    private static string PickShape(SeededRandom random, int level)
    {
        double roll = random.NextDouble();
        return level switch
        {
            0 => roll < 0.6 ? "a+b" : "a-b",
            1 => random.Pick(["a+b", "a-b", "a*b"]),
            2 => random.Pick(["a+b", "a-b", "a*b", "a/b"]),
            3 => roll < 0.7 ? random.Pick(["a+b", "a-b", "a*b", "a/b", "a/b"]) : random.Pick(["a+b-c", "a-b+c", "a+b+c"]),
            _ when roll < 0.25 - 0.01 * level => random.Pick(["a+b", "a-b", "a*b"]),
            _ when roll < 0.5 - 0.01 * level => "a/b",
            4 => random.Pick(["a+b-c", "a-b+c", "a+b+c", "a-b-c"]),
            5 => random.Pick(s_two),
            6 => roll < 0.85 ? random.Pick(s_two) : random.Pick(s_long),
            _ => roll < 0.65 ? random.Pick(s_two) : roll < 0.9 ? random.Pick(s_long) : random.Pick(s_longest),
        };
    }

    private static int[] PickOperands(SeededRandom random, int level, string shape)
    {
        int[] operands = [.. Enumerable.Range(0, 5).Select(_ => Sized(random, level))];
        int times = shape.IndexOf('*', StringComparison.Ordinal), over = shape.IndexOf('/', StringComparison.Ordinal);
        for (int at = times; at > 0; at = shape.IndexOf('*', at + 1))
        {
            (int a, int b) = ArithmeticTask.Factors(random, level, shape.Length == 3);
            if (shape[at - 1] == ')')
            {
                (operands[0], operands[1], operands[2]) = (random.Next(2, level < 7 ? 30 : 80), random.Next(1, level < 7 ? 20 : 50), random.Next(2, level < 8 ? 10 : 20));
                continue;
            }
            (a, b) = random.Chance(0.4) ? (b, a) : (a, b);
            (operands[shape[at - 1] - 'a'], operands[shape[at + 1] - 'a']) = (Math.Max(a, 2), Math.Max(b, level < 3 ? 1 : 2));
        }
        if (over > 0)
        {
            int divisor = random.Next(2, 10), total = divisor * Quotient(random, level, divisor);
            switch (shape[..over])
            {
                case "a": (operands[0], operands[1]) = (total, divisor); break;
                case "(a+b)": operands[0] = random.Next(1, total); (operands[1], operands[2]) = (total - operands[0], divisor); break;
                case "(a-b)": (operands[0], operands[2]) = (total + operands[1], divisor); break;
                default: (operands[0], operands[1], operands[2]) = (divisor * random.Next(1, 11), random.Next(2, 90), divisor); break;
            }
        }
        return operands[..shape.Count(char.IsAsciiLetterLower)];
    }

    /// <summary>Quotients of one digit at first, of all lengths later; dividends stay within five digits.</summary>
    private static int Quotient(SeededRandom random, int level, int divisor)
    {
        int digits = random.Next(1, level switch { < 4 => 2, < 6 => 3, 6 => 4, _ => 5 } + 1);
        int low = Power(digits - 1), high = Math.Min(Power(digits), Largest / divisor + 1);
        return low < high ? random.Next(Math.Max(low, 2), high) : random.Next(2, 100);
    }

    /// <summary>As many numbers of one digit as of two, three or four, as far as the level has them.</summary>
    private static int Sized(SeededRandom random, int level)
    {
        int digits = random.Next(1, level switch { 0 => 1, < 4 => 2, < 6 => 3, _ => 4 } + 1);
        return random.Next(digits == 1 ? level == 0 ? 0 : 1 : Power(digits - 1), Power(digits));
    }

    private static int Power(int digits) => digits switch { 0 => 1, 1 => 10, 2 => 100, 3 => 1000, 4 => 10_000, _ => 100_000 };

    private static string Prompt(SeededRandom random, Phrasing phrasing, string shape, int[] operands, Expression expression)
    {
        double roll = random.NextDouble();
        if (roll < 0.55 && VariedStory.Tells(shape))
        {
            return phrasing.Wrap(VariedStory.Tell(random, shape, operands), 0.12);
        }
        if (roll < 0.85 && Ordered(expression))
        {
            string asked = shape.Length == 3 && random.Chance(0.6)
                ? random.Pick(s_frames).Replace("{0}", Numbers(random.Pick(s_nouns[shape[1]]), operands[0], operands[1]), StringComparison.Ordinal)
                : Orders(random, expression);
            return phrasing.Noise(phrasing.Wrap(char.ToUpperInvariant(asked[0]) + asked[1..], 0.2));
        }
        return ArithmeticTask.Question(random, phrasing, expression);
    }

    /// <summary>Whether the operations run one after the other, each with a number.</summary>
    private static bool Ordered(Expression node) => node.IsNumber || (node.Right.IsNumber && Ordered(node.Left));

    /// <summary>"Start with 5, add 3, then subtract 2. What do you get?"</summary>
    private static string Orders(SeededRandom random, Expression expression)
    {
        var clauses = new List<string>();
        Expression node = expression;
        for (; !node.IsNumber; node = node.Left)
        {
            clauses.Insert(0, random.Pick(s_orders[node.Operation]).Replace("{b}", node.Right.ToString(), StringComparison.Ordinal));
        }
        string start = random.Pick(s_starts).Replace("{0}", node.ToString(), StringComparison.Ordinal), end = random.Pick(s_ends);
        string separator = random.Pick([", ", ", ", " and ", ". "]);
        string text = start;
        foreach (string clause in clauses)
        {
            text += separator + (separator == ". " ? char.ToUpperInvariant(clause[0]) + clause[1..] : clause);
        }
        return random.Chance(0.2) ? $"{end} {text}." : $"{text}. {end}";
    }

    private static string Numbers(string phrase, int a, int b) => phrase
        .Replace("{a}", StoryGrammar.Number(a), StringComparison.Ordinal).Replace("{b}", StoryGrammar.Number(b), StringComparison.Ordinal);
}
