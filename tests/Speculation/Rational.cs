using System.Numerics;
using Foretoken.Speculation;

namespace Foretoken.Tests.Speculation;

/// <summary>An exact fraction.</summary>
internal readonly struct Rational : IAdditionOperators<Rational, Rational, Rational>, ISubtractionOperators<Rational, Rational, Rational>,
    IMultiplyOperators<Rational, Rational, Rational>, IDivisionOperators<Rational, Rational, Rational>, IComparisonOperators<Rational, Rational, bool>,
    IAdditiveIdentity<Rational, Rational>, IMultiplicativeIdentity<Rational, Rational>, IEquatable<Rational>
{
    private readonly BigInteger _numerator, _belowOne; // the denominator less one, so that default is zero

    public Rational(BigInteger numerator, BigInteger denominator)
    {
        BigInteger divisor = BigInteger.GreatestCommonDivisor(numerator, denominator) * denominator.Sign;
        (_numerator, _belowOne) = (numerator / divisor, denominator / divisor - 1);
    }

    public static Rational AdditiveIdentity => new(0, 1);

    public static Rational MultiplicativeIdentity => new(1, 1);

    private BigInteger Denominator => _belowOne + 1;

    public static implicit operator Rational(int value) => new(value, 1);

    public static Rational operator +(Rational a, Rational b) => new(a._numerator * b.Denominator + b._numerator * a.Denominator, a.Denominator * b.Denominator);

    public static Rational operator -(Rational a, Rational b) => new(a._numerator * b.Denominator - b._numerator * a.Denominator, a.Denominator * b.Denominator);

    public static Rational operator *(Rational a, Rational b) => new(a._numerator * b._numerator, a.Denominator * b.Denominator);

    public static Rational operator /(Rational a, Rational b) => new(a._numerator * b.Denominator, a.Denominator * b._numerator);

    public static bool operator >(Rational a, Rational b) => a._numerator * b.Denominator > b._numerator * a.Denominator;

    public static bool operator <(Rational a, Rational b) => b > a;

    public static bool operator >=(Rational a, Rational b) => !(b > a);

    public static bool operator <=(Rational a, Rational b) => !(a > b);

    public static bool operator ==(Rational a, Rational b) => a.Equals(b);

    public static bool operator !=(Rational a, Rational b) => !a.Equals(b);

    public bool Equals(Rational other) => _numerator == other._numerator && _belowOne == other._belowOne;

    public override bool Equals(object? obj) => obj is Rational other && Equals(other);

    public override int GetHashCode() => HashCode.Combine(_numerator, _belowOne);

    public override string ToString() => $"{_numerator}/{Denominator}";
}

/// <summary>One way through all random decisions of a run; <see cref="All"/> takes every way once.</summary>
internal sealed class Branch : IDraws<Rational>
{
    private readonly List<int> _choices;
    private int _at;

    private Branch(List<int> choices) => _choices = choices;

    /// <summary>Probability of this way so far.</summary>
    public Rational Probability { get; private set; } = 1;

    /// <summary>Options that are left at each decision, in order.</summary>
    private List<int> Left { get; } = [];

    public static void All(Action<Branch> run)
    {
        List<int>? choices = [];
        while (choices is not null)
        {
            var branch = new Branch(choices);
            run(branch);
            choices = branch.Next();
        }
    }

    public bool Accept(Rational probability)
    {
        if (probability >= 1) return true;
        return probability > 0 && Choose([probability, 1 - probability]) == 0;
    }

    public int Draw(ReadOnlySpan<Rational> weights, Rational total)
    {
        var shares = new Rational[weights.Length];
        for (int i = 0; i < shares.Length; i++) shares[i] = weights[i] / total;
        return Choose(shares);
    }

    private int Choose(Rational[] shares)
    {
        int[] options = [.. Enumerable.Range(0, shares.Length).Where(i => shares[i] > 0)];
        Assert.Equal((Rational)1, options.Aggregate((Rational)0, (sum, i) => sum + shares[i]));
        if (_at == _choices.Count) _choices.Add(0);
        int choice = _choices[_at++];
        Left.Add(options.Length - choice - 1);
        Probability *= shares[options[choice]];
        return options[choice];
    }

    private List<int>? Next()
    {
        int last = Left.FindLastIndex(left => left > 0);
        return last < 0 ? null : [.. _choices[..last], _choices[last] + 1];
    }
}
