namespace Foretoken.Ptx;

/// <summary>What a launch, or all launches of a kernel, did.</summary>
public sealed class PtxCounters
{
    public long Launches { get; set; }
    public long Blocks { get; set; }

    /// <summary>Instructions by warps: one for all lanes together.</summary>
    public long WarpInstructions { get; set; }

    /// <summary>Instructions by lanes: those that a guard left out are not counted.</summary>
    public long LaneInstructions { get; set; }

    /// <summary>Bytes that lanes asked for.</summary>
    public long GlobalLoadBytes { get; set; }
    public long GlobalStoreBytes { get; set; }

    /// <summary>Distinct 32-byte sectors per warp instruction, summed: what the memory system is asked for before any cache.</summary>
    public long GlobalLoadSectors { get; set; }
    public long GlobalStoreSectors { get; set; }

    /// <summary>
    /// Distinct 32-byte sectors per launch, summed over launches: what must come from memory, or go there, when the caches hold what is used again. Counted only
    /// with <see cref="PtxMachineOptions.CountDistinctSectors"/>.
    /// </summary>
    public long GlobalLoadDistinctSectors { get; set; }
    public long GlobalStoreDistinctSectors { get; set; }
    public long GlobalAtomics { get; set; }

    /// <summary>Shared accesses by warps, and the passes over the 32 banks that they needed beyond the fewest possible.</summary>
    public long SharedAccesses { get; set; }
    public long SharedBankConflicts { get; set; }

    /// <summary>Warp-wide matrix instructions, and their multiply-adds.</summary>
    public long MmaInstructions { get; set; }
    public long MmaMultiplyAdds { get; set; }
    public long BarrierWaits { get; set; }

    public void Add(PtxCounters other)
    {
        Launches += other.Launches;
        Blocks += other.Blocks;
        WarpInstructions += other.WarpInstructions;
        LaneInstructions += other.LaneInstructions;
        GlobalLoadBytes += other.GlobalLoadBytes;
        GlobalStoreBytes += other.GlobalStoreBytes;
        GlobalLoadSectors += other.GlobalLoadSectors;
        GlobalStoreSectors += other.GlobalStoreSectors;
        GlobalLoadDistinctSectors += other.GlobalLoadDistinctSectors;
        GlobalStoreDistinctSectors += other.GlobalStoreDistinctSectors;
        GlobalAtomics += other.GlobalAtomics;
        SharedAccesses += other.SharedAccesses;
        SharedBankConflicts += other.SharedBankConflicts;
        MmaInstructions += other.MmaInstructions;
        MmaMultiplyAdds += other.MmaMultiplyAdds;
        BarrierWaits += other.BarrierWaits;
    }
}
