using Foretoken.Numerics;

namespace Foretoken.Tests.Numerics;

public sealed class HalfBitsTests
{
    [Fact]
    public void Every_half_its_neighbours_and_ties_round_as_the_conversion_of_one_number()
    {
        var values = new List<float> { float.NaN, float.PositiveInfinity, float.NegativeInfinity, 65519.9f, 65520f, -70000f, 1e-30f, -1e-30f, float.Epsilon };
        for (int bits = 0; bits < 0x7BFF; bits++)
        {
            float half = (float)BitConverter.UInt16BitsToHalf((ushort)bits), next = (float)BitConverter.UInt16BitsToHalf((ushort)(bits + 1)), tie = (half + next) / 2;
            values.AddRange([half, -half, tie, -tie, MathF.BitIncrement(tie), MathF.BitDecrement(tie), next]);
        }

        float[] all = [.. values];
        var rounded = new ushort[all.Length];
        HalfBits.FromSingle(all.AsSpan(0, 9), rounded); // shorter than a vector
        HalfBits.FromSingle(all.AsSpan(9), rounded.AsSpan(9));
        for (int i = 0; i < all.Length; i++)
            Assert.True(rounded[i] == BitConverter.HalfToUInt16Bits((Half)Math.Clamp(all[i], -65504f, 65504f)), $"{all[i]:R} gave {rounded[i]:X4}");
    }

    [Fact]
    public void A_vector_with_what_is_not_a_number_is_rounded_one_by_one()
    {
        float[] source = [.. Enumerable.Range(0, 40).Select(i => i == 20 ? float.NaN : i * 0.3f)];
        var rounded = new ushort[40];
        HalfBits.FromSingle(source, rounded);
        for (int i = 0; i < 40; i++) Assert.Equal(BitConverter.HalfToUInt16Bits((Half)source[i]), rounded[i]);
    }
}
