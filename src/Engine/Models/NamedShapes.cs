using Foretoken.Backends;

namespace Foretoken.Models;

/// <summary>Shapes of well-known models, for benchmarks on random weights.</summary>
public static class NamedShapes
{
    private static readonly Dictionary<string, Func<int, ModelConfig>> Shapes = new(StringComparer.OrdinalIgnoreCase)
    {
        ["llama-3.2-1b"] = context => Llama3(16, 2048, 8192, 32, 64, tied: true, factor: 32, context),
        ["llama-3.1-8b"] = context => Llama3(32, 4096, 14336, 32, 128, tied: false, factor: 8, context),
        ["qwen3-0.6b"] = context => Qwen3(28, 1024, 3072, 16, tied: true, context),
        ["qwen3-8b"] = context => Qwen3(36, 4096, 12288, 32, tied: false, context),
    };

    /// <summary>Names that can be created.</summary>
    public static IReadOnlyList<string> Names => [.. Shapes.Keys];

    /// <summary>The configuration of a named model.</summary>
    /// <param name="name">One of <see cref="Names"/>.</param>
    /// <param name="context">Longest sequence in tokens.</param>
    /// <exception cref="ArgumentException">The name is unknown; the message lists the known ones.</exception>
    public static ModelConfig Create(string name, int context = 4096) => Shapes.TryGetValue(name, out Func<int, ModelConfig>? create)
        ? create(context)
        : throw new ArgumentException($"Unknown shape \"{name}\". Known shapes: {string.Join(", ", Names)}.", nameof(name));

    private static ModelConfig Llama3(int layers, int hidden, int intermediate, int heads, int headDim, bool tied, double factor, int context) =>
        Create("llama", "LlamaForCausalLM", new RopeScaling(500_000, RopeScalingKind.Llama3, factor, 1, 4, 8192), tied, false,
            Shape(layers, hidden, intermediate, heads, headDim, 128_256, 1e-5f, context));

    private static ModelConfig Qwen3(int layers, int hidden, int intermediate, int heads, bool tied, int context) =>
        Create("qwen3", "Qwen3ForCausalLM", new RopeScaling(1_000_000), tied, true, Shape(layers, hidden, intermediate, heads, 128, 151_936, 1e-6f, context));

    private static TransformerShape Shape(int layers, int hidden, int intermediate, int heads, int headDim, int vocab, float epsilon, int context) => new()
    {
        LayerCount = layers,
        HiddenSize = hidden,
        IntermediateSize = intermediate,
        HeadCount = heads,
        KvHeadCount = 8,
        HeadDim = headDim,
        VocabSize = vocab,
        RmsNormEpsilon = epsilon,
        MaxPositions = context,
        RopeInverseFrequencies = [],
        AttentionScale = (float)(1 / Math.Sqrt(headDim)),
    };

    private static ModelConfig Create(string family, string architecture, RopeScaling rope, bool tied, bool qkNorm, TransformerShape shape) => new()
    {
        Family = family,
        Architecture = architecture,
        Shape = shape with { RopeInverseFrequencies = rope.InverseFrequencies(shape.HeadDim) },
        Rope = rope,
        SlidingWindows = new int[shape.LayerCount],
        TiedEmbeddings = tied,
        QkNorm = qkNorm,
    };
}
