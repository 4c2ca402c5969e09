namespace Foretoken.Sampling;

/// <summary>
/// The tokens of one sequence, prompt and answer, with the answer's log-probabilities. It is the path that sampler stages and drafters read.
/// Allocated once for the longest the request may become.
/// </summary>
public sealed class TokenHistory
{
    private readonly int[] _tokens;     // [capacity]
    private readonly float[] _logProbs; // [capacity − prompt] or empty

    /// <summary>A prompt and room for its answer. <paramref name="capacity"/> counts both, in tokens; <paramref name="logProbs"/> makes room for the answer's log-probabilities.</summary>
    public TokenHistory(ReadOnlySpan<int> prompt, int capacity, bool logProbs = false)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(capacity, prompt.Length);
        _tokens = new int[capacity];
        _logProbs = logProbs ? new float[capacity - prompt.Length] : [];
        prompt.CopyTo(_tokens);
        PromptCount = Count = prompt.Length;
    }

    /// <summary>Tokens of prompt and answer so far.</summary>
    public int Count { get; private set; }

    /// <summary>Tokens of the prompt.</summary>
    public int PromptCount { get; }

    /// <summary>Tokens of the answer so far.</summary>
    public int GeneratedCount => Count - PromptCount;

    /// <summary>Most tokens of prompt and answer.</summary>
    public int Capacity => _tokens.Length;

    /// <summary>Prompt and answer.</summary>
    public ReadOnlySpan<int> Tokens => _tokens.AsSpan(0, Count);

    /// <summary>The answer so far.</summary>
    public ReadOnlySpan<int> Generated => _tokens.AsSpan(PromptCount, Count - PromptCount);

    /// <summary>Log-probabilities (natural) of the answer's tokens; empty unless asked for. // [GeneratedCount]</summary>
    public ReadOnlySpan<float> LogProbs => _logProbs.AsSpan(0, Math.Min(_logProbs.Length, GeneratedCount));

    /// <summary>The newest token.</summary>
    public int Last => _tokens[Count - 1];

    /// <summary>Adds a token of the answer.</summary>
    public void Append(int token, float logProb = 0)
    {
        if (_logProbs.Length > 0) _logProbs[Count - PromptCount] = logProb;
        _tokens[Count++] = token;
    }

    /// <summary>Drops answer tokens so that <paramref name="count"/> tokens remain in all.</summary>
    public void Truncate(int count)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(count, PromptCount);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(count, Count);
        Count = count;
    }
}
