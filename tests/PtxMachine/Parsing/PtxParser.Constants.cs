namespace Foretoken.Ptx.Parsing;

/// <summary>Constant expressions (PTX ISA 4.5): the operators of C over 64-bit integers and doubles, evaluated while parsing.</summary>
internal sealed partial class PtxParser
{
    /// <summary>A constant: bits of an integer, a double, or (alone only) a single.</summary>
    private readonly record struct Constant(ulong Bits, bool IsFloat = false, bool IsSingle = false, bool IsUnsigned = false)
    {
        public double Value => IsFloat ? BitConverter.UInt64BitsToDouble(Bits) : IsUnsigned ? Bits : (long)Bits;

        public bool IsTrue => IsFloat ? Value != 0 : Bits != 0;

        public static Constant Of(double value) => new(BitConverter.DoubleToUInt64Bits(value), IsFloat: true);

        public static Constant Of(bool value) => new(value ? 1UL : 0);
    }

    /// <summary>Binary operators by strength, the weakest first.</summary>
    private static readonly string[][] Levels = [["||"], ["&&"], ["|"], ["^"], ["&"], ["==", "!="], ["<=", ">=", "<", ">"], ["<<", ">>"], ["+", "-"], ["*", "/", "%"]];

    private const int Deepest = 200; // of nested parentheses
    private int _depth;

    private Constant Expression()
    {
        if (++_depth > Deepest)
            throw Error($"an expression of more than {Deepest} levels");
        Constant value = Binary(0);
        if (Take("?"))
        {
            Constant yes = Expression();
            Expect(":");
            Constant no = Expression();
            value = value.IsTrue ? yes : no;
        }

        _depth--;
        return value;
    }

    private Constant Binary(int level)
    {
        if (level == Levels.Length)
            return Unary();
        Constant left = Binary(level + 1);
        while (TakeOperator(Levels[level]) is { } symbol)
            left = Apply(symbol, left, Binary(level + 1));
        return left;
    }

    /// <summary>An operator of the level; those of two characters are two tokens, and <c>&lt;</c> must not take half of <c>&lt;&lt;</c>.</summary>
    private string? TakeOperator(string[] symbols)
    {
        string first = Current.Kind == TokenKind.Symbol ? Current.Text : "", second = first.Length > 0 && _tokens[_at + 1].Kind == TokenKind.Symbol ? _tokens[_at + 1].Text : "";
        string both = first + second;
        bool isDouble = both is "||" or "&&" or "==" or "!=" or "<=" or ">=" or "<<" or ">>";
        string found = isDouble ? both : first;
        if (found.Length == 0 || !symbols.Contains(found))
            return null;
        _at += isDouble ? 2 : 1;
        return found;
    }

    private Constant Unary()
    {
        if (++_depth > Deepest)
            throw Error($"an expression of more than {Deepest} levels");
        Constant value = UnaryOrPrimary();
        _depth--;
        return value;
    }

    private Constant UnaryOrPrimary()
    {
        if (Take("+"))
            return Unary();
        if (Take("-"))
        {
            Constant value = Unary();
            return value.IsFloat ? value with { Bits = value.Bits ^ (value.IsSingle ? 1UL << 31 : 1UL << 63) } : value with { Bits = 0 - value.Bits };
        }

        if (Take("~"))
            return Unary() is { IsFloat: false } bits ? bits with { Bits = ~bits.Bits } : throw Error("'~' of a float");
        if (Take("!"))
            return Constant.Of(!Unary().IsTrue);
        if (!Take("("))
            return Literal();
        if (Current.Text is ".s64" or ".u64")
        {
            bool isUnsigned = Next().Text == ".u64";
            Expect(")");
            Constant value = Unary();
            return value.IsFloat ? throw Error("a float is cast to an integer") : value with { IsUnsigned = isUnsigned };
        }

        Constant inner = Expression();
        Expect(")");
        return inner;
    }

    private Constant Literal()
    {
        Token token = Current;
        if (token.Is("WARP_SZ"))
        {
            _at++;
            return new Constant(32);
        }

        if (token.Kind is not (TokenKind.Integer or TokenKind.Float))
            throw Error($"a number expected, '{token.Text}' found");
        _at++;
        return token.Kind == TokenKind.Float
            ? new Constant(token.Bits, IsFloat: true, token.IsSingle)
            : new Constant(token.Bits, IsUnsigned: token.Text[^1] is 'U' or 'u' || token.Bits > long.MaxValue);
    }

    private Constant Apply(string symbol, Constant a, Constant b)
    {
        if (a.IsSingle || b.IsSingle)
            throw Error("constants of the form 0f… stand alone, not in expressions");
        if (symbol is "||" or "&&")
            return Constant.Of(symbol == "||" ? a.IsTrue || b.IsTrue : a.IsTrue && b.IsTrue);
        if (a.IsFloat || b.IsFloat)
            return ApplyToFloats(symbol, a.Value, b.Value);
        bool isUnsigned = a.IsUnsigned || b.IsUnsigned;
        if (symbol is "/" or "%" && b.Bits == 0)
            throw Error("a constant is divided by zero");
        (ulong x, ulong y, long s, long t) = (a.Bits, b.Bits, (long)a.Bits, (long)b.Bits);
        int count = (int)Math.Min(y, 64);
        bool minusOne = !isUnsigned && t == -1; // the smallest number over -1 does not fit
        return symbol switch
        {
            "+" => new Constant(x + y, IsUnsigned: isUnsigned),
            "-" => new Constant(x - y, IsUnsigned: isUnsigned),
            "*" => new Constant(x * y, IsUnsigned: isUnsigned),
            "/" => new Constant(isUnsigned ? x / y : minusOne ? 0 - x : (ulong)(s / t), IsUnsigned: isUnsigned),
            "%" => new Constant(isUnsigned ? x % y : minusOne ? 0 : (ulong)(s % t), IsUnsigned: isUnsigned),
            "<<" => new Constant(count > 63 ? 0 : x << count, IsUnsigned: a.IsUnsigned),
            ">>" => new Constant(a.IsUnsigned ? count > 63 ? 0 : x >> count : (ulong)(s >> Math.Min(count, 63)), IsUnsigned: a.IsUnsigned),
            "&" => new Constant(x & y, IsUnsigned: isUnsigned),
            "|" => new Constant(x | y, IsUnsigned: isUnsigned),
            "^" => new Constant(x ^ y, IsUnsigned: isUnsigned),
            "==" => Constant.Of(x == y),
            "!=" => Constant.Of(x != y),
            "<" => Constant.Of(isUnsigned ? x < y : s < t),
            "<=" => Constant.Of(isUnsigned ? x <= y : s <= t),
            ">" => Constant.Of(isUnsigned ? x > y : s > t),
            _ => Constant.Of(isUnsigned ? x >= y : s >= t),
        };
    }

    private Constant ApplyToFloats(string symbol, double a, double b) => symbol switch
    {
        "+" => Constant.Of(a + b),
        "-" => Constant.Of(a - b),
        "*" => Constant.Of(a * b),
        "/" => Constant.Of(a / b),
        "==" => Constant.Of(a == b),
        "!=" => Constant.Of(a != b),
        "<" => Constant.Of(a < b),
        "<=" => Constant.Of(a <= b),
        ">" => Constant.Of(a > b),
        ">=" => Constant.Of(a >= b),
        _ => throw Error($"'{symbol}' of floats"),
    };

    /// <summary>A constant expression that must be an integer.</summary>
    private long Integer()
    {
        Constant value = Expression();
        return value.IsFloat ? throw Error("a whole number expected") : (long)value.Bits;
    }

    /// <summary>An integer in a range, such as a size or an alignment.</summary>
    private int Size(long most, string what)
    {
        long value = Integer();
        return value >= 0 && value <= most ? (int)value : throw Error($"{what} of {value}: 0 to {most} is possible");
    }
}
