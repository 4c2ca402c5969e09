using Foretoken.Ptx.Execution;
using Foretoken.Ptx.Instructions;
using Foretoken.Ptx.Memory;
using Foretoken.Ptx.Parsing;

namespace Foretoken.Ptx.Decoding;

/// <summary>Comparisons, selections, moves, conversions.</summary>
internal sealed unsafe partial class KernelDecoder
{
    private bool CompareAndMove(DecodedOp op, InstructionStatement s, Modifiers m)
    {
        switch (s.Opcode)
        {
            case "setp" or "set":
                Compare(op, s, m);
                return true;
            case "selp":
                Count(s, 4);
                PtxType type = m.TakeType();
                RequireData(s, type);
                D(op, s.Operands[0], type);
                A(op, s.Operands[1], type);
                B(op, s.Operands[2], type);
                op.I.R = PredicateSource(op, s.Operands[3]);
                Emit(op, type.Bits() == 64 ? &CompareOps.Select<ulong> : &CompareOps.Select<uint>);
                return true;
            case "slct":
                Count(s, 4);
                op.I.Mode = m.Take("ftz") ? 1 : 0;
                PtxType chosen = m.TakeType(), selector = m.TakeType();
                if (selector is not (PtxType.S32 or PtxType.F32))
                    throw Error("the selector of 'slct' is .s32 or .f32");
                RequireData(s, chosen);
                op.I.Flag = selector == PtxType.F32;
                D(op, s.Operands[0], chosen);
                A(op, s.Operands[1], chosen);
                B(op, s.Operands[2], chosen);
                C(op, s.Operands[3], selector);
                Emit(op, chosen.Bits() == 64 ? &CompareOps.SelectBySign<ulong> : &CompareOps.SelectBySign<uint>);
                return true;
            case "testp":
                Count(s, 2);
                op.I.Mode = m.TakeAny("finite", "infinite", "number", "notanumber", "normal", "subnormal") switch
                {
                    "finite" => 0, "infinite" => 1, "number" => 2, "notanumber" => 3, "normal" => 4, "subnormal" => 5, _ => throw Error("'testp' needs an operation"),
                };
                PtxType tested = m.TakeType();
                if (tested is not (PtxType.F32 or PtxType.F64))
                    throw Error($"'{s.Text}': .f32 or .f64 expected");
                op.I.Width = tested.Bits();
                A(op, s.Operands[1], tested);
                op.I.P = PredicateDestination(op, s.Operands[0].Name);
                Emit(op, &CompareOps.Test);
                return true;
            case "mov":
                Move(op, s, m);
                return true;
            case "cvt":
                Convert(op, s, m);
                return true;
            case "cvta":
                ConvertAddress(op, s, m);
                return true;
            default:
                return false;
        }
    }

    /// <summary>A type of 16, 32 or 64 bits.</summary>
    private void RequireData(InstructionStatement s, PtxType type)
    {
        if (type == PtxType.None || type.Bits() is not (16 or 32 or 64))
            throw Error(type == PtxType.None ? $"'{s.Text}' names no type" : $"'{s.Text}' is not known for .{type.Text()}");
    }

    private interface ICompareMaker<T>
    {
        static abstract Handler Make<TOp>()
            where TOp : struct, IVector2<T>;
    }

    private struct SetpMaker<T> : ICompareMaker<T>
        where T : unmanaged
    {
        public static Handler Make<TOp>()
            where TOp : struct, IVector2<T> => &CompareOps.Setp<T, TOp>;
    }

    private struct SetMaker<T> : ICompareMaker<T>
        where T : unmanaged
    {
        public static Handler Make<TOp>()
            where TOp : struct, IVector2<T> => &CompareOps.Set<T, TOp>;
    }

    private struct Signed16Maker : ICompareMaker<int>
    {
        public static Handler Make<TOp>()
            where TOp : struct, IVector2<int> => &CompareOps.Setp<uint, Signed16Comparison<TOp>>;
    }

    private struct Signed16SetMaker : ICompareMaker<int>
    {
        public static Handler Make<TOp>()
            where TOp : struct, IVector2<int> => &CompareOps.Set<uint, Signed16Comparison<TOp>>;
    }

    private struct FtzMaker : ICompareMaker<float>
    {
        public static Handler Make<TOp>()
            where TOp : struct, IVector2<float> => &CompareOps.Setp<float, FtzComparison<TOp>>;
    }

    private struct FtzSetMaker : ICompareMaker<float>
    {
        public static Handler Make<TOp>()
            where TOp : struct, IVector2<float> => &CompareOps.Set<float, FtzComparison<TOp>>;
    }

    /// <summary>f16x2 and bf16x2: the low halves and the high ones.</summary>
    private struct PairMaker<TFormat> : ICompareMaker<float>
        where TFormat : struct, IHalfFormat
    {
        public static Handler Make<TOp>()
            where TOp : struct, IVector2<float> => &CompareOps.SetpPair<HalfComparison<TFormat, TOp>>;
    }

    private struct PairSetMaker<TFormat> : ICompareMaker<float>
        where TFormat : struct, IHalfFormat
    {
        public static Handler Make<TOp>()
            where TOp : struct, IVector2<float> => &CompareOps.SetPair<HalfComparison<TFormat, TOp>>;
    }

    private struct HalfMaker<TFormat> : ICompareMaker<float>
        where TFormat : struct, IHalfFormat
    {
        public static Handler Make<TOp>()
            where TOp : struct, IVector2<float> => &CompareOps.Setp<uint, HalfComparison<TFormat, TOp>>;
    }

    private struct HalfSetMaker<TFormat> : ICompareMaker<float>
        where TFormat : struct, IHalfFormat
    {
        public static Handler Make<TOp>()
            where TOp : struct, IVector2<float> => &CompareOps.Set<uint, HalfComparison<TFormat, TOp>>;
    }

    private static Handler Pick<T, TMaker>(Comparison comparison)
        where TMaker : struct, ICompareMaker<T> => comparison switch
        {
            Comparison.Eq => TMaker.Make<Equal<T>>(),
            Comparison.Ne => TMaker.Make<OrderedAnd<T, Complement<T, Equal<T>>>>(),
            Comparison.Lt => TMaker.Make<Less<T>>(),
            Comparison.Le => TMaker.Make<LessOrEqual<T>>(),
            Comparison.Gt => TMaker.Make<Swapped<T, Less<T>>>(),
            Comparison.Ge => TMaker.Make<Swapped<T, LessOrEqual<T>>>(),
            Comparison.Equ => TMaker.Make<UnorderedOr<T, Equal<T>>>(),
            Comparison.Neu => TMaker.Make<Complement<T, Equal<T>>>(),
            Comparison.Ltu => TMaker.Make<Complement<T, Swapped<T, LessOrEqual<T>>>>(),
            Comparison.Leu => TMaker.Make<Complement<T, Swapped<T, Less<T>>>>(),
            Comparison.Gtu => TMaker.Make<Complement<T, LessOrEqual<T>>>(),
            Comparison.Geu => TMaker.Make<Complement<T, Less<T>>>(),
            Comparison.Num => TMaker.Make<Ordered<T>>(),
            _ => TMaker.Make<Complement<T, Ordered<T>>>(),
        };

    private void Compare(DecodedOp op, InstructionStatement s, Modifiers m)
    {
        bool set = s.Opcode == "set";
        string word = m.TakeAny("eq", "ne", "lt", "le", "gt", "ge", "lo", "ls", "hi", "hs", "equ", "neu", "ltu", "leu", "gtu", "geu", "num", "nan") ?? throw Error($"'{s.Text}' needs a comparison");
        string? combination = m.TakeAny("and", "or", "xor");
        op.I.Mode = combination switch { "and" => CompareOps.AndWith, "or" => CompareOps.OrWith, "xor" => CompareOps.XorWith, _ => CompareOps.None };
        bool flush = m.Take("ftz");
        PtxType result = set ? m.TakeType() : PtxType.None, type = m.TakeType();
        Count(s, combination is null ? 3 : 4);
        CheckComparison(s, word, type, flush);
        A(op, s.Operands[1], type);
        B(op, s.Operands[2], type);
        if (combination is not null)
            op.I.R = PredicateSource(op, s.Operands[3]);
        bool pair = type is PtxType.F16x2 or PtxType.BF16x2;
        if (set)
        {
            op.I.Target = (int)One(result, s, type);
            op.I.Width = result.Bits();
            D(op, s.Operands[0], result);
        }
        else
        {
            op.I.P = PredicateDestination(op, s.Operands[0].Name);
            if (s.Operands[0].Kind == OperandKind.Pair)
                op.I.Q = PredicateDestination(op, s.Operands[0].Items[0].Name);
            else if (pair)
                throw Error($"'{s.Text}' has two results, p|q");
        }

        Emit(op, Handled(ComparisonOf(ParseComparison(word, type), type, flush, set), s, type));
    }

    /// <summary>The bits that set writes where the comparison holds: ones, or 1.0; for pairs those of a half.</summary>
    private uint One(PtxType result, InstructionStatement s, PtxType type)
    {
        bool pair = type is PtxType.F16x2 or PtxType.BF16x2;
        return result switch
        {
            PtxType.U32 or PtxType.S32 => pair ? 0xFFFFu : uint.MaxValue,
            PtxType.F32 when !pair => BitConverter.SingleToUInt32Bits(1),
            PtxType.U16 or PtxType.S16 when type is PtxType.F16 or PtxType.BF16 => 0xFFFF,
            PtxType.F16 or PtxType.F16x2 when type == result => 0x3C00,
            PtxType.BF16 or PtxType.BF16x2 when type == result => 0x3F80,
            _ => throw Error($"'{s.Text}' is no instruction of PTX"),
        };
    }

    private void CheckComparison(InstructionStatement s, string word, PtxType type, bool flush)
    {
        bool floats = type.IsFloat(), unsigned = type is PtxType.U16 or PtxType.U32 or PtxType.U64, untyped = IsUntyped(type);
        bool fits = word switch
        {
            "eq" or "ne" => true,
            "lt" or "le" or "gt" or "ge" => !untyped,
            "lo" or "ls" or "hi" or "hs" => unsigned,
            _ => floats,
        };
        if (!fits || type is PtxType.TF32 || (flush && type is not (PtxType.F32 or PtxType.F16 or PtxType.F16x2)))
            throw Error($"'{s.Text}' is no instruction of PTX");
    }

    private static Comparison ParseComparison(string word, PtxType type) => word switch
    {
        "eq" => Comparison.Eq,
        "ne" => type.IsFloat() ? Comparison.Ne : Comparison.Neu, // the same for integers, with one test less
        "lt" or "lo" => Comparison.Lt, "le" or "ls" => Comparison.Le, "gt" or "hi" => Comparison.Gt, "ge" or "hs" => Comparison.Ge,
        "equ" => Comparison.Equ, "neu" => Comparison.Neu, "ltu" => Comparison.Ltu, "leu" => Comparison.Leu, "gtu" => Comparison.Gtu, "geu" => Comparison.Geu,
        "num" => Comparison.Num, _ => Comparison.Nan,
    };

    private static Handler ComparisonOf(Comparison c, PtxType type, bool flush, bool set) => (type, set) switch
    {
        (PtxType.S16, false) => Pick<int, Signed16Maker>(c),
        (PtxType.U16 or PtxType.B16 or PtxType.U32 or PtxType.B32, false) => Pick<uint, SetpMaker<uint>>(c),
        (PtxType.S32, false) => Pick<int, SetpMaker<int>>(c),
        (PtxType.U64 or PtxType.B64, false) => Pick<ulong, SetpMaker<ulong>>(c),
        (PtxType.S64, false) => Pick<long, SetpMaker<long>>(c),
        (PtxType.F32, false) => flush ? Pick<float, FtzMaker>(c) : Pick<float, SetpMaker<float>>(c),
        (PtxType.F64, false) => Pick<double, SetpMaker<double>>(c),
        (PtxType.F16, false) => flush ? Pick<float, HalfMaker<FlushedHalf<Binary16>>>(c) : Pick<float, HalfMaker<Binary16>>(c),
        (PtxType.F16x2, false) => flush ? Pick<float, PairMaker<FlushedHalf<Binary16>>>(c) : Pick<float, PairMaker<Binary16>>(c),
        (PtxType.BF16x2, false) => Pick<float, PairMaker<BFloat16>>(c),
        (PtxType.BF16, false) => Pick<float, HalfMaker<BFloat16>>(c),
        (PtxType.U16 or PtxType.B16 or PtxType.U32 or PtxType.B32, true) => Pick<uint, SetMaker<uint>>(c),
        (PtxType.S32, true) => Pick<int, SetMaker<int>>(c),
        (PtxType.U64 or PtxType.B64, true) => Pick<ulong, SetMaker<ulong>>(c),
        (PtxType.S64, true) => Pick<long, SetMaker<long>>(c),
        (PtxType.S16, true) => Pick<int, Signed16SetMaker>(c),
        (PtxType.F32, true) => flush ? Pick<float, FtzSetMaker>(c) : Pick<float, SetMaker<float>>(c),
        (PtxType.F64, true) => Pick<double, SetMaker<double>>(c),
        (PtxType.F16, true) => flush ? Pick<float, HalfSetMaker<FlushedHalf<Binary16>>>(c) : Pick<float, HalfSetMaker<Binary16>>(c),
        (PtxType.F16x2, true) => flush ? Pick<float, PairSetMaker<FlushedHalf<Binary16>>>(c) : Pick<float, PairSetMaker<Binary16>>(c),
        (PtxType.BF16x2, true) => Pick<float, PairSetMaker<BFloat16>>(c),
        (PtxType.BF16, true) => Pick<float, HalfSetMaker<BFloat16>>(c),
        _ => null,
    };

    private void Move(DecodedOp op, InstructionStatement s, Modifiers m)
    {
        Count(s, 2);
        int vector = TakeVector(m);
        PtxType type = m.TakeType();
        (Operand target, Operand source) = (Elements(s.Operands[0]), Elements(s.Operands[1]));
        if (type != PtxType.Pred)
            RequireData(s, type);
        if (vector > 1)
        {
            MoveVector(op, target, source, vector, type);
        }
        else if (type == PtxType.Pred)
        {
            op.I.Q = PredicateSource(op, source);
            op.I.R = 0;
            op.I.P = PredicateDestination(op, target.Name);
            Emit(op, &CompareOps.PredicateLogic);
        }
        else if (source.Kind == OperandKind.Vector)
        {
            Pack(op, target, source.Items, type);
        }
        else if (target.Kind == OperandKind.Vector)
        {
            Unpack(op, target.Items, source, type);
        }
        else if (source.Kind == OperandKind.Name && SpecialRegisters.TryFind(source.Name, out int id, out int bits))
        {
            if (bits != type.Bits() && !(bits == 32 && type.Bits() == 16))
                throw Error($"'{source.Name}' has {bits} bits");
            op.I.Mode = id;
            op.I.Width = type.Bits();
            D(op, target, type);
            Emit(op, &SpecialRegisters.Read);
        }
        else
        {
            D(op, target, type);
            A(op, source, type);
            Emit(op, type.Bits() == 64 ? &Loops.Vector1<ulong, Move<ulong>> : &Loops.Vector1<uint, Move<uint>>);
        }
    }

    /// <summary>A vector register as the vector of its elements; anything else as it is.</summary>
    private Operand Elements(Operand o)
    {
        if (o.Kind != OperandKind.Name || _scope.TryFind(o.Name, out _) || !_scope.TryFind(o.Name + ".x", out _))
            return o;
        return new Operand { Kind = OperandKind.Vector, Items = [.. VectorElements.Where(e => _scope.TryFind(o.Name + e, out _)).Select(e => new Operand { Kind = OperandKind.Name, Name = o.Name + e })] };
    }

    /// <summary>mov.v2 and .v4: all elements are read before any is written.</summary>
    private void MoveVector(DecodedOp op, Operand target, Operand source, int vector, PtxType type)
    {
        if (vector > 4 || target.Kind != OperandKind.Vector || source.Kind != OperandKind.Vector || target.Items.Length != vector || source.Items.Length != vector)
            throw Error($"two vectors of {vector} registers expected");
        var values = new int[vector];
        Handler move = type.Bits() == 64 ? &Loops.Vector1<ulong, Move<ulong>> : &Loops.Vector1<uint, Move<uint>>;
        for (int n = 0; n < 2 * vector; n++)
        {
            bool reads = n < vector;
            var copy = new DecodedOp { I = { Line = op.I.Line, Guard = op.I.Guard, Uncounted = n < (2 * vector) - 1 }, Fields = OperandFields.D | OperandFields.A };
            copy.Uses.AddRange(op.Uses);
            if (reads)
            {
                A(copy, source.Items[n], type);
                values[n] = copy.I.D = NewRegister(type.Bits());
                copy.Defs.Add(values[n]);
            }
            else
            {
                copy.I.A = values[n - vector];
                copy.Uses.Add(values[n - vector]);
                D(copy, target.Items[n - vector], type);
            }

            Emit(copy, move);
        }
    }

    private void Pack(DecodedOp op, Operand target, Operand[] parts, PtxType type)
    {
        int bits = type.Bits() / parts.Length;
        PtxType part = PartType(bits);
        foreach (Operand item in parts)
            op.List.Add(Source(op, item, part));
        op.I.Mode = bits;
        op.I.Count = parts.Length;
        op.I.Width = type.Bits();
        D(op, target, type);
        Emit(op, &BitOps.Pack);
    }

    private void Unpack(DecodedOp op, Operand[] parts, Operand source, PtxType type)
    {
        int bits = type.Bits() / parts.Length;
        PartType(bits);
        A(op, source, type);
        foreach (Operand item in parts)
            op.List.Add(Destination(op, item, bits, exact: bits != 8, out _));
        op.I.Mode = bits;
        op.I.Count = parts.Length;
        op.I.Width = type.Bits();
        Emit(op, &BitOps.Unpack);
    }

    private PtxType PartType(int bits) => bits switch { 8 => PtxType.B8, 16 => PtxType.B16, 32 => PtxType.B32, _ => throw Error($"parts of {bits} bits are not supported") };

    /// <summary>cvta: adds or takes away the window of the space; global addresses are generic ones.</summary>
    private void ConvertAddress(DecodedOp op, InstructionStatement s, Modifiers m)
    {
        Count(s, 2);
        bool to = m.Take("to");
        Space space = TakeSpace(m);
        PtxType type = m.TakeType();
        if (type.Bits() != 64)
            throw Error("addresses have 64 bits");
        D(op, s.Operands[0], type);
        A(op, s.Operands[1], type);
        if (!IsWindow(space, out ulong window))
        {
            if (space == Space.Param)
                throw Error("generic addresses of parameters are not supported");
            Emit(op, &Loops.Vector1<ulong, Move<ulong>>);
            return;
        }

        op.I.B = Constant(to ? 0 - window : window, true);
        op.Fields |= OperandFields.B;
        Emit(op, &Loops.Vector2<ulong, Add<ulong>>);
    }

    private static Space TakeSpace(Modifiers m) => m.TakeAny("global", "shared", "shared::cta", "const", "local", "param") switch
    {
        "global" => Space.Global, "shared" or "shared::cta" => Space.Shared, "const" => Space.Const, "local" => Space.Local, "param" => Space.Param, _ => Space.Generic,
    };

    private void Convert(DecodedOp op, InstructionStatement s, Modifiers m)
    {
        if (m.Take("pack"))
        {
            PackSaturated(op, s, m);
            return;
        }

        string? rounding = m.TakeAny("rn", "rz", "rm", "rp", "rna"), integral = m.TakeAny("rni", "rzi", "rmi", "rpi");
        bool flush = m.Take("ftz"), saturate = m.Take("sat"), relu = m.Take("relu"), finite = m.Take("satfinite");
        PtxType target = m.TakeType(), source = m.TakeType();
        if (target == PtxType.None || source == PtxType.None || !Is8BitFloat(target) && finite)
            throw Error($"'{s.Text}' is not understood");
        op.I.Mode = (int)Mode(rounding ?? integral) | (flush ? Conversions.FlushSubnormals : 0) | (saturate ? Conversions.Saturating : 0) | (relu ? Conversions.Relu : 0);
        op.I.Q = (int)target;
        op.I.P = (int)source;
        if (Is8BitFloat(target) || Is8BitFloat(source))
        {
            if (TargetCapability < 89)
                throw Error($"'{s.Text}' needs sm_89, the module is for {_module.Target}");
            if (Is8BitFloat(source) ? target != PtxType.F16x2 : source is not (PtxType.F32 or PtxType.F16x2) || !finite)
                throw Error($"'{s.Text}' is not supported");
            if (rounding != "rn" || flush || saturate)
                throw Error($"'{s.Text}' is no instruction of PTX");
        }

        if (Is8BitFloat(target) && source == PtxType.F16x2)
        {
            Count(s, 2);
            D(op, s.Operands[0], target);
            A(op, s.Operands[1], source);
            Emit(op, &Conversions.HalvesToFloat8);
            return;
        }

        if (Is8BitFloat(source))
        {
            Count(s, 2);
            D(op, s.Operands[0], target);
            A(op, s.Operands[1], PtxType.B16);
            Emit(op, &Conversions.FromFloat8);
            return;
        }

        if (target is PtxType.F16x2 or PtxType.BF16x2 || Is8BitFloat(target))
        {
            if (source != PtxType.F32 || rounding is not ("rn" or "rz") || flush || saturate)
                throw Error($"'{s.Text}' is not supported");
            Count(s, 3);
            D(op, s.Operands[0], target);
            A(op, s.Operands[1], source);
            B(op, s.Operands[2], source);
            Emit(op, target == PtxType.BF16x2 && op.I.Mode == 0 ? &Conversions.BFloat16Pair : &Conversions.Pair);
            return;
        }

        Count(s, 2);
        CheckConversion(s, target, source, relu, saturate, flush);
        if (rounding == "rna" != (target == PtxType.TF32 && rounding != "rn" && rounding != "rz") || (source.IsInteger() && target.IsInteger() && (rounding ?? integral) is not null))
            throw Error($"'{s.Text}' is no instruction of PTX");
        if (source.IsFloat() && target.IsInteger() && integral is null)
            throw Error($"'{s.Text}' needs .rni, .rzi, .rmi or .rpi");
        if (rounding is null && ((source.IsInteger() && target.IsFloat()) || (source.IsFloat() && target.IsFloat() && target.Bits() < source.Bits())))
            throw Error($"'{s.Text}' needs a rounding");
        if (integral is not null && target.IsFloat())
            op.I.Mode |= Conversions.ToIntegral;
        op.I.A = WideSource(op, s.Operands[1], source, out int sourceBits);
        op.I.D = Destination(op, s.Operands[0], target.Bits(), exact: target.IsFloat(), out int targetBits);
        op.Fields |= OperandFields.A | OperandFields.D;
        op.I.Width = sourceBits;
        op.I.Count = targetBits;
        Emit(op, FastConversion(op, source, target, sourceBits, targetBits));
    }

    private void CheckConversion(InstructionStatement s, PtxType target, PtxType source, bool relu, bool saturate, bool flush)
    {
        bool known = IsConvertible(target) && IsConvertible(source) && source != PtxType.TF32 && (target != PtxType.TF32 || source == PtxType.F32);
        bool narrow = target is PtxType.F16 or PtxType.BF16 or PtxType.TF32;
        if (!known || (relu && (!narrow || source != PtxType.F32)) || (flush && source != PtxType.F32 && target != PtxType.F32) || (saturate && target is PtxType.TF32 or PtxType.BF16))
            throw Error($"'{s.Text}' is no instruction of PTX");

        static bool IsConvertible(PtxType type) => type is (>= PtxType.U8 and <= PtxType.S64) or PtxType.F16 or PtxType.BF16 or PtxType.TF32 or PtxType.F32 or PtxType.F64;
    }

    /// <summary>cvt.pack.sat.type.s32{.b32} d, a, b{, c}: two clamped numbers, a the upper; 8-bit ones go below the low half of c.</summary>
    private void PackSaturated(DecodedOp op, InstructionStatement s, Modifiers m)
    {
        m.Take("sat");
        PtxType target = m.TakeType(), source = m.TakeType(), rest = m.TakeType();
        bool narrow = target.Bits() == 8;
        if (source != PtxType.S32 || !target.IsInteger() || target.Bits() > 16 || narrow != (rest == PtxType.B32))
            throw Error($"'{s.Text}' is not supported");
        Count(s, narrow ? 4 : 3);
        op.I.Q = (int)target;
        D(op, s.Operands[0], PtxType.B32);
        A(op, s.Operands[1], source);
        B(op, s.Operands[2], source);
        op.I.C = Constant(0, false);
        op.Fields |= OperandFields.C;
        if (narrow)
            C(op, s.Operands[3], PtxType.B32);
        Emit(op, &Conversions.PackSaturated);
    }

    private static bool Is8BitFloat(PtxType type) => type is PtxType.E4M3x2 or PtxType.E5M2x2;

    private static Handler FastConversion(DecodedOp op, PtxType source, PtxType target, int sourceBits, int targetBits)
    {
        int mode = op.I.Mode;
        if (source.IsInteger() && target.IsInteger() && mode == 0)
        {
            if (sourceBits <= 32 && targetBits <= 32)
                return &Conversions.Narrow;
            if (sourceBits == 32 && targetBits == 64 && source.Bits() == 32 && target.Bits() == 64)
                return source.IsSigned() ? &Conversions.Widen<int, long> : &Conversions.Widen<uint, ulong>;
            if (sourceBits == 64 && targetBits == 32 && target.Bits() == 32 && source.Bits() == 64)
                return &Conversions.Widen<ulong, uint>;
        }

        return (source, target, mode) switch
        {
            (PtxType.S32, PtxType.F32, 0) when sourceBits == 32 => &Loops.Lane1<int, float, SignedToFloat>,
            (PtxType.U32, PtxType.F32, 0) when sourceBits == 32 => &Loops.Lane1<uint, float, UnsignedToFloat>,
            (PtxType.F32, PtxType.S32, (int)Rounding.Zero) when targetBits == 32 => &Loops.Lane1<float, int, FloatToSigned>,
            (PtxType.F32, PtxType.U32, (int)Rounding.Zero) when targetBits == 32 => &Loops.Lane1<float, uint, FloatToUnsigned>,
            (PtxType.BF16, PtxType.F32, 0) => &Loops.Vector1<uint, BFloat16ToFloat>,
            (PtxType.F32, PtxType.BF16, 0) => &Loops.Vector1<uint, FloatToBFloat16>,
            (PtxType.F32, PtxType.F64, 0) => &Loops.Lane1<float, double, FloatToDouble>,
            (PtxType.F64, PtxType.F32, 0) => &Loops.Lane1<double, float, DoubleToFloat>,
            (PtxType.F16, PtxType.F32, 0) => &Loops.Lane1<uint, float, HalfToFloat>,
            (PtxType.F32, PtxType.F16, 0) => &Loops.Lane1<float, uint, FloatToHalf>,
            _ => &Conversions.General,
        };
    }
}
