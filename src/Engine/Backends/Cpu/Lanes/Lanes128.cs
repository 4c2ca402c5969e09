using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using Foretoken.Numerics;

namespace Foretoken.Backends.Cpu.Lanes;

/// <summary>Sixteen lanes in four 128-bit registers, by the base library's portable operations only.</summary>
internal readonly unsafe struct Lanes128 : ILanes<Lanes128>
{
    private readonly Vector128<float> _a; // lanes 0..3
    private readonly Vector128<float> _b; // lanes 4..7
    private readonly Vector128<float> _c; // lanes 8..11
    private readonly Vector128<float> _d; // lanes 12..15

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private Lanes128(Vector128<float> a, Vector128<float> b, Vector128<float> c, Vector128<float> d)
    {
        _a = a;
        _b = b;
        _c = c;
        _d = d;
    }

    public static Lanes128 Zero
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        get => Broadcast(0f);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes128 Broadcast(float value)
    {
        Vector128<float> v = Vector128.Create(value);
        return new(v, v, v, v);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes128 Load(float* source) =>
        new(Vector128.Load(source), Vector128.Load(source + 4), Vector128.Load(source + 8), Vector128.Load(source + 12));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void LoadBFloat16Pairs(byte* source, out Lanes128 even, out Lanes128 odd)
    {
        uint* s = (uint*)source;
        Vector128<uint> a = Vector128.Load(s), b = Vector128.Load(s + 4), c = Vector128.Load(s + 8), d = Vector128.Load(s + 12);
        Vector128<uint> mask = Vector128.Create(0xFFFF0000u);
        even = new((a << 16).AsSingle(), (b << 16).AsSingle(), (c << 16).AsSingle(), (d << 16).AsSingle());
        odd = new((a & mask).AsSingle(), (b & mask).AsSingle(), (c & mask).AsSingle(), (d & mask).AsSingle());
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void LoadHalfPairs(byte* source, out Lanes128 even, out Lanes128 odd)
    {
        LoadUnbiasedHalfPairs(source, out even, out odd);
        even *= Broadcast(ILanes<Lanes128>.HalfBias);
        odd *= Broadcast(ILanes<Lanes128>.HalfBias);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void LoadUnbiasedHalfPairs(byte* source, out Lanes128 even, out Lanes128 odd)
    {
        int* s = (int*)source;
        Vector128<int> a = Vector128.Load(s), b = Vector128.Load(s + 4), c = Vector128.Load(s + 8), d = Vector128.Load(s + 12);
        even = new(Half(a << 16), Half(b << 16), Half(c << 16), Half(d << 16));
        odd = new(Half(a), Half(b), Half(c), Half(d));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes128 LoadBytes(sbyte* source)
    {
        (Vector128<short> low, Vector128<short> high) = Vector128.Widen(Vector128.Load(source));
        (Vector128<int> a, Vector128<int> b) = Vector128.Widen(low);
        (Vector128<int> c, Vector128<int> d) = Vector128.Widen(high);
        return new(Vector128.ConvertToSingle(a), Vector128.ConvertToSingle(b), Vector128.ConvertToSingle(c), Vector128.ConvertToSingle(d));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Store(float* destination)
    {
        _a.Store(destination);
        _b.Store(destination + 4);
        _c.Store(destination + 8);
        _d.Store(destination + 12);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void StoreAsBytes(sbyte* destination)
    {
        Vector128<short> low = Vector128.Narrow(Vector128.ConvertToInt32(_a), Vector128.ConvertToInt32(_b));
        Vector128<short> high = Vector128.Narrow(Vector128.ConvertToInt32(_c), Vector128.ConvertToInt32(_d));
        Vector128.Narrow(low, high).Store(destination);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes128 operator +(Lanes128 a, Lanes128 b) => new(a._a + b._a, a._b + b._b, a._c + b._c, a._d + b._d);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes128 operator -(Lanes128 a, Lanes128 b) => new(a._a - b._a, a._b - b._b, a._c - b._c, a._d - b._d);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes128 operator *(Lanes128 a, Lanes128 b) => new(a._a * b._a, a._b * b._b, a._c * b._c, a._d * b._d);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes128 operator /(Lanes128 a, Lanes128 b) => new(a._a / b._a, a._b / b._b, a._c / b._c, a._d / b._d);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes128 MultiplyAdd(Lanes128 a, Lanes128 b, Lanes128 c) => new(
        Vector128.FusedMultiplyAdd(a._a, b._a, c._a), Vector128.FusedMultiplyAdd(a._b, b._b, c._b),
        Vector128.FusedMultiplyAdd(a._c, b._c, c._c), Vector128.FusedMultiplyAdd(a._d, b._d, c._d));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes128 Exp(Lanes128 x) => new(VectorMath.Exp(x._a), VectorMath.Exp(x._b), VectorMath.Exp(x._c), VectorMath.Exp(x._d));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes128 ExpOfNonPositive(Lanes128 x) => new(
        VectorMath.ExpOfNonPositive(x._a), VectorMath.ExpOfNonPositive(x._b), VectorMath.ExpOfNonPositive(x._c), VectorMath.ExpOfNonPositive(x._d));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes128 Larger(Lanes128 a, Lanes128 b) => new(
        Vector128.MaxNative(a._a, b._a), Vector128.MaxNative(a._b, b._b), Vector128.MaxNative(a._c, b._c), Vector128.MaxNative(a._d, b._d));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes128 LargerBits(Lanes128 a, Lanes128 b) => new(
        LargerBits(a._a, b._a), LargerBits(a._b, b._b), LargerBits(a._c, b._c), LargerBits(a._d, b._d));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public int MaxBits() => MaxBits(Vector128.Max(Vector128.Max(_a.AsInt32(), _b.AsInt32()), Vector128.Max(_c.AsInt32(), _d.AsInt32())));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes128 MaxMagnitude(Lanes128 a, Lanes128 b) => new(
        Vector128.MaxNative(Vector128.Abs(a._a), Vector128.Abs(b._a)), Vector128.MaxNative(Vector128.Abs(a._b), Vector128.Abs(b._b)),
        Vector128.MaxNative(Vector128.Abs(a._c), Vector128.Abs(b._c)), Vector128.MaxNative(Vector128.Abs(a._d), Vector128.Abs(b._d)));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes128 ZeroUnless(Lanes128 test, Lanes128 value) =>
        new(ZeroUnless(test._a, value._a), ZeroUnless(test._b, value._b), ZeroUnless(test._c, value._c), ZeroUnless(test._d, value._d));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes128 AddBits(Lanes128 a, Lanes128 b) => new(
        (a._a.AsInt32() + b._a.AsInt32()).AsSingle(), (a._b.AsInt32() + b._b.AsInt32()).AsSingle(),
        (a._c.AsInt32() + b._c.AsInt32()).AsSingle(), (a._d.AsInt32() + b._d.AsInt32()).AsSingle());

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public int SumBits() => Vector128.Sum((_a.AsInt32() + _b.AsInt32()) + (_c.AsInt32() + _d.AsInt32()));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void StoreLowWords(short* destination)
    {
        Vector128.Narrow(_a.AsInt32(), _b.AsInt32()).Store(destination);
        Vector128.Narrow(_c.AsInt32(), _d.AsInt32()).Store(destination + 8);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public float Sum() => Sum((_a + _c) + (_b + _d));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public float Max() => Max(Vector128.MaxNative(Vector128.MaxNative(_a, _c), Vector128.MaxNative(_b, _d)));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector128<float> ZeroUnless(Vector128<float> test, Vector128<float> value) =>
        Vector128.AndNot(value, Vector128.Equals(test, Vector128<float>.Zero));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector128<float> LargerBits(Vector128<float> a, Vector128<float> b) => Vector128.Max(a.AsInt32(), Vector128.Abs(b).AsInt32()).AsSingle();

    /// <summary>The half in the upper 16 bits of each word, times 2^−112.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector128<float> Half(Vector128<int> upper) =>
        (upper >> 3 & Vector128.Create(ILanes<Lanes128>.HalfMask)).AsSingle();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static float Sum(Vector128<float> v) => (v[0] + v[2]) + (v[1] + v[3]);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static int MaxBits(Vector128<int> v) => Math.Max(Math.Max(v[0], v[2]), Math.Max(v[1], v[3]));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static float Max(Vector128<float> v) => MathF.Max(MathF.Max(v[0], v[2]), MathF.Max(v[1], v[3]));
}
