using Foretoken.Backends;
using Foretoken.Formats;
using Foretoken.Memory;
using Foretoken.Models;

namespace Foretoken.Speculation.Trained;

/// <summary>
/// The layers of an EAGLE or MTP drafter: a row is the feature of position i and the token of position i + 1, and gives logits for the token behind that and a feature that
/// stands for the target's at position i + 1. Embedding and, where the drafter has none, the head are the target's own.
/// </summary>
internal sealed class EagleHead
{
    private readonly IFeatureBackend _backend;
    private readonly EagleConfig _config;
    private readonly Transformer _target;
    private readonly WeightType _type;
    private readonly LayerWeights[] _layers;
    private TensorHandle _embedding, _projection, _projectionBias, _embeddingNorm, _featureNorm, _finalNorm, _head;
    private readonly float[] _inputGains;       // [taps · hidden] of the norms in front of fc; empty = none
    private int[]? _toTarget; // [draft vocab]; null = the same ids

    /// <summary>Prepares the backend and checks the weights, which <see cref="Load"/> reads.</summary>
    /// <exception cref="ModelFormatException">A tensor is missing, left over, or of another shape than config.json and the target ask for.</exception>
    public EagleHead(IFeatureBackend backend, EagleConfig config, DraftWeights weights, Transformer target, WeightType? asked, int maxRows, int maxLogitRows, MemoryPlan plan)
    {
        (_backend, _config, _target, _type) = (backend, config, target, asked ?? weights.DefaultType);
        _layers = new LayerWeights[config.Shape.LayerCount];
        _inputGains = config.InputNorms == 0 ? [] : new float[FeatureWidth];
        backend.Prepare(config.Shape, maxRows, maxLogitRows, plan);
        backend.PrepareInput(Math.Max(2, config.Taps.Count) * config.Shape.HiddenSize);
        Take(weights, new HeadLoader(backend, weights, _type, plan, CancellationToken.None));
        weights.CheckComplete(config.Kind switch { EagleKind.Eagle3 => "EAGLE-3", EagleKind.Eagle1 => "EAGLE-1/2", _ => "MTP" });
    }

    /// <summary>Reads the weights.</summary>
    /// <exception cref="ModelFormatException">A tensor is damaged, or a file was changed since it was checked.</exception>
    public void Load(DraftWeights weights, CancellationToken cancellation)
    {
        Take(weights, new HeadLoader(_backend, weights, _type, plan: null, cancellation));
        weights.VerifyUnchanged();
    }

    private void Take(DraftWeights weights, HeadLoader loader)
    {
        TransformerShape shape = _config.Shape;
        int hidden = shape.HiddenSize, vocab = _target.Shape.VocabSize;
        string outer = _config.WithinLayer ? _config.Layer(0) : _config.Prefix;
        _embedding = loader.Has(outer + "embed_tokens.weight")
            ? loader.Matrix(outer + "embed_tokens.weight", vocab, hidden) : Borrowed(loader, _embedding, _target.Weights.Embedding);
        string projection = outer + (_config.WithinLayer ? "eh_proj" : "fc");
        _projection = loader.Matrix(projection + ".weight", hidden, (_config.Kind == EagleKind.Eagle3 ? _config.Taps.Count : 2) * hidden);
        _projectionBias = loader.OptionalVector(projection + ".bias", hidden);
        string first = _config.Layer(0);
        (string embeddingNorm, string featureNorm, string finalNorm) = _config switch
        {
            { Kind: EagleKind.Eagle3 } => (first + "input_layernorm", first + "hidden_norm", outer + "norm"),
            { Kind: EagleKind.Eagle1 } => ("", "", ""),
            { WithinLayer: true } => (outer + "enorm", outer + "hnorm", outer + "shared_head.norm"),
            _ => (outer + "pre_fc_norm_embedding", outer + "pre_fc_norm_hidden", outer + "norm"),
        };
        (_embeddingNorm, _featureNorm, _finalNorm) = (loader.Norm(embeddingNorm, hidden), loader.Norm(featureNorm, hidden), loader.Norm(finalNorm, hidden));
        for (int i = 0, width = FeatureWidth / Math.Max(1, _config.InputNorms); i < _config.InputNorms; i++)
            loader.Values(_config.InputNorms == 1 ? "input_norm.weight" : $"fc_norm.{i}.weight", _inputGains.AsSpan(i * width, width));
        for (int i = 0; i < _layers.Length; i++) _layers[i] = Layer(weights, loader, i);
        string head = outer + (_config.WithinLayer ? "shared_head.head.weight" : "lm_head.weight");
        bool reduced = shape.VocabSize != vocab;
        _head = loader.Has(head) || reduced ? loader.Matrix(head, shape.VocabSize, hidden) : Borrowed(loader, _head, _target.Weights.Head);
        _toTarget = ReadVocabulary(weights, shape.VocabSize, vocab, loader.Announces);
    }

    /// <summary>
    /// A weight of the target. It is taken with the announcement: a copy of what another device holds counts in the plan, and is made by the device's own stream, which
    /// belongs to the thread that steps.
    /// </summary>
    private TensorHandle Borrowed(HeadLoader loader, TensorHandle announced, TensorHandle weight) => loader.Announces ? _backend.Borrow(_target.Backend, weight) : announced;

    /// <summary>Width of a feature that comes from the target. // taps · hidden</summary>
    public int FeatureWidth => _config.Taps.Count * _config.Shape.HiddenSize;

    /// <summary>The target's id of a token of the drafter.</summary>
    public int ToTarget(int token) => _toTarget is null ? token : _toTarget[token];

    /// <summary>Where to write the target's feature of a row, before <see cref="Run"/> with <c>fromTarget</c>. // [FeatureWidth]</summary>
    public Span<float> FeatureOf(int row) => _config.Kind == EagleKind.Eagle3 ? _backend.InputOf(row)[..FeatureWidth] : _backend.HiddenOf(row);

    /// <summary>A row's own feature: to write before <see cref="Run"/> without <c>fromTarget</c>, to read after it. // [hidden]</summary>
    public Span<float> StateOf(int row) => _backend.HiddenOf(row);

    /// <summary>Starts a pass whose rows have their slots; features are written next.</summary>
    public void Begin(RowBatch rows, KvView kv) => _backend.BeginPass(rows, kv);

    /// <summary>Runs the layers. Rows that asked have logits then, over the drafter's vocabulary.</summary>
    /// <param name="rows">The pass; a row's token is the target's, one position further on than the feature.</param>
    /// <param name="fromTarget">Features are the target's (<see cref="FeatureOf"/>), not the drafter's own.</param>
    public void Run(RowBatch rows, bool fromTarget)
    {
        int hidden = _config.Shape.HiddenSize;
        if (_config.Kind == EagleKind.Eagle3)
        {
            if (fromTarget)
            {
                NormFeatures(rows.Count);
                _backend.ProjectInput(_projection, _projectionBias);
            }

            _backend.EmbedInput(_embedding, 0, _embeddingNorm);
            _backend.NormInput(hidden, _featureNorm);
            if (_config.NormBeforeResidual) _backend.NormHidden(_featureNorm);
        }
        else
        {
            _backend.EmbedInput(_embedding, 0, _embeddingNorm);
            if (_featureNorm.Exists) _backend.NormInput(hidden, _featureNorm);
            else for (int r = 0; r < rows.Count; r++) _backend.HiddenOf(r).CopyTo(_backend.InputOf(r)[hidden..]);
            _backend.ProjectInput(_projection, _projectionBias);
        }

        for (int i = 0; i < _layers.Length; i++)
        {
            if (i == 0 && _config.Kind == EagleKind.Eagle3) _backend.InputQkvRope(_layers[i]);
            else _backend.NormQkvRope(i, _layers[i]);
            _backend.Attend(i, _layers[i]);
            _backend.OutResidual(i, _layers[i]);
            _backend.Mlp(i, _layers[i]);
        }

        if (_config.NormsFeedback) _backend.NormHidden(_finalNorm);
        _backend.Logits(_config.NormsFeedback ? TensorHandle.None : _finalNorm, _head);
    }

    /// <summary>RMSNorm of the target's joined states, all together or each tap by itself, in place.</summary>
    private void NormFeatures(int rows)
    {
        for (int r = 0; r < rows * _config.InputNorms; r++)
        {
            int width = FeatureWidth / _config.InputNorms, at = r % _config.InputNorms * width;
            Span<float> part = _backend.InputOf(r / _config.InputNorms).Slice(at, width);
            float sum = 0;
            foreach (float value in part) sum += value * value;
            float scale = 1 / MathF.Sqrt(sum / width + _config.Shape.RmsNormEpsilon);
            for (int i = 0; i < width; i++) part[i] *= scale * _inputGains[at + i];
        }
    }

    /// <summary>Logits of the <paramref name="index"/>-th asked row. // [draft vocab]</summary>
    public ReadOnlySpan<float> LogitsOf(int index) => _backend.LogitsOf(index);

    /// <summary><c>d2t</c>: what to add to a draft id to get the target's; <c>t2d</c>: which of the target's tokens have one.</summary>
    private static int[]? ReadVocabulary(DraftWeights weights, int draft, int target, bool announces)
    {
        if (!weights.Has("d2t"))
        {
            if (draft != target) throw weights.Broken("d2t", $"is missing, but the drafter has {draft} tokens and the model {target}", "Download the complete drafter.");
            weights.Ignore("t2d");
            return null;
        }

        if (announces)
        {
            weights.CheckIntegers("d2t", draft);
            if (weights.Has("t2d")) weights.CheckFlags("t2d", target);
            return null;
        }

        long[] shifts = weights.Integers("d2t", draft);
        var tokens = new int[draft];
        for (int i = 0; i < draft; i++)
        {
            long token = i + shifts[i];
            if (token < 0 || token >= target) throw weights.Broken("d2t", $"maps token {i} to {token}, and the model has tokens 0 to {target - 1}", "Use a drafter that was trained for this model.");
            tokens[i] = (int)token;
        }

        if (tokens.Distinct().Count() != draft) throw weights.Broken("d2t", "maps two tokens to one", "Download the drafter again.");
        if (!weights.Has("t2d")) return tokens;
        bool[] known = weights.Flags("t2d", target);
        return known.Count(k => k) == draft && tokens.All(t => known[t]) ? tokens : throw weights.Broken("t2d", "names other tokens than d2t", "Download the drafter again.");
    }

    private LayerWeights Layer(DraftWeights weights, HeadLoader loader, int i)
    {
        TransformerShape s = _config.Shape;
        string name = _config.Layer(i), attention = name + "self_attn.";
        int hidden = s.HiddenSize, queries = s.HeadCount * s.HeadDim, keys = s.KvHeadCount * s.HeadDim;
        bool first = i == 0, wide = first && _config.Kind == EagleKind.Eagle3;
        int width = wide ? 2 * hidden : hidden;
        return new LayerWeights
        {
            InputNorm = first && _config.Kind != EagleKind.Mtp ? TensorHandle.None : loader.Norm(name + "input_layernorm", hidden),
            Qkv = loader.Matrix(
                attention + "qkv",
                weights.Matrix(attention + "q_proj.weight", queries, width), weights.Matrix(attention + "k_proj.weight", keys, width), weights.Matrix(attention + "v_proj.weight", keys, width)),
            QkvBias = loader.Has(attention + "q_proj.bias")
                ? loader.Vector(attention + "bias", [attention + "q_proj.bias", attention + "k_proj.bias", attention + "v_proj.bias"], [queries, keys, keys])
                : TensorHandle.None,
            QueryNorm = loader.OptionalVector(attention + "q_norm.weight", s.HeadDim),
            KeyNorm = loader.OptionalVector(attention + "k_norm.weight", s.HeadDim),
            Output = loader.Matrix(attention + "o_proj.weight", hidden, queries),
            OutputBias = loader.OptionalVector(attention + "o_proj.bias", hidden),
            PostAttentionNorm = loader.Norm(name + "post_attention_layernorm", hidden),
            GateUp = loader.Matrix(
                name + "mlp.gate_up", weights.Matrix(name + "mlp.gate_proj.weight", s.IntermediateSize, hidden), weights.Matrix(name + "mlp.up_proj.weight", s.IntermediateSize, hidden)),
            Down = loader.Matrix(name + "mlp.down_proj.weight", hidden, s.IntermediateSize),
        };
    }
}
