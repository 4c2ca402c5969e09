using System.Runtime.CompilerServices;
using System.Text;
using Foretoken.Sampling;
using Foretoken.Tokenization;

namespace Foretoken.Generation;

/// <summary>
/// One request as its caller sees it: a pull loop. <see cref="MoveNext"/> runs the engine until there is something new. Dispose ends a request that
/// still runs. One caller at a time; sessions of one engine may be pulled from different threads.
/// <code>
/// using GenerationSession session = model.Generate("What is 2 + 3?");
/// while (session.MoveNext()) Console.Write(session.NewText);
/// </code>
/// </summary>
public sealed class GenerationSession : IDisposable
{
    private readonly InferenceEngine _engine;
    private readonly Sequence _sequence;
    private readonly IncrementalDetokenizer? _detokenizer;
    private readonly StringBuilder _text = new();
    private readonly Action _read;
    private byte[] _pending = new byte[256]; // text that may be the beginning of a stop string
    private int _pendingCount;
    private long _shownBytes;
    private int _textTokens;                 // tokens already given to the detokenizer
    private int _seenTokens;
    private int _newTokensFrom;
    private int _newTextFrom;
    private bool _ended;

    internal GenerationSession(InferenceEngine engine, Sequence sequence)
    {
        (_engine, _sequence, _read) = (engine, sequence, Read);
        _detokenizer = engine.Tokenizer is null ? null : new IncrementalDetokenizer(engine.Tokenizer, skipSpecialTokens: true);
    }

    /// <summary>All tokens so far, a stop token included.</summary>
    public ReadOnlySpan<int> Tokens => _sequence.History.Generated[.._seenTokens];

    /// <summary>Tokens that the last <see cref="MoveNext"/> brought.</summary>
    public ReadOnlySpan<int> NewTokens => _sequence.History.Generated[_newTokensFrom.._seenTokens];

    /// <summary>Natural log-probabilities of <see cref="Tokens"/>, where asked for; else empty.</summary>
    public ReadOnlySpan<float> LogProbs => _sequence.History.LogProbs is { Length: > 0 } all ? all[.._seenTokens] : default;

    /// <summary>All text so far.</summary>
    public string Text => _text.ToString();

    /// <summary>Text that the last <see cref="MoveNext"/> brought; empty while a character or a possible stop string is unfinished.</summary>
    public string NewText => _text.ToString(_newTextFrom, _text.Length - _newTextFrom);

    /// <summary>None until everything has been read.</summary>
    public FinishReason FinishReason => _ended ? _sequence.FinishReason : FinishReason.None;

    /// <summary>How its tokens are chosen; of a sample, with the seed of its own.</summary>
    public SamplingOptions Sampling => _sequence.Sampling;

    /// <summary>Nothing more will come, read or not.</summary>
    internal bool HasEnded => _sequence.Finished;

    /// <summary>Times and counts of this request; they grow while it runs.</summary>
    public GenerationStatistics Statistics => _sequence.Statistics;

    /// <summary>Runs the engine until the answer has grown or ended.</summary>
    /// <returns>False once the answer has ended and everything has been read.</returns>
    /// <exception cref="GenerationException">The request failed.</exception>
    public bool MoveNext()
    {
        if (_ended) return false;
        _engine.RunUntil(_sequence, _seenTokens, _read);
        if (_sequence.FinishReason == FinishReason.Error) throw new GenerationException(_sequence.Error ?? "The request failed.");
        return !_ended || _newTokensFrom < _seenTokens || _newTextFrom < _text.Length;
    }

    /// <summary>Runs the request to its end.</summary>
    /// <exception cref="GenerationException">The request failed.</exception>
    public GenerationResult Complete()
    {
        while (MoveNext())
        {
        }

        return new GenerationResult(Text, Tokens.ToArray(), LogProbs.ToArray(), FinishReason, Statistics);
    }

    /// <summary>The text piece by piece, computed on the thread pool. Cancelling ends the request.</summary>
    /// <exception cref="OperationCanceledException">The token was cancelled.</exception>
    /// <exception cref="GenerationException">The request failed.</exception>
    public async IAsyncEnumerable<string> StreamAsync([EnumeratorCancellation] CancellationToken cancellation = default)
    {
        using CancellationTokenRegistration registration = cancellation.Register(Cancel);
        while (await Task.Run(MoveNext, CancellationToken.None).ConfigureAwait(false))
        {
            cancellation.ThrowIfCancellationRequested();
            if (NewText is { Length: > 0 } text) yield return text;
        }

        cancellation.ThrowIfCancellationRequested();
    }

    /// <summary>Asks for the end; the answer so far can still be read. May be called from any thread.</summary>
    public void Cancel() => _sequence.Cancel();

    /// <inheritdoc/>
    public void Dispose()
    {
        if (!_sequence.Finished) _engine.Abandon(_sequence);
    }

    /// <summary>Takes over what is new; runs while no step does.</summary>
    private void Read()
    {
        _newTokensFrom = _seenTokens;
        _newTextFrom = _text.Length;
        _seenTokens = _sequence.History.GeneratedCount;
        _ended = _sequence.Finished;
        if (_detokenizer is null) return;
        ReadOnlySpan<int> tokens = _sequence.History.Generated;
        for (; _textTokens < _sequence.TextTokens; _textTokens++) Hold(_detokenizer.Append(tokens[_textTokens]));
        if (_ended) Hold(_detokenizer.Flush());
        Show((int)Math.Min(_pendingCount, _sequence.ShownBytes - _shownBytes));
    }

    private void Hold(ReadOnlySpan<byte> utf8)
    {
        if (_pendingCount + utf8.Length > _pending.Length) Array.Resize(ref _pending, 2 * (_pendingCount + utf8.Length));
        utf8.CopyTo(_pending.AsSpan(_pendingCount));
        _pendingCount += utf8.Length;
    }

    private void Show(int bytes)
    {
        while (bytes > 0 && bytes < _pendingCount && (_pending[bytes] & 0xC0) == 0x80) bytes--; // whole characters only
        if (bytes <= 0) return;
        _text.Append(Encoding.UTF8.GetString(_pending, 0, bytes));
        _pending.AsSpan(bytes, _pendingCount - bytes).CopyTo(_pending);
        _pendingCount -= bytes;
        _shownBytes += bytes;
    }
}
