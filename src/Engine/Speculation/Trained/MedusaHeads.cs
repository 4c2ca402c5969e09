using Foretoken.Backends;
using Foretoken.Formats;
using Foretoken.Memory;

namespace Foretoken.Speculation.Trained;

/// <summary>
/// The heads of Medusa (Cai et al., 2024): head i reads the target's hidden state behind the final norm and names the token i + 2 positions further on, by blocks
/// x + silu(W·x + b) and a projection to the vocabulary. Both published layouts: <c>{i}.{j}.linear.weight</c> with <c>{i}.{n}.weight</c> (FasterDecoding/Medusa), and
/// <c>blocks.{i}.layers.{j}.weight</c> with <c>lm_heads.{i}.weight</c> (vLLM), whose vocabulary may be truncated.
/// </summary>
internal sealed class MedusaHeads
{
    private const int MaxHeads = 16, MaxBlocks = 16;
    private readonly IFeatureBackend _backend;
    private readonly (TensorHandle Weight, TensorHandle Bias)[][] _blocks; // [heads][blocks]
    private readonly TensorHandle[] _projections;                          // [heads]
    private readonly int[]? _tokens;                                       // [vocab] target's token of each own one; null = the same

    /// <param name="backend">Not prepared yet.</param>
    /// <param name="target">The model that verifies.</param>
    /// <param name="directory">Where config.json and the weights are.</param>
    /// <param name="asked">Type in which matrices are held; null = the file's.</param>
    /// <param name="maxRows">Most rows of a pass.</param>
    /// <param name="plan">Receives the buffers.</param>
    /// <exception cref="ModelFormatException">The files are missing, malformed or made for another model.</exception>
    public MedusaHeads(IFeatureBackend backend, TransformerShape target, string directory, WeightType? asked, int maxRows, MemoryPlan plan)
    {
        _backend = backend;
        JsonFields config = JsonFields.Read(Path.Combine(directory, "config.json"));
        using var weights = new DraftWeights(directory);
        int heads = Number(config, "medusa_num_heads", "num_heads", 1, MaxHeads), blocks = Number(config, "medusa_num_layers", "num_hidden_layers", 0, MaxBlocks);
        int hidden = target.HiddenSize, vocab = (int?)config.Integer("truncated_vocab_size", 1, target.VocabSize) ?? target.VocabSize;
        CheckEqual(config, "hidden_size", hidden);
        CheckEqual(config, "vocab_size", target.VocabSize);
        if (ReadAccuracies(config, heads) is { } accuracies) Accuracies = accuracies;
        WeightType type = asked ?? weights.DefaultType;
        backend.Prepare(target with { IntermediateSize = hidden, HeadCount = 1, KvHeadCount = 1, HeadDim = 2, VocabSize = vocab, RopeInverseFrequencies = [1] }, maxRows, maxRows, plan);
        Layout layout = Layout.Of(weights);
        _blocks = new (TensorHandle, TensorHandle)[heads][];
        _projections = new TensorHandle[heads];
        for (int i = 0; i < heads; i++)
        {
            _blocks[i] = new (TensorHandle, TensorHandle)[blocks];
            for (int j = 0; j < blocks; j++)
            {
                string name = layout.Block(i, j), bias = name + ".bias";
                _blocks[i][j] = (
                    backend.LoadMatrix($"head {i} block {j}", type, [weights.Matrix(name + ".weight", hidden, hidden)]),
                    weights.Has(bias) ? backend.LoadVector($"head {i} block {j} bias", weights.Vector(bias, hidden)) : TensorHandle.None);
            }

            _projections[i] = backend.LoadMatrix($"head {i}", type, [weights.Matrix(layout.Head(i, blocks), vocab, hidden)]);
        }

        if (vocab != target.VocabSize) _tokens = [.. weights.Integers("token_map", vocab).Select(t => Checked(weights, t, target.VocabSize))];
        weights.CheckComplete("Medusa");
    }

    public int Count => _projections.Length;

    /// <summary>How often the candidate of each rank was right, as the directory says (<c>medusa_rank_accuracies</c>); null = not measured. // [heads][ranks]</summary>
    public IReadOnlyList<IReadOnlyList<double>>? Accuracies { get; }

    /// <summary>The target's id of a token of the heads.</summary>
    public int ToTarget(int token) => _tokens is null ? token : _tokens[token];

    /// <summary>Computes one head; its logits are then read from the backend. // features [rows, hidden]</summary>
    /// <param name="head">The head.</param>
    /// <param name="rows">One row per feature, all asking for logits; <see cref="IFeatureBackend.BeginRows"/> was called.</param>
    /// <param name="features">Reads the feature of a row.</param>
    public void Run(int head, RowBatch rows, FeatureRow features)
    {
        for (int r = 0; r < rows.Count; r++) features(r).CopyTo(_backend.HiddenOf(r));
        foreach ((TensorHandle weight, TensorHandle bias) in _blocks[head]) _backend.SiluResidual(weight, bias);
        _backend.Logits(TensorHandle.None, _projections[head]);
    }

    /// <summary>The feature of a row. // [hidden]</summary>
    public delegate ReadOnlySpan<float> FeatureRow(int row);

    private static int Number(JsonFields config, string name, string other, int minimum, int maximum) =>
        (int)(config.Integer(name, minimum, maximum) ?? config.Integer(other, minimum, maximum) ?? throw config.Missing(name));

    private static void CheckEqual(JsonFields config, string name, int target)
    {
        if (config.Integer(name, 1, int.MaxValue) is { } value && value != target)
            throw config.Broken(name, $"is {value}, but the model that it drafts for has {target}", "Use heads that were trained for this model.");
    }

    private static IReadOnlyList<IReadOnlyList<double>>? ReadAccuracies(JsonFields config, int heads)
    {
        const string name = "medusa_rank_accuracies";
        if (config.NumberRows(name, 0, 1) is not { } rows) return null;
        if (rows.Count > heads || rows.Count == 0 || rows.Any(r => r.Count == 0)) throw config.Broken(name, $"must hold a row of numbers for each of up to {heads} heads");
        return rows;
    }

    private static int Checked(DraftWeights weights, long token, int vocab) => token >= 0 && token < vocab
        ? (int)token
        : throw weights.Broken("token_map", $"holds {token}, and the model has tokens 0 to {vocab - 1}", "Use heads that were trained for this model.");

    /// <summary>Names of a layout's tensors.</summary>
    private sealed record Layout(string Prefix, bool Lists)
    {
        public static Layout Of(DraftWeights weights)
        {
            foreach (string prefix in new[] { "", "medusa_heads.", "medusa_head." })
            {
                if (weights.Has(prefix + "lm_heads.0.weight")) return new Layout(prefix, Lists: true);
                if (weights.Names.Any(n => n.StartsWith(prefix + "0.", StringComparison.Ordinal))) return new Layout(prefix, Lists: false);
            }

            throw weights.Broken("0.0.linear.weight", "is missing, and so is lm_heads.0.weight", "The directory holds no Medusa heads of a known layout.");
        }

        public string Block(int head, int block) => Lists ? $"{Prefix}blocks.{head}.layers.{block}" : $"{Prefix}{head}.{block}.linear";

        public string Head(int head, int blocks) => Lists ? $"{Prefix}lm_heads.{head}.weight" : $"{Prefix}{head}.{blocks}.weight";
    }
}
