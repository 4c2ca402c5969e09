using Foretoken.Backends;
using Foretoken.Numerics;
using Foretoken.Tests.Fixtures;

namespace Foretoken.Tests.Models;

/// <summary>Every family, feature and weight type against the float64 reference, on random models of odd sizes.</summary>
public sealed class FamilyReferenceTests : IDisposable
{
    private const string Llama3Scaling =
        """{"rope_type":"llama3","factor":8.0,"low_freq_factor":1.0,"high_freq_factor":4.0,"original_max_position_embeddings":64}""";

    private readonly TempDirectory _directory = new();
    private int[] _ids = [];

    public void Dispose() => _directory.Dispose();

    /// <summary>Window of a Mistral model, shorter than the context of <see cref="Length"/> tokens.</summary>
    private const int Window = 23;

    private const int Length = 90;

    private static readonly Dictionary<string, TinyModel> Models = new()
    {
        ["llama, one query per key"] = new() { Family = "llama", Heads = 3, KvHeads = 3, Hidden = 48, HeadDim = 16, Vocab = 131, Intermediate = 70 },
        ["llama, three queries per key"] = new() { Family = "llama", Heads = 6, KvHeads = 2, Hidden = 72, HeadDim = 12, Intermediate = 100, Tied = true },
        ["llama, attention bias"] = new() { Family = "llama", Config = [("attention_bias", "true")] },
        ["llama, rope llama3"] = new() { Family = "llama", Heads = 8, RopeTheta = 500_000, Config = [("rope_scaling", Llama3Scaling)] },
        ["llama, rope linear"] = new() { Family = "llama", Config = [("rope_scaling", """{"rope_type":"linear","factor":3.0}""")] },
        ["llama, sharded bf16"] = new() { Family = "llama", DType = "BF16", Shards = 3 },
        ["llama, f64"] = new() { Family = "llama", DType = "F64", Shards = 2 },
        ["mistral, window"] = new() { Family = "mistral", Heads = 8, KvHeads = 2, HeadDim = 10, Hidden = 50, SlidingWindow = Window },
        ["mistral, window of one"] = new() { Family = "mistral", SlidingWindow = 1 },
        ["mistral, no window"] = new() { Family = "mistral" },
        ["qwen2, bias"] = new() { Family = "qwen2", Tied = true, Vocab = 301, RopeTheta = 1e6 },
        ["qwen2, upper layers slide"] = new()
        {
            Family = "qwen2", Layers = 4, SlidingWindow = Window, Config = [("use_sliding_window", "true"), ("max_window_layers", "2")],
        },
        ["qwen3, wide heads, tied"] = new() { Family = "qwen3", Hidden = 40, Heads = 4, KvHeads = 1, HeadDim = 24, Intermediate = 52, Tied = true },
        ["qwen3, narrow heads, bias"] = new() { Family = "qwen3", Hidden = 96, Heads = 6, KvHeads = 2, HeadDim = 8, Config = [("attention_bias", "true")] },
        ["qwen3, some layers slide"] = new()
        {
            Family = "qwen3", Layers = 3, SlidingWindow = Window,
            Config = [("use_sliding_window", "true"), ("layer_types", """["sliding_attention","full_attention","sliding_attention"]""")],
        },
        ["qwen3, bf16"] = new() { Family = "qwen3", DType = "BF16", Tied = true, Intermediate = 97 },
    };

    public static TheoryData<string> Names => [.. Models.Keys];

    [Theory]
    [MemberData(nameof(Names))]
    public void Prefill_and_decode_agree_with_the_float64_reference(string name)
    {
        int[] ids = Write(name);
        float[] expected = Reference();
        using var runner = new ModelRunner(_directory.Path, WeightType.F32);
        Assert.InRange(Logits.MaxDifference(expected, runner.Run(ids, Length)), 0, 5e-4);
        Assert.InRange(Logits.MaxDifference(expected, runner.Run(ids, 1)), 0, 5e-4);
        Assert.InRange(Logits.MaxDifference(expected, runner.Run(ids, 7)), 0, 5e-4);
    }

    [Theory]
    [InlineData("qwen3, bf16")]
    [InlineData("llama, sharded bf16")]
    public void Bf16_files_are_held_exactly_as_bf16_by_default(string name)
    {
        int[] ids = Write(name);
        using var runner = new ModelRunner(_directory.Path);
        Assert.Equal(WeightType.BF16, runner.Model.WeightType);
        Assert.InRange(Logits.MaxDifference(Reference(), runner.Run(ids, Length)), 0, 5e-4);
    }

    [Fact]
    public void F16_files_are_exact_as_f32_by_default_and_rounded_to_bf16_when_asked()
    {
        int[] ids = Write(new TinyModel { Family = "llama", DType = "F16" });
        using var exact = new ModelRunner(_directory.Path);
        Assert.Equal(WeightType.F32, exact.Model.WeightType);
        Assert.InRange(Logits.MaxDifference(Reference(), exact.Run(ids, Length)), 0, 5e-4);
        using var rounded = new ModelRunner(_directory.Path, WeightType.BF16);
        Assert.InRange(Logits.MaxDifference(Reference(Round), rounded.Run(ids, Length)), 0, 5e-4);
    }

    [Theory]
    [InlineData("llama, three queries per key")]
    [InlineData("mistral, window")]
    [InlineData("qwen2, bias")]
    [InlineData("qwen3, wide heads, tied")]
    public void Int8_weights_stay_near_the_reference_on_the_dequantised_weights(string name)
    {
        int[] ids = Write(name);
        using var runner = new ModelRunner(_directory.Path, WeightType.Int8);
        float[] actual = runner.Run(ids, Length);
        float[] dequantised = Reference(Dequantise), original = Reference();
        Assert.InRange(Logits.RootMeanSquareDifference(dequantised, actual), 0.01, 0.12);  // activations rounded to 8 bits; measured 0.03 to 0.1
        Assert.InRange(Logits.RootMeanSquareDifference(original, dequantised), 0.01, 0.5); // the weights do differ
    }

    [Theory]
    [InlineData("mistral, window")]
    [InlineData("qwen3, wide heads, tied")]
    [InlineData("llama, rope llama3")]
    public void Bf16_keys_and_values_cost_their_rounding_and_nothing_else(string name)
    {
        int[] ids = Write(name);
        using var runner = new ModelRunner(_directory.Path, WeightType.F32, KvType.BF16);
        float[] actual = runner.Run(ids, Length), rounded = Logits.Of(new ReferenceTransformer(_directory.Path, stored: Logits.RoundToBFloat16), ids);
        Assert.InRange(Logits.RootMeanSquareDifference(Reference(), actual), 1e-3, 5e-2);
        Assert.InRange(Logits.RootMeanSquareDifference(rounded, actual), 0, 2e-3);
    }

    private int[] Write(string name) => Write(Models[name]);

    private int[] Write(TinyModel model)
    {
        model.Write(_directory.Path);
        var random = new SeededRandom(99);
        return _ids = [.. Enumerable.Range(0, Length).Select(_ => random.Next(model.Vocab))];
    }

    private float[] Reference(Action<float[]>? matrixRow = null) =>
        Logits.Of(new ReferenceTransformer(_directory.Path, matrixRow), _ids);

    private static void Round(float[] row)
    {
        for (int i = 0; i < row.Length; i++) row[i] = (float)Logits.RoundToBFloat16(row[i]);
    }

    /// <summary>Blocks of 32 along the row, scale = absmax / 127 in f16, values rounded to nearest.</summary>
    private static void Dequantise(float[] row)
    {
        for (int start = 0; start < row.Length; start += 32)
        {
            Span<float> block = row.AsSpan(start, Math.Min(32, row.Length - start));
            float largest = 0;
            foreach (float v in block) largest = Math.Max(largest, Math.Abs(v));
            float scale = (float)(Half)(largest / 127f);
            for (int i = 0; i < block.Length; i++) block[i] = largest == 0 ? 0 : scale * MathF.Round(block[i] * (127f / largest));
        }
    }
}
