using System.Text.Json.Nodes;
using Foretoken.Backends;
using Foretoken.Backends.Cpu;
using Foretoken.Formats;
using Foretoken.Memory;
using Foretoken.Models;
using Foretoken.Tests.Fixtures;

namespace Foretoken.Tests.Models;

public sealed class ModelLoaderTests : IDisposable
{
    private readonly TempDirectory _directory = new();

    public void Dispose() => _directory.Dispose();

    private string Weights => _directory.File("model.safetensors");

    [Fact]
    public void Loading_reports_progress_and_plans_every_buffer()
    {
        TinyModel.Write(_directory.Path, "qwen3");
        var steps = new Steps();
        var plan = new MemoryPlan();
        using CpuBackend backend = CpuBackend.Create(new CpuOptions { Threads = 1 });
        LoadedModel model = ModelLoader.Load(_directory.Path, Options(backend, plan) with { Progress = steps });
        Assert.Equal(1 + 2 + 1 + 2 * 8, steps.Seen.Count); // the beginning; embedding, head, final norm; per layer four matrices and four norms
        Assert.Equal(new LoadProgress("", 0, steps.Seen[^1].TotalBytes), steps.Seen[0]);
        Assert.Equal("embedding", steps.Seen[1].Weight);
        Assert.Equal(steps.Seen[^1].TotalBytes, steps.Seen[^1].BytesRead);
        Assert.True(steps.Seen.Zip(steps.Seen.Skip(1), (a, b) => a.BytesRead < b.BytesRead).All(rises => rises));
        Assert.Equal((WeightType.F32, "qwen3", 512), (model.WeightType, model.Config.Family, model.Transformer.Shape.MaxPositions));
        Assert.True(plan.TotalBytes > steps.Seen[^1].TotalBytes);
    }

    [Fact]
    public void A_tied_head_costs_no_second_table()
    {
        long untied = PlannedWeights(new TinyModel { Family = "llama" }), tied = PlannedWeights(new TinyModel { Family = "llama", Tied = true });
        Assert.InRange(untied - tied, 277 * 64 * 4, 277 * 64 * 4 * 1.2);
    }

    [Fact]
    public void The_context_can_be_shortened_but_not_stretched()
    {
        TinyModel.Write(_directory.Path, "llama");
        Assert.Equal(100, Load(o => o with { ContextLength = 100 }).Transformer.Shape.MaxPositions);
        Assert.Equal(512, Load(o => o with { ContextLength = 100_000 }).Transformer.Shape.MaxPositions);
        Assert.Throws<ArgumentOutOfRangeException>(() => Load(o => o with { ContextLength = 0 }));
    }

    [Fact]
    public void A_cancelled_load_stops()
    {
        TinyModel.Write(_directory.Path, "llama");
        Assert.Throws<OperationCanceledException>(() => Load(o => o with { Cancellation = new CancellationToken(true) }));
    }

    [Theory]
    [InlineData("model.layers.1.mlp.up_proj.weight", "llama", "LlamaForCausalLM needs it with shape [108, 64]")]
    [InlineData("model.layers.0.self_attn.k_norm.weight", "qwen3", "needs it with shape [16]")]
    [InlineData("model.layers.0.self_attn.v_proj.bias", "qwen2", "needs it with shape [32]")]
    [InlineData("lm_head.weight", "llama", "tie_word_embeddings is not true")]
    [InlineData("model.norm.weight", "mistral", "is missing")]
    public void A_missing_tensor_is_named_with_its_shape(string name, string family, string rule)
    {
        Write(family, tensors => tensors.Where(t => t.Name != name));
        Refused($"\"{name}\"", rule);
    }

    [Theory]
    [InlineData("model.layers.0.self_attn.q_proj.weight")]
    [InlineData("model.layers.0.input_layernorm.weight")]
    [InlineData("model.embed_tokens.weight")]
    public void A_wrong_shape_is_refused_before_anything_is_packed(string name)
    {
        Write("llama", tensors => tensors.Select(t => t.Name != name ? t : t with { Shape = [.. t.Shape.Append(1)] }));
        Refused($"\"{name}\"", "but config.json asks for");
        Write("llama", tensors => tensors.Select(t => t.Name != name ? t : t with { Shape = [.. t.Shape.Reverse()], Name = t.Name }).Select(t =>
            t.Name == name && t.Shape.Length == 1 ? t with { Shape = [32], Values = t.Values[..32] } : t));
        if (name.Contains("q_proj", StringComparison.Ordinal)) return; // square
        Refused($"\"{name}\"", "but config.json asks for");
    }

    [Theory]
    [InlineData("model.layers.2.self_attn.q_proj.weight")]
    [InlineData("model.layers.0.self_attn.q_proj.bias")]
    [InlineData("model.layers.0.self_attn.q_norm.weight")]
    [InlineData("score.weight")]
    public void A_tensor_that_would_be_ignored_is_refused(string name)
    {
        Write("llama", tensors => tensors.Append(new TestTensor(name, [16], new float[16])));
        Refused($"\"{name}\"", "is not a weight of LlamaForCausalLM");
    }

    [Fact]
    public void Computed_buffers_of_old_checkpoints_are_ignored()
    {
        Write("llama", tensors => tensors.Append(new TestTensor("model.layers.0.self_attn.rotary_emb.inv_freq", [8], new float[8])));
        Assert.Equal("llama", Load().Config.Family);
    }

    [Fact]
    public void A_tied_model_may_repeat_its_head_only_if_it_is_equal()
    {
        var model = new TinyModel { Family = "qwen2", Tied = true };
        model.Write(_directory.Path);
        TestTensor[] tensors = [.. model.Tensors()];
        TestTensor head = tensors.Single(t => t.Name == "model.embed_tokens.weight") with { Name = "lm_head.weight" };
        RawSafetensors.Write(Weights, tensors.Append(head), "F32");
        Assert.True(Load().Config.TiedEmbeddings);
        float[] other = [.. head.Values];
        other[^1] += 1;
        RawSafetensors.Write(Weights, tensors.Append(head with { Values = other }), "F32");
        Refused("\"lm_head.weight\"", "differs from the embedding");
    }

    [Fact]
    public void Quantised_checkpoints_are_refused_by_type()
    {
        TinyModel.Write(_directory.Path, "llama");
        byte[] bytes = File.ReadAllBytes(Weights);
        int length = (int)BitConverter.ToInt64(bytes);
        JsonObject header = JsonNode.Parse(bytes.AsSpan(8, length))!.AsObject();
        header["model.layers.0.mlp.down_proj.weight"]!["dtype"] = "I32";
        RawSafetensors.WriteRaw(Weights, header.ToJsonString(), bytes[(8 + length)..]);
        Refused("\"model.layers.0.mlp.down_proj.weight\"", "has type I32");
    }

    [Theory]
    [InlineData(1, WeightType.F32)]
    [InlineData(3, WeightType.BF16)]
    [InlineData(3, WeightType.Int8)]
    public void A_weight_that_is_not_a_number_is_found_while_packing(int threads, WeightType type)
    {
        Write("llama", tensors => tensors.Select(t =>
        {
            if (t.Name == "model.layers.1.mlp.gate_proj.weight") t.Values[64 * 50 + 3] = float.NaN;
            return t;
        }));
        var e = Assert.Throws<ModelFormatException>(() => Load(o => o with { WeightType = type }, threads));
        Assert.Equal("\"model.layers.1.mlp.gate_proj.weight\"", e.Field);
        Assert.Contains("NaN or infinity in row 50", e.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(3)]
    public void A_weight_too_large_for_int8_blocks_asks_for_another_type(int threads)
    {
        Write("llama", tensors => tensors.Select(t =>
        {
            if (t.Name == "model.layers.1.mlp.gate_proj.weight") t.Values[64 * 50 + 3] = 1e30f;
            return t;
        }));
        var e = Assert.Throws<ModelFormatException>(() => Load(o => o with { WeightType = WeightType.Int8 }, threads));
        Assert.Contains("cannot be packed as Int8", e.Message, StringComparison.Ordinal);
        Load(o => o with { WeightType = WeightType.F32 }, threads);
    }

    [Fact]
    public void A_file_that_is_cut_while_it_is_packed_gives_a_clear_error()
    {
        TinyModel.Write(_directory.Path, "llama");
        var cutter = new Steps
        {
            OnReport = p =>
            {
                if (p.Weight != "layer 0 qkv") return;
                using var file = new FileStream(Weights, FileMode.Open, FileAccess.Write, FileShare.ReadWrite);
                file.SetLength(file.Length / 2);
            },
        };
        var e = Assert.Throws<ModelFormatException>(() => Load(o => o with { Progress = cutter }, threads: 3));
        Assert.Contains("cut while it was read", e.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_random_source_loads_without_files_and_depends_on_its_seed()
    {
        TinyModel.Write(_directory.Path, "qwen3");
        ModelConfig config = ModelConfig.Read(_directory.Path);
        using CpuBackend backend = CpuBackend.Create(new CpuOptions { Threads = 2 });
        using var source = new RandomSource(config, 3);
        Assert.Equal(WeightType.BF16, ModelLoader.Load(source, Options(backend, new MemoryPlan())).WeightType);
        Assert.Equal(Row(3), Row(3));
        Assert.NotEqual(Row(3), Row(4));
        float[] row = Row(3);
        Assert.InRange(row.Select(v => v * v).Average(), 0.5f / 64, 1.5f / 64);

        float[] Row(ulong seed)
        {
            var values = new float[64];
            new RandomSource(config, seed).Matrix(new WeightSpec(WeightRole.Up, 1, 108, 64)).ReadRow(5, values);
            return values;
        }
    }

    [Fact]
    public void Weights_beyond_the_machines_memory_are_refused_before_anything_is_allocated()
    {
        ModelConfig config = NamedShapes.Create("llama-3.2-1b");
        config = config with { Shape = config.Shape with { HiddenSize = 1 << 18, VocabSize = 1 << 22 } }; // the embedding alone has 2^40 weights
        using var source = new RandomSource(config);
        using CpuBackend backend = CpuBackend.Create(new CpuOptions { Threads = 1 });
        var plan = new MemoryPlan();
        var e = Assert.Throws<OutOfMemoryBudgetException>(() => ModelLoader.Load(source, Options(backend, plan)));
        Assert.Contains("as BF16 the weights need", e.Message, StringComparison.Ordinal);
        Assert.Contains("int8", e.Message, StringComparison.Ordinal);
        Assert.Empty(plan.Entries);
        Assert.InRange(MemoryBudget.MachineBytes, 1L << 28, 1L << 50);
    }

    [Fact]
    public void Named_shapes_have_the_parameter_counts_of_their_models()
    {
        Assert.Equal(1_235_814_400, NamedShapes.Create("llama-3.2-1b").ParameterCount);
        Assert.Equal(8_030_261_248, NamedShapes.Create("Llama-3.1-8B").ParameterCount);
        Assert.Equal(596_049_920, NamedShapes.Create("qwen3-0.6b").ParameterCount);
        Assert.Equal(8_190_735_360, NamedShapes.Create("qwen3-8b").ParameterCount);
        Assert.Contains("Known shapes: llama-3.2-1b", Assert.Throws<ArgumentException>(() => NamedShapes.Create("gpt")).Message, StringComparison.Ordinal);
    }

    private long PlannedWeights(TinyModel model)
    {
        model.Write(_directory.Path);
        var plan = new MemoryPlan();
        Load(o => o with { Plan = plan });
        return plan.Entries.Where(e => e.Group == "weights").Sum(e => e.Bytes);
    }

    private LoadedModel Load(Func<LoadOptions, LoadOptions>? change = null, int threads = 1)
    {
        using CpuBackend backend = CpuBackend.Create(new CpuOptions { Threads = threads });
        LoadOptions options = Options(backend, new MemoryPlan());
        return ModelLoader.Load(_directory.Path, change?.Invoke(options) ?? options);
    }

    private static LoadOptions Options(IBackend backend, MemoryPlan plan) => new() { Backend = backend, Plan = plan, MaxRows = 8, MaxLogitRows = 2 };

    private void Write(string family, Func<IEnumerable<TestTensor>, IEnumerable<TestTensor>> change)
    {
        var model = new TinyModel { Family = family };
        model.Write(_directory.Path);
        RawSafetensors.Write(Weights, change(model.Tensors()), "F32");
    }

    private void Refused(string field, string rule)
    {
        var e = Assert.Throws<ModelFormatException>(() => ModelLoader.Open(_directory.Path).Dispose());
        Assert.Equal((Weights, field), (e.File, e.Field));
        Assert.Contains(rule, e.Message, StringComparison.Ordinal);
    }

    private sealed class Steps : IProgress<LoadProgress>
    {
        public List<LoadProgress> Seen { get; } = [];

        public Action<LoadProgress>? OnReport { get; init; }

        public void Report(LoadProgress value)
        {
            Seen.Add(value);
            OnReport?.Invoke(value);
        }
    }
}
