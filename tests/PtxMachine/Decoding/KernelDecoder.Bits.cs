using Foretoken.Ptx.Execution;
using Foretoken.Ptx.Instructions;
using Foretoken.Ptx.Parsing;

namespace Foretoken.Ptx.Decoding;

/// <summary>Bit fields, permutations, funnel shifts and dot products.</summary>
internal sealed unsafe partial class KernelDecoder
{
    private bool Bits(DecodedOp op, InstructionStatement s, Modifiers m)
    {
        switch (s.Opcode)
        {
            case "popc" or "clz" or "bfind":
                Counting(op, s, m);
                return true;
            case "brev":
                One(op, s, m, &ReverseOf);
                return true;
            case "bfe":
                Count(s, 4);
                PtxType field = m.TakeType();
                D(op, s.Operands[0], field);
                A(op, s.Operands[1], field);
                B(op, s.Operands[2], PtxType.U32);
                C(op, s.Operands[3], PtxType.U32);
                Emit(op, Handled(FieldOf(field), s, field));
                return true;
            case "bfi":
                Count(s, 5);
                PtxType type = m.TakeType();
                D(op, s.Operands[0], type);
                A(op, s.Operands[1], type);
                B(op, s.Operands[2], type);
                C(op, s.Operands[3], PtxType.U32);
                E(op, s.Operands[4], PtxType.U32);
                Handler insert = type switch { PtxType.B64 => &BitOps.Insert<ulong>, PtxType.B32 => &BitOps.Insert<uint>, _ => null };
                Emit(op, Handled(insert, s, type));
                return true;
            case "lop3":
                Count(s, 5);
                m.Take("b32");
                Words(op, s);
                op.I.Mode = (int)Immediate(s.Operands[4], 255);
                Emit(op, &BitOps.Lookup);
                return true;
            case "shf":
                Count(s, 4);
                bool left = m.Take("l");
                if (!left && !m.Take("r"))
                    throw Error("'shf' needs .l or .r");
                bool wrap = m.Take("wrap");
                if (!wrap && !m.Take("clamp"))
                    throw Error("'shf' needs .wrap or .clamp");
                m.Take("b32");
                Words(op, s);
                Emit(op, (left, wrap) switch
                {
                    (true, true) => &Loops.Lane3<uint, uint, uint, uint, FunnelLeftWrap>,
                    (true, false) => &Loops.Lane3<uint, uint, uint, uint, FunnelLeftClamp>,
                    (false, true) => &Loops.Lane3<uint, uint, uint, uint, FunnelRightWrap>,
                    _ => &Loops.Lane3<uint, uint, uint, uint, FunnelRightClamp>,
                });
                return true;
            case "prmt":
                Count(s, 4);
                m.Take("b32");
                op.I.Mode = m.TakeAny("f4e", "b4e", "rc8", "ecl", "ecr", "rc16") switch { "f4e" => 1, "b4e" => 2, "rc8" => 3, "ecl" => 4, "ecr" => 5, "rc16" => 6, _ => 0 };
                Words(op, s);
                Emit(op, &BitOps.PermuteBytes);
                return true;
            case "bmsk":
                Count(s, 3);
                bool maskWraps = m.Take("wrap");
                if (!maskWraps && !m.Take("clamp") || m.TakeType() != PtxType.B32)
                    throw Error($"'{s.Text}' is not understood");
                D(op, s.Operands[0], PtxType.B32);
                A(op, s.Operands[1], PtxType.B32);
                B(op, s.Operands[2], PtxType.B32);
                Emit(op, maskWraps ? &Loops.Lane2<uint, uint, uint, BitMaskWrap> : &Loops.Lane2<uint, uint, uint, BitMaskClamp>);
                return true;
            case "szext":
                Extension(op, s, m);
                return true;
            case "fns":
                Count(s, 4);
                m.Take("b32");
                Words(op, s);
                Emit(op, &Loops.Lane3<uint, uint, int, uint, FindNthSet>);
                return true;
            case "dp4a":
                Dot(op, s, m, four: true);
                return true;
            case "dp2a":
                Dot(op, s, m, four: false);
                return true;
            default:
                return false;
        }
    }

    private void Extension(DecodedOp op, InstructionStatement s, Modifiers m)
    {
        Count(s, 3);
        bool wraps = m.Take("wrap");
        PtxType type = wraps || m.Take("clamp") ? m.TakeType() : PtxType.None;
        D(op, s.Operands[0], PtxType.B32);
        A(op, s.Operands[1], PtxType.B32);
        B(op, s.Operands[2], PtxType.U32);
        Handler run = (type, wraps) switch
        {
            (PtxType.U32, true) => &Loops.Lane2<uint, uint, uint, ExtendUnsigned<WrappedCount>>,
            (PtxType.U32, false) => &Loops.Lane2<uint, uint, uint, ExtendUnsigned<ClampedCount>>,
            (PtxType.S32, true) => &Loops.Lane2<int, uint, int, ExtendSigned<WrappedCount>>,
            (PtxType.S32, false) => &Loops.Lane2<int, uint, int, ExtendSigned<ClampedCount>>,
            _ => null,
        };
        Emit(op, Handled(run, s, type));
    }

    /// <summary>d, a, b, c of 32 bits.</summary>
    private void Words(DecodedOp op, InstructionStatement s)
    {
        D(op, s.Operands[0], PtxType.B32);
        A(op, s.Operands[1], PtxType.B32);
        B(op, s.Operands[2], PtxType.B32);
        C(op, s.Operands[3], PtxType.B32);
    }

    private ulong Immediate(Operand o, ulong most)
    {
        if (o.Kind != OperandKind.Integer || o.Bits > most)
            throw Error($"a number from 0 to {most} expected");
        return o.Bits;
    }

    private void Counting(DecodedOp op, InstructionStatement s, Modifiers m)
    {
        Count(s, 2);
        bool amount = m.Take("shiftamt");
        PtxType type = m.TakeType();
        D(op, s.Operands[0], PtxType.U32);
        A(op, s.Operands[1], type);
        Handler run = (s.Opcode, type, amount) switch
        {
            ("popc", PtxType.B32, false) => &Loops.Lane1<uint, uint, Popc32>,
            ("popc", PtxType.B64, false) => &Loops.Lane1<ulong, uint, Popc64>,
            ("clz", PtxType.B32, false) => &Loops.Lane1<uint, uint, Clz32>,
            ("clz", PtxType.B64, false) => &Loops.Lane1<ulong, uint, Clz64>,
            ("bfind", PtxType.U32, false) => &Loops.Lane1<uint, uint, FindTopUnsigned32>,
            ("bfind", PtxType.S32, false) => &Loops.Lane1<int, uint, FindTopSigned32>,
            ("bfind", PtxType.U64, false) => &Loops.Lane1<ulong, uint, FindTopUnsigned64>,
            ("bfind", PtxType.S64, false) => &Loops.Lane1<long, uint, FindTopSigned64>,
            ("bfind", PtxType.U32, true) => &Loops.Lane1<uint, uint, ShiftAmount32<uint, FindTopUnsigned32>>,
            ("bfind", PtxType.S32, true) => &Loops.Lane1<int, uint, ShiftAmount32<int, FindTopSigned32>>,
            ("bfind", PtxType.U64, true) => &Loops.Lane1<ulong, uint, ShiftAmount64<ulong, FindTopUnsigned64>>,
            ("bfind", PtxType.S64, true) => &Loops.Lane1<long, uint, ShiftAmount64<long, FindTopSigned64>>,
            _ => null,
        };
        Emit(op, Handled(run, s, type));
    }

    private static Handler ReverseOf(PtxType type) => !IsUntyped(type) || type == PtxType.B16 ? null : type.Bits() == 64 ? &Loops.Lane1<ulong, ulong, Reverse64> : &Loops.Lane1<uint, uint, Reverse32>;

    private static Handler FieldOf(PtxType type) => type switch
    {
        PtxType.U32 => &Loops.Lane3<uint, uint, uint, uint, ExtractUnsigned32>,
        PtxType.S32 => &Loops.Lane3<int, uint, uint, int, ExtractSigned32>,
        PtxType.U64 => &Loops.Lane3<ulong, uint, uint, ulong, ExtractUnsigned64>,
        PtxType.S64 => &Loops.Lane3<long, uint, uint, long, ExtractSigned64>,
        _ => null,
    };

    private void Dot(DecodedOp op, InstructionStatement s, Modifiers m, bool four)
    {
        Count(s, 4);
        bool high = !four && m.Take("hi");
        if (!four && !high && !m.Take("lo"))
            throw Error("'dp2a' needs .lo or .hi");
        PtxType a = m.TakeType(), b = m.TakeType();
        if (a is not (PtxType.U32 or PtxType.S32) || b is not (PtxType.U32 or PtxType.S32))
            throw Error($"'{s.Text}': .u32 or .s32, twice, expected");
        Words(op, s);
        bool signedA = a == PtxType.S32, signedB = b == PtxType.S32;
        Emit(op, four ? DotFour(signedA, signedB) : high ? DotTwo<HighPair>(signedA, signedB) : DotTwo<LowPair>(signedA, signedB));
    }

    private static Handler DotFour(bool signedA, bool signedB) => (signedA, signedB) switch
    {
        (true, true) => &Loops.Lane3<uint, uint, uint, uint, Dot4<sbyte, sbyte>>,
        (true, false) => &Loops.Lane3<uint, uint, uint, uint, Dot4<sbyte, byte>>,
        (false, true) => &Loops.Lane3<uint, uint, uint, uint, Dot4<byte, sbyte>>,
        _ => &Loops.Lane3<uint, uint, uint, uint, Dot4<byte, byte>>,
    };

    private static Handler DotTwo<THalf>(bool signedA, bool signedB) => (signedA, signedB) switch
    {
        (true, true) => &Loops.Lane3<uint, uint, uint, uint, Dot2<sbyte, sbyte, THalf>>,
        (true, false) => &Loops.Lane3<uint, uint, uint, uint, Dot2<sbyte, byte, THalf>>,
        (false, true) => &Loops.Lane3<uint, uint, uint, uint, Dot2<byte, sbyte, THalf>>,
        _ => &Loops.Lane3<uint, uint, uint, uint, Dot2<byte, byte, THalf>>,
    };
}
