using Foretoken.Backends;

namespace Foretoken.Models;

/// <summary>The weights of a whole model as handles of one backend.</summary>
public sealed record TransformerWeights(TensorHandle Embedding, IReadOnlyList<LayerWeights> Layers, TensorHandle FinalNorm, TensorHandle Head);

/// <summary>
/// The decoder-only transformer of all supported families, written once over <see cref="IBackend"/>. It knows only rows: a prompt chunk, a
/// decode token and a tree of drafts are the same pass.
/// </summary>
public sealed class Transformer(IBackend backend, TransformerShape shape, TransformerWeights weights)
{
    /// <summary>Holds the weights and computes.</summary>
    public IBackend Backend => backend;

    /// <summary>Sizes and constants of the forward pass.</summary>
    public TransformerShape Shape => shape;

    /// <summary>Handles of the backend's weights, for drafters that use the model's embedding or head.</summary>
    public TransformerWeights Weights => weights;

    /// <summary>
    /// Runs all layers over <paramref name="rows"/>. Keys and values go to the slack slots of <paramref name="kv"/> and stay invisible to later
    /// passes until the cache commits them. Logits of the asked rows are then read with <see cref="LogitsOf"/>.
    /// </summary>
    /// <param name="rows">What runs.</param>
    /// <param name="kv">Where keys and values are.</param>
    /// <param name="skips">Sublayers that are left out; null = none.</param>
    /// <param name="taps">Receives hidden states of all rows; null = nobody asks.</param>
    public void Forward(RowBatch rows, KvView kv, LayerSkips? skips = null, FeatureTaps? taps = null)
    {
        backend.BeginPass(rows, kv);
        backend.Embed(weights.Embedding);
        for (int layer = 0; layer < weights.Layers.Count; layer++)
        {
            LayerWeights w = weights.Layers[layer];
            taps?.Read(backend, layer);
            if (skips is null || !skips.Attention(layer))
            {
                backend.NormQkvRope(layer, w);
                backend.Attend(layer, w);
                backend.OutResidual(layer, w);
            }

            if (skips is null || !skips.Mlp(layer)) backend.Mlp(layer, w);
        }

        taps?.Read(backend, weights.Layers.Count);
        taps?.ReadNormed(backend, weights.FinalNorm);
        backend.Logits(weights.FinalNorm, weights.Head);
    }

    /// <summary>Logits of the <paramref name="index"/>-th row of <see cref="RowBatch.LogitRows"/>. // [vocab]</summary>
    public Span<float> LogitsOf(int index) => backend.LogitsOf(index);

    /// <inheritdoc cref="IBackend.TryGetSample"/>
    public bool TryGetSample(int index, out int token, out float logProb) => backend.TryGetSample(index, out token, out logProb);
}
