namespace Foretoken.Numerics;

/// <summary>32 nibbles, a scale and a minimum, 20 bytes: <c>f16 d, f16 m, u8 q[16]</c>, nibbles as in <see cref="Q4_0Format"/>; x = d · q + m.</summary>
public sealed class Q4_1Format() : BlockFormat(DType.Q4_1)
{
    private protected override void DequantizeBlock(ReadOnlySpan<byte> block, Span<float> values)
    {
        float d = ReadHalf(block), m = ReadHalf(block[2..]);
        for (int j = 0; j < 16; j++)
        {
            values[j] = d * (block[4 + j] & 15) + m;
            values[j + 16] = d * (block[4 + j] >> 4) + m;
        }
    }

    private protected override void QuantizeBlock(ReadOnlySpan<float> values, Span<byte> block)
    {
        (float minimum, float maximum) = BlockRounding.Range(values);
        float d = (maximum - minimum) / 15, inverse = BlockRounding.Inverse(ref d);
        WriteHalf(block, d);
        WriteHalf(block[2..], minimum);
        for (int j = 0; j < 16; j++)
        {
            int low = BlockRounding.Level(values[j] - minimum, inverse, 0, 15), high = BlockRounding.Level(values[j + 16] - minimum, inverse, 0, 15);
            block[4 + j] = (byte)(low | high << 4);
        }
    }
}
