using Foretoken.Formats;

namespace Foretoken.Models;

/// <summary>
/// How a model decides which tokens its KV heads evict (Dynamic Memory Sparsification, arXiv 2506.05345): <c>logit · Scale − Offset &gt; 0</c> evicts. Keys and
/// defaults are those of the published configuration class; <c>dms_one_token_shift</c> and <c>dms_zero_after_rope</c> are ours, for checkpoints of the other convention.
/// </summary>
public sealed record DmsConfig
{
    /// <summary>Name of the metadata file that FastDMS writes beside its checkpoints.</summary>
    public const string FastDmsMetadata = "dms_metadata.json";

    private const string Prefix = "dms_";

    /// <summary>W: every token is seen this many positions behind itself, whatever is decided.</summary>
    public int Window { get; init; } = 512;

    /// <summary>Factor on the projection or the borrowed channel.</summary>
    public float Scale { get; init; } = 100f;

    /// <summary>What the scaled logit must exceed.</summary>
    public float Offset { get; init; } = 5f;

    /// <summary>True: logits are a projection of the layer's input. False: they are the last channel of the first query head of each group.</summary>
    public bool Adapter { get; init; }

    /// <summary>The projection has a bias.</summary>
    public bool Bias { get; init; }

    /// <summary>The first KV head decides for all heads of its layer.</summary>
    public bool PerLayer { get; init; }

    /// <summary>A row decides about the token this many positions before it: 1, or 0 in the convention of FastDMS.</summary>
    public int Shift { get; init; } = 1;

    /// <summary>Borrowed channel: it is zero for attention after RoPE as well, which otherwise refills it from the channel half a head below.</summary>
    public bool ZeroAfterRope { get; init; } = true;

    /// <summary>The model was saved with eviction switched off: its decisions are not to be followed.</summary>
    public bool Disabled { get; init; }

    /// <summary>Compression that the model was trained for, as the file says; null where it does not. For reports only.</summary>
    public double? Compression { get; init; }

    /// <summary>Reads the <c>dms_*</c> keys of a configuration; null where there are none.</summary>
    /// <exception cref="ModelFormatException">A value is out of range or unknown.</exception>
    public static DmsConfig? Read(JsonFields config)
    {
        if (!config.Names.Any(name => name.StartsWith(Prefix, StringComparison.Ordinal))) return null;
        var defaults = new DmsConfig();
        string? per = config.Text("dms_alpha_per");
        if (per is not (null or "head" or "layer"))
            throw config.Broken("dms_alpha_per", $"must be \"head\" or \"layer\", but is {config.TextOf("dms_alpha_per")}");
        bool adapter = config.Boolean("dms_separate_alpha") ?? false;
        return new DmsConfig
        {
            Window = (int?)config.Integer("dms_window_size", 1, ModelConfig.MaxContext) ?? defaults.Window,
            Scale = (float?)config.Number("dms_alpha_scale", 1e-6, 1e9) ?? defaults.Scale,
            Offset = (float?)config.Number("dms_initial_alpha_offset", -1e9, 1e9) ?? defaults.Offset,
            Adapter = adapter,
            Bias = adapter && (config.Boolean("attention_bias") ?? false),
            PerLayer = per == "layer",
            Shift = config.Boolean("dms_one_token_shift") ?? true ? 1 : 0,
            ZeroAfterRope = config.Boolean("dms_zero_after_rope") ?? true,
            Disabled = config.Boolean("dms_disable_eviction") ?? false,
            Compression = config.Number("dms_cr", 1, 1e6),
        };
    }

    /// <summary>Reads the metadata file of FastDMS: a borrowed channel, no one-token shift, nothing zeroed after RoPE.</summary>
    public static DmsConfig ReadFastDms(JsonFields metadata)
    {
        var defaults = new DmsConfig();
        return new DmsConfig
        {
            Window = metadata.RequiredInteger("window_size", 1, ModelConfig.MaxContext),
            Scale = (float?)metadata.Number("alpha_scale", 1e-6, 1e9) ?? defaults.Scale,
            Offset = (float?)metadata.Number("alpha_offset", -1e9, 1e9) ?? defaults.Offset,
            Shift = 0,
            ZeroAfterRope = false,
            Compression = metadata.Number("target_cr", 1, 1e6),
        };
    }
}
