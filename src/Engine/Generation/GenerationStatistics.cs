using System.Diagnostics;

namespace Foretoken.Generation;

/// <summary>What one request did and how long it took. Times are wall-clock: in a batch they include the others' rows.</summary>
public sealed class GenerationStatistics
{
    private long _submitted;
    private long _started;
    private long _firstToken;
    private long _ended;

    public int PromptTokens { get; internal set; }

    /// <summary>Tokens of the answer, an end token included.</summary>
    public int GeneratedTokens { get; internal set; }

    /// <summary>Passes that verified a tree of this request, plain decoding's single tokens included.</summary>
    public int Steps { get; private set; }

    /// <summary>Passes that only read prompt tokens.</summary>
    public int PrefillSteps { get; internal set; }

    public int DraftedTokens { get; private set; }

    /// <summary>Drafted tokens that verification accepted.</summary>
    public int AcceptedTokens { get; private set; }

    /// <summary>Tokens per verifying pass, the bonus token included: 1 without drafts.</summary>
    public double MeanAcceptedLength => Steps == 0 ? 0 : (double)(AcceptedTokens + Steps) / Steps;

    /// <summary>From submission to the first pass.</summary>
    public double QueueMilliseconds => Milliseconds(_submitted, _started);

    /// <summary>From the first pass to the first token.</summary>
    public double PrefillMilliseconds => Milliseconds(_started, _firstToken);

    /// <summary>From the first token to the last.</summary>
    public double DecodeMilliseconds => Milliseconds(_firstToken, _ended);

    /// <summary>Tokens of the answer after the first, per second of decoding; 0 if there are none.</summary>
    public double TokensPerSecond => GeneratedTokens > 1 && DecodeMilliseconds > 0 ? (GeneratedTokens - 1) * 1000 / DecodeMilliseconds : 0;

    public double PromptTokensPerSecond => PrefillMilliseconds > 0 ? PromptTokens * 1000 / PrefillMilliseconds : 0;

    internal void MarkSubmitted() => _submitted = Stopwatch.GetTimestamp();

    internal void MarkStarted()
    {
        if (_started == 0) _started = Stopwatch.GetTimestamp();
    }

    internal void MarkStep(int drafted, int accepted)
    {
        if (_firstToken == 0) _firstToken = Stopwatch.GetTimestamp();
        Steps++;
        DraftedTokens += drafted;
        AcceptedTokens += accepted;
    }

    internal void MarkEnded() => _ended = Stopwatch.GetTimestamp();

    private static double Milliseconds(long from, long to) => from == 0 || to == 0 ? 0 : Stopwatch.GetElapsedTime(from, to).TotalMilliseconds;
}
