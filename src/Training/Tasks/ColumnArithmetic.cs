using System.Globalization;
using System.Text;

namespace Foretoken.Training.Tasks;

/// <summary>
/// Written arithmetic as a scratchpad: operands are repeated with their digits reversed, so that each column, carry and result digit is
/// computable from a few tokens nearby. Every method appends its lines and returns the result.
/// </summary>
public static class ColumnArithmetic
{
    /// <summary>Appends the steps of one operation: '+', '-', '*' or '/'.</summary>
    /// <exception cref="ArgumentException">A negative difference, a remainder, or an operand outside what the scratchpad supports.</exception>
    public static int Append(StringBuilder steps, int left, char operation, int right) => operation switch
    {
        '+' => Add(steps, left, right),
        '-' => Subtract(steps, left, right),
        '*' => Multiply(steps, left, right),
        '/' => Divide(steps, left, right),
        _ => throw new ArgumentException($"Unknown operation '{operation}'; expected one of + - * /.", nameof(operation)),
    };

    /// <summary>"47+85: 74|58", one line "7+5+0=12" per column (both digits of the sum: carry, then digit), "231 -> 132".</summary>
    public static int Add(StringBuilder steps, int left, int right)
    {
        int columns = Math.Max(Digits(left).Length, Digits(right).Length);
        string a = Reversed(left, columns), b = Reversed(right, columns);
        Header(steps, left, '+', right, a, b);
        int carry = 0;
        var result = new StringBuilder();
        for (int i = 0; i < columns; i++)
        {
            int sum = a[i] - '0' + (b[i] - '0') + carry;
            steps.Append(CultureInfo.InvariantCulture, $"{a[i]}+{b[i]}+{carry}={sum:D2}\n");
            carry = sum / 10;
            result.Append((char)('0' + sum % 10));
        }
        return Finish(steps, result, carry);
    }

    /// <summary>Columns "2-5-0=7 b1": digit minus digit minus borrow gives digit and the next borrow.</summary>
    public static int Subtract(StringBuilder steps, int left, int right)
    {
        if (left < right)
        {
            throw new ArgumentException($"{left}-{right} is negative; the scratchpad has no sign.", nameof(right));
        }
        int columns = Digits(left).Length;
        string a = Reversed(left, columns), b = Reversed(right, columns);
        Header(steps, left, '-', right, a, b);
        int borrow = 0;
        var result = new StringBuilder();
        for (int i = 0; i < columns; i++)
        {
            int difference = a[i] - b[i] - borrow, next = difference < 0 ? 1 : 0;
            steps.Append(CultureInfo.InvariantCulture, $"{a[i]}-{b[i]}-{borrow}={difference + 10 * next} b{next}\n");
            borrow = next;
            result.Append((char)('0' + difference + 10 * next));
        }
        return Finish(steps, result, 0);
    }

    /// <summary>Per digit of the right operand: "5*3+0=15" columns and a partial product, shifted by zeros; then the partial products are added.</summary>
    public static int Multiply(StringBuilder steps, int left, int right)
    {
        string a = Reversed(left, 0), b = Reversed(right, 0);
        Header(steps, left, '*', right, a, b);
        int total = 0;
        for (int j = 0; j < b.Length; j++)
        {
            int digit = b[j] - '0', carry = 0;
            var result = new StringBuilder(new string('0', j));
            foreach (char c in a)
            {
                int product = digit * (c - '0') + carry;
                steps.Append(CultureInfo.InvariantCulture, $"{digit}*{c}+{carry}={product:D2}\n");
                carry = product / 10;
                result.Append((char)('0' + product % 10));
            }
            int partial = Finish(steps, result, carry);
            total = j == 0 ? partial : Add(steps, total, partial);
        }
        return total;
    }

    /// <summary>Long division by one digit without remainder: "08=6*1+2" per digit (two digits of dividend, quotient digit, remainder).</summary>
    public static int Divide(StringBuilder steps, int left, int right)
    {
        if (right is < 1 or > 9 || left % right != 0)
        {
            throw new ArgumentException($"{left}/{right}: the divisor must be 1..9 and divide without remainder.", nameof(right));
        }
        string digits = Digits(left);
        Header(steps, left, '/', right, digits, Digits(right));
        int remainder = 0;
        var quotient = new StringBuilder();
        foreach (char c in digits)
        {
            int part = remainder * 10 + c - '0';
            remainder = part % right;
            steps.Append(CultureInfo.InvariantCulture, $"{part:D2}={right}*{part / right}+{remainder}\n");
            quotient.Append((char)('0' + part / right));
        }
        steps.Append(CultureInfo.InvariantCulture, $"{quotient} -> {left / right}\n");
        return left / right;
    }

    private static void Header(StringBuilder steps, int left, char operation, int right, string a, string b) =>
        steps.Append(CultureInfo.InvariantCulture, $"{left}{operation}{right}: {a}|{b}\n");

    private static int Finish(StringBuilder steps, StringBuilder reversed, int carry)
    {
        if (carry > 0)
        {
            reversed.Append((char)('0' + carry));
        }
        char[] digits = reversed.ToString().ToCharArray();
        Array.Reverse(digits);
        int value = int.Parse(digits, CultureInfo.InvariantCulture);
        steps.Append(CultureInfo.InvariantCulture, $"{reversed} -> {value}\n");
        return value;
    }

    private static string Digits(int value) => value.ToString(CultureInfo.InvariantCulture);

    private static string Reversed(int value, int columns)
    {
        char[] digits = Digits(value).ToCharArray();
        Array.Reverse(digits);
        return new string(digits).PadRight(columns, '0');
    }
}
