using Foretoken.Ptx.Execution;
using Foretoken.Ptx.Instructions;
using Foretoken.Ptx.Parsing;

namespace Foretoken.Ptx.Decoding;

/// <summary>Exchange between lanes, and matrix instructions.</summary>
internal sealed unsafe partial class KernelDecoder
{
    private bool WarpInstruction(DecodedOp op, InstructionStatement s, Modifiers m)
    {
        switch (s.Opcode)
        {
            case "shfl":
                Shuffle(op, s, m);
                return true;
            case "vote":
                Vote(op, s, m);
                return true;
            case "activemask":
                Count(s, 1);
                m.Take("b32");
                D(op, s.Operands[0], PtxType.B32);
                Emit(op, &WarpOps.ActiveMask);
                return true;
            case "match":
                Match(op, s, m);
                return true;
            case "redux":
                Redux(op, s, m);
                return true;
            case "elect":
                Count(s, 2);
                m.Take("sync");
                op.I.Kind = StepKind.WarpSync;
                (Operand value, Operand leads) = Two(s.Operands[0]);
                D(op, value, PtxType.B32);
                op.I.P = PredicateDestination(op, leads.Name);
                E(op, s.Operands[1], PtxType.B32);
                Emit(op, &WarpOps.Elect);
                return true;
            case "ldmatrix" or "stmatrix":
                Matrix(op, s, m, load: s.Opcode == "ldmatrix");
                return true;
            case "movmatrix":
                Count(s, 2);
                if (!(m.Take("sync") && m.Take("aligned") && m.Take("m8n8") && m.Take("trans") && m.Take("b16")))
                    throw Error($"'{s.Text}' is not supported");
                Aligned(op);
                D(op, s.Operands[0], PtxType.B32);
                A(op, s.Operands[1], PtxType.B32);
                Emit(op, &MatrixOps.MoveMatrix);
                return true;
            case "mma":
                MatrixProduct(op, s, m);
                return true;
            case "wmma":
                WarpMatrix(op, s, m);
                return true;
            default:
                return false;
        }
    }

    private (Operand, Operand) Two(Operand pair) => pair.Kind == OperandKind.Pair
        ? (new Operand { Kind = OperandKind.Name, Name = pair.Name }, pair.Items[0])
        : throw Error("two destinations, d|p, expected");

    private static void Aligned(DecodedOp op)
    {
        op.I.Kind = StepKind.WarpSync;
        op.I.Aligned = true;
    }

    /// <summary>.sync, with a member mask as last operand; or the old form, among the lanes that are here.</summary>
    private bool Synchronised(DecodedOp op, InstructionStatement s, Modifiers m, int operands)
    {
        bool waits = m.Take("sync");
        Count(s, waits ? operands + 1 : operands);
        if (waits)
            op.I.Kind = StepKind.WarpSync;
        return waits;
    }

    private void Members(DecodedOp op, InstructionStatement s, bool waits)
    {
        if (waits)
            E(op, s.Operands[^1], PtxType.B32);
        else
            op.I.E = Constant(uint.MaxValue, false);
    }

    private void Shuffle(DecodedOp op, InstructionStatement s, Modifiers m)
    {
        bool waits = Synchronised(op, s, m, 4);
        op.I.Mode = m.TakeAny("up", "down", "bfly", "idx") switch { "up" => WarpOps.Up, "down" => WarpOps.Down, "bfly" => WarpOps.Butterfly, "idx" => WarpOps.Index, _ => throw Error("'shfl' needs a mode") };
        m.Take("b32");
        op.I.P = -1;
        Operand target = s.Operands[0];
        if (target.Kind == OperandKind.Pair)
        {
            (target, Operand valid) = Two(target);
            op.I.P = PredicateDestination(op, valid.Name);
        }

        D(op, target, PtxType.B32);
        A(op, s.Operands[1], PtxType.B32);
        B(op, s.Operands[2], PtxType.B32);
        C(op, s.Operands[3], PtxType.B32);
        Members(op, s, waits);
        Emit(op, &WarpOps.Shuffle);
    }

    private void Vote(DecodedOp op, InstructionStatement s, Modifiers m)
    {
        bool waits = Synchronised(op, s, m, 2);
        op.I.Mode = m.TakeAny("all", "any", "uni", "ballot") switch { "all" => WarpOps.All, "any" => WarpOps.Any, "uni" => WarpOps.Uniform, "ballot" => WarpOps.Ballot, _ => throw Error("'vote' needs a mode") };
        m.TakeType();
        op.I.R = PredicateSource(op, s.Operands[1]);
        Members(op, s, waits);
        if (op.I.Mode == WarpOps.Ballot)
            D(op, s.Operands[0], PtxType.B32);
        else
            op.I.P = PredicateDestination(op, s.Operands[0].Name);
        Emit(op, &WarpOps.Vote);
    }

    private void Match(DecodedOp op, InstructionStatement s, Modifiers m)
    {
        Count(s, 3);
        op.I.Flag = m.Take("all");
        if (!op.I.Flag && !m.Take("any") || !m.Take("sync"))
            throw Error($"'{s.Text}' is not understood");
        op.I.Kind = StepKind.WarpSync;
        PtxType type = m.TakeType();
        op.I.P = -1;
        Operand target = s.Operands[0];
        if (target.Kind == OperandKind.Pair)
        {
            (target, Operand agreed) = Two(target);
            op.I.P = PredicateDestination(op, agreed.Name);
        }

        D(op, target, PtxType.B32);
        A(op, s.Operands[1], type);
        E(op, s.Operands[2], PtxType.B32);
        Emit(op, type.Bits() == 64 ? &WarpOps.Match<ulong> : &WarpOps.Match<uint>);
    }

    private void Redux(DecodedOp op, InstructionStatement s, Modifiers m)
    {
        Count(s, 3);
        m.Take("sync");
        op.I.Kind = StepKind.WarpSync;
        string operation = m.TakeAny("add", "min", "max", "and", "or", "xor") ?? throw Error($"'{s.Text}' needs an operation");
        PtxType type = m.TakeType();
        D(op, s.Operands[0], type);
        A(op, s.Operands[1], type);
        E(op, s.Operands[2], PtxType.B32);
        Handler run = (operation, type) switch
        {
            ("add", PtxType.U32 or PtxType.S32) => &WarpOps.Reduce<uint, SumOf<uint>>,
            ("min", PtxType.U32) => &WarpOps.Reduce<uint, Least<uint>>,
            ("min", PtxType.S32) => &WarpOps.Reduce<int, Least<int>>,
            ("max", PtxType.U32) => &WarpOps.Reduce<uint, Greatest<uint>>,
            ("max", PtxType.S32) => &WarpOps.Reduce<int, Greatest<int>>,
            ("and", PtxType.B32) => &WarpOps.Reduce<uint, AndOf<uint>>,
            ("or", PtxType.B32) => &WarpOps.Reduce<uint, OrOf<uint>>,
            ("xor", PtxType.B32) => &WarpOps.Reduce<uint, XorOf<uint>>,
            _ => null,
        };
        Emit(op, Handled(run, s, type));
    }

    private void Matrix(DecodedOp op, InstructionStatement s, Modifiers m, bool load)
    {
        Count(s, 2);
        if (!(m.Take("sync") && m.Take("aligned") && m.Take("m8n8")))
            throw Error($"'{s.Text}' is not supported");
        if (!load && TargetCapability < 90)
            throw Error($"'stmatrix' needs sm_90, the module is for {_module.Target}");
        Aligned(op);
        int count = m.TakeAny("x1", "x2", "x4") switch { "x1" => 1, "x2" => 2, "x4" => 4, _ => throw Error($"'{s.Text}' needs .x1, .x2 or .x4") };
        op.I.Flag = m.Take("trans");
        Space space = TakeSpace(m);
        if (space is not (Space.Shared or Space.Generic) || !m.Take("b16"))
            throw Error($"'{s.Text}' is not supported");
        Address(op, s.Operands[load ? 1 : 0], space);
        Operand registers = s.Operands[load ? 0 : 1];
        Operand[] items = registers.Kind == OperandKind.Vector ? registers.Items : [registers];
        if (items.Length != count)
            throw Error($"{count} registers expected");
        foreach (Operand item in items)
            op.List.Add(load ? Destination(op, item, 32, exact: true, out _) : Source(op, item, PtxType.B32));
        op.I.Count = count;
        Grain(Space.Shared, 16);
        Emit(op, load ? &MatrixOps.LoadMatrix : &MatrixOps.StoreMatrix);
    }

    /// <summary>mma.sync: the shapes whose fragment maps ptx.md §1 gives, and those of <see cref="MatrixOps.NarrowInteger"/> and <see cref="MatrixOps.Double"/>.</summary>
    private void MatrixProduct(DecodedOp op, InstructionStatement s, Modifiers m)
    {
        Count(s, 4);
        if (!(m.Take("sync") && m.Take("aligned")))
            throw Error($"'{s.Text}' is not understood");
        Aligned(op);
        string shape = s.Modifiers.FirstOrDefault(w => w.StartsWith('m') && w.Contains('n') && char.IsAsciiDigit(w[^1])) ?? throw Error($"'{s.Text}' names no shape");
        m.Take(shape);
        if (!m.Take("row") || !m.Take("col"))
            throw Error("'mma' needs .row.col");
        op.I.Flag = m.Take("satfinite");
        bool xor = m.Take("xor"), and = !xor && m.Take("and");
        if ((xor || and) != m.Take("popc"))
            throw Error($"'{s.Text}' is not understood");
        string[] types = [.. s.Modifiers.Where(w => w is "f32" or "f16" or "bf16" or "tf32" or "f64" or "s32" or "s8" or "u8" or "s4" or "u4" or "b1")];
        foreach (string type in types)
            m.Take(type);
        if (types.Length != 4 || types[0] != types[3])
            throw Error($"'{s.Text}': four types d.a.b.c with d = c expected");
        (string d, string a, string b) = (types[0], types[1], types[2]);
        int bits = a switch { "s8" or "u8" => 8, "s4" or "u4" => 4, "b1" => 1, _ => 0 };
        if ((bits == 1) != (xor || and) || (op.I.Flag && (bits is 0 or 1)))
            throw Error($"'{s.Text}' is no instruction of PTX");
        if (bits > 0 ? d != "s32" || b[1..] != a[1..] || bits == 1 && b != a : a != b)
            throw Error($"'{s.Text}': these types do not go together");
        if (bits > 0)
            IntegerProduct(op, s, shape, bits, (a[0] == 's' ? 1 : 0) | (b[0] == 's' ? 2 : 0) | (xor ? MatrixOps.XorPopulation : 0) | (and ? MatrixOps.AndPopulation : 0));
        else if (a == "f64" && d == "f64")
            DoubleProduct(op, s, shape);
        else
            FloatProduct(op, s, shape, a, d);
    }

    private PtxParseException UnknownShape(InstructionStatement s) => Error($"'{s.Text}' is not supported: its fragment map is not known here");

    private void FloatProduct(DecodedOp op, InstructionStatement s, string shape, string a, string d)
    {
        op.I.Count = (shape, a) switch { ("m16n8k4", "tf32") => 4, ("m16n8k8", "tf32" or "f16" or "bf16") => 8, ("m16n8k16", "f16" or "bf16") => 16, _ => throw UnknownShape(s) };
        if (d != "f32" && !(d == "f16" && a == "f16"))
            throw UnknownShape(s);
        int registersA = a == "tf32" ? op.I.Count / 2 : op.I.Count / 4, registersC = d == "f16" ? 2 : 4;
        op.I.Width = d == "f16" ? 16 : 32;
        op.I.Mode = a switch { "f16" => MatrixOps.Half, "bf16" => MatrixOps.Brain, _ => MatrixOps.Tf32 };
        Fragments(op, s, registersC, registersA, registersA / 2, PtxType.B32);
        Emit(op, &MatrixOps.Float);
    }

    private void IntegerProduct(DecodedOp op, InstructionStatement s, string shape, int bits, int mode)
    {
        (int rows, int k) = (shape, bits) switch
        {
            ("m8n8k16", 8) => (8, 16), ("m16n8k16", 8) => (16, 16), ("m16n8k32", 8) => (16, 32),
            ("m8n8k32", 4) => (8, 32), ("m16n8k32", 4) => (16, 32), ("m16n8k64", 4) => (16, 64),
            ("m8n8k128", 1) => (8, 128), ("m16n8k128", 1) => (16, 128), ("m16n8k256", 1) => (16, 256),
            _ => throw UnknownShape(s),
        };
        (op.I.Count, op.I.Width, op.I.Target, op.I.Mode) = (k, bits, rows, mode);
        Fragments(op, s, rows / 4, rows * k * bits / 1024, 8 * k * bits / 1024, PtxType.B32);
        Emit(op, bits == 8 && k == 32 ? &MatrixOps.Integer : &MatrixOps.NarrowInteger);
    }

    private void DoubleProduct(DecodedOp op, InstructionStatement s, string shape)
    {
        (int rows, int k) = shape switch { "m8n8k4" => (8, 4), "m16n8k4" => (16, 4), "m16n8k8" => (16, 8), "m16n8k16" => (16, 16), _ => throw UnknownShape(s) };
        if (TargetCapability < (rows == 8 ? 80 : 90))
            throw Error($"'{s.Text}' needs sm_{(rows == 8 ? 80 : 90)}, the module is for {_module.Target}");
        (op.I.Count, op.I.Target) = (k, rows);
        Fragments(op, s, rows / 4, rows * k / 32, k / 4, PtxType.B64);
        Emit(op, &MatrixOps.Double);
    }

    private void Fragments(DecodedOp op, InstructionStatement s, int registersC, int registersA, int registersB, PtxType type)
    {
        Fragment(op, s.Operands[0], registersC, target: true, type);
        Fragment(op, s.Operands[1], registersA, target: false, type);
        Fragment(op, s.Operands[2], registersB, target: false, type);
        Fragment(op, s.Operands[3], registersC, target: false, type);
    }

    private void Fragment(DecodedOp op, Operand o, int count, bool target, PtxType type)
    {
        Operand[] items = o.Kind == OperandKind.Vector ? o.Items : [o];
        if (items.Length != count)
            throw Error($"a fragment of {count} registers expected, {items.Length} found");
        foreach (Operand item in items)
            op.List.Add(target ? Destination(op, item, type.Bits(), exact: true, out _) : Source(op, item, type));
    }
}
