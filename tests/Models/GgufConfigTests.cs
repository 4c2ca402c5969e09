using Foretoken.Formats;
using Foretoken.Models;
using Foretoken.Tests.Fixtures;

namespace Foretoken.Tests.Models;

/// <summary>Metadata that contradict themselves, ask for something absurd, or for something that is not computed here.</summary>
public sealed class GgufConfigTests : IDisposable
{
    private readonly TempDirectory _directory = new();

    public void Dispose() => _directory.Dispose();

    [Theory]
    [InlineData("general.architecture", "mamba", "\"mamba\" is not supported")]
    [InlineData("llama.block_count", 0u, "from 1 to 512, but is 0")]
    [InlineData("llama.block_count", 513u, "from 1 to 512, but is 513")]
    [InlineData("llama.block_count", 2147483648u, "but is 2147483648")]
    [InlineData("llama.block_count", "two", "must be a whole number, but is \"two\"")]
    [InlineData("llama.context_length", 0u, "from 1 to")]
    [InlineData("llama.embedding_length", 4294967295u, "but is 4294967295")]
    [InlineData("llama.feed_forward_length", 0u, "from 1 to")]
    [InlineData("llama.attention.head_count", 0u, "from 1 to 1024")]
    [InlineData("llama.attention.head_count", 5u, "must divide embedding_length = 32")]
    [InlineData("llama.attention.head_count_kv", 3u, "must divide attention.head_count = 4")]
    [InlineData("llama.attention.key_length", 7u, "needs an even number")]
    [InlineData("llama.attention.value_length", 16u, "must be the length of a head, 8, but is 16")]
    [InlineData("llama.rope.dimension_count", 4u, "must be the length of a head")]
    [InlineData("llama.attention.layer_norm_rms_epsilon", float.NaN, "but is NaN")]
    [InlineData("llama.attention.layer_norm_rms_epsilon", 0f, "from 1E-12")]
    [InlineData("llama.rope.freq_base", float.PositiveInfinity, "from 1 to")]
    [InlineData("llama.rope.scaling.type", "yarn", "\"yarn\" is not supported")]
    [InlineData("llama.expert_count", 8u, "must be 0, but is 8")]
    [InlineData("llama.attention.causal", false, "must be true")]
    [InlineData("llama.attention.scale", 0.5f, "must be 1/√8")]
    [InlineData("llama.vocab_size", 9u, "is 9, but \"token_embd.weight\" has 4 rows")]
    [InlineData("split.count", 2u, "spread over several files")]
    [InlineData("tokenizer.ggml.bos_token_id", 4u, "from 0 to 3, but is 4")]
    [InlineData("tokenizer.ggml.eos_token_id", 4294967295u, "but is 4294967295")]
    public void Absurd_metadata_are_refused_by_key(string key, object value, string rule)
    {
        var e = Assert.Throws<ModelFormatException>(() => Open(key, value));
        Assert.Equal(key, e.Field);
        Assert.Contains(rule, e.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("llama.block_count")]
    [InlineData("llama.context_length")]
    [InlineData("llama.embedding_length")]
    [InlineData("llama.feed_forward_length")]
    [InlineData("llama.attention.head_count")]
    [InlineData("llama.attention.layer_norm_rms_epsilon")]
    [InlineData("general.architecture")]
    public void Missing_metadata_are_named(string key)
    {
        var e = Assert.Throws<ModelFormatException>(() => Open(key, null));
        Assert.Equal((key, "is missing"), (e.Field, e.Rule));
    }

    [Fact]
    public void Linear_scaling_needs_its_factor()
    {
        var e = Assert.Throws<ModelFormatException>(() => Open("llama.rope.scaling.type", "linear"));
        Assert.Equal(("llama.rope.scaling.factor", "must be at least 1, but is missing"), (e.Field, e.Rule));
    }

    [Fact]
    public void Tensors_that_do_not_fit_the_metadata_are_named()
    {
        Assert.Contains("\"blk.0.attn_norm.weight\" is missing", Assert.Throws<ModelFormatException>(() => Open("x", 1u)).Message, StringComparison.Ordinal);
        Assert.Contains("has 5 tokens, but", Assert.Throws<ModelFormatException>(() => Open("tokenizer.ggml.tokens", new[] { "a", "b", "c", "d", "e" })).Message, StringComparison.Ordinal);
        byte[] parity = File.ReadAllBytes(RepoFiles.Parity("llama-tiny", "model-Q8_0.gguf"));
        int at = parity.AsSpan().IndexOf("blk.1.ffn_up"u8);
        parity[at + 4] = (byte)'7';
        string path = _directory.File("renamed.gguf");
        File.WriteAllBytes(path, parity);
        Assert.Contains("\"blk.1.ffn_up.weight\" is missing", Assert.Throws<ModelFormatException>(() => ModelLoader.Open(path)).Message, StringComparison.Ordinal);
    }

    private void Open(string key, object? value)
    {
        var raw = new RawGguf { Data = new byte[512] };
        (string Key, object Value)[] sound =
        [
            ("general.architecture", "llama"), ("llama.block_count", 1u), ("llama.context_length", 64u), ("llama.embedding_length", 32u), ("llama.feed_forward_length", 64u),
            ("llama.attention.head_count", 4u), ("llama.attention.layer_norm_rms_epsilon", 1e-5f),
        ];
        foreach ((string k, object v) in sound.Where(e => e.Key != key)) Add(raw, k, v);
        if (value is not null) Add(raw, key, value);
        raw.Tensor("token_embd.weight", [32, 4]);
        string path = _directory.File($"{Guid.NewGuid():N}.gguf");
        File.WriteAllBytes(path, raw.Build());
        ModelLoader.Open(path).Dispose();
    }

    private static void Add(RawGguf raw, string key, object value)
    {
        switch (value)
        {
            case string text: raw.Add(key, text); break;
            case uint number: raw.Add(key, number); break;
            case float number: raw.Add(key, number); break;
            case bool truth: raw.Add(key, truth); break;
            default: raw.Add(key, (string[])value); break;
        }
    }
}
