namespace Foretoken.Models;

/// <summary>Tensor names of Hugging Face checkpoints; the supported families share them.</summary>
internal static class HuggingFaceNames
{
    public static string Of(WeightSpec spec) => spec.Role switch
    {
        WeightRole.Embedding => "model.embed_tokens.weight",
        WeightRole.FinalNorm => "model.norm.weight",
        WeightRole.Head => "lm_head.weight",
        _ => $"model.layers.{spec.Layer}.{InLayer(spec.Role)}",
    };

    /// <summary>Buffers that old checkpoints contain and that are computed from config.json: they hold no weights.</summary>
    public static bool IsComputedBuffer(string name) => name.EndsWith("rotary_emb.inv_freq", StringComparison.Ordinal);

    private static string InLayer(WeightRole role) => role switch
    {
        WeightRole.InputNorm => "input_layernorm.weight",
        WeightRole.Query => "self_attn.q_proj.weight",
        WeightRole.Key => "self_attn.k_proj.weight",
        WeightRole.Value => "self_attn.v_proj.weight",
        WeightRole.QueryBias => "self_attn.q_proj.bias",
        WeightRole.KeyBias => "self_attn.k_proj.bias",
        WeightRole.ValueBias => "self_attn.v_proj.bias",
        WeightRole.QueryNorm => "self_attn.q_norm.weight",
        WeightRole.KeyNorm => "self_attn.k_norm.weight",
        WeightRole.Output => "self_attn.o_proj.weight",
        WeightRole.OutputBias => "self_attn.o_proj.bias",
        WeightRole.PostAttentionNorm => "post_attention_layernorm.weight",
        WeightRole.Gate => "mlp.gate_proj.weight",
        WeightRole.Up => "mlp.up_proj.weight",
        WeightRole.Down => "mlp.down_proj.weight",
        WeightRole.DecisionNorm => "self_attn.dms_proj_alpha_norm.weight",
        WeightRole.Decision => "self_attn.dms_proj_alpha.weight",
        WeightRole.DecisionBias => "self_attn.dms_proj_alpha.bias",
        _ => throw new ArgumentOutOfRangeException(nameof(role), role, "Not a weight of a layer."),
    };
}
