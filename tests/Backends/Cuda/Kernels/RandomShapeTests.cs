using System.Globalization;
using Foretoken.Backends;
using Foretoken.Backends.Cuda;
using Foretoken.Backends.Cuda.Kernels;
using Foretoken.Numerics;
using Xunit.Abstractions;

namespace Foretoken.Tests.Backends.Cuda.Kernels;

/// <summary>Every kernel against its reference on shapes drawn at random; a seed that fails is named and can be run again with <see cref="Variable"/>.</summary>
public sealed class RandomShapeTests(ITestOutputHelper output)
{
    private const string Variable = "FORETOKEN_SHAPES"; // first seed

    [Fact]
    public void Kernels_equal_their_references_on_shapes_drawn_at_random() => Check(3);

    [Fact]
    [Trait("Category", "Slow")]
    public void Kernels_equal_their_references_on_many_shapes_drawn_at_random() => Check(60);

    [Fact]
    public void Pieces_are_added_in_order()
    {
        using var harness = new KernelHarness("swiglu");
        const int rows = 3, count = 5, width = 70, stride = 83;
        float[] pieces = KernelHarness.Random(count * rows * stride, 8);
        DevicePointer<float> to = harness.Allocate<float>(rows * stride);
        harness.Stream.Fill(to, 0, rows * stride);
        new AddPieces
        {
            Pieces = harness.Upload(pieces), Count = count, Piece = rows * stride, Stride = stride, Width = width, Rows = harness.Upload(rows - 1), Output = to,
            Grid = (1, rows), Block = 96,
        }.Launch(harness.Stream);
        float[] actual = harness.Download(to, rows * stride);
        for (int i = 0; i < rows * stride; i++)
        {
            float sum = pieces[i];
            for (int s = 1; s < count; s++) sum += pieces[s * rows * stride + i];
            Assert.Equal(i / stride < rows - 1 && i % stride < width ? sum : 0, actual[i]);
        }
    }

    [Theory]
    [InlineData(1)]
    [InlineData(1000)]
    [InlineData(4099)]
    public void The_bandwidth_probe_reads_every_word(int count)
    {
        using var harness = new KernelHarness("bandwidth");
        uint[] words = [.. Enumerable.Range(0, 4 * count).Select(i => (uint)i * 2654435761u)];
        DevicePointer<uint> sums = harness.Allocate<uint>(4 * 256);
        new ReadAll { Data = harness.Upload(words).As<byte>(), Count = count, Sums = sums, Grid = 4, Block = 256 }.Launch(harness.Stream);
        Assert.Equal(words.Aggregate(0u, (a, b) => a + b), harness.Download(sums, 4 * 256).Aggregate(0u, (a, b) => a + b));
    }

    private void Check(int seeds)
    {
        string start = Environment.GetEnvironmentVariable(Variable) is { Length: > 0 } given ? given : "1";
        Assert.True(ulong.TryParse(start, NumberStyles.None, CultureInfo.InvariantCulture, out ulong first), $"{Variable} is '{start}': give the first seed, for example 1.");
        for (ulong seed = first; seed < first + (ulong)seeds; seed++)
        {
            var random = new SeededRandom(seed, 71);
            int Up(int most) => 1 + random.Next(most);
            int form = random.Next(3), kvHeads = Up(3);
            output.WriteLine($"{Variable}={seed}");
            var elements = new ElementKernelTests();
            elements.Residual_norm_adds_pieces_normalises_and_writes_the_form(form, Up(700), Up(4));
            elements.Swiglu_gates_the_up_projection(form, Up(400));
            foreach ((WeightType type, bool floats) in new[] { (WeightType.BF16, false), (WeightType.BF16, true), (WeightType.Int8, false) })
                new ProductKernelTests().Product_equals_the_exact_sums(type, floats, Up(140), Up(1500), Up(90));
            new AttentionKernelTests().Attention_equals_the_reference((KvType)random.Next(4), kvHeads * Up(10), kvHeads, 8 * Up(16), random.Next(2) * Up(300));
            new SamplingKernelTests().Tokens_equal_the_scalar_reference(random.Next(4) == 0 ? 0 : Up(20) / 10f, random.Next(2) * Up(1200), random.Next(2) == 0 ? 1 : Up(99) / 100f, random.Next(2) * Up(30) / 100f);
        }
    }
}
