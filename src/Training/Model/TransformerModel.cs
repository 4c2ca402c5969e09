using Foretoken.Numerics;

namespace Foretoken.Training;

/// <summary>How the weights of a new model are drawn.</summary>
public sealed record Initialization
{
    /// <summary>Standard deviation of the embedding.</summary>
    public double EmbeddingDeviation { get; init; } = 0.02;

    /// <summary>Matrices are normal with deviation gain / √columns.</summary>
    public double MatrixGain { get; init; } = 1.0;

    /// <summary>Further factor on matrices that write into the residual stream (0: start as the identity).</summary>
    public double ResidualGain { get; init; }

    /// <summary>Initial gains of the q and k norms.</summary>
    public double QueryKeyGain { get; init; } = 1.25;
}

/// <summary>A trainable decoder: layout and values of its parameters, f32.</summary>
public sealed unsafe class TransformerModel : ITrainable, IDisposable
{
    private readonly TransformerLayer[] _layers;

    /// <summary>A model with all parameters zero; <paramref name="more"/> may add parameters that are trained and kept beside its own.</summary>
    public TransformerModel(TransformerShape shape, Action<ParameterSet>? more = null)
    {
        shape.Validate();
        Shape = shape;
        EmbeddingOffset = Parameters.Add(ParameterKind.Embedding, shape.HiddenSize, ("model.embed_tokens.weight", shape.VocabularySize));
        _layers = new TransformerLayer[shape.Layers];
        for (int i = 0; i < shape.Layers; i++) _layers[i] = new TransformerLayer(shape, Parameters, i);
        FinalGainOffset = Parameters.AddVectors(ParameterKind.Gain, ("model.norm.weight", shape.HiddenSize));
        HeadOffset = shape.TiedEmbeddings ? EmbeddingOffset : Parameters.Add(ParameterKind.Head, shape.HiddenSize, ("lm_head.weight", shape.VocabularySize));
        more?.Invoke(Parameters);
        Values = new FloatBuffer(Parameters.Count);
    }

    /// <summary>Sizes.</summary>
    public TransformerShape Shape { get; }

    /// <summary>Names and places of the parameters.</summary>
    public ParameterSet Parameters { get; } = new();

    /// <summary>The parameters, in the layout of <see cref="Parameters"/>.</summary>
    public FloatBuffer Values { get; }

    internal IReadOnlyList<TransformerLayer> Layers => _layers;
    internal long EmbeddingOffset { get; }
    internal long FinalGainOffset { get; }
    internal long HeadOffset { get; }

    /// <summary>Draws all parameters; each tensor has its own random stream, so a new tensor does not move the others.</summary>
    public void Initialize(ulong seed, Initialization initialization)
    {
        for (int index = 0; index < Parameters.Parameters.Count; index++)
        {
            Parameter p = Parameters.Parameters[index];
            var random = new SeededRandom(seed, (ulong)index);
            double matrix = initialization.MatrixGain / Math.Sqrt(p.Columns);
            (double mean, double deviation) = p.Kind switch
            {
                ParameterKind.Embedding or ParameterKind.Head => (0, initialization.EmbeddingDeviation),
                ParameterKind.Matrix => (0, matrix),
                ParameterKind.ResidualMatrix => (0, matrix * initialization.ResidualGain),
                ParameterKind.Gain => (1, 0),
                ParameterKind.QueryKeyGain => (initialization.QueryKeyGain, 0),
                _ => (0.0, 0.0),
            };
            float* values = Values.Pointer + p.Offset;
            for (long i = 0; i < p.Count; i++) values[i] = (float)(deviation == 0 ? mean : mean + deviation * random.NextGaussian());
        }
    }

    /// <inheritdoc/>
    public void Dispose() => Values.Dispose();
}
