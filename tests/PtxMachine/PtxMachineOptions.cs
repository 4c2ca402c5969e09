namespace Foretoken.Ptx;

/// <summary>An order of lanes, warps or blocks. Every one is legal on a GPU (ptx.md §3); a kernel whose result depends on it lacks a synchronisation.</summary>
public enum PtxOrder
{
    /// <summary>Lanes only: together wherever they can, reconverging at the earliest common instruction.</summary>
    Lockstep,

    /// <summary>One after the other; lanes and warps run as far as they can before the next begins.</summary>
    Ascending,
    Descending,
    Shuffled,
}

/// <summary>How tensor cores round (ptx.md §1).</summary>
public enum MmaProfile
{
    /// <summary>A100, A2, Ada: blocks of 8 terms (tf32: 4), 24 bits below the largest exponent.</summary>
    Ampere,

    /// <summary>H100, H200, B200: blocks of 16 terms (tf32: 8), 25 bits.</summary>
    Hopper,
}

/// <summary>What a machine is like and what it checks.</summary>
public sealed record PtxMachineOptions
{
    public PtxOrder LaneOrder { get; init; } = PtxOrder.Lockstep;
    public PtxOrder WarpOrder { get; init; } = PtxOrder.Ascending;
    public PtxOrder BlockOrder { get; init; } = PtxOrder.Ascending;

    /// <summary>Seeds the shuffled orders and the values of what PTX leaves undefined.</summary>
    public ulong Seed { get; init; } = 1;

    public MmaProfile Mma { get; init; } = MmaProfile.Ampere;

    /// <summary>Threads of the host that run blocks side by side. Kernels with global atomics, fences or volatile accesses run on one, so that results repeat.</summary>
    public int Threads { get; init; } = Environment.ProcessorCount;

    /// <summary>Bytes of the device's global memory; reserved, not touched.</summary>
    public long GlobalBytes { get; init; } = 2L << 30;

    /// <summary>Shared bytes a block may use, static and dynamic together (163 KB: compute capability 8.0).</summary>
    public int SharedBytesPerBlock { get; init; } = 163 << 10;

    /// <summary>Reading memory and registers that nobody wrote is a fault.</summary>
    public bool CheckInitialised { get; init; } = true;

    /// <summary>Shared accesses that no barrier orders are a fault.</summary>
    public bool CheckRaces { get; init; } = true;

    /// <summary>Count sectors and bank conflicts.</summary>
    public bool Count { get; init; } = true;

    /// <summary>Count distinct sectors per launch too; needs a bit per sector of the device's memory.</summary>
    public bool CountDistinctSectors { get; init; }

    /// <summary>Instructions after which a warp counts as hanging: seconds to a minute of one warp.</summary>
    public long InstructionLimit { get; init; } = 1L << 30;

    /// <summary>Streaming multiprocessors that the device reports.</summary>
    public int Multiprocessors { get; init; } = 4;

    /// <summary>Compute capability that the device reports, 80 for 8.0. PTX for a higher target is refused.</summary>
    public int ComputeCapability { get; init; } = 80;
}
