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
            case "brx":
                IndexedBranch(op, s, m);
                return true;
            case "call":
                Call(op, s, m);
                return true;
            case "bar" or "barrier":
                return Barrier(op, s, m);
            case "nanosleep" or "griddepcontrol": // time does not pass here, and launches follow one another (ptx.md §6)
                if (s.Opcode == "nanosleep" ? !m.Take("u32") : m.TakeAny("launch_dependents", "wait") is null)
                    throw Error($"'{s.Text}' is not understood");
                Count(s, s.Opcode == "nanosleep" ? 1 : 0);
                if (s.Opcode == "griddepcontrol" && TargetCapability < 90)
                    throw Error($"'griddepcontrol' needs sm_90, the module is for {_module.Target}");
                Emit(op, s.Opcode == "nanosleep" ? &MemoryOps.Sleep : &MemoryOps.Nothing);
                return true;
            case "pmevent":
                m.Take("mask");
                Count(s, 1);
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

    /// <summary>brx.idx index, targets: a chain of comparisons, counted as one instruction. An index beyond the targets is undefined, here a fault.</summary>
    private void IndexedBranch(DecodedOp op, InstructionStatement s, Modifiers m)
    {
        Count(s, 2);
        bool uniform = m.Take("idx") ? m.Take("uni") : throw Error($"'{s.Text}' is not understood");
        Symbol list = s.Operands[1].Kind == OperandKind.Name ? Find(s.Operands[1].Name) : default;
        if (list.Kind != SymbolKind.Targets)
            throw Error("the name of a .branchtargets list expected");
        List<string> labels = _targets[list.Id];
        for (int n = 0; n < labels.Count; n++)
        {
            Symbol target = Find(labels[n]);
            if (target.Kind != SymbolKind.Label)
                throw Error($"'{labels[n]}' is no label");
            Branch(WhenIndex(op, s.Operands[0], n, uniform && labels.Count == 1), target.Id);
        }

        op.I.Kind = StepKind.Trap;
        op.I.Mode = BadIndex;
        Emit(op, &MemoryOps.Nothing);
    }

    /// <summary>Mode of a trap that stands for an index beyond a list of targets, a failed assertion, or a call of no function.</summary>
    public const int BadIndex = 1, Assertion = 2, BadPointer = 3;

    /// <summary>A branch for the lanes of op whose index has the value.</summary>
    private DecodedOp WhenIndex(DecodedOp op, Operand index, int value, bool uniform)
    {
        var test = new DecodedOp { I = { Line = op.I.Line, Guard = op.I.Guard, Uncounted = true, Q = -1, R = -1 } };
        test.Uses.AddRange(op.Uses);
        A(test, index, PtxType.U32);
        test.I.B = Constant((ulong)value, false);
        test.Fields |= OperandFields.B;
        test.I.P = _predicates++;
        test.I.Mode = CompareOps.AndWith;
        test.I.R = op.I.Guard;
        Emit(Unguarded(test), &CompareOps.Setp<uint, Equal<uint>>);
        return new DecodedOp { I = { Line = op.I.Line, Guard = test.I.P, Uncounted = value > 0, Flag = uniform } };
    }

    /// <summary>A step for all lanes, whatever the instruction's guard.</summary>
    private static DecodedOp Unguarded(DecodedOp op)
    {
        op.I.Guard = 0;
        return op;
    }

    private void Exit(DecodedOp op)
    {
        op.I.Kind = StepKind.Exit;
        Emit(op, &MemoryOps.Nothing);
    }

    private const int MaxCallDepth = 100;

    /// <summary>
    /// call (results), name, (arguments): the body is expanded here, with its parameters standing for the caller's argument variables. A divergent return
    /// meets the others at the end. Recursion is refused.
    /// </summary>
    private void Call(DecodedOp op, InstructionStatement s, Modifiers m)
    {
        m.Take("uni");
        List<Operand> operands = s.Operands;
        int at = operands.Count > 0 && operands[0].Kind == OperandKind.Arguments ? 1 : 0;
        Operand[] results = at == 1 ? operands[0].Items : [];
        Operand callee = operands.Count > at && operands[at].Kind == OperandKind.Name ? operands[at] : throw Error("'call' names no function");
        Operand[] arguments = operands.Count > at + 1 && operands[at + 1].Kind == OperandKind.Arguments ? operands[at + 1].Items : [];
        if (callee.Name == "__assertfail")
        {
            op.I.Kind = StepKind.Trap;
            op.I.Mode = Assertion;
            Emit(op, &MemoryOps.Nothing);
            return;
        }

        if (callee.Name is "vprintf" or "malloc" or "free")
            throw Error($"'{callee.Name}' is a service of the system that this machine does not have");
        if (_scope.TryFind(callee.Name, out Symbol pointer) && pointer.Kind == SymbolKind.Register)
        {
            CallThroughPointer(op, callee, results, arguments);
            return;
        }

        Function function = _module.Functions.Find(f => !f.IsEntry && f.Name == callee.Name && f.Body is not null) ?? throw Error($"the function '{callee.Name}' has no body in this module");
        if (arguments.Length != function.Parameters.Count || results.Length != function.Returns.Count)
            throw Error($"'{callee.Name}' takes {function.Parameters.Count} arguments and gives {function.Returns.Count} results");
        if (op.I.Guard == 0)
            Emit(op, &MemoryOps.Nothing);
        Expand(op, function, results, arguments);
    }

    /// <summary>A chain of comparisons with the functions that the arguments fit; a pointer to none of them is a fault. Those that are being called are left out.</summary>
    private void CallThroughPointer(DecodedOp op, Operand pointer, Operand[] results, Operand[] arguments)
    {
        int none = _predicates++; // lanes that found no function yet
        Emit(new DecodedOp { I = { Line = op.I.Line, Q = op.I.Guard, R = 0, P = none }, Defs = { ~none } }, &CompareOps.PredicateLogic);
        foreach (Function function in _module.Functions.Where(f => !f.IsEntry && f.Body is not null && !_callStack.Contains(f.Name) && Fits(f.Parameters, arguments) && Fits(f.Returns, results)).ToArray())
        {
            var test = new DecodedOp { I = { Line = op.I.Line, Uncounted = true, R = none, Q = -1, P = _predicates++, Mode = CompareOps.AndWith } };
            A(test, pointer, PtxType.U64);
            test.I.B = Constant(Find(function.Name).Address, true);
            test.Fields |= OperandFields.B;
            test.Defs.Add(~test.I.P);
            Emit(test, &CompareOps.Setp<ulong, Equal<ulong>>);
            Emit(new DecodedOp { I = { Line = op.I.Line, Uncounted = true, Q = none, R = test.I.P, P = none, Mode = 3 } }, &CompareOps.PredicateLogic);
            Expand(new DecodedOp { I = { Line = op.I.Line, Guard = test.I.P, Uncounted = true } }, function, results, arguments);
        }

        Emit(new DecodedOp { I = { Line = op.I.Line, Kind = StepKind.Trap, Guard = none, Mode = BadPointer, Uncounted = true } }, &MemoryOps.Nothing);
    }

    private bool Fits(List<Variable> formals, Operand[] actuals)
    {
        for (int n = 0; n < formals.Count && formals.Count == actuals.Length; n++)
        {
            if (formals[n].Space == Space.Generic || actuals[n].Kind != OperandKind.Name || !_scope.TryFind(actuals[n].Name, out Symbol actual) || actual.Kind != SymbolKind.Variable || actual.Bits != formals[n].Bytes)
                return false;
        }

        return formals.Count == actuals.Length;
    }

    /// <summary>The body of a function for the lanes of op's guard; the others jump over it.</summary>
    private void Expand(DecodedOp op, Function function, Operand[] results, Operand[] arguments)
    {
        if (!_callStack.Add(function.Name))
            throw Error($"'{function.Name}' calls itself: recursion is not supported");
        if (_callStack.Count > MaxCallDepth)
            throw Error($"calls of more than {MaxCallDepth} levels");
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
        _callStack.Remove(function.Name);
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
            if (actual.Bits != formals[n].Bytes)
                throw Error($"the argument '{actuals[n].Name}' has {actual.Bits} bytes, '{formals[n].Name}' has {formals[n].Bytes}");
            body.TryAdd(formals[n].Name, actual);
        }
    }

    /// <summary>A parameter in a register, or in the elements of a vector register.</summary>
    private void BindRegister(Scope body, Variable formal, Operand actual, bool isResult)
    {
        foreach (string element in formal.Vector == 1 ? [""] : VectorElements[..formal.Vector])
            BindElement(body, formal.Type, formal.Name + element, element.Length == 0 ? actual : new Operand { Kind = actual.Kind, Name = actual.Name + element }, isResult);
    }

    private static readonly string[] VectorElements = [".x", ".y", ".z", ".w"];

    /// <summary>Results are the caller's register itself, arguments a copy that the body may change.</summary>
    private void BindElement(Scope body, PtxType type, string name, Operand actual, bool isResult)
    {
        int bits = type.Bits();
        bool predicate = type == PtxType.Pred;
        if (isResult)
        {
            Symbol target = Find(actual.Name);
            if (target.Kind != (predicate ? SymbolKind.Predicate : SymbolKind.Register) || target.Bits != bits)
                throw Error($"'{actual.Name}' is no register of {bits} bits");
            body.TryAdd(name, target);
            return;
        }

        var copy = new DecodedOp { I = { Line = _line, Uncounted = true, R = 0 } };
        if (predicate)
        {
            copy.I.Q = PredicateSource(copy, actual);
            copy.I.P = _predicates++;
            copy.Defs.Add(~copy.I.P);
            Emit(copy, &CompareOps.PredicateLogic);
            body.TryAdd(name, new Symbol(SymbolKind.Predicate, copy.I.P, 1, Space.Generic, 0));
            return;
        }

        copy.I.D = NewRegister(bits);
        copy.Defs.Add(copy.I.D);
        copy.Fields |= OperandFields.D;
        A(copy, actual, type);
        Emit(copy, bits == 64 ? &Loops.Vector1<ulong, Move<ulong>> : &Loops.Vector1<uint, Move<uint>>);
        body.TryAdd(name, new Symbol(SymbolKind.Register, copy.I.D, bits, Space.Generic, 0));
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

        if (s.Modifiers.Contains("cluster"))
            throw Error($"'{s.Text}': clusters are not supported");
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
