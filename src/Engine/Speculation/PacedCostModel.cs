using System.Numerics;

namespace Foretoken.Speculation;

/// <summary>
/// What passes cost on a machine whose speed changes: a <see cref="StepCostModel"/> of how row counts compare, times a pace that all of them share. The pace is the median of
/// the last passes over what they were to cost, so that it follows a machine that others use too within a few passes, and one interruption says nothing. How a row count
/// compares with others is learned only beside passes of others: alone it tells the pace.
/// </summary>
internal sealed class PacedCostModel(int maxRows, int maxSequences = 1)
{
    private const int Window = 5;          // passes that the pace is the median of
    private const int PlainWindow = 5;     // passes without drafts
    private const int Recent = 6;          // passes beside which others are compared
    private const int Settled = 3;         // passes that must have been seen before anything is compared with them
    private const int Familiar = 8;        // passes of a row count after which what is far from the usual was interrupted
    private const double Interrupted = 1.5, Farthest = 5;
    private const double Apart = 1.25;     // times by which two paces differ much
    private const int Soon = 4;            // passes of which one has no drafts while those are doubtful
    private readonly (int Cell, double Ratio, long Pass)[] _ratios = new (int, double, long)[2 * Window]; // the last passes over what they were to cost
    private readonly double[] _sorted = new double[2 * Window];
    private readonly StepCostModel[] _tables = [.. Enumerable.Range(0, BitOperations.Log2((uint)maxSequences) + 1).Select(_ => new StepCostModel(maxRows))]; // [log2 of sequences]
    private readonly PlainPasses[] _plain = [.. Enumerable.Range(0, BitOperations.Log2((uint)maxSequences) + 1).Select(_ => new PlainPasses(maxRows))]; // [log2 of sequences]
    private long _passes, _known;
    private int _size;

    /// <inheritdoc cref="StepCostModel.PriorPerKey"/>
    public double PriorPerKey
    {
        get => Table.PriorPerKey;
        init
        {
            foreach (StepCostModel table in _tables) table.PriorPerKey = value;
        }
    }

    private StepCostModel Table => _tables[_size];

    /// <summary>A step of so many sequences begins: rows of one cost less than as many of several.</summary>
    public void Begin(int sequences)
    {
        if (sequences == 0) return;
        _size = Math.Min(BitOperations.Log2((uint)sequences), _tables.Length - 1);
        for (int distance = 1; !Table.HasSeen && distance < _tables.Length; distance++)
        {
            if (_size >= distance && _tables[_size - distance].HasSeen) Table.CopyFrom(_tables[_size - distance]);
            else if (_size + distance < _tables.Length && _tables[_size + distance].HasSeen) Table.CopyFrom(_tables[_size + distance]);
        }
    }

    /// <summary>What passes take over what they took when they were first seen.</summary>
    public double Pace { get; private set; } = 1;

    /// <inheritdoc cref="StepCostModel.MaxRows"/>
    public int MaxRows => Table.MaxRows;

    /// <inheritdoc cref="StepCostModel.RowCounts"/>
    public ReadOnlySpan<int> RowCounts => Table.RowCounts;

    /// <inheritdoc cref="StepCostModel.PerKey"/>
    public double PerKey => Pace * Table.PerKey;

    /// <summary>
    /// Whether passes of so many rows have been seen often enough, and in the last <paramref name="unseen"/> passes, to compare others with them. Where the pace or such a
    /// pass has changed much, they must have been seen just now: what looks like a slower machine may be rows that cost more than was thought.
    /// </summary>
    public bool Knows(int rows, int unseen)
    {
        if (rows > MaxRows) return true;
        PlainPasses plain = _plain[_size];
        bool doubtful = plain.Count > 0 && (AreApart(Pace, plain.Pace) || AreApart(plain.LastRatio, plain.Bias));
        return Seen(rows) >= Settled && _passes - plain.Last[Table.CellOf(rows)] < Math.Min(4 * Seen(rows), doubtful ? Soon : unseen);
    }

    /// <inheritdoc cref="StepCostModel.Predict"/>
    public double Predict(int rows, double keysRead) => Pace * Table.Predict(rows, keysRead);

    /// <summary>Ticks of a pass without drafts: what others are held against, so the last of them count by themselves too.</summary>
    public double PredictPlain(int rows, double keysRead) => _plain[_size].Bias * Predict(rows, keysRead);

    /// <inheritdoc cref="StepCostModel.Fixed"/>
    public double Fixed(int rows) => Pace * Table.Fixed(rows);

    /// <inheritdoc cref="StepCostModel.Seen"/>
    public int Seen(int rows) => Table.Seen(rows);

    /// <summary>What a pass that took <paramref name="ticks"/> cost, interruptions left out as far as it is known what such passes cost.</summary>
    public double Judge(int rows, double keysRead, double ticks) => Math.Min(ticks, (Seen(rows) > Familiar ? Interrupted : Farthest) * Predict(rows, keysRead));

    /// <summary>A pass was seen.</summary>
    /// <param name="cost">Its cost.</param>
    /// <param name="plain">It had no drafts.</param>
    public void Observe(in StepCost cost, bool plain)
    {
        int rows = cost.Rows;
        if (rows < 1 || rows > MaxRows || cost.PromptRows > 0) return;
        _passes++;
        int cell = (_size << 16) + Table.CellOf(rows);
        if (plain) _plain[_size].Last[Table.CellOf(rows)] = _passes;
        double beside = Seen(rows) <= Familiar ? Pace : Median(2 * Window, otherThan: cell);
        if (Seen(rows) > Settled)
        {
            _ratios[_known++ % _ratios.Length] = (cell, cost.VerifyTicks / Table.Predict(rows, cost.KeysRead), _passes);
            Pace = Median(Window, otherThan: -1);
        }

        if (plain && Seen(rows) > Settled) HoldPlain(cost.VerifyTicks / Predict(rows, cost.KeysRead));
        if (beside > 0) Table.Observe(cost with { VerifyTicks = (long)(cost.VerifyTicks / beside) });
        else Table.Confirm(rows);
    }

    private void HoldPlain(double ratio)
    {
        PlainPasses plain = _plain[_size];
        plain.Ratios[plain.Count++ % PlainWindow] = ratio;
        int count = (int)Math.Min(plain.Count, PlainWindow);
        plain.Ratios.AsSpan(0, count).CopyTo(_sorted);
        (plain.Bias, plain.LastRatio, plain.Pace) = (MedianOf(count), ratio, Pace);
    }

    private static bool AreApart(double a, double b) => a > Apart * b || b > Apart * a;

    /// <summary>Of the last passes of other cells; 0 = there was none of late.</summary>
    private double Median(int window, int otherThan)
    {
        int count = 0;
        for (long i = Math.Max(0, _known - window); i < _known; i++)
        {
            (int cell, double ratio, long pass) = _ratios[i % _ratios.Length];
            if (cell != otherThan && _passes - pass <= Recent) _sorted[count++] = ratio;
        }

        return count == 0 ? 0 : MedianOf(count);
    }

    /// <summary>Of the first numbers of <see cref="_sorted"/>.</summary>
    private double MedianOf(int count)
    {
        Array.Sort(_sorted, 0, count);
        return 0.5 * (_sorted[(count - 1) / 2] + _sorted[count / 2]);
    }

    /// <summary>Passes without drafts, of batches of about one size.</summary>
    private sealed class PlainPasses(int maxRows)
    {
        public readonly long[] Last = new long[maxRows + 1];       // [cells] number of the last one
        public readonly double[] Ratios = new double[PlainWindow]; // the last ones over what they were to cost
        public double Bias = 1;
        public double LastRatio = 1, Pace = 1;                     // of the last one
        public long Count;
    }
}
