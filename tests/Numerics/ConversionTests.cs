using Foretoken.Numerics;

namespace Foretoken.Tests.Numerics;

public class ConversionTests
{
    [Fact]
    public void Every_bfloat16_survives_a_round_trip()
    {
        var bits = new ushort[65536];
        for (int i = 0; i < bits.Length; i++) bits[i] = (ushort)i;
        var values = new float[bits.Length];
        var back = new ushort[bits.Length];
        BFloat16Bits.ToSingle(bits, values);
        BFloat16Bits.FromSingle(values, back);
        for (int i = 0; i < bits.Length; i++)
        {
            Assert.Equal(BFloat16Bits.ToSingle((ushort)i), values[i]);
            if (float.IsNaN(values[i])) Assert.True(float.IsNaN(BFloat16Bits.ToSingle(back[i])));
            else Assert.Equal(bits[i], back[i]);
        }
    }

    [Fact]
    public void Rounding_to_bfloat16_is_to_nearest_even_on_every_path()
    {
        uint[] patterns = [0x3F80_7FFF, 0x3F80_8000, 0x3F80_8001, 0x3F81_8000, 0x7F7F_FFFF, 0xFF7F_FFFF, 0x7F80_0001, 0x0000_8000, 0x8000_0001, 0x3FFF_C000];
        ushort[] expected = [0x3F80, 0x3F80, 0x3F81, 0x3F82, 0x7F80, 0xFF80, 0x7FC0, 0x0000, 0x8000, 0x4000];
        var values = new float[16 * patterns.Length + 3]; // vectors and a scalar tail
        for (int i = 0; i < values.Length; i++) values[i] = BitConverter.UInt32BitsToSingle(patterns[i % patterns.Length]);
        var bits = new ushort[values.Length];
        BFloat16Bits.FromSingle(values, bits);
        for (int i = 0; i < values.Length; i++)
        {
            Assert.Equal(expected[i % patterns.Length], bits[i]);
            Assert.Equal(expected[i % patterns.Length], BFloat16Bits.FromSingle(values[i]));
        }
    }

    [Fact]
    public void Every_half_converts_exactly_on_the_vector_path_and_in_the_tail()
    {
        var halves = new byte[2 * (65536 + 5)];
        for (int i = 0; i < 65541; i++) BitConverter.TryWriteBytes(halves.AsSpan(2 * i), (ushort)i);
        var values = new float[65541];
        DTypeConverter.ToSingle(DType.F16, halves, values);
        for (int i = 0; i < values.Length; i++)
        {
            float expected = (float)BitConverter.UInt16BitsToHalf((ushort)i);
            if (float.IsNaN(expected)) Assert.True(float.IsNaN(values[i]));
            else Assert.Equal(BitConverter.SingleToUInt32Bits(expected), BitConverter.SingleToUInt32Bits(values[i]));
        }
    }

    [Theory]
    [InlineData(0x00, 0f)]
    [InlineData(0x01, 0.001953125f)]
    [InlineData(0x07, 0.013671875f)]
    [InlineData(0x08, 0.015625f)]
    [InlineData(0x38, 1f)]
    [InlineData(0x3C, 1.5f)]
    [InlineData(0x7E, 448f)]
    [InlineData(0xFE, -448f)]
    [InlineData(0x7F, float.NaN)]
    public void E4M3_values(byte bits, float expected) => Assert.Equal(expected, Single(DType.F8E4M3, [bits]));

    [Theory]
    [InlineData(0x3C, 1f)]
    [InlineData(0xBD, -1.25f)]
    [InlineData(0x01, 1.52587890625e-05f)]
    [InlineData(0x7B, 57344f)]
    [InlineData(0x7C, float.PositiveInfinity)]
    public void E5M2_values(byte bits, float expected) => Assert.Equal(expected, Single(DType.F8E5M2, [bits]));

    [Fact]
    public void Other_types_are_little_endian()
    {
        Assert.Equal(1.5f, Single(DType.F64, BitConverter.GetBytes(1.5)));
        Assert.Equal(-2.25f, Single(DType.F32, BitConverter.GetBytes(-2.25f)));
        Assert.Equal(0.1f, Single(DType.F16, BitConverter.GetBytes((Half)0.1)), 4);
        Assert.Equal(-7f, Single(DType.I64, BitConverter.GetBytes(-7L)));
        Assert.Equal(-70000f, Single(DType.I32, BitConverter.GetBytes(-70000)));
        Assert.Equal(-300f, Single(DType.I16, BitConverter.GetBytes((short)-300)));
        Assert.Equal(-3f, Single(DType.I8, [0xFD]));
        Assert.Equal(253f, Single(DType.U8, [0xFD]));
        Assert.Equal(65535f, Single(DType.U16, [0xFF, 0xFF]));
        Assert.Equal(1f, Single(DType.Bool, [1]));
    }

    [Fact]
    public void Wrong_lengths_are_refused()
    {
        Assert.Throws<ArgumentException>(() => DTypeConverter.ToSingle(DType.BF16, new byte[5], new float[2]));
        Assert.Throws<ArgumentException>(() => DTypeConverter.ToSingle(DType.F32, new byte[4], new float[2]));
    }

    [Fact]
    public void Names_of_plain_types_are_those_of_the_file_format()
    {
        foreach (DType type in Enum.GetValues<DType>().Where(t => !t.IsBlock()))
        {
            Assert.True(DTypes.TryParse(type.FileName(), out DType back));
            Assert.Equal(type, back);
        }

        Assert.False(DTypes.TryParse("bf16", out _));
        Assert.Equal(2, DType.BF16.ElementBytes());
        Assert.Equal(1, DType.F8E4M3.ElementBytes());
    }

    private static float Single(DType type, byte[] bytes)
    {
        var value = new float[1];
        DTypeConverter.ToSingle(type, bytes, value);
        return value[0];
    }
}
