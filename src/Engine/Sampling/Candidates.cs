using System.Numerics;
using Foretoken.Memory;

namespace Foretoken.Sampling;

/// <summary>
/// The tokens that the next one is drawn from, always in increasing id order, with their logits and, once asked for, their weights. Stages cut the
/// list without sorting it: the best n are found by radix selection, equals are kept from the lowest id on. All scratch is planned for one vocabulary.
/// </summary>
public sealed class Candidates
{
    private const uint MagnitudeMask = 0x7FFFFFFF;
    private const int FirstBits = 11, LaterBits = 10; // 11 + 10 + 10 = the 31 bits of a magnitude
    private const int WorthBounding = 2048;           // candidates from which a coarse cut by vector loops pays
    private const float FirstBound = 2, LastBound = 100; // logits below the best that the coarse cut tries to keep
    private const int DrawBlock = 1024;
    private readonly int[] _ids;         // [vocab]
    private readonly float[] _logits;    // [vocab]
    private readonly float[] _weights;   // [vocab] exp(logit), valid where _hasWeights
    private readonly double[] _mass = new double[1 << FirstBits];
    private bool _hasWeights;
    private int _overwritten;            // ids before this index are not their own index

    /// <summary>Plans for a vocabulary; <see cref="Count"/> is 0 until logits are taken over.</summary>
    public Candidates(int vocabSize, MemoryPlan? plan = null)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(vocabSize, 1);
        _ids = new int[vocabSize];
        _logits = new float[vocabSize];
        _weights = new float[vocabSize];
        _overwritten = vocabSize;
        plan?.Add("sampler", "candidates", $"[vocab {vocabSize}] id, logit, weight", vocabSize * 12L + _mass.Length * sizeof(double));
    }

    /// <summary>Tokens that may still be drawn.</summary>
    public int Count { get; private set; }

    /// <summary>Token ids, increasing.</summary>
    public ReadOnlySpan<int> Ids => _ids.AsSpan(0, Count);

    /// <summary>Logits; after the temperature stage none is above 0 and the best is 0.</summary>
    public Span<float> Logits => _logits.AsSpan(0, Count);

    /// <summary>Starts over with a whole row. // [vocab]</summary>
    public void Load(ReadOnlySpan<float> logits)
    {
        if (logits.Length != _ids.Length)
            throw new ArgumentException($"The row has {logits.Length} logits, the vocabulary {_ids.Length}.", nameof(logits));
        for (int i = 0; i < _overwritten; i++) _ids[i] = i;
        _overwritten = 0;
        _hasWeights = false;
        Count = logits.Length;
        logits.CopyTo(_logits);
    }

    /// <summary>Replaces every logit by (logit − best) / <paramref name="temperature"/>, which cannot overflow however small the temperature is.</summary>
    public void ScaleBelowBest(float temperature)
    {
        LogitMath.ShiftDivide(Logits, LogitMath.Max(Logits), temperature, _logits);
        _hasWeights = false;
    }

    /// <summary>exp(logit) per candidate: probabilities up to a common factor, 1 for the best. // [Count]</summary>
    public ReadOnlySpan<float> Weights()
    {
        if (!_hasWeights) LogitMath.Exp(Logits, _weights);
        _hasWeights = true;
        return _weights.AsSpan(0, Count);
    }

    /// <summary>Keeps the <paramref name="count"/> best candidates.</summary>
    public void KeepBest(int count)
    {
        if (count >= Count) return;
        for (float bound = FirstBound; Count > WorthBounding && bound < LastBound; bound *= 2)
        {
            if (LogitMath.CountAtLeast(Logits, -bound) < count) continue;
            KeepLogit(-bound);
            break;
        }

        KeepUntil(count, []);
    }

    /// <summary>Keeps the shortest list of best candidates whose weights sum to at least <paramref name="fraction"/> of all weights.</summary>
    public void KeepMass(double fraction)
    {
        double target = fraction * LogitMath.Sum(Weights());
        for (float bound = FirstBound; Count > WorthBounding && bound < LastBound; bound *= 2)
        {
            if (LogitMath.SumWhereAtLeast(Weights(), Logits, -bound) < target) continue;
            KeepLogit(-bound);
            break;
        }

        KeepUntil(target, Weights());
    }

    /// <summary>Keeps candidates with a weight of at least <paramref name="threshold"/>; the best one, of weight 1, always stays.</summary>
    public void KeepWeight(float threshold)
    {
        KeepLogit(MathF.Log(threshold) - 0.01f); // nearly all of the work; the margin is far beyond the rounding of log and exp
        ReadOnlySpan<float> weights = Weights();
        int kept = 0;
        for (int i = 0; i < weights.Length; i++)
        {
            if (weights[i] >= threshold) Move(i, kept++);
        }

        Cut(kept);
    }

    /// <summary>The candidate at which the running sum of weights passes <paramref name="uniform"/> ∈ [0, 1) of the total.</summary>
    public int Draw(double uniform)
    {
        ReadOnlySpan<float> weights = Weights();
        double total = 0;
        for (int start = 0; start < Count; start += DrawBlock)
            total += LogitMath.Sum(weights.Slice(start, Math.Min(DrawBlock, Count - start)));
        double target = uniform * total, sum = 0;
        int last = 0;
        for (int start = 0; start < Count; start += DrawBlock)
        {
            ReadOnlySpan<float> block = weights.Slice(start, Math.Min(DrawBlock, Count - start));
            double next = sum + LogitMath.Sum(block);
            for (int i = 0; next > target && i < block.Length; i++)
            {
                sum += block[i];
                if (sum > target) return _ids[start + i];
            }

            sum = next;
            if (LogitMath.CountAtLeast(block, float.Epsilon) > 0) last = start;
        }

        while (last + 1 < Count && weights[last] == 0) last++; // rounding kept the sum from passing the target
        return _ids[last];
    }

    /// <summary>The best candidate, the lowest id among equals.</summary>
    public int Best() => _ids[LogitMath.IndexOf(Logits, LogitMath.Max(Logits))];

    /// <summary>
    /// Radix selection: keeps the best candidates until their weights (1 each if <paramref name="weights"/> is empty) reach <paramref name="target"/>.
    /// No logit is above 0, so the bits without the sign order the candidates from best to worst; each round fixes the next digit of the last kept one.
    /// </summary>
    private void KeepUntil(double target, ReadOnlySpan<float> weights)
    {
        double before = 0; // weight of candidates that are surely better than the last kept one
        uint prefix = 0;
        for (int shift = 2 * LaterBits; shift >= 0; shift -= LaterBits)
        {
            int bits = shift == 2 * LaterBits ? FirstBits : LaterBits;
            FillMass(prefix, shift, bits, weights);
            int chosen = -1;
            for (int digit = 0; digit < 1 << bits; digit++)
            {
                if (_mass[digit] == 0) continue;
                if (chosen >= 0) before += _mass[chosen];
                chosen = digit; // rounding may keep the sum just below the target: then the last one stays chosen
                if (before + _mass[digit] >= target) break;
            }

            prefix = prefix << bits | (uint)chosen;
        }

        int equals = 0;
        float weight = 1;
        for (int i = 0; i < Count; i++)
        {
            if (Magnitude(i) != prefix) continue;
            equals++;
            if (!weights.IsEmpty) weight = weights[i];
        }

        KeepThrough(prefix, (int)Math.Clamp(Math.Ceiling((target - before) / weight), 1, equals));
    }

    private void FillMass(uint prefix, int shift, int bits, ReadOnlySpan<float> weights)
    {
        Span<double> mass = _mass.AsSpan(0, 1 << bits);
        mass.Clear();
        uint digits = (1u << bits) - 1;
        for (int i = 0; i < Count; i++)
        {
            uint magnitude = Magnitude(i);
            if ((ulong)magnitude >> (shift + bits) != prefix) continue;
            mass[(int)(magnitude >> shift & digits)] += weights.IsEmpty ? 1 : weights[i];
        }
    }

    private void KeepThrough(uint magnitude, int equals)
    {
        int kept = 0;
        for (int i = 0; i < Count; i++)
        {
            uint m = Magnitude(i);
            if (m < magnitude || (m == magnitude && equals-- > 0)) Move(i, kept++);
        }

        Cut(kept);
    }

    private uint Magnitude(int i) => BitConverter.SingleToUInt32Bits(_logits[i]) & MagnitudeMask;

    /// <summary>Keeps candidates with a logit of at least <paramref name="lowest"/>.</summary>
    private void KeepLogit(float lowest)
    {
        int kept = 0, i = 0;
        for (; i <= Count - 8; i += 8)
        {
            for (uint mask = LogitMath.MaskAtLeast(Logits, i, lowest); mask != 0; mask &= mask - 1)
                Move(i + BitOperations.TrailingZeroCount(mask), kept++);
        }

        for (; i < Count; i++)
        {
            if (_logits[i] >= lowest) Move(i, kept++);
        }

        Cut(kept);
    }

    private void Move(int from, int to)
    {
        _ids[to] = _ids[from];
        _logits[to] = _logits[from];
        _weights[to] = _weights[from];
    }

    private void Cut(int kept)
    {
        _overwritten = Math.Max(_overwritten, kept);
        Count = kept;
    }
}
