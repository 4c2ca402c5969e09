using Foretoken.Backends;
using Foretoken.Formats;
using Foretoken.Memory;

namespace Foretoken.Speculation.Trained;

/// <summary>
/// The heads of Medusa (Cai et al., 2024): head i reads the target's hidden state behind the final norm and names the token i + 2 positions further on, by blocks
/// x + silu(W·x + b) and a projection to the vocabulary. Both published layouts: <c>{i}.{j}.linear.weight</c> with <c>{i}.{n}.weight</c> (FasterDecoding/Medusa), and
/// <c>blocks.{i}.layers.{j}.weight</c> with <c>lm_heads.{i}.weight</c> (vLLM), whose vocabulary may be truncated.
/// </summary>
internal sealed class MedusaHeads : IDisposable
{
    private const int MaxHeads = 16, MaxBlocks = 16;
    private readonly IFeatureBackend _backend;
    private readonly (TensorHandle Weight, TensorHandle Bias)[][] _blocks; // [heads][blocks]
    private readonly TensorHandle[] _projections;                          // [heads]
    private readonly DraftWeights _weights;                                // open until they are read
    private readonly WeightType _type;
    private readonly int _hidden, _vocab, _targetVocab;
    private int[]? _tokens;                                                // [vocab] target's token of each own one; null = the same

    /// <summary>Prepares the backend and checks the weights, which <see cref="Load"/> reads.</summary>
    /// <param name="backend">Not prepared yet.</param>
    /// <param name="target">The model that verifies.</param>
    /// <param name="directory">Where config.json and the weights are.</param>
    /// <param name="asked">Type in which matrices are held; null = the file's.</param>
    /// <param name="maxRows">Most rows of a pass.</param>
    /// <param name="plan">Receives the buffers and the weights.</param>
    /// <exception cref="ModelFormatException">The files are missing, malformed or made for another model.</exception>
    public MedusaHeads(IFeatureBackend backend, TransformerShape target, string directory, WeightType? asked, int maxRows, MemoryPlan plan)
    {
        _backend = backend;
        JsonFields config = JsonFields.Read(Path.Combine(directory, "config.json"));
        _weights = new DraftWeights(directory);
        try
        {
            int heads = Number(config, "medusa_num_heads", "num_heads", 1, MaxHeads), blocks = Number(config, "medusa_num_layers", "num_hidden_layers", 0, MaxBlocks);
            (_hidden, _targetVocab) = (target.HiddenSize, target.VocabSize);
            _vocab = (int?)config.Integer("truncated_vocab_size", 1, _targetVocab) ?? _targetVocab;
            CheckEqual(config, "hidden_size", _hidden);
            CheckEqual(config, "vocab_size", _targetVocab);
            if (ReadAccuracies(config, heads) is { } accuracies) Accuracies = accuracies;
            _type = asked ?? _weights.DefaultType;
            backend.Prepare(target with { IntermediateSize = _hidden, HeadCount = 1, KvHeadCount = 1, HeadDim = 2, VocabSize = _vocab, RopeInverseFrequencies = [1] }, maxRows, maxRows, plan);
            _blocks = new (TensorHandle, TensorHandle)[heads][];
            for (int i = 0; i < heads; i++) _blocks[i] = new (TensorHandle, TensorHandle)[blocks];
            _projections = new TensorHandle[heads];
            Take(new HeadLoader(backend, _weights, _type, plan, CancellationToken.None));
            _weights.CheckComplete("Medusa");
        }
        catch
        {
            _weights.Dispose();
            throw;
        }
    }

    /// <summary>Reads the weights.</summary>
    /// <exception cref="ModelFormatException">A tensor is damaged, or a file was changed since it was checked.</exception>
    public void Load(CancellationToken cancellation)
    {
        Take(new HeadLoader(_backend, _weights, _type, plan: null, cancellation));
        _weights.VerifyUnchanged();
        _weights.Dispose();
    }

    private void Take(HeadLoader loader)
    {
        Layout layout = Layout.Of(_weights);
        for (int i = 0; i < _projections.Length; i++)
        {
            for (int j = 0; j < _blocks[i].Length; j++)
            {
                string name = layout.Block(i, j), bias = name + ".bias";
                _blocks[i][j] = (
                    loader.Matrix($"head {i} block {j}", _weights.Matrix(name + ".weight", _hidden, _hidden)),
                    loader.Has(bias) ? loader.Vector($"head {i} block {j} bias", bias, _hidden) : TensorHandle.None);
            }

            _projections[i] = loader.Matrix($"head {i}", _weights.Matrix(layout.Head(i, _blocks[i].Length), _vocab, _hidden));
        }

        if (_vocab == _targetVocab) return;
        if (loader.Announces) _weights.CheckIntegers("token_map", _vocab);
        else _tokens = [.. _weights.Integers("token_map", _vocab).Select(t => Checked(_weights, t, _targetVocab))];
    }

    /// <summary>Closes the files if they were not read yet.</summary>
    public void Dispose() => _weights.Dispose();

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
        if (rows[0].All(a => a == 0)) throw config.Broken(name, "says that the first head is never right, so that there is nothing to draft", "Leave it out, or measure it again.");
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
