using System.Buffers.Binary;

namespace Foretoken.Numerics;

/// <summary>
/// 32 values of 5 bits and one scale, 22 bytes: <c>f16 d, u32 h, u8 q[16]</c>; the low four bits stand as in <see cref="Q4_0Format"/>, bit j of h is the fifth
/// bit of element j; x = d · (q − 16).
/// </summary>
public sealed class Q5_0Format() : BlockFormat(DType.Q5_0)
{
    private protected override void DequantizeBlock(ReadOnlySpan<byte> block, Span<float> values)
    {
        float d = ReadHalf(block);
        uint high = BinaryPrimitives.ReadUInt32LittleEndian(block[2..]);
        for (int j = 0; j < 16; j++)
        {
            values[j] = d * ((block[6 + j] & 15 | (int)(high >> j & 1) << 4) - 16);
            values[j + 16] = d * ((block[6 + j] >> 4 | (int)(high >> (j + 16) & 1) << 4) - 16);
        }
    }

    private protected override void QuantizeBlock(ReadOnlySpan<float> values, Span<byte> block)
    {
        float d = Extreme(values) / -16, inverse = BlockRounding.Inverse(ref d);
        WriteHalf(block, d);
        uint bits = 0;
        for (int j = 0; j < 16; j++)
        {
            int low = BlockRounding.Level(values[j], inverse, 16, 31), high = BlockRounding.Level(values[j + 16], inverse, 16, 31);
            block[6 + j] = (byte)(low & 15 | (high & 15) << 4);
            bits |= (uint)(low >> 4) << j | (uint)(high >> 4) << (j + 16);
        }

        BinaryPrimitives.WriteUInt32LittleEndian(block[2..], bits);
    }
}
