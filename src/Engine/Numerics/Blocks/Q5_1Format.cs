using System.Buffers.Binary;

namespace Foretoken.Numerics;

/// <summary>32 values of 5 bits, a scale and a minimum, 24 bytes: <c>f16 d, f16 m, u32 h, u8 q[16]</c>, bits as in <see cref="Q5_0Format"/>; x = d · q + m.</summary>
public sealed class Q5_1Format() : BlockFormat(DType.Q5_1)
{
    private protected override void DequantizeBlock(ReadOnlySpan<byte> block, Span<float> values)
    {
        float d = ReadHalf(block), m = ReadHalf(block[2..]);
        uint high = BinaryPrimitives.ReadUInt32LittleEndian(block[4..]);
        for (int j = 0; j < 16; j++)
        {
            values[j] = d * (block[8 + j] & 15 | (int)(high >> j & 1) << 4) + m;
            values[j + 16] = d * (block[8 + j] >> 4 | (int)(high >> (j + 16) & 1) << 4) + m;
        }
    }

    private protected override void QuantizeBlock(ReadOnlySpan<float> values, Span<byte> block)
    {
        (float minimum, float maximum) = BlockRounding.Range(values);
        float d = (maximum - minimum) / 31, inverse = BlockRounding.Inverse(ref d);
        WriteHalf(block, d);
        WriteHalf(block[2..], minimum);
        uint bits = 0;
        for (int j = 0; j < 16; j++)
        {
            int low = BlockRounding.Level(values[j] - minimum, inverse, 0, 31), high = BlockRounding.Level(values[j + 16] - minimum, inverse, 0, 31);
            block[8 + j] = (byte)(low & 15 | (high & 15) << 4);
            bits |= (uint)(low >> 4) << j | (uint)(high >> 4) << (j + 16);
        }

        BinaryPrimitives.WriteUInt32LittleEndian(block[4..], bits);
    }
}
