using System.Runtime.CompilerServices;
using Foretoken.Backends.Cpu.Lanes;

namespace Foretoken.Backends.Cpu;

/// <summary>How two vectors of stored keys or values of a float type become f32; see <see cref="KvPageFormat"/>.</summary>
internal unsafe interface IAttentionFormat
{
    /// <summary>Bytes of two dims of a key tile, or of one block of a value row.</summary>
    static abstract int PairBytes { get; }

    /// <summary>Stored numbers load times its inverse: a power of two, so that it changes no rounding. Weights are multiplied by it.</summary>
    static abstract float LoadFactor { get; }

    /// <summary>Queries are multiplied by it, a power of two; scores by LoadFactor over it, so that neither overflows.</summary>
    static abstract float QueryFactor { get; }

    /// <summary>Keys: dims d and d + 1 of sixteen slots. Values: dims j..j+15 and j+16..j+31 of one slot.</summary>
    static abstract void LoadPair<TLanes>(byte* source, out TLanes even, out TLanes odd)
        where TLanes : struct, ILanes<TLanes>;
}

internal readonly unsafe struct F32Attention : IAttentionFormat
{
    public static int PairBytes => 128;

    public static float LoadFactor => 1f;

    public static float QueryFactor => 1f;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void LoadPair<TLanes>(byte* source, out TLanes even, out TLanes odd)
        where TLanes : struct, ILanes<TLanes>
    {
        even = TLanes.Load((float*)source);
        odd = TLanes.Load((float*)source + 16);
    }
}

internal readonly unsafe struct BFloat16Attention : IAttentionFormat
{
    public static int PairBytes => 64;

    public static float LoadFactor => 1f;

    public static float QueryFactor => 1f;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void LoadPair<TLanes>(byte* source, out TLanes even, out TLanes odd)
        where TLanes : struct, ILanes<TLanes> => TLanes.LoadBFloat16Pairs(source, out even, out odd);
}

internal readonly unsafe struct HalfAttention : IAttentionFormat
{
    public static int PairBytes => 64;

    public static float LoadFactor => 5.192296858534828e33f; // 2^112

    public static float QueryFactor => 1.2676506002282294e30f; // 2^100

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void LoadPair<TLanes>(byte* source, out TLanes even, out TLanes odd)
        where TLanes : struct, ILanes<TLanes> => TLanes.LoadUnbiasedHalfPairs(source, out even, out odd);
}
