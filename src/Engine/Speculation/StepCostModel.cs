using Foretoken.Backends;
using Foretoken.KvCache;

namespace Foretoken.Speculation;

/// <summary>
/// What a pass of n rows costs: a(n) + b · keys read. Begins with priors (a pass reads all weights once; another row costs a share of that; keys cost what
/// their bytes do) and learns a for every row count that occurs, b following a(1). Row counts that have not occurred follow the nearest that has, by the slope
/// learned so far: kernels favour some row counts, so neighbours are not averaged.
/// </summary>
internal sealed class StepCostModel
{
    /// <summary>Prior cost of one more row, in passes of one row: between a small model in cache (0.2) and a large one in memory (0.05).</summary>
    private const double PriorSlope = 0.12;
    private const int FirstPasses = 8;          // of a row count: the fastest counts, as code is compiled and caches fill
    private const int Stale = 500;              // passes after which a row count that was not seen gets the benefit of the doubt
    private const int Settled = 3;              // passes that must have been seen before anything is compared
    private const double Slowest = 1.0 / 32;    // weight of the newest observation of a row count that is known well
    private const double SlopeRate = 0.1;
    private const double OutlierShare = 0.5;    // a pass that was interrupted moves nothing by more than this share
    private const double Unevenness = 1.15;     // by which a pass may cost more than one of more rows
    private readonly double[] _fixed;           // [rows + 1] a(n) in ticks as measured
    private readonly int[] _seen;               // [rows + 1] observations
    private readonly long[] _last;              // [rows + 1] pass of the last observation
    private readonly double[] _table;           // [rows + 1] a(n) as predicted
    private double _slope = PriorSlope;
    private long _passes;

    /// <param name="maxRows">Most rows of a pass that are told apart; larger passes are not learned from.</param>
    public StepCostModel(int maxRows)
    {
        (_fixed, _seen, _last, _table) = (new double[maxRows + 1], new int[maxRows + 1], new long[maxRows + 1], new double[maxRows + 1]);
        for (int rows = 1; rows <= maxRows; rows++) _table[rows] = 1 + _slope * (rows - 1);
    }

    /// <summary>Bytes of keys and values of one token over all heads per byte of weights: b in passes of one row.</summary>
    public double PriorPerKey { get; init; }

    /// <summary>Whether enough has been seen to compare anything.</summary>
    public bool Ready => _passes >= Settled;

    /// <summary>Most rows that are told apart.</summary>
    public int MaxRows => _fixed.Length - 1;

    /// <summary>b in ticks per key.</summary>
    public double PerKey => PriorPerKey * _table[1];

    /// <summary>Ticks of a pass.</summary>
    public double Predict(int rows, double keysRead) => Fixed(rows) + PerKey * keysRead;

    /// <summary>a(n) in ticks: measured, or extended from the nearest measured row count.</summary>
    public double Fixed(int rows) => rows <= MaxRows ? _table[rows] : _table[MaxRows] * Growth(MaxRows, rows);

    /// <summary>Observations of passes of this many rows.</summary>
    public int Seen(int rows) => rows <= MaxRows ? _seen[rows] : 0;

    public void Observe(in StepCost cost)
    {
        int rows = cost.Rows;
        if (rows < 1 || rows > MaxRows || cost.PromptRows > 0) return; // prompt rows give no logits
        double alone = rows == 1 || _passes == 0
            ? cost.VerifyTicks / (1 + PriorPerKey * cost.KeysRead)
            : Math.Max(cost.VerifyTicks - PerKey * cost.KeysRead, 0.3 * cost.VerifyTicks);
        if (_seen[rows] < FirstPasses)
        {
            _fixed[rows] = _seen[rows] == 0 ? alone : Math.Min(_fixed[rows], alone);
        }
        else
        {
            double predicted = _fixed[rows] + PerKey * cost.KeysRead;
            double error = Math.Clamp(cost.VerifyTicks - predicted, -OutlierShare * predicted, OutlierShare * predicted);
            _fixed[rows] = Math.Max(_fixed[rows] + error * Slowest, 0.05 * predicted);
        }

        _seen[rows]++;
        _last[rows] = ++_passes;
        if (rows > 1 && _seen[1] >= Settled) _slope += SlopeRate * (Math.Max(0, (_fixed[rows] / _fixed[1] - 1) / (rows - 1)) - _slope);
        Rebuild();
    }

    /// <summary>Extends what was measured to all row counts, and corrects what was measured long ago by what is measured now.</summary>
    private void Rebuild()
    {
        int below = 0;
        double cheapestAbove = double.PositiveInfinity;
        for (int rows = 1; rows <= MaxRows; rows++)
        {
            bool known = _seen[rows] > 0;
            double extended = below > 0 ? _fixed[below] * Growth(below, rows) : double.PositiveInfinity;
            _table[rows] = known ? _fixed[rows] : extended;
            if (known && _passes - _last[rows] > Stale) _table[rows] = Math.Min(_table[rows], extended);
            if (known) below = rows;
        }

        for (int rows = MaxRows; rows >= 1; rows--)
        {
            if (double.IsPositiveInfinity(_table[rows])) _table[rows] = cheapestAbove; // only more rows were seen so far: at most that
            _table[rows] = Math.Min(_table[rows], Unevenness * cheapestAbove);
            if (_seen[rows] > 0) cheapestAbove = Math.Min(cheapestAbove, _table[rows]);
        }
    }

    /// <summary>What passes of <paramref name="to"/> rows cost over passes of <paramref name="from"/>, by the slope.</summary>
    private double Growth(int from, int to) => (1 + _slope * (to - 1)) / (1 + _slope * (from - 1));

    /// <summary>b by bytes: how many passes of one row reading one token's keys and values costs, by bytes.</summary>
    public static double PriorFor(TransformerShape shape, KvLayout layout)
    {
        double perLayer = 2.0 * shape.HiddenSize * (shape.HeadCount + shape.KvHeadCount) * shape.HeadDim + 3.0 * shape.HiddenSize * shape.IntermediateSize;
        double weights = perLayer * shape.LayerCount + (double)shape.HiddenSize * shape.VocabSize;
        double bytesPerWeight = 1.5, key = (double)new KvPageFormat(layout).SlotBytes * layout.LayerCount * layout.KvHeadCount;
        return key / (weights * bytesPerWeight);
    }
}
