using System.Runtime.CompilerServices;
using Foretoken.Ptx.Execution;
using Foretoken.Ptx.Instructions;
using Foretoken.Ptx.Memory;
using Foretoken.Ptx.Parsing;

namespace Foretoken.Ptx.Decoding;

/// <summary>
/// Turns a kernel's statements into instructions: names become registers, constants and addresses, calls are expanded where they stand. An instruction,
/// modifier or operand that is not understood is an error naming the line.
/// </summary>
internal sealed unsafe partial class KernelDecoder
{
    private readonly string _file;
    private readonly ModuleSyntax _module;
    private readonly Kernel _kernel;
    private readonly List<DecodedOp> _ops = [];
    private readonly List<int> _registerBits = []; // by virtual register
    private readonly List<int> _labels = []; // op index by label
    private readonly Dictionary<(ulong Bits, bool Wide), int> _constants = [];
    private readonly List<(ulong Bits, bool Wide, int Offset)> _constantList = [];
    private readonly HashSet<string> _callStack = new(StringComparer.Ordinal);
    private int _constantBytes;
    private int _predicates = 3; // always, never, carry
    private int _localBytes;
    private int _sharedBytes;
    private int _returnLabel = -1; // within an expanded call
    private readonly IReadOnlyDictionary<Variable, Symbol> _inner;
    private Scope _scope;
    private int _line;

    /// <param name="globals">Module variables, with their addresses.</param>
    /// <param name="inner">Variables of global and constant memory that stand within functions.</param>
    public KernelDecoder(string file, ModuleSyntax module, Kernel kernel, Scope globals, IReadOnlyDictionary<Variable, Symbol> inner)
    {
        _inner = inner;
        _file = file;
        _module = module;
        _kernel = kernel;
        _scope = new Scope(globals);
    }

    /// <exception cref="PtxParseException">With the line.</exception>
    public void Decode(Function function)
    {
        foreach ((Variable parameter, KernelParameter place) in function.Parameters.Zip(_kernel.Parameters))
            _scope.TryAdd(parameter.Name, new Symbol(SymbolKind.Variable, 0, 0, Space.Param, (ulong)place.Offset));
        HashSet<string> names = NamesIn(function);
        foreach (Variable variable in _module.Variables.Where(v => v.Space == Space.Shared && !(v.IsExtern && v.Count < 0) && names.Contains(v.Name)))
            _scope.TryAdd(variable.Name, new Symbol(SymbolKind.Variable, 0, 0, Space.Shared, (ulong)PlaceShared(variable)));
        PlaceStaticShared(function.Body!);
        foreach (Function called in _module.Functions.Where(f => !f.IsEntry && f.Body is not null && names.Contains(f.Name)))
            PlaceStaticShared(called.Body!);
        int dynamicStart = Align(_sharedBytes, 16); // all extern arrays begin behind the static memory (ptx.md §5)
        foreach (Variable variable in _module.Variables.Where(v => v.Space == Space.Shared && v.IsExtern && v.Count < 0))
        {
            dynamicStart = Align(dynamicStart, variable.ActualAlignment);
            _scope.TryAdd(variable.Name, new Symbol(SymbolKind.Variable, 0, 0, Space.Shared, (ulong)dynamicStart));
        }

        _kernel.StaticSharedBytes = _module.Variables.Any(v => v.Space == Space.Shared && v.IsExtern && names.Contains(v.Name)) ? dynamicStart : _sharedBytes;
        Statements(function.Body!);
        _line = function.Line;
        Exit(new DecodedOp { I = { Line = _ops.Count > 0 ? _ops[^1].I.Line : _line } });
        _kernel.LocalBytes = Align(_localBytes, 16);
        _kernel.PredicateCount = _predicates;
        new CodeWriter(_kernel, _ops, _labels, _registerBits, _constantList, _constantBytes).Write();
    }

    /// <summary>Names in the kernel's statements and in those of all functions it might call.</summary>
    private HashSet<string> NamesIn(Function kernel)
    {
        var names = new HashSet<string>(StringComparer.Ordinal);
        Collect(kernel.Body!);
        foreach (Function function in _module.Functions.Where(f => !f.IsEntry && f.Body is not null))
            Collect(function.Body!);
        return names;

        void Collect(List<Statement> body)
        {
            foreach (Statement statement in body)
            {
                if (statement is BlockStatement block)
                    Collect(block.Body);
                else if (statement is InstructionStatement instruction)
                    CollectOperands(instruction.Operands);
            }
        }

        void CollectOperands(IEnumerable<Operand> operands)
        {
            foreach (Operand operand in operands)
            {
                names.Add(operand.Name);
                CollectOperands(operand.Items);
            }
        }
    }

    private static int Align(int value, int alignment) => (value + alignment - 1) / alignment * alignment;

    private PtxParseException Error(string message) => new(_file, _line, message);

    private const int MaxLocalBytes = 512 << 10, MaxSharedBytes = 1 << 24, MaxInstructions = 1 << 20;

    private int PlaceShared(Variable variable)
    {
        if (_sharedBytes + variable.Bytes > MaxSharedBytes)
            throw new PtxParseException(_file, variable.Line, $"'{variable.Name}': more than {MaxSharedBytes} bytes of shared memory");
        _sharedBytes = Align(_sharedBytes, variable.ActualAlignment);
        int at = _sharedBytes;
        _sharedBytes += checked((int)variable.Bytes);
        return at;
    }

    private readonly Dictionary<Variable, int> _sharedPlaces = [];

    private void PlaceStaticShared(List<Statement> body)
    {
        foreach (Statement statement in body)
        {
            if (statement is VariableStatement { Variable.Space: Space.Shared } shared)
                _sharedPlaces[shared.Variable] = PlaceShared(shared.Variable);
            else if (statement is BlockStatement block)
                PlaceStaticShared(block.Body);
        }
    }

    private void Statements(List<Statement> body)
    {
        foreach (Statement statement in body)
        {
            string? name = statement is LabelStatement l ? l.Name : (statement as TargetsStatement)?.Name;
            if (name is null)
                continue;
            _labels.Add(-1);
            Symbol symbol = new(statement is LabelStatement ? SymbolKind.Label : SymbolKind.Targets, statement is LabelStatement ? _labels.Count - 1 : _targets.Count, 0, Space.Generic, 0);
            if (statement is TargetsStatement targets)
                _targets.Add(targets.Labels);
            if (!_scope.TryAdd(name, symbol))
                throw new PtxParseException(_file, statement.Line, $"the label '{name}' is defined twice");
        }

        foreach (Statement statement in body)
        {
            _line = statement.Line;
            switch (statement)
            {
                case LabelStatement label:
                    _scope.TryFind(label.Name, out Symbol place);
                    _labels[place.Id] = _ops.Count;
                    break;
                case BlockStatement block:
                    _scope = new Scope(_scope);
                    Statements(block.Body);
                    _scope = _scope.Parent!;
                    break;
                case RegisterStatement registers:
                    Declare(registers);
                    break;
                case VariableStatement variable:
                    Declare(variable.Variable);
                    break;
                case InstructionStatement instruction:
                    DecodeInstruction(instruction);
                    break;
            }
        }
    }

    private readonly List<List<string>> _targets = []; // of brx.idx

    private void Declare(RegisterStatement registers)
    {
        int bits = registers.Type.Bits();
        if (bits > 64)
            throw Error($".reg .{registers.Type.Text()}: registers of {bits} bits are not supported");
        for (int n = 0; n < Math.Max(registers.Count, 1); n++)
        {
            string name = registers.Count == 0 ? registers.Name : registers.Name + n.ToString(System.Globalization.CultureInfo.InvariantCulture);
            Symbol symbol = registers.Type == PtxType.Pred ? new Symbol(SymbolKind.Predicate, _predicates++, 1, Space.Generic, 0) : new Symbol(SymbolKind.Register, NewRegister(bits), bits, Space.Generic, 0);
            if (!_scope.TryAdd(name, symbol))
                throw Error($"'{name}' is defined twice");
        }
    }

    private int NewRegister(int bits)
    {
        _registerBits.Add(bits);
        return _registerBits.Count - 1;
    }

    private void Declare(Variable variable)
    {
        Space space = variable.Space;
        ulong address;
        switch (space)
        {
            case Space.Shared:
                address = (ulong)_sharedPlaces[variable];
                break;
            case Space.Local or Space.Param: // .param within a body is a call's argument: the thread's own memory
                if (_localBytes + variable.Bytes > MaxLocalBytes)
                    throw Error($"more than {MaxLocalBytes} bytes of local memory");
                _localBytes = Align(_localBytes, variable.ActualAlignment);
                address = (ulong)_localBytes;
                _localBytes += checked((int)variable.Bytes);
                space = Space.Local;
                break;
            default:
                Symbol placed = _inner[variable];
                (space, address) = (placed.Space, placed.Address);
                break;
        }

        if (!_scope.TryAdd(variable.Name, new Symbol(SymbolKind.Variable, 0, (int)Math.Min(variable.Bytes, int.MaxValue), space, address)))
            throw Error($"'{variable.Name}' is defined twice");
    }

    private PtxType _last; // type of the instruction's last word

    private void DecodeInstruction(InstructionStatement s)
    {
        var op = new DecodedOp { I = { Line = s.Line, Q = -1, R = -1 } };
        if (s.Predicate is not null)
        {
            Symbol guard = Find(s.Predicate);
            if (guard.Kind != SymbolKind.Predicate)
                throw Error($"'{s.Predicate}' is no predicate");
            op.I.Guard = guard.Id | (s.PredicateNegated ? int.MinValue : 0);
            op.Uses.Add(~guard.Id);
        }

        var m = new Modifiers(s.Modifiers);
        _last = s.Modifiers.Length == 0 ? PtxType.None : PtxTypeOf(s.Modifiers[^1]);
        if (!(Arithmetic(op, s, m) || FloatFunctions(op, s, m) || CompareAndMove(op, s, m) || MemoryInstruction(op, s, m) || ControlFlow(op, s, m) || WarpInstruction(op, s, m)))
            throw Error($"unknown instruction '{s.Text}'");
        if (m.Unused() is { } word)
            throw Error($"unknown modifier '.{word}' of '{s.Text}'");
    }

    private void Emit(DecodedOp op, Handler run)
    {
        if (_ops.Count >= MaxInstructions)
            throw Error($"the kernel has more than {MaxInstructions} instructions, its calls expanded");
        op.I.Run = run;
        _ops.Add(op);
    }

    private Symbol Find(string name) => _scope.TryFind(name, out Symbol symbol) ? symbol : throw Error($"'{name}' is not defined");

    /// <summary>A constant's operand: the same bits in all 32 lanes.</summary>
    private int Constant(ulong bits, bool wide)
    {
        if (_constants.TryGetValue((bits, wide), out int operand))
            return operand;
        operand = _constantBytes | int.MinValue;
        _constantList.Add((bits, wide, _constantBytes));
        _constantBytes += Warp.Lanes * (wide ? 8 : 4);
        _constants[(bits, wide)] = operand;
        return operand;
    }

    private static void Expect(InstructionStatement s, KernelDecoder decoder, params ReadOnlySpan<int> counts)
    {
        foreach (int count in counts)
        {
            if (s.Operands.Count == count)
                return;
        }

        throw decoder.Error($"'{s.Text}' with {s.Operands.Count} operands");
    }

    private void Count(InstructionStatement s, params ReadOnlySpan<int> counts) => Expect(s, this, counts);

    /// <summary>A source of a type: a register of just its width, a number, or a symbol's address.</summary>
    private int Source(DecodedOp op, Operand o, PtxType type) => Source(op, o, type, type.Bits(), out _);

    /// <summary>A source whose register may be wider than the type (st, cvt).</summary>
    private int WideSource(DecodedOp op, Operand o, PtxType type, out int registerBits) => Source(op, o, type, -type.Bits(), out registerBits);

    private int Source(DecodedOp op, Operand o, PtxType type, int bits, out int registerBits)
    {
        registerBits = Math.Abs(bits) > 32 ? 64 : 32;
        if (o.Negated)
            throw Error("'!' stands before predicates only");
        switch (o.Kind)
        {
            case OperandKind.Integer:
                return Constant(Cut(o.Bits, type), registerBits == 64);
            case OperandKind.Float:
                return Constant(FloatBits(o, type), registerBits == 64);
            case OperandKind.Name:
                break;
            default:
                throw Error($"a register or number expected, a {o.Kind.ToString().ToLowerInvariant()} found");
        }

        if (o.Name == "WARP_SZ")
            return Constant(Warp.Lanes, registerBits == 64);
        if (SpecialRegisters.TryFind(o.Name, out int id, out int specialBits))
            return Special(op, id, specialBits, Math.Abs(bits));
        Symbol symbol = Find(o.Name);
        if (symbol.Kind == SymbolKind.Variable || (symbol.Kind == SymbolKind.Function && registerBits == 64))
            return Constant(symbol.Address + o.Bits, registerBits == 64);
        if (symbol.Kind != SymbolKind.Register)
            throw Error($"'{o.Name}' is no register of data");
        if (bits > 0 ? symbol.Bits != bits : symbol.Bits < -bits)
            throw Error($"'{o.Name}' has {symbol.Bits} bits, the instruction takes {Math.Abs(bits)}");
        registerBits = symbol.Bits;
        int register = o.Bits == 0 ? symbol.Id : Sum(symbol, o.Bits);
        op.Uses.Add(register);
        return register;
    }

    /// <summary>register + constant as an operand: a sum of its own.</summary>
    private int Sum(Symbol register, ulong constant)
    {
        var sum = new DecodedOp { I = { Line = _line, Uncounted = true, A = register.Id, D = NewRegister(register.Bits) }, Fields = OperandFields.D | OperandFields.A | OperandFields.B };
        PtxType type = register.Bits switch { 16 => PtxType.B16, 32 => PtxType.B32, 64 => PtxType.B64, _ => throw Error("an offset to a register of 8 bits") };
        sum.I.B = Constant(Cut(constant, type), register.Bits == 64);
        sum.Uses.Add(register.Id);
        sum.Defs.Add(sum.I.D);
        Emit(sum, SumOf(type));
        return sum.I.D;
    }

    /// <summary>A special register read by another instruction than mov: through a register of its own.</summary>
    private int Special(DecodedOp op, int id, int specialBits, int bits)
    {
        if (bits != specialBits)
            throw Error($"a special register of {specialBits} bits where {bits} are taken");
        int register = NewRegister(bits);
        var read = new DecodedOp { I = { Line = _line, Uncounted = true, Mode = id, Width = bits, D = register }, Fields = OperandFields.D };
        read.Defs.Add(register);
        Emit(read, &SpecialRegisters.Read);
        op.Uses.Add(register);
        return register;
    }

    private static ulong Cut(ulong bits, PtxType type) => type.Bits() >= 64 ? bits : bits & ((1UL << type.Bits()) - 1);

    private ulong FloatBits(Operand o, PtxType type)
    {
        if (!type.IsFloat() && type is not (PtxType.B32 or PtxType.B64))
            throw Error($"a float literal where .{type.Text()} is taken");
        if (type.Bits() == 64)
            return o.IsSingle ? BitConverter.DoubleToUInt64Bits(BitConverter.UInt32BitsToSingle((uint)o.Bits)) : o.Bits;
        if (type.Bits() != 32)
            throw Error($"a float literal where .{type.Text()} is taken");
        return o.IsSingle ? o.Bits : BitConverter.SingleToUInt32Bits((float)BitConverter.UInt64BitsToDouble(o.Bits));
    }

    private void A(DecodedOp op, Operand o, PtxType type)
    {
        op.I.A = Source(op, o, type);
        op.Fields |= OperandFields.A;
    }

    private void B(DecodedOp op, Operand o, PtxType type)
    {
        op.I.B = Source(op, o, type);
        op.Fields |= OperandFields.B;
    }

    private void C(DecodedOp op, Operand o, PtxType type)
    {
        op.I.C = Source(op, o, type);
        op.Fields |= OperandFields.C;
    }

    private void E(DecodedOp op, Operand o, PtxType type)
    {
        op.I.E = Source(op, o, type);
        op.Fields |= OperandFields.E;
    }

    private void D(DecodedOp op, Operand o, PtxType type)
    {
        op.I.D = Destination(op, o, type.Bits(), exact: true, out _);
        op.Fields |= OperandFields.D;
    }

    /// <summary>A destination register; '_' is a register that nobody reads.</summary>
    private int Destination(DecodedOp op, Operand o, int bits, bool exact, out int registerBits)
    {
        if (o.Kind != OperandKind.Name)
            throw Error("a destination register expected");
        if (o.Name == "_")
        {
            registerBits = bits > 32 ? 64 : Math.Max(bits, 16);
            int sink = NewRegister(registerBits);
            op.Defs.Add(sink);
            return sink;
        }

        Symbol symbol = Find(o.Name);
        if (symbol.Kind != SymbolKind.Register)
            throw Error($"'{o.Name}' is no register of data");
        if (exact ? symbol.Bits != bits : symbol.Bits < bits)
            throw Error($"'{o.Name}' has {symbol.Bits} bits, the instruction gives {bits}");
        registerBits = symbol.Bits;
        op.Defs.Add(symbol.Id);
        return symbol.Id;
    }

    private int PredicateDestination(DecodedOp op, string name)
    {
        if (name == "_")
            return _predicates++;
        Symbol symbol = Find(name);
        if (symbol.Kind != SymbolKind.Predicate)
            throw Error($"'{name}' is no predicate");
        op.Defs.Add(~symbol.Id);
        return symbol.Id;
    }

    /// <summary>A predicate to read: a register, its complement, or 0 and not 0.</summary>
    private int PredicateSource(DecodedOp op, Operand o)
    {
        if (o.Kind == OperandKind.Integer)
            return o.Bits != 0 ? 0 : 1;
        Symbol symbol = o.Kind == OperandKind.Name ? Find(o.Name) : default;
        if (symbol.Kind != SymbolKind.Predicate)
            throw Error("a predicate expected");
        op.Uses.Add(~symbol.Id);
        return symbol.Id | (o.Negated ? int.MinValue : 0);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static bool IsWindow(Space space, out ulong window)
    {
        window = space switch { Space.Shared => Window.Shared, Space.Local => Window.Local, Space.Const => Window.Const, _ => 0 };
        return window != 0;
    }
}
