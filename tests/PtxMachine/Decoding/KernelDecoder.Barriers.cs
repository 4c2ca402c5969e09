using Foretoken.Ptx.Execution;
using Foretoken.Ptx.Instructions;
using Foretoken.Ptx.Parsing;

namespace Foretoken.Ptx.Decoding;

/// <summary>Barrier objects (mbarrier).</summary>
internal sealed unsafe partial class KernelDecoder
{
    private void BarrierObject(DecodedOp op, InstructionStatement s, Modifiers m)
    {
        string what = m.TakeAny("init", "inval", "arrive", "arrive_drop", "test_wait", "try_wait", "pending_count") ?? throw Error($"'{s.Text}' is not supported");
        bool noComplete = m.Take("noComplete"), parity = m.Take("parity");
        if (m.Take("expect_tx"))
            throw Error($"'{s.Text}': transaction counts come with bulk copies, which are not supported");
        m.TakeAny("release", "acquire", "relaxed");
        m.TakeAny("cta", "cluster");
        Space space = TakeSpace(m);
        if (space is not (Space.Shared or Space.Generic) || !m.Take("b64"))
            throw Error($"'{s.Text}' is not supported");
        if (TargetCapability < 80 || (what == "try_wait" && TargetCapability < 90))
            throw Error($"'{s.Text}' needs sm_{(what == "try_wait" ? 90 : 80)}, the module is for {_module.Target}");
        if (what == "pending_count")
        {
            Count(s, 2);
            D(op, s.Operands[0], PtxType.U32);
            A(op, s.Operands[1], PtxType.B64);
            Emit(op, &BarrierObjectOps.PendingCount);
            return;
        }

        bool arrives = what is "arrive" or "arrive_drop", tests = what is "test_wait" or "try_wait";
        op.I.D = -1;
        op.I.Mode = (what, noComplete, parity) switch
        {
            ("init", false, false) => BarrierObjectOps.Init,
            ("inval", false, false) => BarrierObjectOps.Invalidate,
            ("arrive", false, false) => BarrierObjectOps.Arrive,
            ("arrive_drop", false, false) => BarrierObjectOps.ArriveDrop,
            ("arrive", true, false) => BarrierObjectOps.ArriveNoComplete,
            ("arrive_drop", true, false) => BarrierObjectOps.ArriveDropNoComplete,
            ("test_wait" or "try_wait", false, false) => BarrierObjectOps.TestState,
            ("test_wait" or "try_wait", false, true) => BarrierObjectOps.TestParity,
            _ => throw Error($"'{s.Text}' is no instruction of PTX"),
        };
        int first = arrives || tests ? 1 : 0;
        Count(s, what switch { "init" => [2], "inval" => [1], "try_wait" => [3, 4], "test_wait" => [3], _ => noComplete ? [3] : [2, 3] });
        Address(op, s.Operands[first], space);
        if (arrives && s.Operands[0] is not { Kind: OperandKind.Name, Name: "_" })
            D(op, s.Operands[0], PtxType.B64);
        if (tests)
            op.I.P = PredicateDestination(op, s.Operands[0].Name);
        op.I.Flag = arrives && s.Operands.Count == 3;
        if (op.I.Flag || what == "init" || tests)
            B(op, s.Operands[first + 1], tests && !parity ? PtxType.B64 : PtxType.U32);
        Grain(Space.Shared, 8);
        Emit(op, &BarrierObjectOps.Operate);
    }

    /// <summary>cp.async.mbarrier.arrive: the thread's copies are delivered here, then it arrives.</summary>
    private void CopiesArrive(DecodedOp op, InstructionStatement s, Modifiers m)
    {
        Count(s, 1);
        if (!m.Take("arrive"))
            throw Error($"'{s.Text}' is not understood");
        op.I.Mode = m.Take("noinc") ? BarrierObjectOps.CopiesArrive : BarrierObjectOps.CopiesArriveMore;
        Space space = TakeSpace(m);
        if (space is not (Space.Shared or Space.Generic) || !m.Take("b64"))
            throw Error($"'{s.Text}' is not understood");
        op.I.D = -1;
        Address(op, s.Operands[0], space);
        Grain(Space.Shared, 8);
        Emit(op, &BarrierObjectOps.Operate);
    }
}
