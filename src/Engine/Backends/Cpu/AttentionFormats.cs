using System.Runtime.CompilerServices;
using Foretoken.Backends.Cpu.Lanes;

namespace Foretoken.Backends.Cpu;

/// <summary>How two vectors of stored keys or values of a float type become f32; see <see cref="KvPageFormat"/>.</summary>
internal unsafe interface IAttentionFormat
{
    /// <summary>Bytes of two dims of a key tile, or of one block of a value row.</summary>
    static abstract int PairBytes { get; }

    /// <summary>Keys: dims d and d + 1 of sixteen slots. Values: dims j..j+15 and j+16..j+31 of one slot.</summary>
    static abstract void LoadPair<TLanes>(byte* source, out TLanes even, out TLanes odd)
        where TLanes : struct, ILanes<TLanes>;
}

internal readonly unsafe struct F32Attention : IAttentionFormat
{
    public static int PairBytes => 128;

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

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void LoadPair<TLanes>(byte* source, out TLanes even, out TLanes odd)
        where TLanes : struct, ILanes<TLanes> => TLanes.LoadBFloat16Pairs(source, out even, out odd);
}

internal readonly unsafe struct HalfAttention : IAttentionFormat
{
    public static int PairBytes => 64;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void LoadPair<TLanes>(byte* source, out TLanes even, out TLanes odd)
        where TLanes : struct, ILanes<TLanes> => TLanes.LoadHalfPairs(source, out even, out odd);
}
