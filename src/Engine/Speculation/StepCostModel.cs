using Foretoken.Backends;
using Foretoken.KvCache;

namespace Foretoken.Speculation;

/// <summary>
/// What a pass of n rows costs: a(n) + b · keys read. Begins with priors (a pass reads all weights once; another row costs a share of that; keys cost what
/// their bytes do) and learns a for the row counts that occur, b following a(1). Kernels favour some row counts, and machines interrupt: a row count is believed the
/// more the more often it was seen, and otherwise follows the straight line through all that were.
/// </summary>
internal sealed class StepCostModel
{
    /// <summary>Prior cost of one more row, in passes of one row: between a small model in cache (0.2) and a large one in memory (0.05).</summary>
    private const double PriorSlope = 0.12;
    private const int Apart = 16;               // row counts up to here are told apart; of more, those within a tenth of each other are one cell
    private const int FirstPasses = 3;          // of a cell: the fastest counts, as code is compiled and caches fill
    private const int Stale = 300;              // passes after which an observation counts for half
    private const double Trust = 16;            // observations of a cell that count as much as the line
    private const int Often = 8;                // passes of well-known row counts after which the table is made again
    private const int Enough = 1 << 16;         // observations of a cell that are counted
    private const int MostSeen = 32;            // observations of a cell that count for the line
    private const double Slowest = 1.0 / 16;    // weight of the newest observation of a cell that is known well
    private const double OutlierShare = 0.15;   // a pass that was interrupted moves nothing by more than this share
    private const double EarlyShare = 0.5;      // the same while little is known of its cell
    private const double Unevenness = 1.15;     // by which a pass may cost more than one of more rows
    private readonly int[] _cells;              // [rows + 1] the cell of a row count
    private readonly int[] _middles;            // [cells] its middle row count
    private readonly double[] _fixed;           // [cells] a(middle) in ticks as measured
    private readonly int[] _seen;               // [cells] observations
    private readonly long[] _last;              // [cells] pass of the last observation
    private readonly double[] _table;           // [rows + 1] a(n) as predicted
    private double _start = 1 - PriorSlope, _slope = PriorSlope; // of the line
    private long _passes;

    /// <param name="maxRows">Most rows of a pass that are told apart; larger passes are not learned from.</param>
    public StepCostModel(int maxRows)
    {
        (_cells, _table) = (new int[maxRows + 1], new double[maxRows + 1]);
        for (int rows = 1; rows <= maxRows; rows++)
        {
            _cells[rows] = rows <= Apart ? rows : Apart + 1 + (int)(8 * Math.Log2((double)rows / (Apart + 1)));
            _table[rows] = Line(rows);
        }

        int cells = _cells[maxRows] + 1;
        (_middles, _fixed, _seen, _last) = (new int[cells], new double[cells], new int[cells], new long[cells]);
        for (int first = 1, rows = 1; rows <= maxRows; rows++)
        {
            if (_cells[rows] != _cells[first]) first = rows;
            _middles[_cells[rows]] = (first + rows) / 2;
        }
    }

    /// <summary>Bytes of keys and values of one token over all heads per byte of weights: b in passes of one row.</summary>
    public double PriorPerKey { get; set; }

    /// <summary>Whether any pass was seen.</summary>
    public bool HasSeen => _passes > 0;

    /// <summary>Most rows that are told apart.</summary>
    public int MaxRows => _table.Length - 1;

    /// <summary>Row counts that are told apart, each the middle one of its cell.</summary>
    public ReadOnlySpan<int> RowCounts => _middles.AsSpan(1);

    /// <summary>b in ticks per key.</summary>
    public double PerKey => PriorPerKey * _table[1];

    /// <summary>Row counts of one cell share what is known of them.</summary>
    public int CellOf(int rows) => _cells[Math.Min(rows, MaxRows)];

    /// <summary>Ticks of a pass.</summary>
    public double Predict(int rows, double keysRead) => Fixed(rows) + PerKey * keysRead;

    /// <summary>a(n) in ticks: measured, or by the line.</summary>
    public double Fixed(int rows) => rows <= MaxRows ? _table[rows] : _table[MaxRows] * rows / MaxRows;

    /// <summary>Observations of passes of about this many rows.</summary>
    public int Seen(int rows) => rows <= MaxRows ? _seen[_cells[rows]] : 0;

    public void Observe(in StepCost cost)
    {
        int rows = cost.Rows;
        if (rows < 1 || rows > MaxRows || cost.PromptRows > 0) return; // prompt rows give no logits
        int cell = _cells[rows];
        double alone = rows == 1 || _passes == 0
            ? cost.VerifyTicks / (1 + PriorPerKey * cost.KeysRead)
            : Math.Max(cost.VerifyTicks - PerKey * cost.KeysRead, 0.3 * cost.VerifyTicks);
        alone = Math.Max(1e-3, alone * Line(_middles[cell]) / Line(rows)); // clocks may be coarse
        if (_seen[cell] < FirstPasses)
        {
            _fixed[cell] = _seen[cell] == 0 ? alone : Math.Min(_fixed[cell], alone);
        }
        else
        {
            bool early = _seen[cell] < 1 / Slowest;
            double share = early ? EarlyShare : OutlierShare;
            _fixed[cell] *= 1 + Math.Clamp(alone / _fixed[cell] - 1, -share, share) * (early ? 1.0 / _seen[cell] : Slowest);
        }

        Confirm(rows);
    }

    /// <summary>A pass was seen that said nothing new.</summary>
    public void Confirm(int rows)
    {
        int cell = _cells[rows];
        _seen[cell] = Math.Min(_seen[cell] + 1, Enough); // a service makes billions of passes
        _last[cell] = ++_passes;
        if (_seen[cell] <= MostSeen || _passes % Often == 0) Rebuild();
    }

    /// <summary>Begins with what another model of as many rows knows, and soon prefers what it sees.</summary>
    public void CopyFrom(StepCostModel other)
    {
        other._fixed.CopyTo(_fixed, 0);
        other._last.CopyTo(_last, 0);
        _passes = other._passes;
        for (int cell = 0; cell < _seen.Length; cell++) _seen[cell] = Math.Min(other._seen[cell], FirstPasses);
        Rebuild();
    }

    /// <summary>Lays a line through what was measured, by least relative squares, and draws what was seen seldom or long ago towards it.</summary>
    private void Rebuild()
    {
        double one = OneRow();
        (double w, double x, double y, double xx, double xy) sums = default;
        for (int cell = 1; cell < _fixed.Length; cell++)
        {
            if (_seen[cell] > 0) Add(_middles[cell], _fixed[cell], Math.Min(_seen[cell], MostSeen) * Age(cell));
        }

        for (int rows = 1; rows <= 16; rows += 5) Add(rows, one * (1 + PriorSlope * (rows - 1)), 0.5);
        double spread = sums.w * sums.xx - sums.x * sums.x;
        _slope = Math.Max(0, (sums.w * sums.xy - sums.x * sums.y) / spread);
        _start = (sums.y - _slope * sums.x) / sums.w;
        int below = 0; // the last row count that is known well
        for (int rows = 1; rows <= MaxRows; rows++)
        {
            int cell = _cells[rows];
            double line = Math.Max(Line(rows), 0.1 * one), known = _seen[cell] == 0 ? 0 : _seen[cell] * Age(cell);
            if (below > 0) line = Math.Min(line, _table[below] + _slope * (rows - below));
            _table[rows] = line + (_fixed[cell] * Line(rows) / Line(_middles[cell]) - line) * known / (known + Trust);
            if (known > 2 * Trust) below = rows;
        }

        double cheapestAbove = double.PositiveInfinity;
        for (int rows = MaxRows; rows >= 1; rows--)
        {
            _table[rows] = Math.Min(_table[rows], Unevenness * cheapestAbove);
            if (_seen[_cells[rows]] > 0) cheapestAbove = Math.Min(cheapestAbove, _table[rows]);
        }

        void Add(double rows, double ticks, double weight)
        {
            weight /= ticks * ticks;
            sums = (sums.w + weight, sums.x + weight * rows, sums.y + weight * ticks, sums.xx + weight * rows * rows, sums.xy + weight * rows * ticks);
        }
    }

    /// <summary>a(n) by the line alone; above 0, whatever its start.</summary>
    private double Line(int rows) => Math.Max(_start + _slope * rows, 0.05 * (Math.Abs(_start) + _slope * rows));

    private double Age(int cell) => Math.Max(0.1, 1.0 / (1 + (_passes - _last[cell]) / (double)Stale));

    /// <summary>A pass of one row: by the prior, where only more rows were seen.</summary>
    private double OneRow()
    {
        int cell = 1;
        while (_seen[cell] == 0) cell++;
        return _fixed[cell] / (1 + PriorSlope * (_middles[cell] - 1));
    }

    /// <summary>b by bytes: how many passes of one row reading one token's keys and values costs, by bytes.</summary>
    public static double PriorFor(TransformerShape shape, KvLayout layout)
    {
        double perLayer = 2.0 * shape.HiddenSize * (shape.HeadCount + shape.KvHeadCount) * shape.HeadDim + 3.0 * shape.HiddenSize * shape.IntermediateSize;
        double weights = perLayer * shape.LayerCount + (double)shape.HiddenSize * shape.VocabSize;
        double bytesPerWeight = 1.5, key = (double)new KvPageFormat(layout).SlotBytes * layout.LayerCount * layout.KvHeadCount;
        return key / (weights * bytesPerWeight);
    }
}
