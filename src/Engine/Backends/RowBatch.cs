namespace Foretoken.Backends;

/// <summary>
/// The rows of one pass. A row is a token with a position, a sequence and a parent row: prefill is a chain of rows, decode one row,
/// verification a tree of rows. Rows of one sequence are adjacent (a <see cref="RowSegment"/>), parents come before their children.
/// Allocated once for the largest pass and refilled every step.
/// </summary>
public sealed class RowBatch
{
    /// <summary>Most rows of a segment that branches: ancestor masks are this many bits.</summary>
    public const int MaxTreeRows = 256;

    /// <summary>Parent of a row whose parent an earlier pass computed (<see cref="AddBehind"/>).</summary>
    public const int InEarlierPass = -2;

    /// <summary>64-bit words of one ancestor mask.</summary>
    public const int MaskWords = MaxTreeRows / 64;

    private readonly int[] _tokens;      // [maxRows]
    private readonly int[] _positions;   // [maxRows]
    private readonly int[] _sequences;   // [maxRows]
    private readonly int[] _parents;     // [maxRows] row of this batch, or -1: the parent is the last committed token
    private readonly int[] _logitRows;   // [maxRows] rows that ask for logits, ascending
    private readonly RowSampling[] _samplings; // [maxRows] of logit rows
    private readonly ulong[] _masks;     // [maxRows, MaskWords] bit j: the tree's j-th row is an ancestor or the row itself
    private readonly RowSegment[] _segments;
    private int _segmentCount;
    private int _logitCount;

    /// <summary>An empty pass with room for <paramref name="maxRows"/> rows; nothing grows later.</summary>
    public RowBatch(int maxRows)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(maxRows, 1);
        _tokens = new int[maxRows];
        _positions = new int[maxRows];
        _sequences = new int[maxRows];
        _parents = new int[maxRows];
        _logitRows = new int[maxRows];
        _samplings = new RowSampling[maxRows];
        _masks = new ulong[maxRows * MaskWords];
        _segments = new RowSegment[maxRows];
    }

    /// <summary>Most rows of a pass.</summary>
    public int Capacity => _tokens.Length;

    /// <summary>Rows of this pass.</summary>
    public int Count { get; private set; }

    /// <summary>Token id of each row. // [Count]</summary>
    public ReadOnlySpan<int> Tokens => _tokens.AsSpan(0, Count);

    /// <summary>Position of each row in its sequence, counted from 0. // [Count]</summary>
    public ReadOnlySpan<int> Positions => _positions.AsSpan(0, Count);

    /// <summary>The cache's index of each row's sequence.</summary>
    public ReadOnlySpan<int> Sequences => _sequences.AsSpan(0, Count);

    /// <summary>Each row's parent row in this batch, or −1 where the parent is the sequence's last committed token.</summary>
    public ReadOnlySpan<int> Parents => _parents.AsSpan(0, Count);

    /// <summary>Rows that ask for logits, in ascending order.</summary>
    public ReadOnlySpan<int> LogitRows => _logitRows.AsSpan(0, _logitCount);

    /// <summary>How a device that can samples the asked rows; not planned where the host does. // as LogitRows</summary>
    public ReadOnlySpan<RowSampling> Samplings => _samplings.AsSpan(0, _logitCount);

    /// <summary>
    /// A device that samples walks the trees too and commits the accepted rows: of each segment, the rows in front of its first asked one, that one, and
    /// the children that were sampled. Segments with rows that the host samples are left to it.
    /// </summary>
    public bool AcceptsSamples { get; set; }

    /// <summary>The rows of each sequence, in the order in which they were added.</summary>
    public ReadOnlySpan<RowSegment> Segments => _segments.AsSpan(0, _segmentCount);

    /// <summary>Ancestors-or-self of <paramref name="row"/> as bits over its segment's rows, earlier ones first; meaningful only in segments that branch. // [MaskWords]</summary>
    public ReadOnlySpan<ulong> AncestorMask(int row) => _masks.AsSpan(row * MaskWords, MaskWords);

    /// <summary>Forgets all rows; <see cref="AcceptsSamples"/> becomes false.</summary>
    public void Clear()
    {
        Count = 0;
        _segmentCount = 0;
        _logitCount = 0;
        AcceptsSamples = false;
    }

    /// <summary>Says how the row that was added last is sampled; it asks for logits.</summary>
    public void PlanSampling(in RowSampling sampling)
    {
        if (_logitCount == 0 || _logitRows[_logitCount - 1] != Count - 1) throw new InvalidOperationException("The row that was added last asks for no logits.");
        _samplings[_logitCount - 1] = sampling;
    }

    /// <summary>Adds a row and returns its index.</summary>
    /// <param name="token">Token id.</param>
    /// <param name="position">Position in the sequence; a child's is its parent's plus one.</param>
    /// <param name="sequence">The cache's index of the sequence.</param>
    /// <param name="parent">Row of this batch that this one follows, or −1 for the last committed token.</param>
    /// <param name="wantsLogits">Whether the head is computed for this row.</param>
    /// <exception cref="InvalidOperationException">The batch is full, or the row breaks one of the rules above.</exception>
    public int Add(int token, int position, int sequence, int parent, bool wantsLogits)
    {
        int row = Count;
        if (row == Capacity) throw new InvalidOperationException($"The batch holds {Capacity} rows and is full.");
        bool opens = _segmentCount == 0 || _segments[_segmentCount - 1].Sequence != sequence;
        if (opens)
        {
            if (parent != -1) throw new InvalidOperationException("The first row of a sequence follows its last committed token: parent must be -1.");
            _segments[_segmentCount++] = new RowSegment(sequence, row, 0, position, Branches: false);
        }

        ref RowSegment segment = ref _segments[_segmentCount - 1];
        CheckParent(segment, row, position, parent);
        bool branches = segment.Branches || parent != (opens ? -1 : row - 1);
        if (branches && segment.Count >= MaxTreeRows)
            throw new InvalidOperationException($"A sequence may bring at most {MaxTreeRows} rows of a tree to one pass.");
        segment = segment with { Count = segment.Count + 1, Branches = branches };

        _tokens[row] = token;
        _positions[row] = position;
        _sequences[row] = sequence;
        _parents[row] = parent;
        SetMask(row, row - segment.First, parent);
        if (wantsLogits)
        {
            _samplings[_logitCount] = default;
            _logitRows[_logitCount++] = row;
        }

        Count = row + 1;
        return row;
    }

    /// <summary>
    /// Adds a row of a tree whose first rows were computed by passes before and still wait in the cache behind the committed ones, without having been committed.
    /// Rows of one pass do not follow each other then. For caches in host memory that evict nothing.
    /// </summary>
    /// <param name="token">Token id.</param>
    /// <param name="sequence">The cache's index of the sequence.</param>
    /// <param name="basePosition">Position of rows that follow the last committed token.</param>
    /// <param name="earlier">Rows of the passes before; the same for all rows of a sequence.</param>
    /// <param name="ancestors">The row's ancestors among them, as bits. // [MaskWords]</param>
    /// <param name="wantsLogits">Whether the head is computed for this row.</param>
    /// <returns>The row's index; its parent is <see cref="InEarlierPass"/>.</returns>
    /// <exception cref="InvalidOperationException">The batch is full, or the tree has more rows than a mask has bits.</exception>
    public int AddBehind(int token, int sequence, int basePosition, int earlier, ReadOnlySpan<ulong> ancestors, bool wantsLogits)
    {
        int row = Count, depth = 0;
        if (row == Capacity) throw new InvalidOperationException($"The batch holds {Capacity} rows and is full.");
        foreach (ulong word in ancestors) depth += System.Numerics.BitOperations.PopCount(word);
        bool opens = _segmentCount == 0 || _segments[_segmentCount - 1].Sequence != sequence;
        if (opens) _segments[_segmentCount++] = new RowSegment(sequence, row, 0, basePosition, Branches: depth != earlier, earlier);
        ref RowSegment segment = ref _segments[_segmentCount - 1];
        int index = earlier + segment.Count;
        if (index >= MaxTreeRows) throw new InvalidOperationException($"A tree may have at most {MaxTreeRows} rows.");
        segment = segment with { Count = segment.Count + 1, Branches = segment.Branches || !opens };
        (_tokens[row], _positions[row], _sequences[row], _parents[row]) = (token, basePosition + depth, sequence, depth == 0 ? -1 : InEarlierPass);
        Span<ulong> mask = _masks.AsSpan(row * MaskWords, MaskWords);
        ancestors.CopyTo(mask);
        mask[index >> 6] |= 1UL << (index & 63);
        if (wantsLogits)
        {
            _samplings[_logitCount] = default;
            _logitRows[_logitCount++] = row;
        }

        Count = row + 1;
        return row;
    }

    private void CheckParent(in RowSegment segment, int row, int position, int parent)
    {
        if (parent == -1)
        {
            if (position != segment.BasePosition)
                throw new InvalidOperationException($"A row that follows the last committed token stands at {segment.BasePosition}, not at {position}.");
        }
        else if (parent < segment.First || parent >= row)
        {
            throw new InvalidOperationException($"Parent row {parent} is not an earlier row of the same sequence.");
        }
        else if (position != _positions[parent] + 1)
        {
            throw new InvalidOperationException($"Position {position} does not follow the parent's position {_positions[parent]}.");
        }
    }

    private void SetMask(int row, int indexInSegment, int parent)
    {
        Span<ulong> mask = _masks.AsSpan(row * MaskWords, MaskWords);
        if (parent == -1) mask.Clear();
        else _masks.AsSpan(parent * MaskWords, MaskWords).CopyTo(mask);
        if (indexInSegment < MaxTreeRows) mask[indexInSegment >> 6] |= 1UL << (indexInSegment & 63);
    }
}

/// <summary>The adjacent rows of one sequence in a pass.</summary>
/// <param name="Sequence">The cache's index of the sequence.</param>
/// <param name="First">First row.</param>
/// <param name="Count">Number of rows.</param>
/// <param name="BasePosition">Position of rows that follow the last committed token: the sequence's committed length in tokens.</param>
/// <param name="Branches">False for a chain: every row follows the one before it, so row i sees rows First..i.</param>
/// <param name="Earlier">Rows of the same tree that earlier passes computed: they take the first slots behind the committed ones.</param>
public readonly record struct RowSegment(int Sequence, int First, int Count, int BasePosition, bool Branches, int Earlier = 0);
