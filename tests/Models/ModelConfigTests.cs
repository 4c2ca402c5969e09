using Foretoken.Formats;
using Foretoken.Models;
using Foretoken.Tests.Fixtures;

namespace Foretoken.Tests.Models;

public sealed class ModelConfigTests : IDisposable
{
    private readonly TempDirectory _directory = new();

    public void Dispose() => _directory.Dispose();

    [Fact]
    public void A_qwen3_configuration_is_read()
    {
        ModelConfig c = Read("qwen3", ("head_dim", "24"), ("tie_word_embeddings", "true"), ("rope_theta", "1000000"));
        Assert.Equal(("qwen3", "Qwen3ForCausalLM"), (c.Family, c.Architecture));
        Assert.Equal((2, 64, 108, 4, 2, 24, 277, 512), (c.Shape.LayerCount, c.Shape.HiddenSize, c.Shape.IntermediateSize, c.Shape.HeadCount,
            c.Shape.KvHeadCount, c.Shape.HeadDim, c.Shape.VocabSize, c.Shape.MaxPositions));
        Assert.Equal((true, true, false, false), (c.TiedEmbeddings, c.QkNorm, c.QkvBias, c.OutputBias));
        Assert.Equal(1e-6f, c.Shape.RmsNormEpsilon);
        Assert.Equal((float)(1 / Math.Sqrt(24)), c.Shape.AttentionScale);
        Assert.Equal(12, c.Shape.RopeInverseFrequencies.Length);
        Assert.Equal(1.0, c.Shape.RopeInverseFrequencies[0]);
        Assert.Equal(Math.Pow(1e6, -10.0 / 24), c.Shape.RopeInverseFrequencies[5], 15);
        Assert.Equal([0, 0], c.SlidingWindows);
        Assert.Equal([TinyModel.EndToken], c.EosTokenIds);
        Assert.Equal(TinyParameters(24), c.ParameterCount);
    }

    private static long TinyParameters(int headDim) =>
        277 * 64 + 64 + 2 * (2 * 64 + 2 * headDim + (4 + 2 * 2) * headDim * 64 + 4 * headDim * 64 + 3 * 64 * 108);

    [Fact]
    public void Head_dim_is_hidden_over_heads_where_the_file_does_not_say()
    {
        Assert.Equal(16, Read("llama", ("head_dim", null)).Shape.HeadDim);
        Assert.Equal(16, Read("llama", ("head_dim", "null")).Shape.HeadDim);
        Assert.Equal(4, Read("llama", ("num_key_value_heads", null)).Shape.KvHeadCount);
    }

    [Theory]
    [InlineData("llama", "false", false, false)]
    [InlineData("llama", "true", true, true)]
    [InlineData("qwen3", "true", true, true)]
    [InlineData("qwen3", "false", false, false)]
    [InlineData("qwen2", "false", true, false)]
    [InlineData("mistral", "false", false, false)]
    public void Families_know_their_biases(string family, string attentionBias, bool qkv, bool output)
    {
        ModelConfig c = Read(family, ("attention_bias", attentionBias));
        Assert.Equal((qkv, output), (c.QkvBias, c.OutputBias));
        Assert.Equal(family == "qwen3", c.QkNorm);
    }

    [Theory]
    [InlineData("mistral", "\"sliding_window\":7", new[] { 7, 7, 7, 7 })]
    [InlineData("mistral", "\"sliding_window\":null", new[] { 0, 0, 0, 0 })]
    [InlineData("mistral", "", new[] { 4096, 4096, 4096, 4096 })]
    [InlineData("llama", "", new[] { 0, 0, 0, 0 })]
    [InlineData("llama", "\"sliding_window\":512", new[] { 0, 0, 0, 0 })]
    [InlineData("qwen2", "\"sliding_window\":9,\"use_sliding_window\":false,\"max_window_layers\":2", new[] { 0, 0, 0, 0 })]
    [InlineData("qwen2", "\"sliding_window\":9,\"use_sliding_window\":true,\"max_window_layers\":3", new[] { 0, 0, 0, 9 })]
    [InlineData("qwen2", "\"sliding_window\":9,\"use_sliding_window\":true", new[] { 0, 0, 0, 0 })]
    [InlineData("qwen3", "\"sliding_window\":9,\"use_sliding_window\":true,\"max_window_layers\":0", new[] { 9, 9, 9, 9 })]
    [InlineData("qwen3", "\"sliding_window\":9,\"use_sliding_window\":true,\"layer_types\":[\"sliding_attention\",\"full_attention\",\"sliding_attention\",\"full_attention\"]", new[] { 9, 0, 9, 0 })]
    [InlineData("qwen3", "\"use_sliding_window\":false,\"layer_types\":[\"full_attention\",\"full_attention\",\"full_attention\",\"full_attention\"]", new[] { 0, 0, 0, 0 })]
    public void Sliding_windows_follow_each_familys_rules(string family, string fields, int[] expected)
    {
        (string, string?)[] changes = fields.Length == 0 ? [] : [.. Split(fields)];
        Assert.Equal(expected, Read(family, [("num_hidden_layers", "4"), ("sliding_window", null), .. changes]).SlidingWindows);
    }

    private static IEnumerable<(string, string?)> Split(string fields)
    {
        using var json = System.Text.Json.JsonDocument.Parse("{" + fields + "}");
        return [.. json.RootElement.EnumerateObject().Select(p => (p.Name, (string?)p.Value.GetRawText()))];
    }

    [Fact]
    public void Linear_scaling_divides_every_frequency()
    {
        double[] plain = Read("llama").Shape.RopeInverseFrequencies;
        double[] scaled = Read("llama", ("rope_scaling", """{"type":"linear","factor":4.0}""")).Shape.RopeInverseFrequencies;
        for (int i = 0; i < plain.Length; i++) Assert.Equal(plain[i] / 4, scaled[i], 15);
    }

    [Fact]
    public void Llama3_scaling_keeps_high_divides_low_and_blends_between()
    {
        // wavelengths 2π·10000^(i/8): 6.3, 19.9, 62.8, 199, 628, …; original 512 with factors 1 and 4: below 128 kept, above 512 divided
        const string scaling = """{"rope_type":"llama3","factor":8,"low_freq_factor":1,"high_freq_factor":4,"original_max_position_embeddings":512}""";
        double[] plain = Read("llama").Shape.RopeInverseFrequencies;
        double[] scaled = Read("llama", ("rope_scaling", scaling)).Shape.RopeInverseFrequencies;
        for (int i = 0; i <= 2; i++) Assert.Equal(plain[i], scaled[i]);
        double s = (512 / (2 * Math.PI / plain[3]) - 1) / 3;
        Assert.InRange(s, 0.1, 0.9);
        Assert.Equal(plain[3] / (1 / ((1 - s) / 8 + s)), scaled[3], 15); // the divisor as GGUF's rope_freqs states it
        for (int i = 4; i < 8; i++) Assert.Equal(plain[i] / 8, scaled[i], 15);
    }

    [Fact]
    public void The_newer_spelling_of_rope_means_the_same()
    {
        ModelConfig older = Read("llama", ("rope_theta", "500000"), ("rope_scaling", """{"type":"linear","factor":2}"""));
        ModelConfig newer = Read("llama", ("rope_theta", null), ("rope_parameters", """{"rope_type":"linear","factor":2,"rope_theta":500000}"""));
        Assert.Equal(older.Rope, newer.Rope);
        Assert.Equal(10_000, Read("llama", ("rope_theta", null)).Rope.Theta);
        Assert.Equal(RopeScalingKind.None, Read("llama", ("rope_parameters", """{"rope_type":"default","rope_theta":10000.0}""")).Rope.Kind);
    }

    [Fact]
    public void Generation_config_gives_end_tokens_and_defaults()
    {
        TinyModel.Write(_directory.Path, "llama");
        File.WriteAllText(_directory.File("generation_config.json"),
            """{"eos_token_id":[256,7],"do_sample":true,"temperature":0.6,"top_p":0.95,"top_k":20,"bos_token_id":1}""");
        ModelConfig c = ModelConfig.Read(_directory.Path);
        Assert.Equal([256, 7], c.EosTokenIds);
        Assert.Equal((true, 0.6, 0.95, 20), (c.Generation.DoSample, c.Generation.Temperature, c.Generation.TopP, c.Generation.TopK));
        File.Delete(_directory.File("generation_config.json"));
        Assert.Equal([256], ModelConfig.Read(_directory.Path).EosTokenIds);
    }

    public static TheoryData<string, string, string?, string, string> BrokenConfigs()
    {
        var data = new TheoryData<string, string, string?, string, string>();
        foreach (string size in new[] { "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab_size", "max_position_embeddings" })
        {
            data.Add("llama", size, null, size, "is missing");
            data.Add("llama", size, "0", size, "must be from 1 to");
            data.Add("llama", size, "-4", size, "must be from 1 to");
            data.Add("llama", size, "2147483648", size, "must be from 1 to");
            data.Add("llama", size, "1e3", size, "must be a whole number");
            data.Add("llama", size, "64.5", size, "must be a whole number");
            data.Add("llama", size, "\"64\"", size, "must be a whole number");
        }

        data.Add("llama", "num_attention_heads", "3", "num_key_value_heads", "must divide num_attention_heads");
        data.Add("llama", "num_key_value_heads", "0", "num_key_value_heads", "must be from 1");
        data.Add("llama", "num_key_value_heads", "8", "num_key_value_heads", "must divide");
        data.Add("qwen2", "num_key_value_heads", null, "num_key_value_heads", "is missing");
        data.Add("llama", "head_dim", "15", "head_dim", "must be even");
        data.Add("llama", "head_dim", "-16", "head_dim", "must be from 1");
        data.Add("llama", "head_dim", "4096", "head_dim", "must be from 1");
        data.Add("llama", "rms_norm_eps", null, "rms_norm_eps", "is missing");
        data.Add("llama", "rms_norm_eps", "0", "rms_norm_eps", "must be from");
        data.Add("llama", "rms_norm_eps", "-1e-5", "rms_norm_eps", "must be from");
        data.Add("llama", "rms_norm_eps", "1e999", "rms_norm_eps", "must be from");
        data.Add("llama", "rms_norm_eps", "\"NaN\"", "rms_norm_eps", "must be a number");
        data.Add("llama", "rope_theta", "0", "rope_theta", "must be from");
        data.Add("llama", "rope_theta", "-1", "rope_theta", "must be from");
        data.Add("llama", "tie_word_embeddings", "1", "tie_word_embeddings", "true or false");
        data.Add("llama", "architectures", "[\"GPT2LMHeadModel\"]", "architectures", "Supported architectures: LlamaForCausalLM, MistralForCausalLM");
        data.Add("llama", "architectures", "[\"LlamaForCausalLM\",\"Qwen2ForCausalLM\"]", "architectures", "must name one");
        data.Add("llama", "architectures", "\"LlamaForCausalLM\"", "architectures", "array of strings");
        data.Add("llama", "architectures", "[\"Qwen2ForCausalLM\"]", "model_type", "whose type is \"qwen2\"");
        data.Add("llama", "hidden_act", "\"gelu\"", "hidden_act", "must be \"silu\"");
        data.Add("llama", "mlp_bias", "true", "mlp_bias", "must be false");
        data.Add("llama", "partial_rotary_factor", "0.5", "partial_rotary_factor", "must be 1");
        data.Add("llama", "quantization_config", "{\"quant_method\":\"gptq\"}", "quantization_config", "must be null");
        data.Add("llama", "final_logit_softcapping", "30.0", "final_logit_softcapping", "must be null");
        data.Add("llama", "num_local_experts", "8", "num_local_experts", "must be 0");
        data.Add("llama", "eos_token_id", "[1,277]", "eos_token_id", "from 0 to 276");
        data.Add("llama", "bos_token_id", "-1", "bos_token_id", "must be from 0");
        data.Add("llama", "sliding_window", "16", "sliding_window", "Llama models do not have");
        data.Add("mistral", "sliding_window", "0", "sliding_window", "must be from 1");
        data.Add("mistral", "sliding_window", "-3", "sliding_window", "must be from 1");
        data.Add("mistral", "layer_types", "[\"sliding_attention\",\"full_attention\"]", "layer_types", "contradicts sliding_window");
        data.Add("mistral", "attention_bias", "true", "attention_bias", "must be false");
        data.Add("qwen2", "layer_types", "[\"sliding_attention\",\"full_attention\"]", "layer_types", "use_sliding_window is not true");
        data.Add("qwen2", "layer_types", "[\"full_attention\"]", "layer_types", "must name 2 layers");
        data.Add("qwen2", "layer_types", "[\"full_attention\",\"linear_attention\"]", "layer_types", "\"linear_attention\" is not supported");
        data.Add("llama", "rope_scaling", "{\"type\":\"yarn\",\"factor\":4}", "rope_scaling.type", "\"yarn\" is not supported");
        data.Add("llama", "rope_scaling", "{\"rope_type\":\"dynamic\",\"factor\":4}", "rope_scaling.rope_type", "\"dynamic\" is not supported");
        data.Add("llama", "rope_scaling", "{\"type\":\"linear\"}", "rope_scaling.factor", "is missing");
        data.Add("llama", "rope_scaling", "{\"type\":\"linear\",\"factor\":0}", "rope_scaling.factor", "must be from 1");
        data.Add("llama", "rope_scaling", "{\"type\":\"linear\",\"rope_type\":\"llama3\",\"factor\":2}", "rope_scaling.type", "but rope_type is");
        data.Add("llama", "rope_scaling", "{\"factor\":2}", "rope_scaling.rope_type", "is missing");
        data.Add("llama", "rope_scaling", "{\"type\":\"linear\",\"factor\":2,\"mscale\":1}", "rope_scaling.mscale", "is not a field");
        data.Add("llama", "rope_scaling", "{\"type\":\"linear\",\"factor\":2,\"rope_theta\":5}", "rope_theta", "among the RoPE parameters");
        data.Add("llama", "rope_scaling", "{\"type\":\"llama3\",\"factor\":8,\"low_freq_factor\":4,\"high_freq_factor\":4,\"original_max_position_embeddings\":64}",
            "rope_scaling.low_freq_factor", "must be below");
        data.Add("llama", "rope_scaling", "{\"type\":\"llama3\",\"factor\":8,\"low_freq_factor\":1,\"high_freq_factor\":4}",
            "rope_scaling.original_max_position_embeddings", "is missing");
        data.Add("llama", "rope_scaling", "\"linear\"", "rope_scaling", "must be an object");
        data.Add("llama", "rope_parameters", "{\"full_attention\":{\"rope_type\":\"default\"}}", "rope_parameters.full_attention", "is not a field");
        return data;
    }

    [Theory]
    [MemberData(nameof(BrokenConfigs))]
    public void Absurd_contradictory_and_unsupported_values_are_refused(string family, string field, string? value, string named, string rule)
    {
        var e = Assert.Throws<ModelFormatException>(() => Read(family, (field, value)));
        Assert.Equal(named, e.Field);
        Assert.Equal(_directory.File("config.json"), e.File);
        Assert.Contains(rule, e.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("", "valid JSON")]
    [InlineData("{\"hidden_size\":64,\"hidden_size\":64}", "valid JSON")]
    [InlineData("{\"rms_norm_eps\":NaN}", "NaN and Infinity are not")]
    [InlineData("[]", "must be a JSON object")]
    [InlineData("{}", "is missing")]
    public void A_config_that_is_not_one_object_is_refused(string text, string rule)
    {
        File.WriteAllText(_directory.File("config.json"), text);
        Assert.Contains(rule, Assert.Throws<ModelFormatException>(() => ModelConfig.Read(_directory.Path)).Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("""{"temperature":-1}""", "temperature")]
    [InlineData("""{"top_p":1.5}""", "top_p")]
    [InlineData("""{"top_k":-1}""", "top_k")]
    [InlineData("""{"eos_token_id":-1}""", "eos_token_id")]
    public void Broken_generation_defaults_are_refused(string text, string field)
    {
        TinyModel.Write(_directory.Path, "llama");
        File.WriteAllText(_directory.File("generation_config.json"), text);
        Assert.Equal(field, Assert.Throws<ModelFormatException>(() => ModelConfig.Read(_directory.Path)).Field);
    }

    private ModelConfig Read(string family, params (string Name, string? Json)[] changes)
    {
        new TinyModel { Family = family, Layers = 2, Config = changes }.WriteConfig(_directory.Path);
        return ModelConfig.Read(_directory.Path);
    }
}
