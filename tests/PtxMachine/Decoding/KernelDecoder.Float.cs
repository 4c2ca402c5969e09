using Foretoken.Ptx.Execution;
using Foretoken.Ptx.Instructions;
using Foretoken.Ptx.Parsing;

namespace Foretoken.Ptx.Decoding;

/// <summary>Floating-point arithmetic of all formats, and the approximations.</summary>
internal sealed unsafe partial class KernelDecoder
{
    private bool FloatFunctions(DecodedOp op, InstructionStatement s, Modifiers m)
    {
        PtxType type = _last;
        if (!type.IsFloat() || s.Opcode is "cvt" or "setp" or "set" or "mov" or "ld" or "st" or "selp" or "slct" or "atom" or "red" or "mma" or "wmma" or "testp")
            return false;
        if (type is PtxType.F16 or PtxType.F16x2 or PtxType.BF16 or PtxType.BF16x2)
            return HalfFunction(op, s, m, type);
        if (type is not (PtxType.F32 or PtxType.F64))
            return false;
        m.TakeType();
        string? rounding = m.TakeAny("rn", "rz", "rm", "rp");
        bool approximate = m.Take("approx"), full = m.Take("full"), flush = m.Take("ftz"), saturate = m.Take("sat");
        CheckWords(s, type, rounding is not null, approximate || full, flush, saturate);
        Rounding mode = Mode(rounding);
        bool single = type == PtxType.F32;
        Handler run;
        int sources;
        switch (s.Opcode)
        {
            case "add" or "sub" or "mul":
                sources = 2;
                run = single ? SingleSum(s.Opcode, mode, flush, saturate) : DoubleSum(s.Opcode, mode);
                break;
            case "fma" or "mad":
                if (rounding is null)
                    throw Error($"'{s.Text}' must name its rounding");
                sources = 3;
                run = single ? SingleFma(mode, flush, saturate) : DoubleFma(mode);
                break;
            case "div":
                if (!approximate && !full && rounding is null)
                    throw Error($"'{s.Text}' needs .approx, .full or a rounding");
                sources = 2;
                run = single ? SingleDivision(mode, approximate, full, flush) : DoubleDivision(mode);
                break;
            case "rcp" or "sqrt" or "rsqrt" or "sin" or "cos" or "lg2" or "ex2" or "tanh":
                if (!approximate && rounding is null)
                    throw Error($"'{s.Text}' needs .approx or a rounding");
                sources = 1;
                run = single ? SingleFunction(s.Opcode, mode, approximate, flush) : DoubleFunction(s.Opcode, mode, approximate, flush);
                break;
            case "abs" or "neg":
                sources = 1;
                run = (single, s.Opcode == "abs") switch
                {
                    (true, true) => flush ? &BitOps.FlushThenAbs : &Loops.Vector1<uint, AbsFloat>,
                    (true, false) => flush ? &BitOps.FlushThenNegate : &Loops.Vector1<uint, NegateFloat>,
                    (false, true) => &Loops.Vector1<ulong, AbsDouble>,
                    _ => &Loops.Vector1<ulong, NegateDouble>,
                };
                break;
            case "min" or "max":
                sources = 2;
                bool nan = single && m.Take("NaN"), sign = single && m.Take("xorsign");
                if (sign && !m.Take("abs"))
                    throw Error($"'{s.Text}': .xorsign stands with .abs");
                run = single ? SingleExtreme(s.Opcode == "min", nan, sign, flush) : s.Opcode == "min" ? &Loops.Lane2<double, double, double, MinDouble> : &Loops.Lane2<double, double, double, MaxDouble>;
                break;
            case "copysign":
                sources = 2;
                run = single ? &Loops.Lane2<uint, uint, uint, CopySign32> : &Loops.Lane2<ulong, ulong, ulong, CopySign64>;
                break;
            default:
                return false;
        }

        Count(s, sources + 1);
        D(op, s.Operands[0], type);
        A(op, s.Operands[1], type);
        if (sources > 1)
            B(op, s.Operands[2], type);
        if (sources > 2)
            C(op, s.Operands[3], type);
        Emit(op, Handled(run, s, type));
        return true;
    }

    /// <summary>Which of the words rounding, .approx or .full, .ftz and .sat an operation takes (PTX ISA 9.7.3).</summary>
    private void CheckWords(InstructionStatement s, PtxType type, bool rounding, bool approximate, bool flush, bool saturate)
    {
        bool single = type == PtxType.F32;
        (bool takesRounding, bool takesApproximate, bool takesSaturate) = s.Opcode switch
        {
            "add" or "sub" or "mul" or "fma" or "mad" => (true, false, single),
            "div" => (true, single, false),
            "rcp" => (true, single || flush, false),
            "sqrt" => (true, single, false),
            "rsqrt" => (false, true, false),
            "sin" or "cos" or "lg2" or "ex2" or "tanh" => (false, single, false),
            _ => (false, false, false),
        };
        bool takesFlush = single ? s.Opcode is not ("copysign" or "tanh") : approximate && s.Opcode is "rcp" or "rsqrt";
        if ((rounding && (!takesRounding || approximate)) || (approximate && !takesApproximate) || (saturate && !takesSaturate) || (flush && !takesFlush))
            throw Error($"'{s.Text}' is no instruction of PTX");
    }

    private static Rounding Mode(string? word) => word switch
    {
        "rz" or "rzi" => Rounding.Zero, "rm" or "rmi" => Rounding.Down, "rp" or "rpi" => Rounding.Up, "rna" => Rounding.NearestAway, _ => Rounding.Nearest,
    };

    private static Handler Vector<TOp>(bool flush, bool saturate)
        where TOp : struct, IVector2<float> => (flush, saturate) switch
        {
            (false, false) => &Loops.Vector2<float, TOp>,
            (true, false) => &Loops.Vector2<float, Ftz2<TOp>>,
            (false, true) => &Loops.Vector2<float, Saturate2<TOp>>,
            _ => &Loops.Vector2<float, Saturate2<Ftz2<TOp>>>,
        };

    private static Handler Lane<TOp>(bool flush, bool saturate)
        where TOp : struct, ILane2<float, float, float> => (flush, saturate) switch
        {
            (false, false) => &Loops.Lane2<float, float, float, TOp>,
            (true, false) => &Loops.Lane2<float, float, float, LaneFtz2<TOp>>,
            (false, true) => &Loops.Lane2<float, float, float, LaneSaturate2<TOp>>,
            _ => &Loops.Lane2<float, float, float, LaneSaturate2<LaneFtz2<TOp>>>,
        };

    private static Handler SingleSum(string opcode, Rounding mode, bool flush, bool saturate) => (opcode, mode) switch
    {
        ("add", Rounding.Nearest) => Vector<Add<float>>(flush, saturate),
        ("sub", Rounding.Nearest) => Vector<Subtract<float>>(flush, saturate),
        ("mul", Rounding.Nearest) => Vector<Multiply<float>>(flush, saturate),
        ("add", Rounding.Zero) => Lane<AddRounded<RoundZero>>(flush, saturate),
        ("add", Rounding.Down) => Lane<AddRounded<RoundDown>>(flush, saturate),
        ("add", _) => Lane<AddRounded<RoundUp>>(flush, saturate),
        ("sub", Rounding.Zero) => Lane<SubtractBy<AddRounded<RoundZero>>>(flush, saturate),
        ("sub", Rounding.Down) => Lane<SubtractBy<AddRounded<RoundDown>>>(flush, saturate),
        ("sub", _) => Lane<SubtractBy<AddRounded<RoundUp>>>(flush, saturate),
        (_, Rounding.Zero) => Lane<MultiplyRounded<RoundZero>>(flush, saturate),
        (_, Rounding.Down) => Lane<MultiplyRounded<RoundDown>>(flush, saturate),
        _ => Lane<MultiplyRounded<RoundUp>>(flush, saturate),
    };

    private static Handler DoubleSum(string opcode, Rounding mode) => (opcode, mode) switch
    {
        ("add", Rounding.Nearest) => &Loops.Vector2<double, Add<double>>,
        ("sub", Rounding.Nearest) => &Loops.Vector2<double, Subtract<double>>,
        ("mul", Rounding.Nearest) => &Loops.Vector2<double, Multiply<double>>,
        ("add", Rounding.Zero) => &Loops.Lane2<double, double, double, AddRoundedDouble<RoundZero>>,
        ("add", Rounding.Down) => &Loops.Lane2<double, double, double, AddRoundedDouble<RoundDown>>,
        ("add", _) => &Loops.Lane2<double, double, double, AddRoundedDouble<RoundUp>>,
        ("sub", Rounding.Zero) => &Loops.Lane2<double, double, double, SubtractByDouble<AddRoundedDouble<RoundZero>>>,
        ("sub", Rounding.Down) => &Loops.Lane2<double, double, double, SubtractByDouble<AddRoundedDouble<RoundDown>>>,
        ("sub", _) => &Loops.Lane2<double, double, double, SubtractByDouble<AddRoundedDouble<RoundUp>>>,
        (_, Rounding.Zero) => &Loops.Lane2<double, double, double, MultiplyRoundedDouble<RoundZero>>,
        (_, Rounding.Down) => &Loops.Lane2<double, double, double, MultiplyRoundedDouble<RoundDown>>,
        _ => &Loops.Lane2<double, double, double, MultiplyRoundedDouble<RoundUp>>,
    };

    private static Handler SingleFma(Rounding mode, bool flush, bool saturate) => mode switch
    {
        Rounding.Nearest => (flush, saturate) switch
        {
            (false, false) => &Loops.Vector3<float, FmaFloat>,
            (true, false) => &Loops.Vector3<float, Ftz3<FmaFloat>>,
            (false, true) => &Loops.Vector3<float, Saturate3<FmaFloat>>,
            _ => &Loops.Vector3<float, Saturate3<Ftz3<FmaFloat>>>,
        },
        Rounding.Zero => LaneFma<RoundZero>(flush, saturate),
        Rounding.Down => LaneFma<RoundDown>(flush, saturate),
        _ => LaneFma<RoundUp>(flush, saturate),
    };

    private static Handler LaneFma<TMode>(bool flush, bool saturate)
        where TMode : struct, IRounding => (flush, saturate) switch
        {
            (false, false) => &Loops.Lane3<float, float, float, float, FmaRounded<TMode>>,
            (true, false) => &Loops.Lane3<float, float, float, float, LaneFtz3<FmaRounded<TMode>>>,
            (false, true) => &Loops.Lane3<float, float, float, float, LaneSaturate3<FmaRounded<TMode>>>,
            _ => &Loops.Lane3<float, float, float, float, LaneSaturate3<LaneFtz3<FmaRounded<TMode>>>>,
        };

    private static Handler DoubleFma(Rounding mode) => mode switch
    {
        Rounding.Nearest => &Loops.Vector3<double, FmaDouble>,
        Rounding.Zero => &Loops.Lane3<double, double, double, double, FmaRoundedDouble<RoundZero>>,
        Rounding.Down => &Loops.Lane3<double, double, double, double, FmaRoundedDouble<RoundDown>>,
        _ => &Loops.Lane3<double, double, double, double, FmaRoundedDouble<RoundUp>>,
    };

    private static Handler SingleDivision(Rounding mode, bool approximate, bool full, bool flush) => (approximate, full, mode) switch
    {
        (true, _, _) => Lane<DivideApproximate>(flush, false),
        (_, true, _) => Lane<DivideFull>(flush, false),
        (_, _, Rounding.Nearest) => Vector<Divide<float>>(flush, false),
        (_, _, Rounding.Zero) => Lane<DivideRounded<RoundZero>>(flush, false),
        (_, _, Rounding.Down) => Lane<DivideRounded<RoundDown>>(flush, false),
        _ => Lane<DivideRounded<RoundUp>>(flush, false),
    };

    private static Handler DoubleDivision(Rounding mode) => mode switch
    {
        Rounding.Nearest => &Loops.Vector2<double, Divide<double>>,
        Rounding.Zero => &Loops.Lane2<double, double, double, DivideRoundedDouble<RoundZero>>,
        Rounding.Down => &Loops.Lane2<double, double, double, DivideRoundedDouble<RoundDown>>,
        _ => &Loops.Lane2<double, double, double, DivideRoundedDouble<RoundUp>>,
    };

    private static Handler Function<TOp>(bool flush)
        where TOp : struct, ILane1<float, float> => flush ? &Loops.Lane1<float, float, LaneFtz1<TOp>> : &Loops.Lane1<float, float, TOp>;

    private static Handler SingleFunction(string opcode, Rounding mode, bool approximate, bool flush) => (opcode, approximate ? Rounding.Nearest : mode) switch
    {
        ("rcp", Rounding.Nearest) => Function<ReciprocalRounded<RoundNearest>>(flush),
        ("rcp", Rounding.Zero) => Function<ReciprocalRounded<RoundZero>>(flush),
        ("rcp", Rounding.Down) => Function<ReciprocalRounded<RoundDown>>(flush),
        ("rcp", _) => Function<ReciprocalRounded<RoundUp>>(flush),
        ("sqrt", Rounding.Nearest) => flush ? &Loops.Vector1<float, Ftz1<SqrtFloat>> : &Loops.Vector1<float, SqrtFloat>,
        ("sqrt", Rounding.Zero) => Function<SqrtRounded<RoundZero>>(flush),
        ("sqrt", Rounding.Down) => Function<SqrtRounded<RoundDown>>(flush),
        ("sqrt", _) => Function<SqrtRounded<RoundUp>>(flush),
        _ when !approximate => null,
        ("rsqrt", _) => Function<ReciprocalSqrt>(flush),
        ("sin", _) => Function<Sine>(flush),
        ("cos", _) => Function<Cosine>(flush),
        ("lg2", _) => Function<Lg2>(flush),
        ("ex2", _) => flush ? &Loops.Vector1<float, Ftz1<Ex2>> : &Loops.Vector1<float, Ex2>,
        _ => Function<TanH>(flush),
    };

    private static Handler DoubleFunction(string opcode, Rounding mode, bool approximate, bool flush) => (opcode, mode, approximate) switch
    {
        ("rcp", _, true) => &Loops.Lane1<double, double, UpperHalf<ReciprocalRoundedDouble<RoundNearest>>>,
        ("rsqrt", _, true) when flush => &Loops.Lane1<double, double, UpperHalf<ReciprocalSqrtDouble>>,
        ("rcp", Rounding.Nearest, _) => &Loops.Lane1<double, double, ReciprocalRoundedDouble<RoundNearest>>,
        ("rcp", Rounding.Zero, _) => &Loops.Lane1<double, double, ReciprocalRoundedDouble<RoundZero>>,
        ("rcp", Rounding.Down, _) => &Loops.Lane1<double, double, ReciprocalRoundedDouble<RoundDown>>,
        ("rcp", _, _) => &Loops.Lane1<double, double, ReciprocalRoundedDouble<RoundUp>>,
        ("sqrt", Rounding.Nearest, _) => &Loops.Vector1<double, SqrtDouble>,
        ("sqrt", Rounding.Zero, _) => &Loops.Lane1<double, double, SqrtRoundedDouble<RoundZero>>,
        ("sqrt", Rounding.Down, _) => &Loops.Lane1<double, double, SqrtRoundedDouble<RoundDown>>,
        ("sqrt", _, _) => &Loops.Lane1<double, double, SqrtRoundedDouble<RoundUp>>,
        ("rsqrt", _, true) => &Loops.Lane1<double, double, ReciprocalSqrtDouble>,
        _ => null,
    };

    private static Handler SingleExtreme(bool min, bool nan, bool sign, bool flush) => (min, nan, sign) switch
    {
        (true, false, false) => Vector<MinFloat>(flush, false),
        (true, true, false) => Vector<NanPropagating<MinFloat>>(flush, false),
        (false, false, false) => Vector<MaxFloat>(flush, false),
        (false, true, false) => Vector<NanPropagating<MaxFloat>>(flush, false),
        (true, false, true) => Vector<OfMagnitudes<MinFloat>>(flush, false),
        (true, true, true) => Vector<OfMagnitudes<NanPropagating<MinFloat>>>(flush, false),
        (false, false, true) => Vector<OfMagnitudes<MaxFloat>>(flush, false),
        _ => Vector<OfMagnitudes<NanPropagating<MaxFloat>>>(flush, false),
    };

    private bool HalfFunction(DecodedOp op, InstructionStatement s, Modifiers m, PtxType type)
    {
        bool pair = type is PtxType.F16x2 or PtxType.BF16x2, brain = type is PtxType.BF16 or PtxType.BF16x2;
        if (s.Opcode is not ("add" or "sub" or "mul" or "fma" or "abs" or "neg" or "min" or "max" or "ex2" or "tanh"))
            return false;
        m.TakeType();
        bool rounded = m.Take("rn"), approximate = m.Take("approx"), flush = m.Take("ftz"), saturate = m.Take("sat"), relu = m.Take("relu"), nan = m.Take("NaN");
        bool sum = s.Opcode is "add" or "sub" or "mul", fused = s.Opcode == "fma", extreme = s.Opcode is "min" or "max", function = s.Opcode is "ex2" or "tanh";
        bool sign = extreme && m.Take("xorsign") && m.Take("abs");
        if ((rounded && !sum && !fused) || approximate != function || (saturate && (brain || !(sum || fused))) || (relu && (!fused || saturate)) || (nan && !extreme)
            || (fused && !rounded) || (flush && (s.Opcode == "tanh" || (brain && s.Opcode != "ex2"))) || (brain && s.Opcode == "ex2" && !flush))
            throw Error($"'{s.Text}' is no instruction of PTX");
        if (brain && TargetCapability < 90 && (sum || function))
            throw Error($"'{s.Text}' needs sm_90, the module is for {_module.Target}");
        int sources = fused ? 3 : s.Opcode is "abs" or "neg" || function ? 1 : 2;
        Count(s, sources + 1);
        D(op, s.Operands[0], type);
        A(op, s.Operands[1], type);
        op.I.B = op.I.C = Constant(0, false);
        if (sources > 1)
            B(op, s.Operands[2], type);
        if (sources > 2)
            C(op, s.Operands[3], type);
        op.Fields |= OperandFields.B | OperandFields.C;
        if (s.Opcode is "abs" or "neg" && !flush)
        {
            op.I.B = Constant(s.Opcode == "abs" ? (pair ? 0x7FFF7FFFu : 0x7FFFu) : (pair ? 0x80008000u : 0x8000u), false);
            Emit(op, s.Opcode == "abs" ? &Loops.Vector2<uint, And<uint>> : &Loops.Vector2<uint, Xor<uint>>);
            return true;
        }

        Emit(op, s.Opcode switch
        {
            "add" => saturate ? HalfOf<HalfSaturate<HalfAdd>>(brain, pair, flush) : HalfOf<HalfAdd>(brain, pair, flush),
            "sub" => saturate ? HalfOf<HalfSaturate<HalfSubtract>>(brain, pair, flush) : HalfOf<HalfSubtract>(brain, pair, flush),
            "mul" => saturate ? HalfOf<HalfSaturate<HalfMultiply>>(brain, pair, flush) : HalfOf<HalfMultiply>(brain, pair, flush),
            "fma" => relu ? HalfOf<HalfFmaRelu>(brain, pair, flush) : saturate ? HalfOf<HalfSaturate<HalfFma>>(brain, pair, flush) : HalfOf<HalfFma>(brain, pair, flush),
            "min" => (nan, sign) switch
            {
                (false, false) => HalfOf<HalfMin>(brain, pair, flush),
                (true, false) => HalfOf<HalfMinNan>(brain, pair, flush),
                (false, true) => HalfOf<HalfOfMagnitudes<HalfMin>>(brain, pair, flush),
                _ => HalfOf<HalfOfMagnitudes<HalfMinNan>>(brain, pair, flush),
            },
            "max" => (nan, sign) switch
            {
                (false, false) => HalfOf<HalfMax>(brain, pair, flush),
                (true, false) => HalfOf<HalfMaxNan>(brain, pair, flush),
                (false, true) => HalfOf<HalfOfMagnitudes<HalfMax>>(brain, pair, flush),
                _ => HalfOf<HalfOfMagnitudes<HalfMaxNan>>(brain, pair, flush),
            },
            "abs" => HalfOf<HalfAbs>(brain, pair, flush),
            "neg" => HalfOf<HalfNegate>(brain, pair, flush),
            "ex2" => HalfOf<HalfEx2>(brain, pair, flush),
            _ => HalfOf<HalfTanH>(brain, pair, flush),
        });
        return true;
    }

    private int TargetCapability => int.TryParse(new string([.. _module.Target.Where(char.IsAsciiDigit)]), System.Globalization.CultureInfo.InvariantCulture, out int value) ? value : 0;

    private static Handler HalfOf<TOp>(bool brain, bool pair, bool flush)
        where TOp : struct, IHalfOperation => (brain, flush) switch
        {
            (false, false) => HalfOf<Binary16, TOp>(pair),
            (false, true) => HalfOf<FlushedHalf<Binary16>, TOp>(pair),
            (true, false) => HalfOf<BFloat16, TOp>(pair),
            _ => HalfOf<FlushedHalf<BFloat16>, TOp>(pair),
        };

    private static Handler HalfOf<TFormat, TOp>(bool pair)
        where TFormat : struct, IHalfFormat
        where TOp : struct, IHalfOperation => pair ? &Loops.Lane3<uint, uint, uint, uint, Half2<TFormat, TOp>> : &Loops.Lane3<uint, uint, uint, uint, Half1<TFormat, TOp>>;
}
