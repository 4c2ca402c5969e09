namespace Foretoken.Training;

/// <summary>
/// Sequences of different lengths one after another, without padding: every row-wise operation runs over all rows, attention runs per sequence.
/// Reused from step to step; grows only while new.
/// </summary>
public sealed class RaggedBatch
{
    private readonly List<int> _tokens = [], _positions = [], _targets = [], _starts = [0];
    private readonly List<float> _weights = [];
    private float[] _exampleWeights = [];

    /// <summary>Rows (tokens) of all sequences.</summary>
    public int Rows => _tokens.Count;

    /// <summary>Number of sequences.</summary>
    public int Sequences => _starts.Count - 1;

    /// <summary>Tokens, [rows].</summary>
    public ReadOnlySpan<int> Tokens => System.Runtime.InteropServices.CollectionsMarshal.AsSpan(_tokens);

    /// <summary>Position of each row in its sequence, [rows].</summary>
    public ReadOnlySpan<int> Positions => System.Runtime.InteropServices.CollectionsMarshal.AsSpan(_positions);

    /// <summary>The token to predict at each row, [rows]; 0 where the weight is 0.</summary>
    public ReadOnlySpan<int> Targets => System.Runtime.InteropServices.CollectionsMarshal.AsSpan(_targets);

    /// <summary>Loss weight of each row, [rows].</summary>
    public ReadOnlySpan<float> Weights => System.Runtime.InteropServices.CollectionsMarshal.AsSpan(_weights);

    /// <summary>First row and number of rows of sequence <paramref name="index"/>.</summary>
    public (int Start, int Length) Sequence(int index) => (_starts[index], _starts[index + 1] - _starts[index]);

    /// <summary>Removes all sequences.</summary>
    public void Clear()
    {
        _tokens.Clear();
        _positions.Clear();
        _targets.Clear();
        _weights.Clear();
        _starts.Clear();
        _starts.Add(0);
    }

    /// <summary>Appends an example: its prompt's tokens weigh <paramref name="promptWeight"/> · <paramref name="scale"/>, those of the solution <paramref name="scale"/>.</summary>
    /// <returns>False, and nothing appended, if the batch is not empty and would have more than <paramref name="mostRows"/> rows.</returns>
    public bool TryAdd(TrainingExample example, float promptWeight, float scale, int mostRows)
    {
        if (Rows > 0 && Rows + example.Tokens.Length > mostRows) return false;
        if (_exampleWeights.Length < example.Tokens.Length) _exampleWeights = new float[example.Tokens.Length];
        Span<float> weights = _exampleWeights.AsSpan(0, example.Tokens.Length);
        weights[..example.PromptLength].Fill(promptWeight);
        weights[example.PromptLength..].Fill(1f);
        Add(example.Tokens, weights, scale);
        return true;
    }

    /// <summary>
    /// Appends a sequence; row i predicts token i + 1 with the weight <paramref name="targetWeights"/>[i + 1] · <paramref name="scale"/>, the last
    /// row predicts nothing.
    /// </summary>
    public void Add(ReadOnlySpan<int> tokens, ReadOnlySpan<float> targetWeights, float scale)
    {
        for (int i = 0; i < tokens.Length; i++)
        {
            bool last = i == tokens.Length - 1;
            _tokens.Add(tokens[i]);
            _positions.Add(i);
            _targets.Add(last ? 0 : tokens[i + 1]);
            _weights.Add(last ? 0f : targetWeights[i + 1] * scale);
        }
        _starts.Add(_tokens.Count);
    }
}
