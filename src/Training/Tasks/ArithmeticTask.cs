using System.Globalization;
using System.Text;
using Foretoken.Numerics;

namespace Foretoken.Training.Tasks;

/// <summary>Arithmetic: plain questions, expressions and word problems, solved by <see cref="ColumnArithmetic"/>.</summary>
public sealed class ArithmeticTask : SplitTask
{
    private static readonly string[] OneStep = ["a+b", "a-b", "a*b", "a/b"];
    private static readonly string[] TwoSteps = ["a+b-c", "a-b+c", "a+b+c", "a-b-c", "a*b+c", "a*b-c", "(a+b)*c"];
    private static readonly string[] Bare = ["a+b*c", "a-b*c", "(a-b)*c", "a/b+c", "a+b+c-d", "a*b-c-d", "a*b+c+d", "a*b-c*d"];

    /// <inheritdoc/>
    public override string Bucket => "arithmetic";

    /// <inheritdoc/>
    protected override TaskExample Draft(SeededRandom random, int level, Phrasing phrasing)
    {
        Expression expression;
        string shape;
        int[] operands;
        do
        {
            shape = PickShape(random, level);
            operands = PickOperands(random, level, shape);
            expression = Expression.FromShape(shape, operands);
        }
        while (expression.Value is null or > 99_999 || !Fits(expression));

        bool story = level >= 2 && ArithmeticPhrases.Stories.ContainsKey(shape) && random.Chance(shape.Length == 3 ? 0.3 : 0.6);
        string prompt = story ? Story(random, phrasing, shape, operands) : Question(random, phrasing, expression);
        var steps = new StringBuilder();
        int answer = expression.AppendSteps(steps);
        return Example(prompt, steps.ToString(), answer.ToString(CultureInfo.InvariantCulture), expression.Canonical());
    }

    private static string PickShape(SeededRandom random, int level) => level switch
    {
        0 => random.Chance(0.6) ? "a+b" : "a-b",
        1 => random.Pick(["a+b", "a-b", "a*b"]),
        2 => random.Pick(["a+b", "a+b", "a-b", "a-b", "a*b"]),
        3 => random.Chance(0.7) ? random.Pick(["a+b", "a-b", "a*b", "a*b"]) : random.Pick(["a+b-c", "a-b+c", "a+b+c"]),
        4 => random.Chance(0.7) ? random.Pick(OneStep) : random.Pick(["a+b-c", "a-b+c", "a+b+c", "a-b-c"]),
        5 => random.Chance(0.5) ? random.Pick(OneStep) : random.Pick(TwoSteps),
        6 => random.Chance(0.45) ? random.Pick(OneStep) : random.Pick(TwoSteps),
        _ => random.NextDouble() switch
        {
            < 0.35 => random.Pick(["a+b", "a-b", "a*b", "a*b", "a/b"]),
            < 0.75 => random.Pick(TwoSteps),
            < 0.85 => "a*b+c*d",
            _ => random.Pick(Bare),
        },
    };

    /// <summary>Operands sized by level: sums up to three digits (four at the top), products up to three digits by two.</summary>
    private static int[] PickOperands(SeededRandom random, int level, string shape)
    {
        int[] operands = [Sized(random, level), Sized(random, level), Sized(random, level), Sized(random, level)];
        if (!shape.Contains('*') && !shape.Contains('/'))
        {
            return operands;
        }
        bool single = shape.Length == 3;
        for (int i = 0; i < shape.Length; i++)
        {
            if (shape[i] is not ('*' or '/'))
            {
                continue;
            }
            int left = shape[i - 1] == ')' ? -1 : shape[i - 1] - 'a', right = shape[i + 1] - 'a';
            if (shape[i] == '/')
            {
                operands[right] = random.Next(2, 10);
                operands[left] = operands[right] * (level < 7 ? random.Next(2, 30) : random.Next(2, 110));
                continue;
            }
            (int a, int b) = Factors(random, level, single);
            operands[right] = b;
            if (left >= 0)
            {
                operands[left] = a;
                if (random.Chance(0.3))
                {
                    (operands[left], operands[right]) = (b, a);
                }
            }
            else
            {
                operands[0] = random.Next(1, level < 7 ? 20 : 60);
                operands[1] = random.Next(1, level < 7 ? 20 : 40);
                operands[right] = level < 8 ? random.Next(2, 10) : random.Next(2, 20);
            }
        }
        return operands;
    }

    internal static (int Left, int Right) Factors(SeededRandom random, int level, bool single) => level switch
    {
        <= 2 => (random.Next(1, 10), random.Next(0, 10)),
        3 or 4 => (random.Next(2, 100), random.Next(2, 10)),
        5 => single && random.Chance(0.5) ? (random.Next(10, 100), random.Next(10, 40)) : (random.Next(2, 100), random.Next(2, 10)),
        6 => single && random.Chance(0.6) ? (random.Next(10, 100), random.Next(10, 100)) : (random.Next(2, 200), random.Next(2, 10)),
        7 => single && random.Chance(0.7) ? (random.Next(10, 250), random.Next(10, 100)) : (random.Next(2, 60), random.Next(2, 20)),
        _ => single && random.Chance(0.7) ? (random.Next(10, 1000), random.Next(10, 100)) : (random.Next(2, 100), random.Next(2, 40)),
    };

    private static int Sized(SeededRandom random, int level) => level switch
    {
        0 => random.Next(0, 10),
        1 => random.Next(0, random.Chance(0.5) ? 10 : 60),
        2 or 3 => random.Next(1, 100),
        4 or 5 => random.Next(1, random.Chance(0.5) ? 100 : 1000),
        _ => random.Next(1, random.Chance(0.45) ? 100 : random.Chance(0.85) ? 1000 : 10_000),
    };

    /// <summary>Keeps products within three digits by two and dividends below <paramref name="dividends"/> at every node.</summary>
    internal static bool Fits(Expression node, int dividends = 1000)
    {
        if (node.IsNumber)
        {
            return true;
        }
        int left = node.Left.Value ?? 0, right = node.Right.Value ?? 0;
        return Fits(node.Left, dividends) && Fits(node.Right, dividends)
            && (node.Operation != '*' || (Math.Max(left, right) < 1000 && Math.Min(left, right) < 100))
            && (node.Operation != '/' || left < dividends);
    }

    internal static string Question(SeededRandom random, Phrasing phrasing, Expression expression)
    {
        bool single = expression.Left.IsNumber && expression.Right.IsNumber;
        double roll = single ? random.NextDouble() : 0;
        string question;
        if (roll < 0.6)
        {
            string written = expression.Text(random.Chance(0.7) ? " " : "");
            if (random.Chance(0.1))
            {
                written = written.Replace('*', 'x');
            }
            question = Fill(phrasing.Pick(ArithmeticPhrases.Frames), written);
        }
        else if (roll < 0.8)
        {
            question = Fill(phrasing.Pick(ArithmeticPhrases.Frames), Operands(phrasing.Pick(ArithmeticPhrases.Nouns[expression.Operation]), expression));
        }
        else
        {
            question = Operands(phrasing.Pick(ArithmeticPhrases.Requests[expression.Operation]), expression);
        }
        return phrasing.Noise(phrasing.Wrap(question, 0.3));
    }

    private static string Fill(string frame, string expression)
    {
        string text = frame.Replace("{0}", expression, StringComparison.Ordinal);
        return char.ToUpperInvariant(text[0]) + text[1..];
    }

    private static string Operands(string phrase, Expression expression) => phrase
        .Replace("{a}", expression.Left.ToString(), StringComparison.Ordinal)
        .Replace("{b}", expression.Right.ToString(), StringComparison.Ordinal);

    private static string Story(SeededRandom random, Phrasing phrasing, string shape, int[] operands)
    {
        string name = random.Pick(Words.Names), other;
        do
        {
            other = random.Pick(Words.Names);
        }
        while (other == name);
        string text = phrasing.Pick(ArithmeticPhrases.Stories[shape])
            .Replace("{n}", name, StringComparison.Ordinal)
            .Replace("{m}", other, StringComparison.Ordinal)
            .Replace("{i}", random.Pick(Words.Counted) + "s", StringComparison.Ordinal);
        for (int i = 0; i < operands.Length; i++)
        {
            text = text.Replace($"{{{(char)('a' + i)}}}", operands[i].ToString(CultureInfo.InvariantCulture), StringComparison.Ordinal);
        }
        return phrasing.Wrap(text, 0.12);
    }
}
