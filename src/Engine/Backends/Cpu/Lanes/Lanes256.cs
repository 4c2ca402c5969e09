using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using Foretoken.Numerics;

namespace Foretoken.Backends.Cpu.Lanes;

/// <summary>Sixteen lanes in two 256-bit registers.</summary>
internal readonly unsafe struct Lanes256 : ILanes<Lanes256>
{
    private readonly Vector256<float> _a; // lanes 0..7
    private readonly Vector256<float> _b; // lanes 8..15

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private Lanes256(Vector256<float> a, Vector256<float> b)
    {
        _a = a;
        _b = b;
    }

    public static Lanes256 Zero
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        get => new(Vector256<float>.Zero, Vector256<float>.Zero);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes256 Broadcast(float value)
    {
        Vector256<float> v = Vector256.Create(value);
        return new(v, v);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes256 Load(float* source) => new(Vector256.Load(source), Vector256.Load(source + 8));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void LoadBFloat16Pairs(byte* source, out Lanes256 even, out Lanes256 odd)
    {
        Vector256<uint> a = Vector256.Load((uint*)source), b = Vector256.Load((uint*)source + 8), mask = Vector256.Create(0xFFFF0000u);
        even = new((a << 16).AsSingle(), (b << 16).AsSingle());
        odd = new((a & mask).AsSingle(), (b & mask).AsSingle());
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void LoadHalfPairs(byte* source, out Lanes256 even, out Lanes256 odd)
    {
        LoadUnbiasedHalfPairs(source, out even, out odd);
        even *= Broadcast(ILanes<Lanes256>.HalfBias);
        odd *= Broadcast(ILanes<Lanes256>.HalfBias);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void LoadUnbiasedHalfPairs(byte* source, out Lanes256 even, out Lanes256 odd)
    {
        Vector256<int> a = Vector256.Load((int*)source), b = Vector256.Load((int*)source + 8), mask = Vector256.Create(ILanes<Lanes256>.HalfMask);
        even = new((a << 16 >> 3 & mask).AsSingle(), (b << 16 >> 3 & mask).AsSingle());
        odd = new((a >> 3 & mask).AsSingle(), (b >> 3 & mask).AsSingle());
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes256 LoadBytes(sbyte* source) => new(
        Avx.ConvertToVector256Single(Avx2.ConvertToVector256Int32(source)), Avx.ConvertToVector256Single(Avx2.ConvertToVector256Int32(source + 8)));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Store(float* destination)
    {
        _a.Store(destination);
        _b.Store(destination + 8);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void StoreAsBytes(sbyte* destination)
    {
        Vector256<short> words = Vector256.Narrow(Avx.ConvertToVector256Int32(_a), Avx.ConvertToVector256Int32(_b));
        Vector128.Narrow(words.GetLower(), words.GetUpper()).Store(destination);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes256 operator +(Lanes256 a, Lanes256 b) => new(a._a + b._a, a._b + b._b);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes256 operator -(Lanes256 a, Lanes256 b) => new(a._a - b._a, a._b - b._b);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes256 operator *(Lanes256 a, Lanes256 b) => new(a._a * b._a, a._b * b._b);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes256 operator /(Lanes256 a, Lanes256 b) => new(a._a / b._a, a._b / b._b);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes256 MultiplyAdd(Lanes256 a, Lanes256 b, Lanes256 c) =>
        new(Fma.MultiplyAdd(a._a, b._a, c._a), Fma.MultiplyAdd(a._b, b._b, c._b));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes256 Exp(Lanes256 x) => new(VectorMath.Exp(x._a), VectorMath.Exp(x._b));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes256 ExpOfNonPositive(Lanes256 x) => new(VectorMath.ExpOfNonPositive(x._a), VectorMath.ExpOfNonPositive(x._b));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes256 Larger(Lanes256 a, Lanes256 b) => new(Avx.Max(a._a, b._a), Avx.Max(a._b, b._b));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes256 LargerBits(Lanes256 a, Lanes256 b) => new(
        Vector256.Max(a._a.AsInt32(), Vector256.Abs(b._a).AsInt32()).AsSingle(), Vector256.Max(a._b.AsInt32(), Vector256.Abs(b._b).AsInt32()).AsSingle());

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public int MaxBits()
    {
        Vector256<int> v = Vector256.Max(_a.AsInt32(), _b.AsInt32());
        return Lanes128.MaxBits(Vector128.Max(v.GetLower(), v.GetUpper()));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes256 MaxMagnitude(Lanes256 a, Lanes256 b) =>
        new(Avx.Max(Vector256.Abs(a._a), Vector256.Abs(b._a)), Avx.Max(Vector256.Abs(a._b), Vector256.Abs(b._b)));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes256 ZeroUnless(Lanes256 test, Lanes256 value) => new(
        Avx.AndNot(Vector256.Equals(test._a, Vector256<float>.Zero), value._a), Avx.AndNot(Vector256.Equals(test._b, Vector256<float>.Zero), value._b));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes256 AddBits(Lanes256 a, Lanes256 b) => new((a._a.AsInt32() + b._a.AsInt32()).AsSingle(), (a._b.AsInt32() + b._b.AsInt32()).AsSingle());

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public int SumBits() => Vector256.Sum(_a.AsInt32() + _b.AsInt32());

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void StoreLowWords(short* destination) => Vector256.Narrow(_a.AsInt32(), _b.AsInt32()).Store(destination);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public float Sum()
    {
        Vector256<float> v = _a + _b;
        return Lanes128.Sum(v.GetLower() + v.GetUpper());
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public float Max()
    {
        Vector256<float> v = Avx.Max(_a, _b);
        return Lanes128.Max(Sse.Max(v.GetLower(), v.GetUpper()));
    }
}
