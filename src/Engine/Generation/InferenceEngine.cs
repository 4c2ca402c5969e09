using Foretoken.Sampling;
using Foretoken.Tokenization;

namespace Foretoken.Generation;

/// <summary>
/// Serves several requests over one <see cref="DecodeLoop"/>. There is no thread of its own: whoever waits for an answer runs steps, and each step
/// advances every request. Thread-safe.
/// </summary>
public sealed class InferenceEngine
{
    private readonly Lock _gate = new();
    private readonly DecodeLoop _loop;
    private readonly int _vocabSize;
    private readonly int[] _endTokens;
    private bool _closed;

    /// <param name="loop">The loop; from now on only this engine steps it.</param>
    /// <param name="vocabSize">Tokens of the model.</param>
    /// <param name="endTokens">The model's own end tokens.</param>
    /// <param name="tokenizer">Gives answers their text; null = tokens only.</param>
    public InferenceEngine(DecodeLoop loop, int vocabSize, IReadOnlyList<int> endTokens, BpeTokenizer? tokenizer)
    {
        (_loop, _vocabSize, _endTokens, Tokenizer) = (loop, vocabSize, [.. endTokens], tokenizer);
    }

    /// <summary>Gives answers their text; null = tokens only.</summary>
    public BpeTokenizer? Tokenizer { get; }

    /// <summary>The model's own end tokens.</summary>
    internal IReadOnlyList<int> EndTokens => _endTokens;

    /// <summary>Longest prompt and answer together, in tokens.</summary>
    public int ContextLength => _loop.Options.ContextLength;

    /// <summary>The loop, for tests and measurements that step it themselves.</summary>
    internal DecodeLoop Loop => _loop;

    /// <summary>Requests that run or wait.</summary>
    public int ActiveCount
    {
        get
        {
            lock (_gate) return _loop.ActiveCount;
        }
    }

    /// <summary>What runs and waits, and how the KV budget was shared so far.</summary>
    public SchedulerStatistics Statistics
    {
        get
        {
            lock (_gate)
            {
                ObjectDisposedException.ThrowIf(_closed, typeof(LanguageModel));
                return _loop.Statistics;
            }
        }
    }

    /// <summary>Passes run so far.</summary>
    public long Steps => _loop.Steps;

    /// <summary>Starts a request. It advances whenever this or another session is pulled.</summary>
    /// <param name="prompt">Token ids, at least one and fewer than the context holds.</param>
    /// <param name="options">What to generate; null = greedy until the end token.</param>
    /// <exception cref="InvalidRequestException">The prompt or an option is out of range, or the cache could never hold the request.</exception>
    /// <exception cref="QueueFullException">As many requests wait as may wait.</exception>
    /// <exception cref="ObjectDisposedException">The model was disposed.</exception>
    public GenerationSession Start(ReadOnlySpan<int> prompt, GenerationOptions? options = null)
    {
        options ??= new GenerationOptions();
        options.Validate(_vocabSize);
        if (options.Samples > 1) throw new InvalidRequestException("samples", $"samples is {options.Samples}: start the request as samples, or ask for one answer.");
        return StartAll(prompt, options)[0];
    }

    /// <summary>
    /// Starts <see cref="GenerationOptions.Samples"/> answers to one prompt, which is computed once and whose keys and values they share. They advance whenever
    /// any session is pulled.
    /// </summary>
    /// <param name="prompt">Token ids, at least one and fewer than the context holds.</param>
    /// <param name="options">What to generate.</param>
    /// <exception cref="InvalidRequestException">The prompt or an option is out of range, or the cache could never hold the request.</exception>
    /// <exception cref="QueueFullException">The queue has no room for all samples.</exception>
    /// <exception cref="ObjectDisposedException">The model was disposed.</exception>
    public ParallelSamples StartSamples(ReadOnlySpan<int> prompt, GenerationOptions options)
    {
        ArgumentNullException.ThrowIfNull(options);
        options.Validate(_vocabSize);
        return new ParallelSamples(StartAll(prompt, options));
    }

    private GenerationSession[] StartAll(ReadOnlySpan<int> prompt, GenerationOptions options)
    {
        CheckPrompt(prompt);
        if (Tokenizer is null && options.StopStrings.Count > 0)
            throw new InvalidRequestException("stop", "Stop strings need the model's tokenizer, which was not loaded: use stop tokens.");
        int room = ContextLength - prompt.Length;
        int[] stopTokens = [.. options.StopTokens, .. options.IgnoreEndTokens ? [] : _endTokens];
        int maxTokens = options.MaxTokens == 0 ? room : Math.Min(options.MaxTokens, room);
        var sequences = new Sequence[options.Samples];
        for (int i = 0; i < sequences.Length; i++)
        {
            TokenText? text = Tokenizer is null ? null : new IncrementalDetokenizer(Tokenizer, skipSpecialTokens: true).Append;
            var stops = new StopConditions(stopTokens, options.StopStrings, text);
            sequences[i] = new Sequence(prompt, maxTokens, options.Sampling.OfSample(i), stops, options.Priority, options.Deadline);
        }

        lock (_gate)
        {
            ObjectDisposedException.ThrowIf(_closed, typeof(LanguageModel));
            _loop.Submit(sequences);
        }

        return [.. sequences.Select(s => new GenerationSession(this, s))];
    }

    /// <summary>Does something with the model while no step runs. Requests that run wait meanwhile.</summary>
    internal T Exclusively<T>(Func<DecodeLoop, T> work)
    {
        lock (_gate)
        {
            ObjectDisposedException.ThrowIf(_closed, typeof(LanguageModel));
            try
            {
                return work(_loop);
            }
            catch (Exception e) when (e is not (InvalidRequestException or GenerationException or OperationCanceledException))
            {
                Abort(e);
                throw;
            }
        }
    }

    /// <summary>Runs steps until the sequence has more than <paramref name="seen"/> answer tokens or has ended.</summary>
    internal void RunUntil(Sequence sequence, int seen, Action read)
    {
        lock (_gate)
        {
            while (!sequence.Finished && (sequence.History.GeneratedCount <= seen || sequence.CancelRequested)) StepOrAbort();
            read();
        }
    }

    /// <summary>Ends a request whose caller has left and frees what it holds.</summary>
    internal void Abandon(Sequence sequence)
    {
        sequence.Cancel();
        lock (_gate)
        {
            if (!_closed) _loop.DropEnded();
        }
    }

    /// <summary>
    /// Waits for the step that runs and ends every request with an error, before the memory that steps work on is freed: a session that outlives its
    /// model meets an exception, not freed memory.
    /// </summary>
    internal void Close()
    {
        lock (_gate)
        {
            if (_closed) return;
            _closed = true;
            _loop.Abort("The model was disposed before the answer ended: dispose sessions first.");
        }
    }

    private void StepOrAbort()
    {
        try
        {
            _loop.Step();
        }
        catch (Exception e)
        {
            Abort(e);
            throw;
        }
    }

    /// <summary>Ends every request: a pass failed.</summary>
    /// <exception cref="AggregateException">The drafter failed too.</exception>
    private void Abort(Exception e)
    {
        try
        {
            _loop.Abort($"The engine failed in the middle of a pass: {e.Message}");
        }
        catch (AggregateException also)
        {
            throw new AggregateException(e.Message, [e, .. also.InnerExceptions]);
        }
    }

    internal void CheckPrompt(ReadOnlySpan<int> prompt)
    {
        if (prompt.IsEmpty) throw new InvalidRequestException("prompt", "The prompt is empty: give at least one token.");
        if (prompt.Length >= ContextLength)
        {
            throw new InvalidRequestException(
                "prompt",
                $"The prompt has {prompt.Length} tokens and the context holds {ContextLength}, the answer included: shorten the prompt or raise the context (context, at most the model's).");
        }

        foreach (int token in prompt)
        {
            if ((uint)token >= (uint)_vocabSize)
            {
                throw new InvalidRequestException(
                    "prompt", $"The prompt holds token {token}; the vocabulary has {_vocabSize} tokens (0 to {_vocabSize - 1}).");
            }
        }
    }
}
