using Foretoken.Backends;
using Foretoken.KvCache;

namespace Foretoken.Speculation;

/// <summary>
/// What a pass of n rows costs: a(n) + b · keys read. Begins with priors (a pass reads all weights once; another row costs a share of that; keys cost what
/// their bytes do) and learns a for every row count that occurs and b for all. Row counts that have not occurred follow the nearest that has, by the slope
/// learned so far: kernels favour some row counts, so neighbours are not averaged.
/// </summary>
internal sealed class StepCostModel
{
    /// <summary>Prior cost of one more row, in passes of one row: between a small model in cache (0.2) and a large one in memory (0.05).</summary>
    private const double PriorSlope = 0.12;
    private const double Slowest = 1.0 / 32;    // weight of the newest observation of a row count that is known well
    private const double SlopeRate = 0.1, KeyRate = 0.02;
    private const double OutlierShare = 0.5;    // a pass that was interrupted moves nothing by more than this share
    private readonly double[] _fixed;           // [rows + 1] a(n) in ticks
    private readonly int[] _seen;               // [rows + 1] observations
    private double _slope = PriorSlope;
    private double _perKey;                     // b in ticks

    /// <param name="maxRows">Most rows of a pass that are told apart; larger passes are not learned from.</param>
    public StepCostModel(int maxRows) => (_fixed, _seen) = (new double[maxRows + 1], new int[maxRows + 1]);

    /// <summary>Bytes of keys and values of one token over all heads per byte of weights: the prior of b in passes of one row.</summary>
    public double PriorPerKey { get; init; }

    /// <summary>Whether a plain pass has been seen: before, nothing can be compared.</summary>
    public bool Ready => _seen[1] > 0 || Nearest(1) > 0;

    /// <summary>Most rows that are told apart.</summary>
    public int MaxRows => _fixed.Length - 1;

    /// <summary>Ticks of a pass.</summary>
    public double Predict(int rows, double keysRead) => Fixed(rows) + _perKey * keysRead;

    /// <summary>a(n) in ticks, measured or extended from the nearest measured row count.</summary>
    public double Fixed(int rows)
    {
        int within = Math.Min(rows, MaxRows);
        if (_seen[within] == 0 && Nearest(within) is var near)
        {
            if (near == 0) return 1 + _slope * (rows - 1);
            return _fixed[near] * (1 + _slope * (rows - 1)) / (1 + _slope * (near - 1));
        }

        return within == rows ? _fixed[rows] : _fixed[within] * (1 + _slope * (rows - 1)) / (1 + _slope * (within - 1));
    }

    /// <summary>Observations of passes of this many rows.</summary>
    public int Seen(int rows) => rows <= MaxRows ? _seen[rows] : 0;

    public double PerKey => _perKey;

    public void Observe(in StepCost cost)
    {
        int rows = cost.Rows;
        if (rows < 1 || rows > MaxRows || cost.PromptRows > 0) return; // prompt rows give no logits
        if (_seen[rows] == 0)
        {
            if (_perKey == 0) _perKey = PriorPerKey * cost.VerifyTicks / (1 + PriorPerKey * cost.KeysRead);
            _fixed[rows] = Math.Max(cost.VerifyTicks - _perKey * cost.KeysRead, cost.VerifyTicks * 0.1);
            _seen[rows] = 1;
        }
        else
        {
            double predicted = Predict(rows, cost.KeysRead), error = cost.VerifyTicks - predicted;
            if (_seen[rows] > 8) error = Math.Clamp(error, -OutlierShare * predicted, OutlierShare * predicted);
            _fixed[rows] += error * Math.Max(1.0 / (1 + _seen[rows]), Slowest);
            _fixed[rows] = Math.Max(_fixed[rows], 0.05 * predicted);
            _seen[rows]++;
            if (cost.KeysRead > 0) _perKey = Math.Max(0, _perKey + KeyRate * error / cost.KeysRead);
        }

        if (rows > 1 && _seen[1] > 0) _slope += SlopeRate * (Math.Max(0, (_fixed[rows] / _fixed[1] - 1) / (rows - 1)) - _slope);
    }

    /// <summary>The nearest row count that was seen, the smaller first; 0 if there is none.</summary>
    private int Nearest(int rows)
    {
        for (int distance = 0; distance <= MaxRows; distance++)
        {
            if (rows - distance >= 1 && _seen[rows - distance] > 0) return rows - distance;
            if (rows + distance <= MaxRows && _seen[rows + distance] > 0) return rows + distance;
        }

        return 0;
    }

    /// <summary>The prior of b: how many passes of one row reading one token's keys and values costs, by bytes.</summary>
    public static double PriorFor(TransformerShape shape, KvLayout layout)
    {
        double perLayer = 2.0 * shape.HiddenSize * (shape.HeadCount + shape.KvHeadCount) * shape.HeadDim + 3.0 * shape.HiddenSize * shape.IntermediateSize;
        double weights = perLayer * shape.LayerCount + (double)shape.HiddenSize * shape.VocabSize;
        double bytesPerWeight = 1.5, key = (double)new KvPageFormat(layout).SlotBytes * layout.LayerCount * layout.KvHeadCount;
        return key / (weights * bytesPerWeight);
    }
}
