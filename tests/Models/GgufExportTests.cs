using Foretoken.Backends;
using Foretoken.Backends.Cpu;
using Foretoken.Formats;
using Foretoken.Memory;
using Foretoken.Models;
using Foretoken.Models.Export;
using Foretoken.Numerics;
using Foretoken.Tests.Fixtures;
using Foretoken.Tests.Tokenization;
using Foretoken.Tokenization;

namespace Foretoken.Tests.Models;

public sealed class GgufExportTests : IDisposable
{
    private readonly TempDirectory _directory = new();
    private static readonly int[] Ids = [3, 99, 250, 17, 101, 8];

    public void Dispose() => _directory.Dispose();

    [Theory]
    [InlineData("llama", false)]
    [InlineData("llama", true)]
    [InlineData("mistral", false)]
    [InlineData("qwen2", true)]
    [InlineData("qwen3", false)]
    public void A_converted_model_gives_the_same_logits_bit_for_bit(string family, bool tied)
    {
        var model = new TinyModel { Family = family, Tied = tied, SlidingWindow = family == "mistral" ? 4 : null };
        if (family == "llama") model = model with { Config = [("attention_bias", "true")] };
        string from = model.Write(_directory.File("model")), to = Convert(from, "f32");
        Assert.Equal(LogitsOf(from), LogitsOf(to));
        string back = Directory.CreateDirectory(_directory.File("back")).FullName;
        using (ModelSource source = ModelLoader.Open(to)) HuggingFaceExport.Write(back, source, Options("f32"));
        Assert.Equal(LogitsOf(from), LogitsOf(back));
    }

    [Fact]
    public void Llama3_scaling_travels_as_divisors_and_comes_back()
    {
        const string scaling = """{"rope_type":"llama3","factor":32.0,"low_freq_factor":1.0,"high_freq_factor":4.0,"original_max_position_embeddings":8192}""";
        string from = new TinyModel { Family = "llama", RopeTheta = 500_000, Config = [("rope_scaling", scaling)] }.Write(_directory.File("model"));
        string to = Convert(from, "f32"), back = Directory.CreateDirectory(_directory.File("back")).FullName;
        using ModelSource source = ModelLoader.Open(to), original = ModelLoader.Open(from);
        Assert.Equal(RopeScalingKind.Divisors, source.Config.Rope.Kind);
        Assert.All(source.Config.Shape.RopeInverseFrequencies.Zip(original.Config.Shape.RopeInverseFrequencies), f => Assert.Equal(1, f.First / f.Second, 1e-6));
        HuggingFaceExport.Write(back, source, Options("f32"));
        Assert.Equal(original.Config.Rope, ModelConfig.Read(back).Rope);
    }

    [Fact]
    public void Linear_scaling_travels_in_the_metadata()
    {
        string from = new TinyModel { Family = "qwen3", Config = [("rope_scaling", """{"type":"linear","factor":4.0}""")] }.Write(_directory.File("model"));
        using ModelSource source = ModelLoader.Open(Convert(from, "f32"));
        Assert.Equal(new RopeScaling(10_000, RopeScalingKind.Linear, 4), source.Config.Rope);
    }

    [Theory]
    [InlineData("f16")]
    [InlineData("bf16")]
    [InlineData("q8_0")]
    [InlineData("q4_0")]
    [InlineData("q4_k_m")]
    [InlineData("q6_k")]
    public void Every_type_is_near_the_original(string type)
    {
        string from = new TinyModel { Family = "qwen3", Hidden = 256, Intermediate = 512, Layers = 4 }.Write(_directory.File("model"));
        string to = Convert(from, type);
        using ModelSource exact = ModelLoader.Open(from), rounded = ModelLoader.Open(to);
        double error = 0, power = 0;
        foreach (WeightSpec spec in WeightSpec.Of(exact.Config).Where(s => s.IsMatrix))
        {
            float[] a = new float[spec.InFeatures], b = new float[spec.InFeatures];
            for (int row = 0; row < spec.OutFeatures; row += 7)
            {
                exact.Matrix(spec).ReadRow(row, a);
                rounded.Matrix(spec).ReadRow(row, b);
                error += a.Zip(b, (x, y) => Math.Pow(x - y, 2)).Sum();
                power += a.Sum(x => (double)x * x);
            }
        }

        double bound = type switch { "f16" => 4e-4, "bf16" => 3e-3, "q8_0" => 7e-3, "q4_0" => 0.1, "q4_k_m" => 0.08, _ => 0.025 };
        Assert.InRange(Math.Sqrt(error / power), bound / 10, bound);
    }

    /// <summary>What llama.cpp chooses for the layers of Llama-3.2-1B.</summary>
    [Fact]
    public void Q4_K_M_mixes_types_as_the_reference_does()
    {
        ModelConfig config = NamedShapes.Create("llama-3.2-1b");
        WeightMix mix = WeightMix.Find("q4_k_m")!;
        DType Of(WeightRole role, int layer) => mix.TypeOf(WeightSpec.Of(config).Single(s => s.Role == role && s.Layer == layer), config);
        int[] raised = [.. Enumerable.Range(0, 16).Where(i => Of(WeightRole.Down, i) == DType.Q6_K)];
        Assert.Equal([0, 1, 4, 7, 10, 13, 14, 15], raised);
        Assert.Equal(raised, Enumerable.Range(0, 16).Where(i => Of(WeightRole.Value, i) == DType.Q6_K));
        Assert.All(Enumerable.Range(0, 16), i => Assert.Equal(DType.Q4_K, Of(WeightRole.Gate, i)));
        Assert.Equal((DType.Q6_K, DType.F32), (Of(WeightRole.Embedding, -1), Of(WeightRole.InputNorm, 3)));
        ModelConfig untied = NamedShapes.Create("llama-3.1-8b");
        Assert.Equal(DType.Q4_K, mix.TypeOf(WeightSpec.Of(untied).First(), untied));
        Assert.Equal(DType.Q6_K, mix.TypeOf(WeightSpec.Of(untied).Last(), untied));
        Assert.Equal(DType.Q5_0, mix.TypeOf(new WeightSpec(WeightRole.Gate, 0, 32, 896), config));
        Assert.Equal(DType.Q8_0, mix.TypeOf(new WeightSpec(WeightRole.Down, 0, 32, 96), config));
        Assert.Equal(DType.F16, mix.TypeOf(new WeightSpec(WeightRole.Down, 0, 32, 108), config));
    }

    [Fact]
    public void Random_weights_and_a_dummy_vocabulary_make_a_complete_file()
    {
        ModelConfig config = Open(new TinyModel { Family = "llama", Hidden = 256, Intermediate = 256, Vocab = 1200 }).Config with { BosTokenId = 0, EosTokenIds = [1] };
        string path = _directory.File("random.gguf");
        TrainedBpe vocabulary = DummyVocabulary.Create(SplitPattern.Llama3);
        using (var source = new RandomSource(config, 5))
        using (FileStream stream = File.Create(path)) GgufExport.Write(stream, source, DummyVocabulary.ToGguf(vocabulary, 1200), Options("q4_k_m"));
        using var read = new GgufSource(path);
        Assert.Equal((0, 1), (read.Config.BosTokenId, read.Config.EosTokenIds.Single()));
        BpeTokenizer tokenizer = BpeTokenizer.FromFile(path);
        Assert.Equal(1200, tokenizer.VocabularySize);
        Assert.Equal("Straße 12 abc", tokenizer.Decode(tokenizer.EncodeToIds("Straße 12 abc")));
        Assert.Equal(vocabulary.ToTokenizer().EncodeToIds("hello world <|end|>"), tokenizer.EncodeToIds("hello world <|end|>"));
        Assert.All(LogitsOf(path), v => Assert.True(float.IsFinite(v)));
        string again = _directory.File("again.gguf");
        using (var source = new RandomSource(config, 5))
        using (FileStream stream = File.Create(again)) GgufExport.Write(stream, source, DummyVocabulary.ToGguf(vocabulary, 1200), Options("q4_k_m") with { Threads = 1 });
        Assert.Equal(File.ReadAllBytes(path), File.ReadAllBytes(again));
    }

    [Fact]
    public void A_byte_level_tokenizer_survives_both_ways()
    {
        string from = new TinyModel { Vocab = 600 }.Write(_directory.File("model")), to = Convert(from, "f32");
        BpeTokenizer a = BpeTokenizer.FromModel(from), b = BpeTokenizer.FromModel(to);
        string back = Directory.CreateDirectory(_directory.File("back")).FullName;
        using (var file = new GgufFile(to)) GgufToTokenizerJson.Write(back, GgufTokenizer.FromGguf(file.Metadata)!, to, 512);
        BpeTokenizer c = BpeTokenizer.FromModel(back);
        var random = new SeededRandom(9);
        for (int i = 0; i < 200; i++)
        {
            string text = RandomText.Mixed(random, 12) + (i % 3 == 0 ? "<|end|>" : "");
            Assert.Equal(a.EncodeToIds(text), b.EncodeToIds(text));
            Assert.Equal(a.EncodeToIds(text), c.EncodeToIds(text));
        }

        Assert.Equal(ChatTemplate.FromModel(from)!.Source, ChatTemplate.FromModel(to)!.Source);
        Assert.Equal((a.EosTokenId, a.BosTokenId), (b.EosTokenId, b.BosTokenId));
    }

    [Fact]
    public void A_SentencePiece_tokenizer_keeps_the_order_of_its_merges_as_scores()
    {
        TokenizerJson json = TokenizerJson.SentencePiece(["a", "b", "c", "ab", "bc", "\u2581a", "abc", "\u2581abc"], "b c", "a b", "\u2581 a", "a bc", "ab c", "\u2581 abc", "\u2581a bc");
        File.WriteAllText(_directory.File("tokenizer.json"), json.ToString());
        GgufTokenizer tables = GgufTokenizerConverter.Convert(_directory.Path, json.Vocabulary.Count, [2], null, out bool dropped);
        Assert.False(dropped);
        string path = _directory.File("t.gguf");
        var writer = new GgufWriter();
        tables.AddTo(writer);
        using (FileStream stream = File.Create(path)) writer.Write(stream);
        BpeTokenizer a = BpeTokenizer.FromFile(_directory.File("tokenizer.json")), b = BpeTokenizer.FromFile(path);
        var random = new SeededRandom(4);
        for (int i = 0; i < 300; i++)
        {
            string text = RandomText.FromAlphabet(random, "abc  äx</s>", 12);
            Assert.Equal(a.EncodeToIds(text, addBos: true), b.EncodeToIds(text, addBos: true));
            Assert.Equal(a.Decode(a.EncodeToIds(text)), b.Decode(b.EncodeToIds(text)));
        }

        Assert.True(b.AddsPrefix);
    }

    [Fact]
    public void What_the_format_cannot_hold_is_refused()
    {
        string windows = new TinyModel { Family = "qwen2", Config = [("use_sliding_window", "true"), ("sliding_window", "64"), ("max_window_layers", "1")] }.Write(_directory.File("w"));
        Assert.Contains("some layers only", Assert.Throws<ModelFormatException>(() => Convert(windows, "f32")).Message, StringComparison.Ordinal);
        string large = _directory.File("large");
        var model = new TinyModel { Family = "llama" };
        model.Write(large);
        TestTensor[] tensors = [.. model.Tensors()];
        tensors[2].Values[77] = 1e20f;
        RawSafetensors.Write(Path.Combine(large, "model.safetensors"), tensors, "F32");
        var e = Assert.Throws<ModelFormatException>(() => Convert(large, "f16"));
        Assert.Contains("cannot be written as F16", e.Message, StringComparison.Ordinal);
        Assert.Throws<ArgumentException>(() => HuggingFaceExport.Write(_directory.Path, Open(new TinyModel()), Options("q8_0")));
    }

    [Fact]
    public void The_writer_refuses_what_the_reader_would()
    {
        static StreamedTensor Tensor(string name, DType type, params long[] shape) => new(name, type, shape, _ => { });
        var writer = new GgufWriter().Add(Tensor("a", DType.F32, 1)).Add("k", 1u);
        foreach (StreamedTensor bad in (StreamedTensor[])[Tensor("a", DType.F32, 1), Tensor("", DType.F32, 1), Tensor(new string('n', 64), DType.F32, 1), Tensor("b", DType.F32, 0),
            Tensor("b", DType.F32), Tensor("b", DType.F32, 1, 1, 1, 1, 1), Tensor("b", DType.Q8_0, 33), Tensor("b", DType.U8, 1)])
            Assert.Throws<ArgumentException>(() => writer.Add(bad));
        Assert.Throws<ArgumentException>(() => writer.Add("k", "again"));
        Assert.Throws<InvalidOperationException>(() => writer.Write(new MemoryStream())); // tensor a writes no bytes
    }

    /// <summary>The value projection of some layers is Q6_K beside Q4_K queries and keys: all keep their type, none is widened.</summary>
    [Fact]
    public void Mixed_files_are_held_in_the_types_of_the_file()
    {
        string path = Convert(new TinyModel { Family = "llama", Hidden = 256, Heads = 8, HeadDim = 32, KvHeads = 2, Intermediate = 512, Layers = 4 }.Write(_directory.File("model")), "q4_k_m");
        var plan = new MemoryPlan();
        using (CpuBackend backend = CpuBackend.Create(new CpuOptions { Threads = 2 }))
            ModelLoader.Load(path, new LoadOptions { Backend = backend, Plan = plan, MaxRows = 4, MaxLogitRows = 4 });
        string[] wide = [.. plan.Entries.Where(e => e.Group == "weights" && e.Shape.Contains(", ", StringComparison.Ordinal)).Where(e => !e.Shape.Contains(" Q", StringComparison.Ordinal)).Select(e => e.Name)];
        Assert.Empty(wide);
        using var exact = new ModelRunner(path, WeightType.F32);
        using var held = new ModelRunner(path);
        float[] expected = exact.Run(Ids, Ids.Length), actual = held.Run(Ids, Ids.Length);
        Assert.Equal(actual, held.Run(Ids, 1));
        Assert.InRange(Logits.RootMeanSquareDifference(expected, actual), 1e-4, 0.1);
    }

    private static ExportOptions Options(string type) => new() { Mix = WeightMix.Find(type)!, Name = "test" };

    private ModelSource Open(TinyModel model) => ModelLoader.Open(model.Write(_directory.File(Guid.NewGuid().ToString("N"))));

    private string Convert(string from, string type)
    {
        string path = _directory.File($"{type}.gguf");
        using ModelSource source = ModelLoader.Open(from);
        GgufTokenizer tokenizer = GgufTokenizerConverter.Convert(from, source.Config.Shape.VocabSize, source.Config.EosTokenIds, source.Config.BosTokenId, out _);
        using FileStream stream = File.Create(path);
        GgufExport.Write(stream, source, tokenizer, Options(type));
        return path;
    }

    private static float[] LogitsOf(string path)
    {
        using var runner = new ModelRunner(path, WeightType.F32);
        return runner.Run(Ids, Ids.Length);
    }
}
