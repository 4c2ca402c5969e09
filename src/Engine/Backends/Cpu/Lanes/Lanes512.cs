using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using Foretoken.Numerics;

namespace Foretoken.Backends.Cpu.Lanes;

/// <summary>Sixteen lanes in one 512-bit register.</summary>
internal readonly unsafe struct Lanes512 : ILanes<Lanes512>
{
    private readonly Vector512<float> _v;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private Lanes512(Vector512<float> v) => _v = v;

    public static Lanes512 Zero
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        get => new(Vector512<float>.Zero);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes512 Broadcast(float value) => new(Vector512.Create(value));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes512 Load(float* source) => new(Vector512.Load(source));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void LoadBFloat16Pairs(byte* source, out Lanes512 even, out Lanes512 odd)
    {
        Vector512<uint> pairs = Vector512.Load((uint*)source);
        even = new((pairs << 16).AsSingle());
        odd = new((pairs & Vector512.Create(0xFFFF0000u)).AsSingle());
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void LoadHalfPairs(byte* source, out Lanes512 even, out Lanes512 odd)
    {
        LoadUnbiasedHalfPairs(source, out even, out odd);
        even *= Broadcast(ILanes<Lanes512>.HalfBias);
        odd *= Broadcast(ILanes<Lanes512>.HalfBias);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void LoadUnbiasedHalfPairs(byte* source, out Lanes512 even, out Lanes512 odd)
    {
        Vector512<int> pairs = Vector512.Load((int*)source), mask = Vector512.Create(ILanes<Lanes512>.HalfMask);
        even = new((pairs << 16 >> 3 & mask).AsSingle());
        odd = new((pairs >> 3 & mask).AsSingle());
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes512 LoadBytes(sbyte* source) => new(Vector512.ConvertToSingle(Avx512F.ConvertToVector512Int32(Vector128.Load(source))));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Store(float* destination) => _v.Store(destination);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void StoreAsBytes(sbyte* destination) =>
        Avx512F.ConvertToVector128SByte(Avx512F.ConvertToVector512Int32(_v)).Store(destination);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes512 operator +(Lanes512 a, Lanes512 b) => new(a._v + b._v);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes512 operator -(Lanes512 a, Lanes512 b) => new(a._v - b._v);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes512 operator *(Lanes512 a, Lanes512 b) => new(a._v * b._v);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes512 operator /(Lanes512 a, Lanes512 b) => new(a._v / b._v);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes512 MultiplyAdd(Lanes512 a, Lanes512 b, Lanes512 c) => new(Avx512F.FusedMultiplyAdd(a._v, b._v, c._v));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes512 Exp(Lanes512 x) => new(VectorMath.Exp(x._v));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes512 ExpOfNonPositive(Lanes512 x) => new(VectorMath.ExpOfNonPositive(x._v));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes512 Larger(Lanes512 a, Lanes512 b) => new(Avx512F.Max(a._v, b._v));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes512 LargerBits(Lanes512 a, Lanes512 b) => new(Vector512.Max(a._v.AsInt32(), Vector512.Abs(b._v).AsInt32()).AsSingle());

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public int MaxBits()
    {
        Vector256<int> half = Vector256.Max(_v.GetLower().AsInt32(), _v.GetUpper().AsInt32());
        return Lanes128.MaxBits(Vector128.Max(half.GetLower(), half.GetUpper()));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes512 MaxMagnitude(Lanes512 a, Lanes512 b) => new(Avx512F.Max(Vector512.Abs(a._v), Vector512.Abs(b._v)));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes512 ZeroUnless(Lanes512 test, Lanes512 value) =>
        new(Vector512.ConditionalSelect(Vector512.Equals(test._v, Vector512<float>.Zero), Vector512<float>.Zero, value._v));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes512 AddBits(Lanes512 a, Lanes512 b) => new((a._v.AsInt32() + b._v.AsInt32()).AsSingle());

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public int SumBits() => Vector512.Sum(_v.AsInt32());

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void StoreLowWords(short* destination) => Avx512F.ConvertToVector256Int16(_v.AsInt32()).Store(destination);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public float Sum() => Lanes128.Sum(Half(_v.GetLower() + _v.GetUpper()));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public float Max()
    {
        Vector256<float> half = Avx.Max(_v.GetLower(), _v.GetUpper());
        return Lanes128.Max(Sse.Max(half.GetLower(), half.GetUpper()));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector128<float> Half(Vector256<float> v) => v.GetLower() + v.GetUpper();
}
