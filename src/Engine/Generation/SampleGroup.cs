using Foretoken.KvCache;

namespace Foretoken.Generation;

/// <summary>
/// The samples of one request: sequences with the same prompt, whose keys and values are computed once. The first that is admitted reads the prompt up to
/// its last token; the others begin there as forks of it. A sample that comes later, because places or pages were short or because it was preempted, forks
/// from any sample that can still be cut back to the prompt; if eviction has reclaimed what that would show again, it reads the prompt by itself.
/// </summary>
internal sealed class SampleGroup
{
    private readonly Sequence[] _samples;

    public SampleGroup(ReadOnlySpan<Sequence> samples)
    {
        _samples = samples.ToArray();
        ReadOnlySpan<int> prompt = _samples[0].History.Tokens;
        foreach (Sequence s in _samples)
        {
            if (s.Group is not null || !s.History.Tokens.SequenceEqual(prompt))
                throw new ArgumentException("Samples of one request have the same prompt, have not begun and belong to no other request.", nameof(samples));
        }

        foreach (Sequence s in _samples) s.Group = this;
    }

    /// <summary>Where a waiting sample may begin.</summary>
    public ForkSource FindSource(Sequence next, PagedKvCache cache)
    {
        int prompt = next.History.PromptCount, most = Math.Min(prompt, next.History.Count - 1);
        ForkSource best = default;
        foreach (Sequence s in _samples)
        {
            if (s.CacheIndex < 0 || s == next) continue;
            int length = cache.Length(s.CacheIndex), tokens = Math.Min(length, most);
            if (length < prompt - 1) best = best.Tokens > 0 ? best : best with { IsReading = true };
            else if (tokens > best.Tokens && cache.ShortestLength(s.CacheIndex) <= tokens) best = new ForkSource(s.CacheIndex, tokens, false);
        }

        return best;
    }

    /// <summary>Marks all samples that wait as held.</summary>
    /// <returns>How many there are.</returns>
    public int Hold()
    {
        int held = 0;
        foreach (Sequence s in _samples)
        {
            if (s.CacheIndex >= 0 || s.Finished || s.Held) continue;
            s.Held = true;
            held++;
        }

        return held;
    }

    /// <summary>Most rows that a running sample may bring: one that reads the prompt stops in front of its last token while others wait to begin there.</summary>
    public int MostRows(Sequence reader, PagedKvCache cache)
    {
        int left = reader.History.PromptCount - 1 - cache.Length(reader.CacheIndex);
        return left > 0 && Array.Exists(_samples, s => s.CacheIndex < 0 && !s.Finished && !s.CancelRequested) ? left : int.MaxValue;
    }
}

/// <summary>What a waiting sample can begin with.</summary>
/// <param name="Sequence">The cache's index of a running sample.</param>
/// <param name="Tokens">Tokens to share with it; 0 = none.</param>
/// <param name="IsReading">There is none yet, but a running sample is about to read the prompt.</param>
internal readonly record struct ForkSource(int Sequence, int Tokens, bool IsReading);
