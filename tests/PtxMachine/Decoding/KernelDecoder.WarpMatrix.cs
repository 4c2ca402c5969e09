using System.Globalization;
using Foretoken.Ptx.Execution;
using Foretoken.Ptx.Instructions;
using Foretoken.Ptx.Memory;
using Foretoken.Ptx.Parsing;

namespace Foretoken.Ptx.Decoding;

/// <summary>wmma: loads, stores and products of whole matrices.</summary>
internal sealed unsafe partial class KernelDecoder
{
    private void WarpMatrix(DecodedOp op, InstructionStatement s, Modifiers m)
    {
        string what = m.TakeAny("load", "store", "mma") ?? throw Error($"'{s.Text}' is not understood");
        string shape = m.TakeAny("m16n16k16", "m8n32k16", "m32n8k16", "m16n16k8", "m8n8k32", "m8n8k128", "m8n8k4") ?? throw Error($"'{s.Text}' names no shape of PTX");
        int[] sizes = [.. shape.Split('m', 'n', 'k').Skip(1).Select(n => int.Parse(n, CultureInfo.InvariantCulture))];
        if (!m.Take("sync"))
            throw Error($"'{s.Text}' needs .sync");
        m.Take("aligned");
        Aligned(op);
        if (what == "mma")
            WarpMatrixProduct(op, s, m, shape, sizes);
        else
            WarpMatrixAccess(op, s, m, shape, sizes, load: what == "load");
    }

    private void WarpMatrixAccess(DecodedOp op, InstructionStatement s, Modifiers m, string shape, int[] sizes, bool load)
    {
        string part = m.TakeAny("a", "b", "c", "d") ?? throw Error($"'{s.Text}' names no matrix");
        string layout = m.TakeAny("row", "col") ?? throw Error($"'{s.Text}' needs .row or .col");
        Space space = TakeSpace(m);
        string type = s.Modifiers[^1];
        m.Take(type);
        if (load == (part == "d"))
            throw Error($"'{s.Text}' is no instruction of PTX");
        WarpFragment fragment = FragmentOf(s, shape, sizes, part, type);
        Count(s, 2, 3);
        Operand address = s.Operands[load ? 1 : 0], registers = s.Operands[load ? 0 : 1];
        space = Address(op, address, space);
        op.I.Flag = layout == "col";
        if (s.Operands.Count == 3)
            B(op, s.Operands[2], PtxType.U32);
        else
            op.I.B = Constant((ulong)(op.I.Flag ? fragment.Rows : fragment.Columns), false);
        Head(op, fragment);
        Fragment(op, registers, fragment.Registers, load, fragment.Bits == 64 ? PtxType.B64 : PtxType.B32);
        Grain(space, Math.Max(fragment.Bits / 8, 1));
        Handler run = (space, load) switch
        {
            (Space.Global, true) => &WarpMatrixOps.Load<GlobalSpace>,
            (Space.Shared, true) => &WarpMatrixOps.Load<SharedSpace>,
            (Space.Generic, true) => &WarpMatrixOps.Load<GenericSpace>,
            (Space.Global, false) => &WarpMatrixOps.Store<GlobalSpace>,
            (Space.Shared, false) => &WarpMatrixOps.Store<SharedSpace>,
            (Space.Generic, false) => &WarpMatrixOps.Store<GenericSpace>,
            _ => null,
        };
        Emit(op, run != null ? run : throw Error($"'{s.Text}' is not supported"));
    }

    private void WarpMatrixProduct(DecodedOp op, InstructionStatement s, Modifiers m, string shape, int[] sizes)
    {
        Count(s, 4);
        if (m.TakeAny("row", "col") is null || m.TakeAny("row", "col") is null)
            throw Error($"'{s.Text}' needs two layouts");
        op.I.Flag = m.Take("satfinite");
        bool xor = m.Take("xor"), and = !xor && m.Take("and");
        if ((xor || and) != m.Take("popc"))
            throw Error($"'{s.Text}' is not understood");
        string[] types = [.. s.Modifiers.Where(w => w is "f16" or "f32" or "bf16" or "tf32" or "f64" or "s32" or "s8" or "u8" or "s4" or "u4" or "b1")];
        foreach (string type in types)
            m.Take(type);
        if (types.Length == 2) // f16 names its accumulators only
            types = [types[0], "f16", "f16", types[1]];
        if (types.Length != 4 || (types[1] != types[2] && types[1][1..] != types[2][1..]))
            throw Error($"'{s.Text}': types d.a.b.c expected");
        WarpFragment a = FragmentOf(s, shape, sizes, "a", types[1]), b = FragmentOf(s, shape, sizes, "b", types[2]), c = FragmentOf(s, shape, sizes, "c", types[3]), d = FragmentOf(s, shape, sizes, "d", types[0]);
        bool integer = types[0] == "s32", fits = types[1] switch
        {
            "f16" => types[0] is "f16" or "f32" && types[3] is "f16" or "f32",
            "bf16" or "tf32" => types[0] == "f32" && types[3] == "f32",
            "f64" => types[0] == "f64" && types[3] == "f64",
            _ => integer && types[3] == "s32",
        };
        if (!fits || (types[1] == "b1") != (xor || and) || (op.I.Flag && (!integer || xor || and)))
            throw Error($"'{s.Text}' is no instruction of PTX");
        op.I.Mode = integer
            ? (types[1][0] == 's' ? 1 : 0) | (types[2][0] == 's' ? 2 : 0) | (xor ? MatrixOps.XorPopulation : 0) | (and ? MatrixOps.AndPopulation : 0)
            : types[1] switch { "f16" => MatrixOps.Half, "bf16" => MatrixOps.Brain, _ => MatrixOps.Tf32 };
        op.I.Width = types[0] == "f16" && types[3] == "f16" ? 16 : 32;
        op.I.Target = d.Bits;
        Head(op, a);
        Head(op, b);
        Head(op, c);
        PtxType register = d.Bits == 64 ? PtxType.B64 : PtxType.B32;
        Fragment(op, s.Operands[0], d.Registers, target: true, register);
        Fragment(op, s.Operands[1], a.Registers, target: false, register);
        Fragment(op, s.Operands[2], b.Registers, target: false, register);
        Fragment(op, s.Operands[3], c.Registers, target: false, register);
        Emit(op, integer ? &WarpMatrixOps.Integer : d.Bits == 64 ? &WarpMatrixOps.Double : &WarpMatrixOps.Float);
    }

    /// <summary>Plain numbers at the head of a list; the sign bit keeps them apart from registers.</summary>
    private static void Head(DecodedOp op, WarpFragment fragment)
    {
        op.List.Add((int)(fragment.Packed & 0x7FFFFFFF) | int.MinValue);
        op.List.Add((int)(fragment.Packed >> 32) | int.MinValue);
    }

    private WarpFragment FragmentOf(InstructionStatement s, string shape, int[] sizes, string part, string type)
    {
        (int rows, int columns) = part switch { "a" => (sizes[0], sizes[2]), "b" => (sizes[2], sizes[1]), _ => (sizes[0], sizes[1]) };
        bool factor = part is "a" or "b", fits = (shape, type) switch
        {
            ("m16n16k16" or "m8n32k16" or "m32n8k16", "f16") => true,
            ("m16n16k16" or "m8n32k16" or "m32n8k16", "bf16" or "s8" or "u8") => factor,
            ("m16n16k8", "tf32") or ("m8n8k32", "s4" or "u4") or ("m8n8k128", "b1") => factor,
            ("m8n8k4", "f64") => true,
            ("m16n16k16" or "m8n32k16" or "m32n8k16" or "m16n16k8", "f32") => !factor,
            ("m16n16k16" or "m8n32k16" or "m32n8k16" or "m8n8k32" or "m8n8k128", "s32") => !factor,
            _ => false,
        };
        if (!fits)
            throw Error($"'{s.Text}': .{type} does not go with matrix {part} of {shape}");
        int bits = type switch { "f64" => 64, "f32" or "s32" or "tf32" => 32, "f16" or "bf16" => 16, "s8" or "u8" => 8, "s4" or "u4" => 4, _ => 1 };
        int registers = factor && type == "f16" ? 8 : rows * columns * bits / (bits == 64 ? 2048 : 1024);
        return new WarpFragment(rows, columns, registers, bits);
    }
}
