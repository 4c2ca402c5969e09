using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics.X86;

namespace Foretoken.Backends.Cpu.Kernels;

/// <summary>Some steps of one weight panel and the rows that they are multiplied with.</summary>
internal unsafe struct PanelTile
{
    /// <summary>Weights of the first step. // [steps, step bytes]</summary>
    public byte* Weights;

    /// <summary>Integer types: f16 scales of the first step. // [steps, 16]</summary>
    public byte* Scales;

    /// <summary>First row's activations at the first step: f32, or blocks of <see cref="Int8Quantizer"/>.</summary>
    public byte* Activations;

    /// <summary>Bytes from one row's activations to the next row's.</summary>
    public long ActivationStride;

    /// <summary>Steps of 32 along K.</summary>
    public int Steps;

    /// <summary>Read, added to and written. // [rows, 16] f32</summary>
    public float* Sums;

    /// <summary>Memory to prefetch while computing: a slice of the next panel.</summary>
    public byte* Prefetch;

    /// <summary>Bytes to prefetch per step, a multiple of 64.</summary>
    public int PrefetchBytes;
}

/// <summary>
/// sums[r, n] += Σ over K of activation[r, k] · weight[n, k] for the 16 features of a panel. The order in which an element is summed is fixed per weight
/// type and the same for every row count: that is the accumulation contract on which row invariance rests.
/// </summary>
internal interface IPanelKernel
{
    /// <summary>Most rows of one call: as many as the registers hold.</summary>
    static abstract int MaxRows { get; }

    /// <summary>Runs <paramref name="rows"/> ≤ <see cref="MaxRows"/> rows and returns how many it did: the largest count that it has a variant for.</summary>
    static abstract int Run(in PanelTile tile, int rows);
}

internal static unsafe class Prefetcher
{
    /// <summary>Asks for the lines of [start, start + bytes) where the machine has such an instruction.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Touch(byte* start, int bytes)
    {
        if (!Sse.IsSupported) return;
        for (byte* end = start + bytes; start < end; start += 64) Sse.Prefetch0(start);
    }
}
