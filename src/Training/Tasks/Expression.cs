using System.Globalization;
using System.Text;

namespace Foretoken.Training.Tasks;

/// <summary>An arithmetic expression: a number, or an operation over two expressions.</summary>
public sealed class Expression
{
    private readonly int _number;
    private readonly Expression? _left, _right;

    public Expression(int number) => _number = number;

    public Expression(Expression left, char operation, Expression right) => (_left, Operation, _right) = (left, operation, right);

    /// <summary>'+', '-', '*', '/' or '\0' for a number.</summary>
    public char Operation { get; }

    /// <summary>Whether this is a plain number.</summary>
    public bool IsNumber => _left is null;

    /// <summary>Left operand of an operation.</summary>
    public Expression Left => _left ?? throw new InvalidOperationException("A number has no operands.");

    /// <summary>Right operand of an operation.</summary>
    public Expression Right => _right ?? throw new InvalidOperationException("A number has no operands.");

    /// <summary>The value; null where a difference is negative or a division has a remainder.</summary>
    public int? Value
    {
        get
        {
            if (IsNumber)
            {
                return _number;
            }
            if (Left.Value is not int a || Right.Value is not int b)
            {
                return null;
            }
            return Operation switch
            {
                '+' => a + b,
                '-' => a >= b ? a - b : null,
                '*' => a * b,
                _ => b is > 0 and < 10 && a % b == 0 ? a / b : null,
            };
        }
    }

    /// <summary>Replaces the letters a, b, c, ... of a shape such as "(a+b)*c" by the operands.</summary>
    public static Expression FromShape(string shape, IReadOnlyList<int> operands)
    {
        int at = 0;
        Expression result = ParseSum(shape, operands, ref at);
        return at == shape.Length ? result : throw new ArgumentException($"Shape '{shape}' is malformed at {at}.", nameof(shape));
    }

    /// <summary>Text without spaces and with the fewest parentheses.</summary>
    public override string ToString() => Text("");

    /// <summary>Text with <paramref name="space"/> around each operator.</summary>
    public string Text(string space)
    {
        if (IsNumber)
        {
            return _number.ToString(CultureInfo.InvariantCulture);
        }
        string left = Left.Text(space), right = Right.Text(space);
        left = Left.Rank < Rank ? $"({left})" : left;
        right = Right.Rank < Rank || (Right.Rank == Rank && !Right.IsNumber) ? $"({right})" : right;
        return left + space + Operation + space + right;
    }

    /// <summary>A text equal for expressions that differ only by the order of commutative operands.</summary>
    public string Canonical()
    {
        if (IsNumber)
        {
            return _number.ToString(CultureInfo.InvariantCulture);
        }
        string left = Left.Canonical(), right = Right.Canonical();
        if (Operation is '+' or '*' && string.CompareOrdinal(left, right) > 0)
        {
            (left, right) = (right, left);
        }
        return $"({left}{Operation}{right})";
    }

    /// <summary>Appends the scratchpad: the whole expression, then one operation at a time with the rewritten expression between them.</summary>
    public int AppendSteps(StringBuilder steps)
    {
        Expression current = this;
        if (!current.IsNumber && (!current.Left.IsNumber || !current.Right.IsNumber))
        {
            steps.Append(current).Append('\n');
        }
        while (!current.IsNumber)
        {
            current = current.Reduce(steps);
            if (!current.IsNumber && (!current.Left.IsNumber || !current.Right.IsNumber))
            {
                steps.Append(current).Append('\n');
            }
        }
        return current._number;
    }

    private int Rank => Operation switch { '+' or '-' => 1, '*' or '/' => 2, _ => 3 };

    private Expression Reduce(StringBuilder steps)
    {
        if (!Left.IsNumber)
        {
            return new Expression(Left.Reduce(steps), Operation, Right);
        }
        return Right.IsNumber
            ? new Expression(ColumnArithmetic.Append(steps, Left._number, Operation, Right._number))
            : new Expression(Left, Operation, Right.Reduce(steps));
    }

    private static Expression ParseSum(string shape, IReadOnlyList<int> operands, ref int at)
    {
        Expression left = ParseProduct(shape, operands, ref at);
        while (at < shape.Length && shape[at] is '+' or '-')
        {
            char operation = shape[at++];
            left = new Expression(left, operation, ParseProduct(shape, operands, ref at));
        }
        return left;
    }

    private static Expression ParseProduct(string shape, IReadOnlyList<int> operands, ref int at)
    {
        Expression left = ParseAtom(shape, operands, ref at);
        while (at < shape.Length && shape[at] is '*' or '/')
        {
            char operation = shape[at++];
            left = new Expression(left, operation, ParseAtom(shape, operands, ref at));
        }
        return left;
    }

    private static Expression ParseAtom(string shape, IReadOnlyList<int> operands, ref int at)
    {
        if (shape[at] != '(')
        {
            return new Expression(operands[shape[at++] - 'a']);
        }
        at++;
        Expression inner = ParseSum(shape, operands, ref at);
        at++;
        return inner;
    }
}
