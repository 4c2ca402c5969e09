using Foretoken.Backends;

namespace Foretoken.Cli.Options;

/// <summary>Flags that several commands share. Contract values that this build does not offer are refused by name.</summary>
internal static class ModelFlags
{
    /// <summary>Most threads that make sense to ask for.</summary>
    public const int MaximumThreads = 1024;

    private static readonly FlagParser<KvType> s_kvType = Parse.Choice(
        new Dictionary<string, KvType>
        {
            ["f32"] = Backends.KvType.F32, ["bf16"] = Backends.KvType.BF16, ["f16"] = Backends.KvType.F16, ["int8"] = Backends.KvType.Int8,
        },
        "fp8");

    public static Flag<string?> Model() =>
        new("--model", "DIR|FILE.gguf", "Hugging Face directory, GGUF file, or the name of a shipped model. Without it, the shipped reasoner.", Parse.NotEmpty, null);

    public static Flag<WeightType?> Type() => new(
        "--type", "TYPE", "Weights in memory: f32, bf16, f16, bf16-rounded (activations too), int8 (q8_0), int4 (q4_0), q4_k or q6_k. Without it, the type that loses nothing of the file.",
        Parse.Choice(
            new Dictionary<string, WeightType?>
            {
                ["f32"] = WeightType.F32,
                ["bf16"] = WeightType.BF16,
                ["f16"] = WeightType.F16,
                ["bf16-rounded"] = WeightType.BF16Rounded,
                ["int8"] = WeightType.Int8,
                ["q8_0"] = WeightType.Int8,
                ["int4"] = WeightType.Int4,
                ["q4_0"] = WeightType.Int4,
                ["q4_k"] = WeightType.Q4K,
                ["q6_k"] = WeightType.Q6K,
            }),
        null);

    /// <param name="fallback">What the library takes; f32 where exact logits are asked for.</param>
    public static Flag<KvType> KvType(KvType fallback) => new(
        "--kv-type", "TYPE", $"Keys and values in memory: f32, bf16, f16 or int8; without it {fallback.ToString().ToLowerInvariant()}.",
        s_kvType,
        fallback);

    /// <summary>Several storage types, for comparison.</summary>
    public static Flag<KvType[]> KvTypes() => new(
        "--kv-types", "TYPE,TYPE,…", "Types of keys and values that kv compares; without it all.",
        (text, source) => [.. text.Split(',').Select(part => s_kvType(part.Trim(), source))],
        Enum.GetValues<KvType>());

    public static Flag<int> Threads() => new(
        "--threads", "N", "Threads that compute; 0 takes one per processor that this process may use (its affinity and the limits of its control groups).", Parse.Integer(0, MaximumThreads, "0 takes one per processor."), 0);

    public static Flag<int> Context() => new(
        "--context", "N", "Longest prompt and answer together, in tokens; 0 takes the model's, at most 8192.",
        Parse.Integer(0, Models.ModelConfig.MaxContext, "0 takes the model's."), 0);

    /// <summary>True: f32.</summary>
    public static Flag<bool> Activations() => new(
        "--activations", "TYPE", "On cuda, inputs of products with bf16 weights: bf16, or f32, which gives the processor's answers and costs speed.",
        Parse.Choice(new Dictionary<string, bool> { ["bf16"] = false, ["f32"] = true }), false);

    /// <summary>Size of the KV cache.</summary>
    public static Flag<int> KvBudget() => new(
        "--kv-budget", "MB", "Size of the KV cache; 0 takes what the requests need at full context, at most a quarter of the memory.", Parse.Integer(0, 1 << 20, "0 is automatic."), 0);

    public static Flag<ComputeDevice> Device() => new(
        "--device", "NAME", "Where the model runs: cpu, or cuda (an NVIDIA GPU).",
        Parse.Choice(new Dictionary<string, ComputeDevice> { ["cpu"] = ComputeDevice.Cpu, ["cuda"] = ComputeDevice.Cuda }), ComputeDevice.Cpu);
}
