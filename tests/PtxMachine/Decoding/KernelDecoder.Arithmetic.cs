using Foretoken.Ptx.Execution;
using Foretoken.Ptx.Instructions;
using Foretoken.Ptx.Parsing;

namespace Foretoken.Ptx.Decoding;

/// <summary>Integer arithmetic, logic and shifts.</summary>
internal sealed unsafe partial class KernelDecoder
{
    private bool Arithmetic(DecodedOp op, InstructionStatement s, Modifiers m)
    {
        switch (s.Opcode)
        {
            case "add" or "sub":
                return Sum(op, s, m);
            case "madc" or "mad" when s.Modifiers.Contains("cc") || s.Opcode == "madc":
                CarryingProduct(op, s, m);
                return true;
            case "mul" or "mad" or "mul24" or "mad24":
                return Product(op, s, m);
            case "addc" or "subc":
                Carry(op, s, m, m.TakeType(), subtract: s.Opcode == "subc", usesCarry: true);
                return true;
            case "div" or "rem" when s.Modifiers.Length == 1 && _last.IsInteger():
                Two(op, s, m, s.Opcode == "div" ? &Quotient : &Remainder);
                return true;
            case "and" or "or" or "xor":
                return Logic(op, s, m);
            case "not" or "cnot":
                return Complement(op, s, m);
            case "shl" or "shr":
                Shift(op, s, m);
                return true;
            case "min" or "max":
                return Extremes(op, s, m);
            case "abs" or "neg" when _last.IsInteger():
                One(op, s, m, s.Opcode == "abs" ? &AbsoluteOf : &NegativeOf);
                return true;
            case "sad":
                Three(op, s, m, &SadOf);
                return true;
            default:
                return Bits(op, s, m);
        }
    }

    private static PtxType PtxTypeOf(string word) => PtxTypes.TryParse(word, out PtxType type) ? type : PtxType.None;

    /// <summary>d, a of one type; the table gives the handler, or null for types it does not have.</summary>
    private void One(DecodedOp op, InstructionStatement s, Modifiers m, delegate*<PtxType, Handler> table)
    {
        Count(s, 2);
        PtxType type = m.TakeType();
        Handler run = Handled(table(type), s, type);
        D(op, s.Operands[0], type);
        A(op, s.Operands[1], type);
        Emit(op, run);
    }

    private void Two(DecodedOp op, InstructionStatement s, Modifiers m, delegate*<PtxType, Handler> table)
    {
        Count(s, 3);
        PtxType type = m.TakeType();
        Handler run = Handled(table(type), s, type);
        D(op, s.Operands[0], type);
        A(op, s.Operands[1], type);
        B(op, s.Operands[2], type);
        Emit(op, run);
    }

    private void Three(DecodedOp op, InstructionStatement s, Modifiers m, delegate*<PtxType, Handler> table)
    {
        Count(s, 4);
        PtxType type = m.TakeType();
        Handler run = Handled(table(type), s, type);
        D(op, s.Operands[0], type);
        A(op, s.Operands[1], type);
        B(op, s.Operands[2], type);
        C(op, s.Operands[3], type);
        Emit(op, run);
    }

    private Handler Handled(Handler run, InstructionStatement s, PtxType type) =>
        run != null ? run : throw Error(type == PtxType.None ? $"'{s.Text}' names no type" : $"'{s.Text}' is not known for .{type.Text()}");

    private bool Sum(DecodedOp op, InstructionStatement s, Modifiers m)
    {
        PtxType type = _last;
        if (!type.IsInteger())
            return false;
        bool subtract = s.Opcode == "sub";
        if (m.Take("cc"))
        {
            Carry(op, s, m, m.TakeType(), subtract, usesCarry: false);
            return true;
        }

        if (m.Take("sat"))
        {
            if (type != PtxType.S32)
                throw Error($"'{s.Text}': .sat is for .s32");
            Two(op, s, m, subtract ? &SubtractSaturated : &AddSaturated);
            return true;
        }

        Two(op, s, m, subtract ? &Difference : &SumOf);
        return true;
    }

    /// <summary>add.cc, addc, sub.cc, subc: the carry is a predicate of its own; subtraction adds the complement, so carry means no borrow.</summary>
    private void Carry(DecodedOp op, InstructionStatement s, Modifiers m, PtxType type, bool subtract, bool usesCarry)
    {
        Count(s, 3);
        RequireCarryType(s, type);
        op.I.Flag = m.Take("cc") || !usesCarry; // sets the carry
        op.I.Mode = (subtract ? 1 : 0) | (usesCarry ? 2 : 0);
        D(op, s.Operands[0], type);
        A(op, s.Operands[1], type);
        B(op, s.Operands[2], type);
        Emit(op, type.Bits() == 64 ? &BitOps.Carry<ulong> : &BitOps.Carry<uint>);
    }

    private void RequireCarryType(InstructionStatement s, PtxType type)
    {
        if (type is not (PtxType.U32 or PtxType.S32 or PtxType.U64 or PtxType.S64))
            throw Error($"'{s.Text}': carries are of .u32, .s32, .u64 and .s64");
    }

    /// <summary>mad.cc and madc: a half of the product, then a sum with carry.</summary>
    private void CarryingProduct(DecodedOp op, InstructionStatement s, Modifiers m)
    {
        Count(s, 4);
        string part = m.TakeAny("lo", "hi") ?? throw Error($"'{s.Text}' needs .lo or .hi");
        bool sets = m.Take("cc");
        PtxType type = m.TakeType();
        RequireCarryType(s, type);
        var product = new DecodedOp { I = { Line = op.I.Line, Guard = op.I.Guard, Uncounted = true } };
        product.Uses.AddRange(op.Uses);
        product.I.D = NewRegister(type.Bits());
        product.Defs.Add(product.I.D);
        product.Fields |= OperandFields.D;
        A(product, s.Operands[1], type);
        B(product, s.Operands[2], type);
        Emit(product, Handled(ProductOf(part, type), s, type));
        op.I.Flag = sets;
        op.I.Mode = s.Opcode == "madc" ? 2 : 0;
        D(op, s.Operands[0], type);
        op.I.A = product.I.D;
        op.Uses.Add(product.I.D);
        op.Fields |= OperandFields.A;
        B(op, s.Operands[3], type);
        Emit(op, type.Bits() == 64 ? &BitOps.Carry<ulong> : &BitOps.Carry<uint>);
    }

    private static Handler SumOf(PtxType type) => type == PtxType.None ? null : type.Bits() switch { 16 => &Loops.Vector2<uint, Narrow2<Add<uint>>>, 64 => &Loops.Vector2<ulong, Add<ulong>>, 32 => &Loops.Vector2<uint, Add<uint>>, _ => null };

    private static Handler Difference(PtxType type) => type.Bits() switch { 16 => &Loops.Vector2<uint, Narrow2<Subtract<uint>>>, 64 => &Loops.Vector2<ulong, Subtract<ulong>>, 32 => &Loops.Vector2<uint, Subtract<uint>>, _ => null };

    private static Handler AddSaturated(PtxType type) => &Loops.Lane2<int, int, int, AddSaturate32>;

    private static Handler SubtractSaturated(PtxType type) => &Loops.Lane2<int, int, int, SubtractSaturate32>;

    private static Handler Quotient(PtxType type) => type switch
    {
        PtxType.U16 or PtxType.U32 => &Loops.Lane2<uint, uint, uint, DivideUnsigned32>,
        PtxType.S16 => &Loops.Lane2<uint, uint, uint, DivideSigned16>,
        PtxType.S32 => &Loops.Lane2<int, int, int, DivideSigned32>,
        PtxType.U64 => &Loops.Lane2<ulong, ulong, ulong, DivideUnsigned64>,
        PtxType.S64 => &Loops.Lane2<long, long, long, DivideSigned64>,
        _ => null,
    };

    private static Handler Remainder(PtxType type) => type switch
    {
        PtxType.U16 or PtxType.U32 => &Loops.Lane2<uint, uint, uint, RemainderUnsigned32>,
        PtxType.S16 => &Loops.Lane2<uint, uint, uint, RemainderSigned16>,
        PtxType.S32 => &Loops.Lane2<int, int, int, RemainderSigned32>,
        PtxType.U64 => &Loops.Lane2<ulong, ulong, ulong, RemainderUnsigned64>,
        PtxType.S64 => &Loops.Lane2<long, long, long, RemainderSigned64>,
        _ => null,
    };

    private static Handler AbsoluteOf(PtxType type) => type switch
    {
        PtxType.S16 => &Loops.Vector1<uint, Signed1<AbsInteger<int>>>,
        PtxType.S32 => &Loops.Vector1<int, AbsInteger<int>>,
        PtxType.S64 => &Loops.Vector1<long, AbsInteger<long>>,
        _ => null,
    };

    private static Handler NegativeOf(PtxType type) => type switch
    {
        PtxType.S16 => &Loops.Vector1<uint, Narrow1<Negate<uint>>>,
        PtxType.S32 => &Loops.Vector1<int, Negate<int>>,
        PtxType.S64 => &Loops.Vector1<long, Negate<long>>,
        _ => null,
    };

    private static Handler SadOf(PtxType type) => type switch
    {
        PtxType.U16 => &Loops.Lane3<uint, uint, uint, uint, SadUnsigned16>,
        PtxType.S16 => &Loops.Lane3<uint, uint, uint, uint, SadSigned16>,
        PtxType.U32 => &Loops.Lane3<uint, uint, uint, uint, Sad<uint>>,
        PtxType.S32 => &Loops.Lane3<int, int, int, int, Sad<int>>,
        PtxType.U64 => &Loops.Lane3<ulong, ulong, ulong, ulong, Sad<ulong>>,
        PtxType.S64 => &Loops.Lane3<long, long, long, long, Sad<long>>,
        _ => null,
    };

    private bool Product(DecodedOp op, InstructionStatement s, Modifiers m)
    {
        PtxType type = _last;
        if (!type.IsInteger())
            return false;
        bool add = s.Opcode.StartsWith("mad", StringComparison.Ordinal);
        Count(s, add ? 4 : 3);
        string part = m.TakeAny("lo", "hi", "wide") ?? throw Error($"'{s.Text}' needs .lo, .hi or .wide");
        m.TakeType();
        if (s.Opcode.EndsWith("24", StringComparison.Ordinal))
        {
            if (part == "wide" || type is not (PtxType.U32 or PtxType.S32))
                throw Error($"'{s.Text}': .lo or .hi of .u32 or .s32 expected");
            part = part == "lo" ? "24" : "24hi";
        }

        bool saturate = add && part.EndsWith("hi", StringComparison.Ordinal) && type == PtxType.S32 && m.Take("sat");

        PtxType result = part != "wide" ? type : (type.Bits(), type.IsSigned()) switch
        {
            (16, true) => PtxType.S32, (16, false) => PtxType.U32, (32, true) => PtxType.S64, (32, false) => PtxType.U64, _ => throw Error($"'{s.Text}': .wide is for 16 and 32 bits"),
        };
        D(op, s.Operands[0], result);
        A(op, s.Operands[1], type);
        B(op, s.Operands[2], type);
        if (add)
            C(op, s.Operands[3], result);
        Handler run = saturate ? part == "hi" ? &Loops.Lane3<int, int, int, int, MultiplyThenAddSaturated<MultiplyHighSigned32>> : &Loops.Lane3<int, int, int, int, MultiplyThenAddSaturated<Multiply24HighSigned>>
            : add ? ProductSum(part, type) : ProductOf(part, type);
        Emit(op, Handled(run, s, type));
        return true;
    }

    private static Handler ProductOf(string part, PtxType type) => (part, type) switch
    {
        ("lo", PtxType.U16 or PtxType.S16) => &Loops.Vector2<uint, Narrow2<Multiply<uint>>>,
        ("lo", PtxType.U32 or PtxType.S32) => &Loops.Vector2<uint, Multiply<uint>>,
        ("lo", PtxType.U64 or PtxType.S64) => &Loops.Vector2<ulong, Multiply<ulong>>,
        ("hi", PtxType.U16) => &Loops.Lane2<uint, uint, uint, MultiplyHighUnsigned16>,
        ("hi", PtxType.S16) => &Loops.Lane2<uint, uint, uint, MultiplyHighSigned16>,
        ("hi", PtxType.U32) => &Loops.Lane2<uint, uint, uint, MultiplyHighUnsigned32>,
        ("hi", PtxType.S32) => &Loops.Lane2<int, int, int, MultiplyHighSigned32>,
        ("hi", PtxType.U64) => &Loops.Lane2<ulong, ulong, ulong, MultiplyHighUnsigned64>,
        ("hi", PtxType.S64) => &Loops.Lane2<long, long, long, MultiplyHighSigned64>,
        ("wide", PtxType.U16) => &Loops.Lane2<uint, uint, uint, MultiplyWideUnsigned16>,
        ("wide", PtxType.S16) => &Loops.Lane2<uint, uint, int, MultiplyWideSigned16>,
        ("wide", PtxType.U32) => &BitOps.MultiplyWide<uint, ulong>,
        ("wide", PtxType.S32) => &BitOps.MultiplyWide<int, long>,
        ("24", PtxType.U32) => &Loops.Lane2<uint, uint, uint, Multiply24Unsigned>,
        ("24", PtxType.S32) => &Loops.Lane2<int, int, int, Multiply24Signed>,
        ("24hi", PtxType.U32) => &Loops.Lane2<uint, uint, uint, Multiply24HighUnsigned>,
        ("24hi", PtxType.S32) => &Loops.Lane2<int, int, int, Multiply24HighSigned>,
        _ => null,
    };

    private static Handler ProductSum(string part, PtxType type) => (part, type) switch
    {
        ("lo", PtxType.U16 or PtxType.S16) => &Loops.Vector3<uint, Narrow3<MultiplyAdd<uint>>>,
        ("lo", PtxType.U32 or PtxType.S32) => &Loops.Vector3<uint, MultiplyAdd<uint>>,
        ("lo", PtxType.U64 or PtxType.S64) => &Loops.Vector3<ulong, MultiplyAdd<ulong>>,
        ("hi", PtxType.U16) => &Loops.Lane3<uint, uint, uint, uint, MultiplyThenAdd16<MultiplyHighUnsigned16>>,
        ("hi", PtxType.S16) => &Loops.Lane3<uint, uint, uint, uint, MultiplyThenAdd16<MultiplyHighSigned16>>,
        ("hi", PtxType.U32) => &Loops.Lane3<uint, uint, uint, uint, MultiplyThenAdd<uint, uint, MultiplyHighUnsigned32>>,
        ("hi", PtxType.S32) => &Loops.Lane3<int, int, int, int, MultiplyThenAdd<int, int, MultiplyHighSigned32>>,
        ("hi", PtxType.U64) => &Loops.Lane3<ulong, ulong, ulong, ulong, MultiplyThenAdd<ulong, ulong, MultiplyHighUnsigned64>>,
        ("hi", PtxType.S64) => &Loops.Lane3<long, long, long, long, MultiplyThenAdd<long, long, MultiplyHighSigned64>>,
        ("wide", PtxType.U16) => &Loops.Lane3<uint, uint, uint, uint, MultiplyThenAdd<uint, uint, MultiplyWideUnsigned16>>,
        ("wide", PtxType.S16) => &Loops.Lane3<uint, uint, int, int, MultiplyThenAdd<uint, int, MultiplyWideSigned16>>,
        ("wide", PtxType.U32) => &Loops.Lane3<uint, uint, ulong, ulong, MultiplyThenAdd<uint, ulong, MultiplyWideUnsigned32>>,
        ("wide", PtxType.S32) => &Loops.Lane3<int, int, long, long, MultiplyThenAdd<int, long, MultiplyWideSigned32>>,
        ("24", PtxType.U32) => &Loops.Lane3<uint, uint, uint, uint, MultiplyThenAdd<uint, uint, Multiply24Unsigned>>,
        ("24", PtxType.S32) => &Loops.Lane3<int, int, int, int, MultiplyThenAdd<int, int, Multiply24Signed>>,
        ("24hi", PtxType.U32) => &Loops.Lane3<uint, uint, uint, uint, MultiplyThenAdd<uint, uint, Multiply24HighUnsigned>>,
        ("24hi", PtxType.S32) => &Loops.Lane3<int, int, int, int, MultiplyThenAdd<int, int, Multiply24HighSigned>>,
        _ => null,
    };

    private bool Logic(DecodedOp op, InstructionStatement s, Modifiers m)
    {
        if (m.Take("pred"))
        {
            Count(s, 3);
            op.I.Mode = s.Opcode switch { "and" => 1, "or" => 2, _ => 3 };
            op.I.Q = PredicateSource(op, s.Operands[1]);
            op.I.R = PredicateSource(op, s.Operands[2]);
            op.I.P = PredicateDestination(op, s.Operands[0].Name);
            Emit(op, &CompareOps.PredicateLogic);
            return true;
        }

        Two(op, s, m, s.Opcode switch { "and" => &AndOf, "or" => &OrOf, _ => &XorOf });
        return true;
    }

    private static bool IsUntyped(PtxType type) => type is PtxType.B16 or PtxType.B32 or PtxType.B64;

    private static Handler AndOf(PtxType type) => !IsUntyped(type) ? null : type.Bits() == 64 ? &Loops.Vector2<ulong, And<ulong>> : &Loops.Vector2<uint, And<uint>>;

    private static Handler OrOf(PtxType type) => !IsUntyped(type) ? null : type.Bits() == 64 ? &Loops.Vector2<ulong, Or<ulong>> : &Loops.Vector2<uint, Or<uint>>;

    private static Handler XorOf(PtxType type) => !IsUntyped(type) ? null : type.Bits() == 64 ? &Loops.Vector2<ulong, Xor<ulong>> : &Loops.Vector2<uint, Xor<uint>>;

    private static Handler NotOf(PtxType type) => !IsUntyped(type) ? null : type.Bits() switch { 64 => &Loops.Vector1<ulong, Not<ulong>>, 16 => &Loops.Vector1<uint, Narrow1<Not<uint>>>, _ => &Loops.Vector1<uint, Not<uint>> };

    private static Handler IsZeroOf(PtxType type) => !IsUntyped(type) ? null : type.Bits() == 64 ? &Loops.Lane1<ulong, ulong, IsZero<ulong>> : &Loops.Lane1<uint, uint, IsZero<uint>>;

    private bool Complement(DecodedOp op, InstructionStatement s, Modifiers m)
    {
        if (s.Opcode == "cnot")
        {
            One(op, s, m, &IsZeroOf);
            return true;
        }

        if (!m.Take("pred"))
        {
            One(op, s, m, &NotOf);
            return true;
        }

        Count(s, 2);
        op.I.Mode = 4;
        op.I.Q = PredicateSource(op, s.Operands[1]);
        op.I.R = 0;
        op.I.P = PredicateDestination(op, s.Operands[0].Name);
        Emit(op, &CompareOps.PredicateLogic);
        return true;
    }

    private void Shift(DecodedOp op, InstructionStatement s, Modifiers m)
    {
        Count(s, 3);
        PtxType type = m.TakeType();
        bool left = s.Opcode == "shl";
        if (left ? !IsUntyped(type) : !type.IsInteger() || type.Bits() is 8 or 128)
            throw Error($"'{s.Text}' is not known for .{type.Text()}");
        D(op, s.Operands[0], type);
        A(op, s.Operands[1], type);
        if (s.Operands[2].Kind == OperandKind.Integer && type.Bits() >= 32)
        {
            op.I.Mode = (int)Math.Min((uint)s.Operands[2].Bits, (uint)type.Bits());
            Emit(op, (left, type.Bits(), type.IsSigned()) switch
            {
                (true, 64, _) => &BitOps.ShiftLeft<ulong>,
                (true, _, _) => &BitOps.ShiftLeft<uint>,
                (false, 64, false) => &BitOps.ShiftRight<ulong>,
                (false, 64, true) => &BitOps.ShiftRightSigned64,
                (false, _, false) => &BitOps.ShiftRight<uint>,
                _ => &BitOps.ShiftRightSigned32,
            });
            return;
        }

        B(op, s.Operands[2], PtxType.U32);
        Emit(op, (left, type.Bits(), type.IsSigned()) switch
        {
            (true, 16, _) => &Loops.Lane2<uint, uint, uint, ShiftLeft16>,
            (true, 64, _) => &Loops.Lane2<ulong, uint, ulong, ShiftLeft64>,
            (true, _, _) => &Loops.Lane2<uint, uint, uint, ShiftLeft32>,
            (false, 16, true) => &Loops.Lane2<uint, uint, uint, ShiftRightSigned16>,
            (false, 64, true) => &Loops.Lane2<long, uint, long, ShiftRightSigned64>,
            (false, 64, false) => &Loops.Lane2<ulong, uint, ulong, ShiftRight64>,
            (false, 32, true) => &Loops.Lane2<int, uint, int, ShiftRightSigned32>,
            _ => &Loops.Lane2<uint, uint, uint, ShiftRight32>,
        });
    }

    private bool Extremes(DecodedOp op, InstructionStatement s, Modifiers m)
    {
        if (!_last.IsInteger())
            return false;
        Two(op, s, m, s.Opcode == "min" ? &MinOf : &MaxOf);
        return true;
    }

    private static Handler MinOf(PtxType type) => type switch
    {
        PtxType.U16 or PtxType.U32 => &Loops.Vector2<uint, MinInteger<uint>>,
        PtxType.S16 => &Loops.Vector2<uint, Signed2<MinInteger<int>>>,
        PtxType.S32 => &Loops.Vector2<int, MinInteger<int>>,
        PtxType.U64 => &Loops.Vector2<ulong, MinInteger<ulong>>,
        PtxType.S64 => &Loops.Vector2<long, MinInteger<long>>,
        _ => null,
    };

    private static Handler MaxOf(PtxType type) => type switch
    {
        PtxType.U16 or PtxType.U32 => &Loops.Vector2<uint, MaxInteger<uint>>,
        PtxType.S16 => &Loops.Vector2<uint, Signed2<MaxInteger<int>>>,
        PtxType.S32 => &Loops.Vector2<int, MaxInteger<int>>,
        PtxType.U64 => &Loops.Vector2<ulong, MaxInteger<ulong>>,
        PtxType.S64 => &Loops.Vector2<long, MaxInteger<long>>,
        _ => null,
    };
}
