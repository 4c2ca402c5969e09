using Foretoken.Backends;
using Foretoken.KvCache;

namespace Foretoken.Speculation;

/// <summary>
/// What a pass of n rows costs: a(n) + b · keys read. Begins with priors (a pass reads all weights once; another row costs a share of that; keys cost what
/// their bytes do) and learns a for every row count that occurs, b following a(1). Kernels favour some row counts, and machines interrupt: a row count is believed the
/// more the more often it was seen, and otherwise follows the straight line through all that were.
/// </summary>
internal sealed class StepCostModel
{
    /// <summary>Prior cost of one more row, in passes of one row: between a small model in cache (0.2) and a large one in memory (0.05).</summary>
    private const double PriorSlope = 0.12;
    private const int FirstPasses = 8;          // of a row count: the fastest counts, as code is compiled and caches fill
    private const int Stale = 300;              // passes after which an observation counts for half
    private const double Trust = 16;            // observations of a row count that count as much as the line
    private const double Hope = 0.8;            // of the slope, beyond the row counts that are known well: nobody else would try them
    private const int MostSeen = 32;            // observations of a row count that count for the line
    private const int Settled = 3;              // passes that must have been seen before anything is compared
    private const double Slowest = 1.0 / 16;    // weight of the newest observation of a row count that is known well
    private const double OutlierShare = 0.15;   // a pass that was interrupted moves nothing by more than this share
    private const double Unevenness = 1.15;     // by which a pass may cost more than one of more rows
    private readonly double[] _fixed;           // [rows + 1] a(n) in ticks as measured
    private readonly int[] _seen;               // [rows + 1] observations
    private readonly long[] _last;              // [rows + 1] pass of the last observation
    private readonly double[] _table;           // [rows + 1] a(n) as predicted
    private long _passes;

    /// <param name="maxRows">Most rows of a pass that are told apart; larger passes are not learned from.</param>
    public StepCostModel(int maxRows)
    {
        (_fixed, _seen, _last, _table) = (new double[maxRows + 1], new int[maxRows + 1], new long[maxRows + 1], new double[maxRows + 1]);
        for (int rows = 1; rows <= maxRows; rows++) _table[rows] = 1 + PriorSlope * (rows - 1);
    }

    /// <summary>Bytes of keys and values of one token over all heads per byte of weights: b in passes of one row.</summary>
    public double PriorPerKey { get; init; }

    /// <summary>
    /// Row counts that were seen seldom are compared with others as they are, not at their best and not with hope: for whoever follows the prices alone, and would
    /// take what was lucky for cheap.
    /// </summary>
    public bool Sober { get; init; }

    /// <summary>Whether enough has been seen to compare anything.</summary>
    public bool Ready => _passes >= Settled;

    /// <summary>Most rows that are told apart.</summary>
    public int MaxRows => _fixed.Length - 1;

    /// <summary>b in ticks per key.</summary>
    public double PerKey => PriorPerKey * _table[1];

    /// <summary>Ticks of a pass.</summary>
    public double Predict(int rows, double keysRead) => Fixed(rows) + PerKey * keysRead;

    /// <summary>a(n) in ticks: measured, or by the line.</summary>
    public double Fixed(int rows) => rows <= MaxRows ? _table[rows] : _table[MaxRows] * rows / MaxRows;

    /// <summary>Observations of passes of this many rows.</summary>
    public int Seen(int rows) => rows <= MaxRows ? _seen[rows] : 0;

    public void Observe(in StepCost cost)
    {
        int rows = cost.Rows;
        if (rows < 1 || rows > MaxRows || cost.PromptRows > 0) return; // prompt rows give no logits
        double alone = rows == 1 || _passes == 0
            ? cost.VerifyTicks / (1 + PriorPerKey * cost.KeysRead)
            : Math.Max(cost.VerifyTicks - PerKey * cost.KeysRead, 0.3 * cost.VerifyTicks);
        if (_seen[rows] < (Sober ? Settled : FirstPasses))
        {
            _fixed[rows] = _seen[rows] == 0 ? alone : Math.Min(_fixed[rows], alone);
        }
        else
        {
            double predicted = _fixed[rows] + PerKey * cost.KeysRead;
            bool early = Sober && _seen[rows] < 1 / Slowest;
            double share = early ? 0.5 : OutlierShare, error = Math.Clamp(cost.VerifyTicks - predicted, -share * predicted, share * predicted);
            _fixed[rows] = Math.Max(_fixed[rows] + error * (early ? 1.0 / _seen[rows] : Slowest), 0.05 * predicted);
        }

        _seen[rows]++;
        _last[rows] = ++_passes;
        Rebuild();
    }

    /// <summary>Lays a line through what was measured, by least relative squares, and draws what was seen seldom or long ago towards it.</summary>
    private void Rebuild()
    {
        double one = _seen[1] > 0 ? _fixed[1] : FirstSeen();
        (double w, double x, double y, double xx, double xy) sums = default;
        for (int rows = 1; rows <= MaxRows; rows++)
        {
            if (_seen[rows] > 0) Add(rows, _fixed[rows], Math.Min(_seen[rows], MostSeen) * Age(rows));
        }

        for (int rows = 1; rows <= 16; rows += 5) Add(rows, one * (1 + PriorSlope * (rows - 1)), 0.5);
        double spread = sums.w * sums.xx - sums.x * sums.x, slope = Math.Max(0, (sums.w * sums.xy - sums.x * sums.y) / spread), start = (sums.y - slope * sums.x) / sums.w;
        int below = 0; // the last row count that is known well
        for (int rows = 1; rows <= MaxRows; rows++)
        {
            double line = Math.Max(start + slope * rows, 0.1 * one), known = _seen[rows] == 0 ? 0 : _seen[rows] * Age(rows);
            if (below > 0) line = Math.Min(line, _table[below] + (Sober ? 1 : Hope) * slope * (rows - below));
            _table[rows] = line + (_fixed[rows] - line) * known / (known + Trust);
            if (known > 2 * Trust) below = rows;
        }

        double cheapestAbove = double.PositiveInfinity;
        for (int rows = MaxRows; rows >= 1; rows--)
        {
            _table[rows] = Math.Min(_table[rows], Unevenness * cheapestAbove);
            if (_seen[rows] > 0) cheapestAbove = Math.Min(cheapestAbove, _table[rows]);
        }

        void Add(double rows, double ticks, double weight)
        {
            weight /= ticks * ticks;
            sums = (sums.w + weight, sums.x + weight * rows, sums.y + weight * ticks, sums.xx + weight * rows * rows, sums.xy + weight * rows * ticks);
        }
    }

    private double Age(int rows) => Math.Max(0.1, 1.0 / (1 + (_passes - _last[rows]) / (double)Stale));

    /// <summary>A pass of one row by the prior, where only more rows were seen.</summary>
    private double FirstSeen()
    {
        int rows = 1;
        while (_seen[rows] == 0) rows++;
        return _fixed[rows] / (1 + PriorSlope * (rows - 1));
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
