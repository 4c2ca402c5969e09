namespace Foretoken.Backends;

/// <summary>
/// A backend that also computes drafters trained on a target's hidden states: rows enter as features, not as embeddings alone. Within a pass the residual stream
/// (<see cref="IBackend"/>'s hidden) and a wider input stand side by side: the input is filled part by part and projected onto the stream or onto queries, keys and values.
/// </summary>
public interface IFeatureBackend : IBackend
{
    /// <summary>Allocates the input rows, after <see cref="IBackend.Prepare"/>.</summary>
    /// <param name="width">Widest input, in elements.</param>
    void PrepareInput(int width);

    /// <summary>Uses a weight of another backend: without copying it where that is of the same kind (it stays the owner's and must outlive this backend), else as a copy.</summary>
    /// <exception cref="NotSupportedException">The owner does not give its weights.</exception>
    TensorHandle Borrow(IBackend owner, TensorHandle weight);

    /// <summary>Starts a pass without attention over <paramref name="rows"/>.</summary>
    void BeginRows(RowBatch rows);

    /// <summary>The residual stream of a row, to read or write. // [hidden]</summary>
    Span<float> HiddenOf(int row);

    /// <summary>The input of a row, to write. // [width]</summary>
    Span<float> InputOf(int row);

    /// <summary>input[r][offset..] = table[token[r]], RMS-normalised where <paramref name="norm"/> exists.</summary>
    void EmbedInput(TensorHandle table, int offset, TensorHandle norm);

    /// <summary>input[r][offset..] = RMSNorm(hidden[r]).</summary>
    void NormInput(int offset, TensorHandle norm);

    /// <summary>hidden[r] = RMSNorm(hidden[r]).</summary>
    void NormHidden(TensorHandle norm);

    /// <summary>hidden[r] = matrix · input[r] (+ bias), over as many elements of the input as the matrix has columns.</summary>
    void ProjectInput(TensorHandle matrix, TensorHandle bias);

    /// <summary>q, k and v of the input instead of the normalised stream; else as <see cref="IBackend.NormQkvRope"/>.</summary>
    void InputQkvRope(LayerWeights weights);

    /// <summary>hidden[r] += silu(matrix · hidden[r] (+ bias)): the residual block of Medusa (Cai et al., 2024). // matrix [hidden, hidden]</summary>
    void SiluResidual(TensorHandle matrix, TensorHandle bias);
}
