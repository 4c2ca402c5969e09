using Foretoken.Backends;
using Foretoken.Speculation;
using Foretoken.Speculation.Trained;

namespace Foretoken.Tests.Seam;

/// <summary>Who drafts: an oracle whose trees have a set shape, or one of the shipped drafters.</summary>
public sealed record SeamDrafts
{
    private readonly Func<string, DrafterOptions>? _shipped; // of the model's directory

    private SeamDrafts(string name, OracleOptions? oracle, Func<string, DrafterOptions>? shipped) => (Name, Oracle, _shipped) = (name, oracle, shipped);

    public string Name { get; }

    /// <summary>Shape of the oracle's trees; null for a shipped drafter.</summary>
    public OracleOptions? Oracle { get; }

    /// <summary>Chain and trees by the nodes of a whole one, its root included.</summary>
    public static IReadOnlyList<SeamDrafts> Oracles { get; } =
        [Shape("chain of 5", 4, 0, 1), Shape("tree of 2", 1, 0, 1), Shape("tree of 16", 5, 2, 1), Shape("tree of 64", 9, 2, 3), Shape("tree of 256", 15, 4, 4)];

    /// <summary>Every drafter that ships, alone, merged and under the Governor.</summary>
    public static IReadOnlyList<SeamDrafts> Shipped { get; } =
    [
        Of("ngram", _ => Ngram), Of("suffix", _ => Suffix), Of("recycling", _ => new RecyclingOptions()),
        Of("model", d => Model(d)), Of("model tree", d => Model(d) with { Width = 3, Tokens = 4, MinProbability = 0.01f }), Of("swift", _ => Swift),
        Of("ngram+suffix+recycling", _ => new CompositeOptions(Ngram, Suffix, new RecyclingOptions())), Of("model+ngram", d => new CompositeOptions(Model(d), Ngram)),
        Of("swift+recycling", _ => new CompositeOptions(Swift, new RecyclingOptions())),
        Of("medusa", d => Medusa(d)), Of("eagle", d => Eagle(d, "eagle3")), Of("mtp+ngram", d => new CompositeOptions(Eagle(d, "mtp-deepseek"), Ngram)),
        Of("auto", d => new GovernorOptions(Ngram, Suffix, new RecyclingOptions(), Medusa(d), Eagle(d, "eagle3"), Model(d), Swift) { Curiosity = 1, LoadsAtStart = true }),
    ];

    private static NgramOptions Ngram => new() { MinMatch = 1 };

    private static SuffixOptions Suffix => new() { StoredTokens = 2048 };

    private static SwiftOptions Swift => new() { MinLayers = 3, MinConfidence = 0.05f, Tokens = 4, Width = 2, Window = 20 };

    /// <summary>Where the trained drafters of a model lie.</summary>
    public static string HeadsOf(string directory, string layout) => Path.Combine(directory, layout);

    public DrafterOptions Options(string directory) => _shipped!(directory);

    public override string ToString() => Name;

    private static DraftModelOptions Model(string directory) =>
        new() { Directory = directory, WeightType = WeightType.Int8, KvType = KvType.Int8, MinProbability = 0.05f };

    private static MedusaOptions Medusa(string directory) => new() { Directory = HeadsOf(directory, "medusa"), Nodes = 12, Tree = MedusaTree.Build([[0.5, 0.2, 0.1], [0.4, 0.2], [0.3]], 12) };

    private static EagleOptions Eagle(string directory, string layout) =>
        new() { Directory = HeadsOf(directory, layout), Width = 3, Depth = 4, Nodes = 10, MinProbability = 0, KvType = KvType.BF16 };

    private static SeamDrafts Of(string name, Func<string, DrafterOptions> options) => new(name, null, options);

    private static SeamDrafts Shape(string name, int depth, int siblings, int siblingDepth) => new(
        name, new OracleOptions { VocabSize = SeamModels.Vocab, Depth = depth, Siblings = siblings, SiblingDepth = siblingDepth, Acceptance = 0.7, Seed = 3 }, null);
}
