namespace Foretoken.Training;

/// <summary>What a parameter is, which decides its initial values and its optimizer.</summary>
public enum ParameterKind
{
    /// <summary>Weight matrix of a layer.</summary>
    Matrix,

    /// <summary>Weight matrix that writes into the residual stream.</summary>
    ResidualMatrix,

    /// <summary>Token embedding (and output matrix when tied).</summary>
    Embedding,

    /// <summary>Untied output matrix.</summary>
    Head,

    /// <summary>Gain of a norm over the residual stream.</summary>
    Gain,

    /// <summary>Gain of the q or k norm.</summary>
    QueryKeyGain,

    /// <summary>Bias.</summary>
    Bias,

    /// <summary>Projection of the residual stream to eviction decisions; starts at zero.</summary>
    Decision,
}

/// <summary>One named tensor [rows, columns] (vectors: [1, columns]) at <paramref name="Offset"/> of the flat buffers of its set.</summary>
public sealed record Parameter(string Name, ParameterKind Kind, int Rows, int Columns, long Offset)
{
    /// <summary>Number of elements.</summary>
    public long Count => (long)Rows * Columns;

    /// <summary>A vector is stored with one dimension.</summary>
    public bool IsVector => Kind is ParameterKind.Gain or ParameterKind.QueryKeyGain or ParameterKind.Bias;
}

/// <summary>
/// The layout that values, gradients and optimizer state of a model share: named tensors in one flat f32 array. Tensors added in one call lie
/// side by side without a gap, so that q, k, v (and gate, up) are also one matrix.
/// </summary>
public sealed class ParameterSet
{
    private readonly List<Parameter> _parameters = [];
    private readonly Dictionary<string, Parameter> _byName = [];

    /// <summary>Floats of a buffer with this layout.</summary>
    public long Count { get; private set; }

    /// <summary>Number of trainable numbers, alignment gaps excluded.</summary>
    public long ElementCount => _parameters.Sum(p => p.Count);

    /// <summary>All parameters in layout order.</summary>
    public IReadOnlyList<Parameter> Parameters => _parameters;

    /// <summary>The parameter named <paramref name="name"/>.</summary>
    public Parameter this[string name] => _byName[name];

    /// <summary>Appends tensors side by side, starting at a multiple of 16 floats; returns the first one's offset.</summary>
    public long Add(ParameterKind kind, int columns, params ReadOnlySpan<(string Name, int Rows)> tensors)
    {
        Count = (Count + 15) / 16 * 16;
        long start = Count;
        foreach ((string name, int rows) in tensors)
        {
            var parameter = new Parameter(name, kind, rows, columns, Count);
            _byName.Add(name, parameter);
            _parameters.Add(parameter);
            Count += parameter.Count;
        }
        return start;
    }

    /// <summary>Appends vectors side by side; returns the first one's offset.</summary>
    public long AddVectors(ParameterKind kind, params ReadOnlySpan<(string Name, int Length)> vectors)
    {
        Count = (Count + 15) / 16 * 16;
        long start = Count;
        foreach ((string name, int length) in vectors)
        {
            var parameter = new Parameter(name, kind, 1, length, Count);
            _byName.Add(name, parameter);
            _parameters.Add(parameter);
            Count += length;
        }
        return start;
    }
}
