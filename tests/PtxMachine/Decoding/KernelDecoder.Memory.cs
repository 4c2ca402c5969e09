using Foretoken.Ptx.Execution;
using Foretoken.Ptx.Instructions;
using Foretoken.Ptx.Memory;
using Foretoken.Ptx.Parsing;

namespace Foretoken.Ptx.Decoding;

/// <summary>Loads, stores, atomics and asynchronous copies.</summary>
internal sealed unsafe partial class KernelDecoder
{
    private bool MemoryInstruction(DecodedOp op, InstructionStatement s, Modifiers m)
    {
        switch (s.Opcode)
        {
            case "ld" or "ldu":
                Load(op, s, m);
                return true;
            case "st":
                Store(op, s, m);
                return true;
            case "atom" or "red":
                Atomic(op, s, m);
                return true;
            case "cp":
                return AsyncCopy(op, s, m);
            case "prefetch" or "prefetchu" or "discard" or "applypriority":
                m.TakePrefix("L");
                TakeSpace(m);
                m.Take("tensormap");
                Count(s, 1, 2);
                Emit(op, &MemoryOps.Nothing);
                return true;
            case "createpolicy": // a cache policy is a hint: its value is never looked at
                m.TakePrefix("");
                Count(s, 1, 2, 3, 4);
                D(op, s.Operands[0], PtxType.B64);
                op.I.A = Constant(0, true);
                op.Fields |= OperandFields.A;
                Emit(op, &Loops.Vector1<ulong, Move<ulong>>);
                return true;
            case "membar" or "fence":
                TakeFence(m);
                Count(s, 0);
                _kernel.NeedsOneThread = true;
                Emit(op, &MemoryOps.Fence);
                return true;
            case "mbarrier":
                BarrierObject(op, s, m);
                return true;
            case "isspacep":
                Count(s, 2);
                op.I.Mode = (int)TakeSpace(m);
                if ((Space)op.I.Mode is Space.Generic or Space.Param)
                    throw Error($"'{s.Text}' is not supported");
                A(op, s.Operands[1], PtxType.U64);
                op.I.P = PredicateDestination(op, s.Operands[0].Name);
                Emit(op, &MemoryOps.IsSpace);
                return true;
            default:
                return false;
        }
    }

    private static void TakeFence(Modifiers m)
    {
        while (m.TakeAny("sc", "acq_rel", "acquire", "release", "cta", "gl", "gpu", "sys", "cluster", "proxy", "alias", "async", "global", "shared::cta", "shared", "mbarrier_init") is not null)
        {
        }
    }

    /// <summary>Semantics, scope and cache hints; true when the access is volatile or has an order.</summary>
    private bool TakeAccess(Modifiers m, out bool hint)
    {
        bool strong = m.TakeAny("volatile", "relaxed", "acquire", "release", "acq_rel", "mmio") is not null;
        m.Take("weak");
        m.TakeAny("cta", "gpu", "sys", "cluster");
        m.TakeAny("ca", "cg", "cs", "cv", "lu", "wb", "wt");
        hint = m.Take("L2::cache_hint");
        m.TakePrefix("L1::");
        m.TakePrefix("L2::");
        return strong;
    }

    private void Load(DecodedOp op, InstructionStatement s, Modifiers m)
    {
        op.I.Aligned = m.Take("nc");
        bool strong = TakeAccess(m, out bool hint);
        Space space = TakeSpace(m);
        int vector = TakeVector(m);
        PtxType type = TakeElement(s, m, vector);
        Count(s, hint ? 3 : 2);
        if (op.I.Aligned && space != Space.Global)
            throw Error($"'{s.Text}': .nc is for .global");
        _kernel.HasReadOnlyLoads |= op.I.Aligned;
        space = Address(op, s.Operands[1], space);
        Strong(op, strong, space);
        Operand[] items = Items(s.Operands[0], vector);
        int width = 0;
        foreach (Operand item in items)
        {
            op.List.Add(Destination(op, item, type.Bits(), exact: false, out int registerBits));
            if (width != 0 && (width == 64) != (registerBits == 64) && item.Name != "_")
                throw Error("the registers of a vector differ in width");
            width = width == 0 ? registerBits : width;
        }

        op.I.Count = items.Length;
        op.I.Flag = type.IsSigned() && type.Bits() < width;
        op.I.Target = width;
        Grain(space, items.Length * Math.Max(type.Bits() / 8, 1));
        Emit(op, LoadFrom(space, type.Bits() / 8, width == 64));
    }

    private void Store(DecodedOp op, InstructionStatement s, Modifiers m)
    {
        bool strong = TakeAccess(m, out bool hint);
        Space space = TakeSpace(m);
        int vector = TakeVector(m);
        PtxType type = TakeElement(s, m, vector);
        Count(s, hint ? 3 : 2);
        space = Address(op, s.Operands[0], space);
        Strong(op, strong, space);
        if (space is Space.Param or Space.Const)
            throw Error($"'{s.Text}' writes to read-only memory");
        Operand[] items = Items(s.Operands[1], vector);
        int width = 0;
        foreach (Operand item in items)
        {
            op.List.Add(WideSource(op, item, type, out int registerBits));
            if (width != 0 && (width == 64) != (registerBits == 64))
                throw Error("the registers of a vector differ in width");
            width = Math.Max(width, registerBits);
        }

        op.I.Count = items.Length;
        Grain(space, items.Length * Math.Max(type.Bits() / 8, 1));
        Emit(op, StoreTo(space, type.Bits() / 8, width == 64));
    }

    /// <summary>The type of an access, up to 16 bytes with all its elements.</summary>
    private PtxType TakeElement(InstructionStatement s, Modifiers m, int vector)
    {
        PtxType type = m.TakeType();
        if (type is PtxType.None or PtxType.Pred or PtxType.B128)
            throw Error(type == PtxType.None ? $"'{s.Text}' names no type" : $"'{s.Text}' is not supported");
        if (vector * type.Bits() > 128)
            throw Error($"'{s.Text}': accesses of more than 16 bytes need sm_100 and are not supported");
        return type;
    }

    private static int TakeVector(Modifiers m) => m.TakeAny("v2", "v4", "v8") switch { "v2" => 2, "v4" => 4, "v8" => 8, _ => 1 };

    private Operand[] Items(Operand operand, int vector)
    {
        Operand[] items = operand.Kind == OperandKind.Vector ? operand.Items : [operand];
        if (vector > 1 && operand.Kind == OperandKind.Name) // a vector register: its elements
            items = [.. "xyzw"[..Math.Min(vector, 4)].Select(e => new Operand { Kind = OperandKind.Name, Name = $"{operand.Name}.{e}" })];
        if (items.Length != vector || vector > 4)
            throw Error(vector > 4 ? "vectors of 8 need sm_100" : $"{vector} registers expected, {items.Length} found");
        return items;
    }

    private void Strong(DecodedOp op, bool strong, Space space)
    {
        op.I.Mode = strong ? 1 : 0;
        _kernel.NeedsOneThread |= strong && space is Space.Global or Space.Generic && strong;
    }

    /// <summary>The smallest access to shared memory sets the grain of the race checks.</summary>
    private void Grain(Space space, int bytes)
    {
        if (space is Space.Shared or Space.Generic)
            _kernel.SharedGranularity = Math.Min(_kernel.SharedGranularity, bytes);
    }

    /// <summary>The address operand; a symbol gives its own space when the instruction names none (or .param for a call's argument).</summary>
    private Space Address(DecodedOp op, Operand o, Space space)
    {
        if (o.Kind != OperandKind.Address || o.Items.Length > 0)
            throw Error("an address in brackets expected");
        op.Fields |= OperandFields.A;
        op.I.Width = 64;
        if (o.Name.Length == 0)
        {
            op.I.A = Constant(o.Bits, true);
            return space;
        }

        Symbol symbol = Find(o.Name);
        if (symbol.Kind == SymbolKind.Register)
        {
            if (symbol.Bits < 32)
                throw Error($"'{o.Name}' has {symbol.Bits} bits, an address has 32 or 64");
            if (space == Space.Param && _returnLabel >= 0)
                space = Space.Local; // parameters of a function that was called lie in the thread's own memory
            op.I.A = symbol.Id;
            op.I.Width = symbol.Bits;
            op.I.Immediate = (long)o.Bits;
            op.Uses.Add(symbol.Id);
            return space;
        }

        if (symbol.Kind != SymbolKind.Variable)
            throw Error($"'{o.Name}' has no address");
        bool argument = space == Space.Param && symbol.Space == Space.Local;
        if (space != Space.Generic && space != symbol.Space && !argument)
            throw Error($"'{o.Name}' lies in .{symbol.Space.ToString().ToLowerInvariant()}");
        op.I.A = Constant(symbol.Address, true);
        op.I.Immediate = (long)o.Bits;
        return symbol.Space;
    }

    private static Handler LoadFrom(Space space, int bytes, bool wide) => space switch
    {
        Space.Global => LoadOf<GlobalSpace>(bytes, wide),
        Space.Shared => LoadOf<SharedSpace>(bytes, wide),
        Space.Const => LoadOf<ConstSpace>(bytes, wide),
        Space.Local => LoadOf<LocalSpace>(bytes, wide),
        Space.Param => LoadOf<ParamSpace>(bytes, wide),
        _ => LoadOf<GenericSpace>(bytes, wide),
    };

    private static Handler LoadOf<TSpace>(int bytes, bool wide)
        where TSpace : struct, ISpace => (bytes, wide) switch
        {
            (1, false) => &MemoryOps.Load<byte, uint, TSpace>,
            (2, false) => &MemoryOps.Load<ushort, uint, TSpace>,
            (4, false) => &MemoryOps.Load<uint, uint, TSpace>,
            (1, true) => &MemoryOps.Load<byte, ulong, TSpace>,
            (2, true) => &MemoryOps.Load<ushort, ulong, TSpace>,
            (4, true) => &MemoryOps.Load<uint, ulong, TSpace>,
            _ => &MemoryOps.Load<ulong, ulong, TSpace>,
        };

    private static Handler StoreTo(Space space, int bytes, bool wide) => space switch
    {
        Space.Global => StoreOf<GlobalSpace>(bytes, wide),
        Space.Shared => StoreOf<SharedSpace>(bytes, wide),
        Space.Local => StoreOf<LocalSpace>(bytes, wide),
        _ => StoreOf<GenericSpace>(bytes, wide),
    };

    private static Handler StoreOf<TSpace>(int bytes, bool wide)
        where TSpace : struct, ISpace => (bytes, wide) switch
        {
            (1, false) => &MemoryOps.Store<byte, uint, TSpace>,
            (2, false) => &MemoryOps.Store<ushort, uint, TSpace>,
            (4, false) => &MemoryOps.Store<uint, uint, TSpace>,
            (1, true) => &MemoryOps.Store<byte, ulong, TSpace>,
            (2, true) => &MemoryOps.Store<ushort, ulong, TSpace>,
            (4, true) => &MemoryOps.Store<uint, ulong, TSpace>,
            _ => &MemoryOps.Store<ulong, ulong, TSpace>,
        };

    private void Atomic(DecodedOp op, InstructionStatement s, Modifiers m)
    {
        bool reduction = s.Opcode == "red";
        TakeAccess(m, out bool hint);
        m.Take("noftz");
        Space space = TakeSpace(m);
        string operation = m.TakeAny("add", "min", "max", "and", "or", "xor", "exch", "cas", "inc", "dec") ?? throw Error($"'{s.Text}' needs an operation");
        PtxType type = m.TakeType();
        int sources = operation == "cas" ? 2 : 1, first = reduction ? 0 : 1;
        Count(s, first + 1 + sources + (hint ? 1 : 0));
        space = Address(op, s.Operands[first], space);
        op.I.Mode = 1;
        op.I.Flag = reduction;
        if (!reduction)
            D(op, s.Operands[0], type);
        B(op, s.Operands[first + 1], type);
        if (reduction && operation is "exch" or "cas")
            throw Error($"'{s.Text}' is no instruction of PTX: 'atom' gives the old value");
        if (type is PtxType.BF16 or PtxType.BF16x2 && TargetCapability < 90)
            throw Error($"'{s.Text}' needs sm_90, the module is for {_module.Target}");
        op.I.C = op.I.B;
        op.Fields |= OperandFields.C;
        if (sources == 2)
            C(op, s.Operands[first + 2], type);
        _kernel.NeedsOneThread |= space != Space.Shared;
        Grain(space, type.Bits() / 8);
        Emit(op, Handled(space switch
        {
            Space.Global => AtomicOf<GlobalSpace>(operation, type),
            Space.Shared => AtomicOf<SharedSpace>(operation, type),
            Space.Generic => AtomicOf<GenericSpace>(operation, type),
            _ => null,
        }, s, type));
    }

    private static Handler AtomicOf<TSpace>(string operation, PtxType type)
        where TSpace : struct, ISpace => (operation, type) switch
        {
            ("add", PtxType.U32 or PtxType.S32) => &AtomicOps.Atomic<uint, Combine<uint, SumOf<uint>>, TSpace>,
            ("add", PtxType.U64 or PtxType.S64) => &AtomicOps.Atomic<ulong, Combine<ulong, SumOf<ulong>>, TSpace>,
            ("add", PtxType.F32) => &AtomicOps.Atomic<float, Combine<float, SumOf<float>>, TSpace>,
            ("add", PtxType.F64) => &AtomicOps.Atomic<double, Combine<double, SumOf<double>>, TSpace>,
            ("add", PtxType.F16) => &AtomicOps.AtomicNarrow<AtomicHalf<Binary16>, TSpace>,
            ("add", PtxType.BF16) => &AtomicOps.AtomicNarrow<AtomicHalf<BFloat16>, TSpace>,
            ("cas", PtxType.B16) => &AtomicOps.AtomicNarrow<CompareAndSwap<ushort>, TSpace>,
            ("add", PtxType.F16x2) => &AtomicOps.Atomic<uint, AtomicHalf2<Binary16>, TSpace>,
            ("add", PtxType.BF16x2) => &AtomicOps.Atomic<uint, AtomicHalf2<BFloat16>, TSpace>,
            ("min", PtxType.U32) => &AtomicOps.Atomic<uint, Combine<uint, Least<uint>>, TSpace>,
            ("min", PtxType.S32) => &AtomicOps.Atomic<int, Combine<int, Least<int>>, TSpace>,
            ("min", PtxType.U64) => &AtomicOps.Atomic<ulong, Combine<ulong, Least<ulong>>, TSpace>,
            ("min", PtxType.S64) => &AtomicOps.Atomic<long, Combine<long, Least<long>>, TSpace>,
            ("max", PtxType.U32) => &AtomicOps.Atomic<uint, Combine<uint, Greatest<uint>>, TSpace>,
            ("max", PtxType.S32) => &AtomicOps.Atomic<int, Combine<int, Greatest<int>>, TSpace>,
            ("max", PtxType.U64) => &AtomicOps.Atomic<ulong, Combine<ulong, Greatest<ulong>>, TSpace>,
            ("max", PtxType.S64) => &AtomicOps.Atomic<long, Combine<long, Greatest<long>>, TSpace>,
            ("and", PtxType.B32) => &AtomicOps.Atomic<uint, Combine<uint, AndOf<uint>>, TSpace>,
            ("and", PtxType.B64) => &AtomicOps.Atomic<ulong, Combine<ulong, AndOf<ulong>>, TSpace>,
            ("or", PtxType.B32) => &AtomicOps.Atomic<uint, Combine<uint, OrOf<uint>>, TSpace>,
            ("or", PtxType.B64) => &AtomicOps.Atomic<ulong, Combine<ulong, OrOf<ulong>>, TSpace>,
            ("xor", PtxType.B32) => &AtomicOps.Atomic<uint, Combine<uint, XorOf<uint>>, TSpace>,
            ("xor", PtxType.B64) => &AtomicOps.Atomic<ulong, Combine<ulong, XorOf<ulong>>, TSpace>,
            ("exch", PtxType.B32) => &AtomicOps.Atomic<uint, Exchange<uint>, TSpace>,
            ("exch", PtxType.B64) => &AtomicOps.Atomic<ulong, Exchange<ulong>, TSpace>,
            ("cas", PtxType.B32) => &AtomicOps.Atomic<uint, CompareAndSwap<uint>, TSpace>,
            ("cas", PtxType.B64) => &AtomicOps.Atomic<ulong, CompareAndSwap<ulong>, TSpace>,
            ("inc", PtxType.U32) => &AtomicOps.Atomic<uint, IncrementWrap, TSpace>,
            ("dec", PtxType.U32) => &AtomicOps.Atomic<uint, DecrementWrap, TSpace>,
            _ => null,
        };

    private bool AsyncCopy(DecodedOp op, InstructionStatement s, Modifiers m)
    {
        if (!m.Take("async"))
            return false;
        if (m.Take("commit_group"))
        {
            Count(s, 0);
            Emit(op, &AsyncOps.Commit);
            return true;
        }

        if (m.Take("wait_all") || m.Take("wait_group"))
        {
            Count(s, s.Modifiers.Contains("wait_all") ? 0 : 1);
            op.I.Immediate = s.Modifiers.Contains("wait_all") ? -1 : (long)Immediate(s.Operands[0], int.MaxValue);
            Emit(op, &AsyncOps.Wait);
            return true;
        }

        if (m.Take("mbarrier"))
        {
            CopiesArrive(op, s, m);
            return true;
        }

        bool global = m.Take("cg");
        if (!global && !m.Take("ca"))
            return false;
        bool hint = m.Take("L2::cache_hint");
        m.TakePrefix("L2::");
        if (!(m.Take("shared") || m.Take("shared::cta")) || !m.Take("global"))
            throw Error($"'{s.Text}' is not understood");
        int operands = s.Operands.Count - (hint ? 1 : 0);
        if (operands is not (3 or 4))
            throw Error($"'{s.Text}' with {s.Operands.Count} operands");
        op.I.Count = (int)Immediate(s.Operands[2], 16);
        if (global ? op.I.Count != 16 : op.I.Count is not (4 or 8 or 16))
            throw Error($"cp.async of {op.I.Count} bytes: .ca copies 4, 8 or 16, .cg 16");
        Address(op, s.Operands[0], Space.Shared);
        SourceAddress(op, s.Operands[1]);
        if (operands == 4)
            SourceSize(op, s.Operands[3]);
        Grain(Space.Shared, op.I.Count);
        Emit(op, &AsyncOps.Copy);
        return true;
    }

    private void SourceAddress(DecodedOp op, Operand o)
    {
        Symbol symbol = o.Kind == OperandKind.Address && o.Name.Length > 0 && o.Items.Length == 0 ? Find(o.Name) : throw Error("a global address in brackets expected");
        if (symbol.Kind == SymbolKind.Variable && symbol.Space == Space.Global)
        {
            op.I.B = Constant(symbol.Address + o.Bits, true);
            op.Fields |= OperandFields.B;
            return;
        }

        if (symbol.Kind != SymbolKind.Register || symbol.Bits != 64)
            throw Error($"'{o.Name}' is no register of 64 bits");
        op.I.B = symbol.Id;
        op.I.Target = (long)o.Bits is >= int.MinValue and <= int.MaxValue ? (int)o.Bits : throw Error($"an offset of {(long)o.Bits}");
        op.Fields |= OperandFields.B;
        op.Uses.Add(symbol.Id);
    }

    /// <summary>The bytes to read, or a predicate that leaves the source out.</summary>
    private void SourceSize(DecodedOp op, Operand o)
    {
        if (o.Kind == OperandKind.Name && _scope.TryFind(o.Name, out Symbol symbol) && symbol.Kind == SymbolKind.Predicate)
        {
            op.I.R = PredicateSource(op, o);
            return;
        }

        C(op, o, PtxType.U32);
        op.I.Flag = true;
    }
}
