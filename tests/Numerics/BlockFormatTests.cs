using Foretoken.Numerics;
using Foretoken.Tests.Fixtures;

namespace Foretoken.Tests.Numerics;

/// <summary>Every block type against the reference implementation (tests/Fixtures/blocks).</summary>
public class BlockFormatTests
{
    public static TheoryData<DType> Types() => [.. BlockFormat.All.Select(f => f.Type)];

    [Theory]
    [MemberData(nameof(Types))]
    public void Dequantised_blocks_are_those_of_the_reference_bit_for_bit(DType type)
    {
        byte[] blocks = File.ReadAllBytes(Fixture($"{type.FileName()}.blocks"));
        float[] expected = RepoFiles.ReadSingle(Fixture($"{type.FileName()}.f32"));
        var actual = new float[expected.Length];
        DTypeConverter.ToSingle(type, blocks, actual);
        Assert.Equal(expected, actual);
    }

    [Theory]
    [InlineData(DType.Q4_0)]
    [InlineData(DType.Q4_1)]
    [InlineData(DType.Q5_0)]
    [InlineData(DType.Q5_1)]
    [InlineData(DType.Q8_0)]
    public void Simple_types_are_quantised_as_the_reference_does(DType type)
    {
        byte[] expected = File.ReadAllBytes(Fixture($"{type.FileName()}.quantized.blocks")), actual = Quantize(type, Values());
        int differing = Enumerable.Range(0, expected.Length).Count(i => expected[i] != actual[i]);
        Assert.InRange(differing, 0, expected.Length / 500); // a product that falls on a tie in another order of operations
    }

    /// <summary>The search finds blocks at least as good as the reference's; the second figure is its error on the same values.</summary>
    [Theory]
    [InlineData(DType.Q4_0, 0.087614)]
    [InlineData(DType.Q8_0, 0.005564)]
    [InlineData(DType.Q4_K, 0.074791)]
    [InlineData(DType.Q5_K, 0.037960)]
    [InlineData(DType.Q6_K, 0.018298)]
    public void Quantisation_loses_no_more_than_the_reference(DType type, double reference)
    {
        float[] values = Values(), back = Dequantize(type, Quantize(type, values));
        Assert.InRange(Math.Sqrt(values.Zip(back, (a, b) => Math.Pow(a - b, 2)).Average()), reference / 2, reference * 1.02);
    }

    [Theory]
    [MemberData(nameof(Types))]
    public void What_a_type_can_hold_survives_being_quantised_again(DType type)
    {
        if (type is DType.Q4_K or DType.Q5_K or DType.Q6_K) return; // their scales are chosen by search
        float[] once = Dequantize(type, Quantize(type, Values()));
        float[] twice = Dequantize(type, Quantize(type, once));
        double change = Math.Sqrt(once.Zip(twice, (a, b) => Math.Pow(a - b, 2)).Average());
        Assert.InRange(change, 0, 2e-3);
    }

    [Theory]
    [MemberData(nameof(Types))]
    public void Zeros_and_constants_are_held(DType type)
    {
        var zeros = new float[256];
        Assert.Equal(zeros, Dequantize(type, Quantize(type, zeros)));
        float[] negative = [.. Enumerable.Repeat(-3f, 256)];
        Assert.All(Dequantize(type, Quantize(type, negative)), v => Assert.InRange(v, -3.04f, -2.96f));
        float[] tiny = [.. Enumerable.Range(0, 256).Select(i => i % 2 == 0 ? 1e-42f : -1e-42f)];
        Assert.All(Dequantize(type, Quantize(type, tiny)), v => Assert.InRange(v, -1e-7f, 1e-7f));
    }

    [Theory]
    [MemberData(nameof(Types))]
    public void Values_that_are_no_numbers_or_too_large_are_refused(DType type)
    {
        foreach (float bad in (float[])[float.NaN, float.PositiveInfinity, float.NegativeInfinity, 1e30f])
        {
            float[] values = [.. Enumerable.Range(0, 256).Select(i => (float)Math.Sin(i))];
            values[77] = bad;
            Assert.Throws<ArgumentException>(() => Quantize(type, values));
        }
    }

    [Theory]
    [MemberData(nameof(Types))]
    public void Lengths_must_be_whole_blocks(DType type)
    {
        Assert.Throws<ArgumentException>(() => DTypeConverter.ToSingle(type, new byte[type.BlockBytes()], new float[type.BlockLength() - 1]));
        Assert.Throws<ArgumentException>(() => DTypeConverter.ToSingle(type, new byte[type.BlockBytes() - 1], new float[type.BlockLength()]));
        Assert.Throws<ArgumentException>(() => type.ElementBytes());
        Assert.Equal(3L * type.BlockBytes(), type.BytesOf(3L * type.BlockLength()));
        Assert.False(DTypes.TryParse(type.FileName(), out _)); // no type of safetensors
    }

    [Fact]
    public void Halves_are_rounded_to_nearest_and_refused_where_they_overflow()
    {
        var bytes = new byte[6];
        DTypeConverter.FromSingle(DType.F16, [1.0004883f, -65504f, 1e-8f], bytes);
        Assert.Equal([(Half)1, (Half)(-65504), (Half)0], Enumerable.Range(0, 3).Select(i => BitConverter.ToHalf(bytes, 2 * i)));
        Assert.Throws<ArgumentException>(() => DTypeConverter.FromSingle(DType.F16, [70000f], new byte[2]));
    }

    private static string Fixture(string name) => Path.Combine(RepoFiles.Root, "tests", "Fixtures", "blocks", name);

    private static float[] Values() => RepoFiles.ReadSingle(Fixture("values.f32"));

    private static byte[] Quantize(DType type, float[] values)
    {
        var bytes = new byte[type.BytesOf(values.Length)];
        DTypeConverter.FromSingle(type, values, bytes);
        return bytes;
    }

    private static float[] Dequantize(DType type, byte[] blocks)
    {
        var values = new float[blocks.Length / type.BlockBytes() * type.BlockLength()];
        DTypeConverter.ToSingle(type, blocks, values);
        return values;
    }
}
