using Foretoken.Backends;
using Foretoken.Formats;
using Foretoken.Generation;
using Foretoken.KvCache;
using Foretoken.Models;
using Foretoken.Sampling;
using Foretoken.Tests.Fixtures;
using Foretoken.Tests.Models;

namespace Foretoken.Tests.KvCache;

/// <summary>Models that decide what their cache evicts, against float64 with the explicit mask: both kinds of decisions, both conventions.</summary>
public sealed class DmsModelTests : IDisposable
{
    private const int Length = 90, Window = 9;

    private static readonly (string, string?)[] Keys =
        [("dms_window_size", "9"), ("dms_alpha_scale", "100.0"), ("dms_initial_alpha_offset", "5.0"), ("dms_cr", "8")];

    private readonly TempDirectory _directory = new();

    public static TheoryData<string> Names => [.. Models.Keys];

    private static readonly Dictionary<string, TinyModel> Models = new()
    {
        ["adapter per head"] = Model("qwen3", ("dms_separate_alpha", "true")),
        ["adapter per layer"] = Model("llama", ("dms_separate_alpha", "true"), ("dms_alpha_per", "\"layer\"")),
        ["adapter with bias"] = Model("qwen3", ("dms_separate_alpha", "true"), ("attention_bias", "true")),
        ["adapter without shift"] = Model("qwen2", ("dms_separate_alpha", "true"), ("dms_one_token_shift", "false")),
        ["borrowed channel"] = Model("qwen3"),
        ["borrowed channel per layer"] = Model("qwen3", ("dms_alpha_per", "\"layer\"")) with { HeadDim = 24, Heads = 6, KvHeads = 3 },
        ["borrowed channel without norm"] = Model("llama", ("dms_separate_alpha", "false")) with { HeadDim = 32 },
        ["borrowed channel, other convention"] = Model("llama", ("dms_one_token_shift", "false"), ("dms_zero_after_rope", "false")),
    };

    public void Dispose() => _directory.Dispose();

    [Theory]
    [MemberData(nameof(Names))]
    public void Passes_of_any_size_show_what_the_explicit_mask_shows(string name)
    {
        int[] ids = Write(Models[name]);
        var reference = new ReferenceTransformer(_directory.Path) { Evicts = true };
        float[] expected = Flat(reference.Forward(ids));
        Assert.True(reference.SmallestMargin > 0.01, $"a decision stands at {reference.SmallestMargin}: choose another seed");
        using var runner = new ModelRunner(_directory.Path, WeightType.F32, learnedEviction: true);
        float[] whole = runner.Run(ids, Length);
        Assert.InRange(Logits.MaxDifference(expected, whole), 0, 5e-4);
        Assert.InRange(runner.Statistics.EffectiveCompression, 1.15, 4);
        foreach (int chunk in new[] { 1, 7, 64 }) Assert.Equal(whole, runner.Run(ids, chunk));
        using var hoarder = new ModelRunner(_directory.Path, WeightType.F32, learnedEviction: true, reclaimBatch: 100_000, threads: 1);
        Assert.Equal(whole, hoarder.Run(ids, 5));

        float[] dense = Flat(new ReferenceTransformer(_directory.Path).Forward(ids));
        using var keeper = new ModelRunner(_directory.Path, WeightType.F32);
        Assert.InRange(Logits.MaxDifference(dense, keeper.Run(ids, 11)), 0, 5e-4);
        Assert.True(Logits.MaxDifference(dense, expected) > 0.01, "eviction changed nothing");
    }

    [Theory]
    [InlineData(WeightType.Int8, KvType.Int8)]
    [InlineData(WeightType.BF16, KvType.BF16)]
    public void Chunks_change_no_bit_with_rounded_weights_and_keys(WeightType weights, KvType keys)
    {
        foreach (string name in new[] { "adapter per head", "borrowed channel" })
        {
            int[] ids = Write(Models[name]);
            using var runner = new ModelRunner(_directory.Path, weights, keys, learnedEviction: true);
            float[] whole = runner.Run(ids, Length);
            Assert.Equal(whole, runner.Run(ids, 1));
            Assert.Equal(whole, runner.Run(ids, 13));
            Assert.InRange(runner.Statistics.EffectiveCompression, 1.15, 4);
        }
    }

    [Fact]
    public void An_adapter_in_its_own_directory_gives_the_bits_of_one_in_the_model()
    {
        TinyModel model = Models["adapter per head"];
        Write(model);
        using var adapter = new TempDirectory();
        WriteAdapter(adapter.Path, model);
        int[] prompt = Ids(40);
        int[] expected = Answer(_directory.Path, new LanguageModelOptions { LearnedEviction = true }, prompt, out double compression);
        Assert.True(compression > 1.15);
        using var plain = new TempDirectory();
        (model with { Config = [] }).Write(plain.Path);
        Assert.Equal(expected, Answer(plain.Path, new LanguageModelOptions { LearnedEviction = true, DmsAdapter = adapter.Path }, prompt, out double same));
        Assert.Equal(compression, same);
        Assert.NotEqual(expected, Answer(plain.Path, new LanguageModelOptions(), prompt, out _));
    }

    [Fact]
    public void Adapters_of_other_models_are_refused_by_name()
    {
        TinyModel model = Models["adapter per head"];
        using var adapter = new TempDirectory();
        WriteAdapter(adapter.Path, model);
        (model with { Config = [], Layers = 3 }).Write(_directory.Path);
        using (ModelSource source = ModelLoader.Open(_directory.Path))
        {
            var missing = Assert.Throws<ModelFormatException>(() => new DmsAdapterSource(source, adapter.Path));
            Assert.Contains("model.layers.2.self_attn.dms_proj_alpha", missing.Message, StringComparison.Ordinal);
        }

        using var wider = new TempDirectory();
        (model with { Config = [], Hidden = 96 }).Write(wider.Path);
        using ModelSource wide = ModelLoader.Open(wider.Path);
        Assert.Contains("[96]", Assert.Throws<ModelFormatException>(() => new DmsAdapterSource(wide, adapter.Path)).Message, StringComparison.Ordinal);
        Assert.Contains("adapter_config.json", Assert.Throws<ModelFormatException>(() => new DmsAdapterSource(wide, wider.Path)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_model_without_decisions_cannot_be_asked_to_follow_them()
    {
        (Models["borrowed channel"] with { Config = [] }).Write(_directory.Path);
        var refused = Assert.Throws<InvalidRequestException>(() => LanguageModel.Load(_directory.Path, new LanguageModelOptions { LearnedEviction = true }));
        Assert.Contains("was not trained to decide", refused.Message, StringComparison.Ordinal);
        Model("qwen3", ("dms_disable_eviction", "true")).Write(_directory.Path);
        refused = Assert.Throws<InvalidRequestException>(() => LanguageModel.Load(_directory.Path, new LanguageModelOptions { LearnedEviction = true }));
        Assert.Contains("dms_disable_eviction", refused.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Configurations_of_both_published_kinds_are_understood()
    {
        (Model("qwen3") with { Config = [("dms_cr", "8"), ("architectures", """["Qwen3ForCausalLMDMS"]""")] }).WriteConfig(_directory.Path);
        DmsConfig dms = ModelConfig.Read(_directory.Path).Dms!;
        Assert.Equal((512, 100f, 5f, false, 1, true), (dms.Window, dms.Scale, dms.Offset, dms.Adapter, dms.Shift, dms.ZeroAfterRope));
        (Model("llama") with { Config = [] }).WriteConfig(_directory.Path);
        File.WriteAllText(Path.Combine(_directory.Path, "dms_metadata.json"), """{"window_size": 256, "alpha_scale": 100.0, "alpha_offset": 5.0, "target_cr": 8}""");
        dms = ModelConfig.Read(_directory.Path).Dms!;
        Assert.Equal((256, 100f, 5f, false, 0, false), (dms.Window, dms.Scale, dms.Offset, dms.Adapter, dms.Shift, dms.ZeroAfterRope));
        Assert.Equal(8, dms.Compression);
        (Model("qwen3", ("dms_alpha_per", "\"token\""))).WriteConfig(_directory.Path);
        Assert.Contains("dms_alpha_per", Assert.Throws<ModelFormatException>(() => ModelConfig.Read(_directory.Path)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Later_turns_begin_with_what_earlier_ones_computed_and_say_the_same()
    {
        Write(Models["adapter per head"]);
        var options = new LanguageModelOptions { LearnedEviction = true, Threads = 1, KvType = KvType.F32 };
        using LanguageModel keeps = LanguageModel.Load(_directory.Path, options with { MaxPrefixes = 8 });
        using LanguageModel forgets = LanguageModel.Load(_directory.Path, options);
        int[] history = Ids(64);
        for (int turn = 0; turn < 3; turn++)
        {
            int[] first = Run(keeps, history), second = Run(forgets, history);
            Assert.Equal(second, first);
            int fill = 32 - (history.Length + first.Length) % 32;
            history = [.. history, .. first, .. Ids(fill + 32, (ulong)turn)];
        }

        Assert.True(keeps.Cache.Statistics.Prefixes.ReusedTokens >= 64, keeps.Cache.Statistics.Prefixes.ToString());
        Assert.True(keeps.Cache.Statistics.EffectiveCompression > 1.15);
    }

    private static TinyModel Model(string family, params (string, string?)[] keys) => new() { Family = family, Config = [.. Keys, .. keys], Seed = 3 };

    private static int[] Run(LanguageModel model, int[] prompt)
    {
        using GenerationSession session = model.Generate(prompt, new GenerationOptions { MaxTokens = 30, IgnoreEndTokens = true });
        return [.. session.Complete().Tokens];
    }

    private static int[] Answer(string directory, LanguageModelOptions options, int[] prompt, out double compression)
    {
        using LanguageModel model = LanguageModel.Load(directory, options with { Threads = 1 });
        int[] tokens = Run(model, prompt);
        compression = model.Cache.Statistics.EffectiveCompression;
        return tokens;
    }

    private static void WriteAdapter(string directory, TinyModel model)
    {
        RawSafetensors.Write(Path.Combine(directory, DmsAdapterSource.WeightsName), [.. model.DecisionTensors()], "F32");
        File.WriteAllText(
            Path.Combine(directory, DmsAdapterSource.ConfigName),
            $$"""{"dms_separate_alpha": true, "dms_window_size": {{Window}}, "dms_alpha_scale": 100.0, "dms_initial_alpha_offset": 5.0, "dms_cr": 8}""");
    }

    private int[] Write(TinyModel model)
    {
        model.Write(_directory.Path);
        return Ids(Length);
    }

    private static int[] Ids(int count, ulong seed = 7)
    {
        var random = new Foretoken.Numerics.SeededRandom(seed);
        return [.. Enumerable.Range(0, count).Select(_ => random.Next(277))];
    }

    private static float[] Flat(double[][] rows) => [.. rows.SelectMany(r => r.Select(v => (float)v))];
}
