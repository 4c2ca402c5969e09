using System.Runtime.CompilerServices;
using Foretoken.Backends.Cpu.Lanes;

namespace Foretoken.Backends.Cpu.Kernels;

/// <summary>How a float panel stores two neighbouring elements of K for its 16 features.</summary>
internal unsafe interface IFloatWeights
{
    /// <summary>Bytes of two elements of K.</summary>
    static abstract int PairBytes { get; }

    /// <summary>Reads w[n][k] and w[n][k+1], n = 0..15.</summary>
    static abstract void LoadPair<TLanes>(byte* source, out TLanes even, out TLanes odd)
        where TLanes : struct, ILanes<TLanes>;
}

/// <summary>Two lines of sixteen f32.</summary>
internal readonly unsafe struct F32Weights : IFloatWeights
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

/// <summary>One line of sixteen bfloat16 pairs.</summary>
internal readonly unsafe struct BFloat16Weights : IFloatWeights
{
    public static int PairBytes => 64;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void LoadPair<TLanes>(byte* source, out TLanes even, out TLanes odd)
        where TLanes : struct, ILanes<TLanes> => TLanes.LoadBFloat16Pairs(source, out even, out odd);
}

/// <summary>One line of sixteen pairs of IEEE halves; a half that is not finite is refused when the panel is packed.</summary>
internal readonly unsafe struct HalfWeights : IFloatWeights
{
    public static int PairBytes => 64;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void LoadPair<TLanes>(byte* source, out TLanes even, out TLanes odd)
        where TLanes : struct, ILanes<TLanes> => TLanes.LoadHalfPairs(source, out even, out odd);
}
