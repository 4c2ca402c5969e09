using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace Foretoken.Backends.Cpu.Lanes;

/// <summary>Sixteen lanes in two 256-bit registers.</summary>
internal readonly unsafe struct WordLanes256 : IWordLanes<WordLanes256>
{
    private readonly Vector256<int> _a; // lanes 0..7
    private readonly Vector256<int> _b; // lanes 8..15

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private WordLanes256(Vector256<int> a, Vector256<int> b)
    {
        _a = a;
        _b = b;
    }

    public static WordLanes256 Zero
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        get => new(Vector256<int>.Zero, Vector256<int>.Zero);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static WordLanes256 LoadBytes(sbyte* source) =>
        new(Avx2.ConvertToVector256Int16(source).AsInt32(), Avx2.ConvertToVector256Int16(source + 16).AsInt32());

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static WordLanes256 Broadcast(int pair)
    {
        Vector256<int> v = Vector256.Create(pair);
        return new(v, v);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static WordLanes256 MultiplyAdd(WordLanes256 a, WordLanes256 b, WordLanes256 sum) => new(
        sum._a + Avx2.MultiplyAddAdjacent(a._a.AsInt16(), b._a.AsInt16()), sum._b + Avx2.MultiplyAddAdjacent(a._b.AsInt16(), b._b.AsInt16()));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void StoreScaled(float* destination, float factor)
    {
        Vector256<float> f = Vector256.Create(factor);
        (Vector256.ConvertToSingle(_a) * f).Store(destination);
        (Vector256.ConvertToSingle(_b) * f).Store(destination + 8);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void StoreScaled(float* destination, float factor, float* scales)
    {
        Vector256<float> f = Vector256.Create(factor);
        (Vector256.ConvertToSingle(_a) * f * Vector256.Load(scales)).Store(destination);
        (Vector256.ConvertToSingle(_b) * f * Vector256.Load(scales + 8)).Store(destination + 8);
    }
}
