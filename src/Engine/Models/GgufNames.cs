namespace Foretoken.Models;

/// <summary>Tensor names of GGUF files; the supported architectures share them.</summary>
internal static class GgufNames
{
    /// <summary>Divisors of the inverse RoPE frequencies, one per rotated pair. // [headDim/2]</summary>
    public const string RopeDivisors = "rope_freqs.weight";

    public static string Of(WeightSpec spec) => Of(spec.Role, spec.Layer);

    public static string Of(WeightRole role, int layer) => role switch
    {
        WeightRole.Embedding => "token_embd.weight",
        WeightRole.FinalNorm => "output_norm.weight",
        WeightRole.Head => "output.weight",
        _ => $"blk.{layer}.{InLayer(role)}",
    };

    private static string InLayer(WeightRole role) => role switch
    {
        WeightRole.InputNorm => "attn_norm.weight",
        WeightRole.Query => "attn_q.weight",
        WeightRole.Key => "attn_k.weight",
        WeightRole.Value => "attn_v.weight",
        WeightRole.QueryBias => "attn_q.bias",
        WeightRole.KeyBias => "attn_k.bias",
        WeightRole.ValueBias => "attn_v.bias",
        WeightRole.QueryNorm => "attn_q_norm.weight",
        WeightRole.KeyNorm => "attn_k_norm.weight",
        WeightRole.Output => "attn_output.weight",
        WeightRole.OutputBias => "attn_output.bias",
        WeightRole.PostAttentionNorm => "ffn_norm.weight",
        WeightRole.Gate => "ffn_gate.weight",
        WeightRole.Up => "ffn_up.weight",
        WeightRole.Down => "ffn_down.weight",
        _ => throw new ArgumentOutOfRangeException(nameof(role), role, "Not a weight of a layer."),
    };
}
