using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace Foretoken.Backends.Cpu.Lanes;

/// <summary>Sixteen lanes in one 512-bit register.</summary>
internal readonly unsafe struct WordLanes512 : IWordLanes<WordLanes512>
{
    private readonly Vector512<int> _v;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private WordLanes512(Vector512<int> v) => _v = v;

    public static WordLanes512 Zero
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        get => new(Vector512<int>.Zero);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static WordLanes512 LoadBytes(sbyte* source) => new(Avx512BW.ConvertToVector512Int16(Vector256.Load(source)).AsInt32());

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static WordLanes512 Broadcast(int pair) => new(Vector512.Create(pair));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static WordLanes512 MultiplyAdd(WordLanes512 a, WordLanes512 b, WordLanes512 sum) =>
        new(sum._v + Avx512BW.MultiplyAddAdjacent(a._v.AsInt16(), b._v.AsInt16()));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void StoreScaled(float* destination, float factor) => (Vector512.ConvertToSingle(_v) * Vector512.Create(factor)).Store(destination);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void StoreScaled(float* destination, float factor, float* scales) =>
        (Vector512.ConvertToSingle(_v) * Vector512.Create(factor) * Vector512.Load(scales)).Store(destination);
}
