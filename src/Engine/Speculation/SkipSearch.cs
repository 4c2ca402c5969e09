using Foretoken.Models;
using Foretoken.Numerics;

namespace Foretoken.Speculation;

/// <summary>
/// Looks for the sublayers that are missed least while answers are written: a changed set drafts for a window of tokens, then the best one known does, and
/// the better of the two neighbouring windows is kept. Sets keep their size, so that drafts keep their cost. First and last layer stay.
/// </summary>
internal sealed class SkipSearch
{
    private readonly SwiftOptions _options;
    private readonly SeededRandom _random;
    private readonly LayerSkips _best;
    private int _right, _tried, _idle;
    private double _bestScore;
    private bool _trial; // the window that runs tests a changed set

    public SkipSearch(SwiftOptions options, int layers)
    {
        (_options, _random) = (options, new SeededRandom(options.Seed));
        (Current, _best) = (new LayerSkips(layers), new LayerSkips(layers));
        int wanted = Math.Clamp((int)(2 * layers * options.SkipRatio), 1, 2 * (layers - 2));
        for (int start = 1; start <= 2; start++) // odd layers first, then even ones
        {
            for (int layer = start; layer < layers - 1; layer += 2)
            {
                for (int i = 2 * layer; i < 2 * layer + 2 && wanted > 0; i++, wanted--) Current[i] = true;
            }
        }

        _best.CopyFrom(Current);
    }

    /// <summary>The set to draft with.</summary>
    public LayerSkips Current { get; }

    /// <summary>Share of drafted tokens that were right in the last window of the best set.</summary>
    public double Matchness => _bestScore;

    /// <summary>Sets that were tried.</summary>
    public int Trials { get; private set; }

    public bool Settled => _bestScore >= _options.GoodEnough || _idle >= _options.MaxIdleTrials;

    /// <summary>Tells how many drafted tokens were compared and how many were right.</summary>
    public void Observe(int right, int tried)
    {
        _right += right;
        _tried += tried;
        if (_tried < _options.Window) return;
        double score = (double)_right / _tried;
        (_right, _tried) = (0, 0);
        if (!_trial)
        {
            _bestScore = score;
            if (Settled) return;
            Change();
            _trial = true;
            return;
        }

        _trial = false;
        Trials++;
        if (score > _bestScore)
        {
            _best.CopyFrom(Current);
            (_bestScore, _idle) = (score, 0);
        }
        else
        {
            Current.CopyFrom(_best);
            _idle++;
        }
    }

    /// <summary>Swaps a skipped sublayer for a kept one.</summary>
    private void Change()
    {
        int skipped = Pick(true), kept = Pick(false);
        if (skipped < 0 || kept < 0) return;
        (Current[skipped], Current[kept]) = (false, true);
    }

    private int Pick(bool skipped)
    {
        int count = 0, chosen = -1;
        for (int i = 2; i < Current.Count - 2; i++)
        {
            if (Current[i] == skipped && _random.Next(++count) == 0) chosen = i;
        }

        return chosen;
    }
}
