using Foretoken.Ptx.Execution;
using Foretoken.Ptx.Instructions;
using Foretoken.Ptx.Parsing;

namespace Foretoken.Ptx.Decoding;

/// <summary>Branches, calls, barriers.</summary>
internal sealed unsafe partial class KernelDecoder
{
    private bool ControlFlow(DecodedOp op, InstructionStatement s, Modifiers m)
    {
        switch (s.Opcode)
        {
            case "bra":
                Count(s, 1);
                op.I.Flag = m.Take("uni");
                Symbol target = s.Operands[0].Kind == OperandKind.Name ? Find(s.Operands[0].Name) : default;
                if (target.Kind != SymbolKind.Label)
                    throw Error("a label expected");
                Branch(op, target.Id);
                return true;
            case "ret" or "exit":
                Count(s, 0);
                m.Take("uni");
                if (s.Opcode == "ret" && _returnLabel >= 0)
                    Branch(op, _returnLabel);
                else
                    Exit(op);
                return true;
            case "trap" or "brkpt":
                op.I.Kind = StepKind.Trap;
                Emit(op, &MemoryOps.Nothing);
                return true;
            case "call":
                Call(op, s, m);
                return true;
            case "bar" or "barrier":
                return Barrier(op, s, m);
            case "nanosleep" or "griddepcontrol": // time does not pass here, and launches follow one another (ptx.md §6)
                m.TakePrefix("");
                if (s.Opcode == "griddepcontrol" && TargetCapability < 90)
                    throw Error($"'griddepcontrol' needs sm_90, the module is for {_module.Target}");
                Emit(op, &MemoryOps.Nothing);
                return true;
            default:
                return false;
        }
    }

    private void Branch(DecodedOp op, int label)
    {
        op.I.Kind = StepKind.Branch;
        op.Label = label;
        Emit(op, &MemoryOps.Nothing);
    }

    private void Exit(DecodedOp op)
    {
        op.I.Kind = StepKind.Exit;
        Emit(op, &MemoryOps.Nothing);
    }

    /// <summary>
    /// call (results), name, (arguments): the body is expanded here, with its parameters standing for the caller's argument variables. A divergent return
    /// meets the others at the end. Recursion and calls through pointers are refused.
    /// </summary>
    private void Call(DecodedOp op, InstructionStatement s, Modifiers m)
    {
        m.Take("uni");
        List<Operand> operands = s.Operands;
        int at = operands.Count > 0 && operands[0].Kind == OperandKind.Arguments ? 1 : 0;
        Operand[] results = at == 1 ? operands[0].Items : [];
        Operand callee = operands.Count > at && operands[at].Kind == OperandKind.Name ? operands[at] : throw Error("'call' names no function");
        Operand[] arguments = operands.Count > at + 1 && operands[at + 1].Kind == OperandKind.Arguments ? operands[at + 1].Items : [];
        if (callee.Name is "vprintf" or "__assertfail" or "malloc" or "free")
            throw Error($"'{callee.Name}' is a service of the system that this machine does not have");
        Function function = _module.Functions.Find(f => f.Name == callee.Name && f.Body is not null)
            ?? throw Error(_scope.TryFind(callee.Name, out _) ? "calls through pointers are not supported" : $"the function '{callee.Name}' has no body in this module");
        if (arguments.Length != function.Parameters.Count || results.Length != function.Returns.Count)
            throw Error($"'{callee.Name}' takes {function.Parameters.Count} arguments and gives {function.Returns.Count} results");
        if (!_callStack.Add(callee.Name))
            throw Error($"'{callee.Name}' calls itself: recursion is not supported");
        _labels.Add(-1);
        int end = _labels.Count - 1, after = -1;
        if (op.I.Guard != 0)
        {
            _labels.Add(-1);
            after = _labels.Count - 1;
            op.I.Guard ^= int.MinValue; // lanes whose guard does not hold jump over the body
            Branch(op, after);
        }

        (Scope caller, int callerReturn, int line) = (_scope, _returnLabel, _line);
        Scope body = new(ModuleScope());
        Bind(body, function.Parameters, arguments, isResult: false);
        Bind(body, function.Returns, results, isResult: true);
        (_scope, _returnLabel) = (body, end);
        Statements(function.Body!);
        _labels[end] = _ops.Count;
        if (after >= 0)
            _labels[after] = _ops.Count;
        (_scope, _returnLabel, _line) = (caller, callerReturn, line);
        _callStack.Remove(callee.Name);
    }

    /// <summary>The scope of the module's variables, with this kernel's places of shared memory.</summary>
    private Scope ModuleScope()
    {
        Scope scope = _scope;
        while (scope.Parent!.Parent is not null)
            scope = scope.Parent;
        return scope;
    }

    private void Bind(Scope body, List<Variable> formals, Operand[] actuals, bool isResult)
    {
        for (int n = 0; n < formals.Count; n++)
        {
            if (formals[n].Space == Space.Generic)
            {
                BindRegister(body, formals[n], actuals[n], isResult);
                continue;
            }

            Symbol actual = actuals[n].Kind == OperandKind.Name ? Find(actuals[n].Name) : default;
            if (actual.Kind != SymbolKind.Variable || actual.Space != Space.Local)
                throw Error("arguments of calls are .param variables");
            body.TryAdd(formals[n].Name, actual);
        }
    }

    /// <summary>A parameter in a register: results are the caller's register itself, arguments a copy that the body may change.</summary>
    private void BindRegister(Scope body, Variable formal, Operand actual, bool isResult)
    {
        int bits = formal.Type.Bits();
        if (formal.Type == PtxType.Pred)
            throw Error("predicates as parameters are not supported");
        if (isResult)
        {
            Symbol target = Find(actual.Name);
            if (target.Kind != SymbolKind.Register || target.Bits != bits)
                throw Error($"'{actual.Name}' is no register of {bits} bits");
            body.TryAdd(formal.Name, target);
            return;
        }

        var copy = new DecodedOp { I = { Line = _line } };
        copy.I.D = NewRegister(bits);
        copy.Defs.Add(copy.I.D);
        copy.Fields |= OperandFields.D;
        A(copy, actual, formal.Type);
        Emit(copy, bits == 64 ? &Loops.Vector1<ulong, Move<ulong>> : &Loops.Vector1<uint, Move<uint>>);
        body.TryAdd(formal.Name, new Symbol(SymbolKind.Register, copy.I.D, bits, Space.Generic, 0));
    }

    private bool Barrier(DecodedOp op, InstructionStatement s, Modifiers m)
    {
        if (m.Take("warp"))
        {
            m.Take("sync");
            Count(s, 1);
            op.I.Kind = StepKind.WarpSync;
            op.I.Count = WarpOps.IsBarrier;
            E(op, s.Operands[0], PtxType.B32);
            Emit(op, &WarpOps.Barrier);
            return true;
        }

        m.Take("cta");
        op.I.Aligned = m.Take("aligned") || s.Opcode == "bar";
        op.I.Kind = StepKind.Barrier;
        string kind = m.TakeAny("sync", "arrive", "red") ?? throw Error($"'{s.Text}' is not understood");
        if (kind == "red")
        {
            ReducingBarrier(op, s, m);
            return true;
        }

        Count(s, 1, 2);
        op.I.Mode = kind == "arrive" ? BarrierMode.Arrive : BarrierMode.Sync;
        if (kind == "arrive" && s.Operands.Count != 2)
            throw Error("'bar.arrive' needs a count of threads");
        A(op, s.Operands[0], PtxType.U32);
        op.I.Flag = s.Operands.Count == 2;
        if (op.I.Flag)
            B(op, s.Operands[1], PtxType.U32);
        Emit(op, &MemoryOps.Nothing);
        return true;
    }

    private void ReducingBarrier(DecodedOp op, InstructionStatement s, Modifiers m)
    {
        string operation = m.TakeAny("popc", "and", "or") ?? throw Error("'bar.red' needs .popc, .and or .or");
        m.TakeType();
        Count(s, 3, 4);
        op.I.Mode = operation switch { "popc" => BarrierMode.Popc, "and" => BarrierMode.And, _ => BarrierMode.Or };
        A(op, s.Operands[1], PtxType.U32);
        op.I.Flag = s.Operands.Count == 4;
        if (op.I.Flag)
            B(op, s.Operands[2], PtxType.U32);
        op.I.P = PredicateSource(op, s.Operands[^1]);
        if (operation == "popc")
            D(op, s.Operands[0], PtxType.U32);
        else
            op.I.Q = PredicateDestination(op, s.Operands[0].Name);
        Emit(op, &MemoryOps.Nothing);
    }
}
