namespace Foretoken.Training.Drafters;

/// <summary>Where the roots of one answer lie.</summary>
/// <param name="Start">First row of the sequence in the batch.</param>
/// <param name="FirstPosition">Position of the first root's row: the last prompt token.</param>
/// <param name="FirstRoot">Index of the first root among the roots of the batch.</param>
/// <param name="Count">Roots of the answer.</param>
internal readonly record struct RootSpan(int Start, int FirstPosition, int FirstRoot, int Count);

/// <summary>
/// The rows of some answers from which drafts begin. A root is a row r of the target whose next token is known, sampled but not yet run; from there a drafter proposes
/// the tokens r + 2, r + 3, …. The roots of an answer are the rows from the prompt's last token to the last row with a token to propose.
/// </summary>
internal sealed class RootRows
{
    private static readonly float[] NoWeights = new float[4096];
    private readonly List<RootSpan> _spans = [];

    /// <summary>All tokens of the examples, one sequence each.</summary>
    public RaggedBatch Batch { get; } = new();

    /// <summary>One per example.</summary>
    public IReadOnlyList<RootSpan> Spans => _spans;

    /// <summary>Roots of all examples.</summary>
    public int Count { get; private set; }

    /// <summary>Takes the examples.</summary>
    public void Fill(IReadOnlyList<TrainingExample> examples)
    {
        Batch.Clear();
        _spans.Clear();
        Count = 0;
        foreach (TrainingExample example in examples)
        {
            int start = Batch.Rows, count = RootsOf(example), length = example.Tokens.Length;
            Batch.Add(example.Tokens, length <= NoWeights.Length ? NoWeights.AsSpan(0, length) : new float[length], 0);
            _spans.Add(new RootSpan(start, example.PromptLength - 1, Count, count));
            Count += count;
        }
    }

    /// <summary>Roots of one answer.</summary>
    public static int RootsOf(TrainingExample example) => Math.Max(0, example.Tokens.Length - 1 - example.PromptLength);

    /// <summary>The token that draft <paramref name="depth"/> (from 0) of root <paramref name="index"/> of an answer should be, or −1 behind its end.</summary>
    public int Wanted(in RootSpan span, int index, int depth) =>
        index + depth < span.Count ? Batch.Tokens[span.Start + span.FirstPosition + index + 2 + depth] : -1;
}
