using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics.X86;

namespace Foretoken.Backends.Cpu.Kernels;

/// <summary>Some steps of one weight panel and the rows that they are multiplied with. Emitted code reads the fields at their offsets.</summary>
[StructLayout(LayoutKind.Explicit)]
internal unsafe struct PanelTile
{
    /// <summary>Weights of the first step. // [steps, step bytes]</summary>
    [FieldOffset(WeightsOffset)]
    public byte* Weights;

    /// <summary>Integer types: scales of the first step, which begins a group of eight.</summary>
    [FieldOffset(ScalesOffset)]
    public byte* Scales;

    /// <summary>First row's activations at the first step: f32, or blocks (<see cref="ActivationBlock"/>).</summary>
    [FieldOffset(ActivationsOffset)]
    public byte* Activations;

    /// <summary>Bytes from one row's activations to the next row's.</summary>
    [FieldOffset(StrideOffset)]
    public long ActivationStride;

    /// <summary>Read, added to and written. // [rows, 16] f32</summary>
    [FieldOffset(SumsOffset)]
    public float* Sums;

    /// <summary>Memory to prefetch while computing: a slice of the next panel.</summary>
    [FieldOffset(PrefetchOffset)]
    public byte* Prefetch;

    /// <summary>Steps of 32 along K.</summary>
    [FieldOffset(StepsOffset)]
    public int Steps;

    /// <summary>Of two panels: bytes from the first to the second.</summary>
    [FieldOffset(PanelStrideOffset)]
    public long PanelStride;

    /// <summary>Bytes to prefetch per step: whole lines of 64 bytes, the last of which may be the first of the next step.</summary>
    [FieldOffset(PrefetchBytesOffset)]
    public long PrefetchBytes;

    public const int WeightsOffset = 0, ScalesOffset = 8, ActivationsOffset = 16, StrideOffset = 24, SumsOffset = 32, PrefetchOffset = 40;
    public const int PanelStrideOffset = 48, PrefetchBytesOffset = 56, StepsOffset = 64;

    /// <summary>Of two panels: bytes from the sums of the first to those of the second, not a multiple of 4096, where reads would wait for writes of the other.</summary>
    public const int SecondSumsOffset = (BlockRows + 2) * PanelMatrix.PanelRows * sizeof(float);

    /// <summary>Rows that share one visit to a panel.</summary>
    public const int BlockRows = 64;
}

/// <summary>
/// sums[r, n] += Σ over K of activation[r, k] · weight[n, k] for the 16 features of a panel. The order in which an element is summed is fixed per weight
/// type and the same for every row count: that is the accumulation contract on which row invariance rests.
/// </summary>
internal interface IPanelKernel
{
    /// <summary>Most rows of one call: as many as the registers hold.</summary>
    static abstract int MaxRows { get; }

    /// <summary>Runs the first rows of <paramref name="rows"/> and returns how many it did: at most <see cref="MaxRows"/>.</summary>
    static abstract int Run(in PanelTile tile, int rows);

    /// <summary>Most rows of a tile of two panels; 0 where the kernel has none.</summary>
    static virtual int MaxPairRows => 0;

    /// <summary>Rows from which two panels at a time pay, where the kernel takes two.</summary>
    static virtual int LeastPairRows => int.MaxValue;

    /// <summary>Most rows of a tile of two panels where the rows need several tiles.</summary>
    static virtual int PairRows => 0;

    /// <summary>As <see cref="Run"/>, for two neighbouring panels and at most <see cref="MaxPairRows"/> or <see cref="PairRows"/> rows.</summary>
    static virtual int RunPair(in PanelTile tile, int rows) => throw new NotSupportedException("The kernel takes one panel at a time.");
}

internal static class TileSplit
{
    /// <summary>Rows of the first of as few tiles as possible, all of nearly the same size: 16 rows in tiles of at most 14 are 8 and 8.</summary>
    public static int First(int rows, int most)
    {
        int tiles = (rows + most - 1) / most;
        return (rows + tiles - 1) / tiles;
    }
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
