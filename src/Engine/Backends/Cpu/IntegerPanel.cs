using System.Buffers.Binary;
using System.Runtime.Intrinsics;
using Foretoken.Backends.Cpu.Kernels;
using Foretoken.Numerics;

namespace Foretoken.Backends.Cpu;

/// <summary>
/// Moves the quantised values of one row between the blocks of files (<see cref="BlockFormat"/>) and one lane of a panel (<see cref="PanelFormat"/>).
/// Nothing is rounded: quants, scales and minimums are the same numbers in another order.
/// </summary>
internal static unsafe class IntegerPanel
{
    private const int Lanes = PanelMatrix.PanelRows, StepLength = PanelMatrix.StepLength;

    /// <summary>The block type whose numbers panels of <paramref name="type"/> hold.</summary>
    public static DType BlockTypeOf(WeightType type) => type switch
    {
        WeightType.Int8 => DType.Q8_0,
        WeightType.Int4 => DType.Q4_0,
        WeightType.Q4K => DType.Q4_K,
        WeightType.Q6K => DType.Q6_K,
        _ => throw new ArgumentOutOfRangeException(nameof(type), type, "Not an integer type."),
    };

    /// <summary>Writes a row's blocks into lane <paramref name="lane"/> of a panel.</summary>
    /// <param name="type">An integer type.</param>
    /// <param name="blocks">The row, in blocks of <see cref="BlockTypeOf"/>; missing blocks count as zero weights.</param>
    /// <param name="steps">Steps of the panel.</param>
    /// <param name="panel">First byte of the panel's weights.</param>
    /// <param name="scales">First byte of the panel's scales.</param>
    /// <param name="lane">0..15.</param>
    /// <returns>False when a factor is not finite.</returns>
    public static bool WriteLane(WeightType type, ReadOnlySpan<byte> blocks, int steps, byte* panel, byte* scales, int lane)
    {
        PanelFormat format = PanelFormat.Of(type);
        DType blockType = BlockTypeOf(type);
        int perBlock = blockType.BlockLength() / StepLength, blockBytes = blockType.BlockBytes();
        bool finite = true;
        for (int step = 0; step < steps; step++)
        {
            ReadOnlySpan<byte> block = blocks.Slice(step / perBlock * blockBytes, blockBytes);
            Vector256<byte> quants; // [StepLength] unsigned
            switch (type)
            {
                case WeightType.Int8:
                    quants = Vector256.Create(block[2..]) ^ Vector256.Create((byte)0x80);
                    finite &= WriteHalf(block, scales, step * Lanes + lane);
                    break;
                case WeightType.Int4:
                    Vector128<byte> pairs = Vector128.Create(block[2..]);
                    quants = Vector256.Create(pairs, pairs >>> 4) & Vector256.Create((byte)15);
                    finite &= WriteHalf(block, scales, step * Lanes + lane);
                    break;
                case WeightType.Q4K:
                    finite &= ReadQ4K(block, step % perBlock, out quants, scales + step / perBlock * Q4KFormat.ScaleGroupBytes, lane);
                    break;
                default:
                    finite &= ReadQ6K(block, step % perBlock, out quants, scales + step / perBlock * Q6KFormat.ScaleGroupBytes, lane);
                    break;
            }

            WriteQuants(type, quants, (uint*)(panel + (long)step * format.StepBytes) + lane);
        }

        return finite;
    }

    /// <summary>Reads a lane back as f32.</summary>
    /// <param name="type">An integer type.</param>
    /// <param name="panel">First byte of the panel's weights.</param>
    /// <param name="scales">First byte of the panel's scales.</param>
    /// <param name="lane">0..15.</param>
    /// <param name="unit">What the stored f16 factors are multiplied with.</param>
    /// <param name="row">Receives the row.</param>
    public static void ReadLane(WeightType type, byte* panel, byte* scales, int lane, float unit, Span<float> row)
    {
        PanelFormat format = PanelFormat.Of(type);
        for (int k = 0; k < row.Length; k++)
        {
            int step = k / StepLength, element = k % StepLength;
            int quant = ReadQuant(type, (uint*)(panel + (long)step * format.StepBytes) + lane, element) - format.Offset;
            row[k] = type switch
            {
                WeightType.Int8 or WeightType.Int4 => Factor(scales, step * Lanes + lane) * unit * quant,
                WeightType.Q4K => ReadQ4K(scales + step / 8 * Q4KFormat.ScaleGroupBytes, step % 8, lane, unit, quant),
                _ => ReadQ6K(scales + step / 8 * Q6KFormat.ScaleGroupBytes, step % 8, element, lane, unit, quant),
            };
        }
    }

    /// <summary>Calls <paramref name="visit"/> with every f16 factor of a panel.</summary>
    public static void VisitFactors(WeightType type, int steps, byte* scales, FactorVisitor visit)
    {
        if (PanelFormat.Of(type).StepsPerScales == 1)
        {
            visit(new Span<ushort>(scales, steps * Lanes));
            return;
        }

        int groupBytes = type == WeightType.Q4K ? Q4KFormat.ScaleGroupBytes : Q6KFormat.ScaleGroupBytes;
        int factors = type == WeightType.Q4K ? 2 * Lanes : Lanes;
        for (int step = 0; step < steps; step += 8, scales += groupBytes) visit(new Span<ushort>(scales, factors));
    }

    /// <summary>Sees and may change some f16 factors.</summary>
    internal delegate void FactorVisitor(Span<ushort> factors);

    private static bool ReadQ4K(ReadOnlySpan<byte> block, int sub, out Vector256<byte> quants, byte* group, int lane)
    {
        ReadOnlySpan<byte> packed = block[4..];
        quants = (Vector256.Create(block[(16 + sub / 2 * 32)..]) >>> sub % 2 * 4) & Vector256.Create((byte)15);
        byte* own = group + Q4KFormat.StepScalesOffset + sub * Q4KFormat.StepScaleBytes + lane;
        own[0] = (byte)(sub < 4 ? packed[sub] & 63 : packed[sub + 4] & 15 | packed[sub - 4] >> 6 << 4);
        own[Q4KFormat.StepMinimumsOffset] = (byte)(sub < 4 ? packed[sub + 4] & 63 : packed[sub + 4] >> 4 | packed[sub] >> 6 << 4);
        return WriteHalf(block, group, lane) & WriteHalf(block[2..], group + Q4KFormat.MinimumFactorOffset, lane);
    }

    private static bool ReadQ6K(ReadOnlySpan<byte> block, int sub, out Vector256<byte> quants, byte* group, int lane)
    {
        int half = sub / 4, quarter = sub % 4; // 32 elements are a quarter of half a block
        Vector256<byte> low = Vector256.Create(block[(half * 64 + quarter % 2 * 32)..]), high = Vector256.Create(block[(128 + half * 32)..]);
        quants = ((low >>> quarter / 2 * 4) & Vector256.Create((byte)15)) | (((high >>> 2 * quarter) & Vector256.Create((byte)3)) << 4);
        byte* own = group + Q6KFormat.StepScalesOffset + sub * Q6KFormat.StepScaleBytes + lane;
        own[0] = block[192 + 2 * sub];
        own[Q6KFormat.HalfScaleBytes] = block[192 + 2 * sub + 1];
        return WriteHalf(block[208..], group, lane);
    }

    private static float ReadQ4K(byte* group, int sub, int lane, float unit, int quant)
    {
        byte* own = group + Q4KFormat.StepScalesOffset + sub * Q4KFormat.StepScaleBytes + lane;
        float d = Factor(group, lane) * unit, minimum = Factor(group + Q4KFormat.MinimumFactorOffset, lane) * unit;
        return d * own[0] * quant - minimum * own[Q4KFormat.StepMinimumsOffset];
    }

    private static float ReadQ6K(byte* group, int sub, int element, int lane, float unit, int quant)
    {
        byte* own = group + Q6KFormat.StepScalesOffset + sub * Q6KFormat.StepScaleBytes + element / 16 * Q6KFormat.HalfScaleBytes + lane;
        return Factor(group, lane) * unit * (sbyte)*own * quant;
    }

    /// <summary>Writes the unsigned quants of a step as packed lines; each line is one dword of a lane.</summary>
    private static void WriteQuants(WeightType type, Vector256<byte> quants, uint* lane)
    {
        Vector256<uint> dwords = quants.AsUInt32();
        if (type == WeightType.Int8)
        {
            for (int line = 0; line < 8; line++) lane[line * Lanes] = dwords[line];
            return;
        }

        uint highOfFirst = 0, highOfSecond = 0;
        for (int line = 0; line < 4; line++)
        {
            uint first = dwords[line], second = dwords[line + 4];
            lane[line * Lanes] = first & 0x0F0F0F0F | (second & 0x0F0F0F0F) << 4;
            highOfFirst |= (first >> 4 & 0x03030303) << 2 * line;
            highOfSecond |= (second >> 4 & 0x03030303) << 2 * line;
        }

        if (type != WeightType.Q6K) return;
        lane[4 * Lanes] = highOfFirst;
        lane[5 * Lanes] = highOfSecond;
    }

    private static int ReadQuant(WeightType type, uint* lane, int element)
    {
        int line = element / 4, shift = element % 4 * 8;
        if (type == WeightType.Int8) return (int)(lane[line * Lanes] >> shift & 0xFF);
        int quant = (int)(lane[line % 4 * Lanes] >> shift + line / 4 * 4 & 15);
        if (type == WeightType.Q6K) quant |= (int)(lane[(4 + line / 4) * Lanes] >> shift + 2 * (line % 4) & 3) << 4;
        return quant;
    }

    private static bool WriteHalf(ReadOnlySpan<byte> source, byte* destination, int index)
    {
        ushort bits = BinaryPrimitives.ReadUInt16LittleEndian(source);
        ((ushort*)destination)[index] = bits;
        return Half.IsFinite(BitConverter.UInt16BitsToHalf(bits));
    }

    private static float Factor(byte* halves, int index) => (float)((Half*)halves)[index];
}
