using Foretoken.Ptx.Execution;

namespace Foretoken.Ptx.Instructions;

/// <summary>Follows, lane by lane, the registers that the code may read before it writes them. Mode is the tracker's index.</summary>
internal static unsafe class TrackOps
{
    public static void Check(Warp w, Instruction* i, uint exec)
    {
        uint missing = exec & ~w.Initialised[i->Mode];
        if (missing != 0 && w.Block.Launch.Options.CheckInitialised)
            throw w.Block.Fault(PtxFaultKind.UninitialisedRegister, w, i, missing, "a register is read that these lanes never wrote");
    }

    public static void Mark(Warp w, Instruction* i, uint exec) => w.Initialised[i->Mode] |= exec;
}
