using Foretoken.Backends;
using Foretoken.Generation;
using Foretoken.Memory;
using Foretoken.Models;
using Foretoken.Numerics;

namespace Foretoken.Cli.Benchmarks;

/// <summary>
/// Decoding of several sequences at once as a service does it: through the engine, with its scheduler, cache and sampler. A repeat begins when every
/// sequence has read its prompt, and each of its passes gives every sequence one token.
/// </summary>
internal sealed class BatchedBench : IDisposable
{
    private const int PromptTokens = 16;
    private readonly LanguageModel _model;
    private readonly int _tokens;
    private readonly int _mostTokens; // of an answer
    private readonly CancellationToken _cancel;
    private readonly List<GenerationSession> _sessions = [];

    /// <param name="source">The model.</param>
    /// <param name="options">Types and threads.</param>
    /// <param name="sequences">Numbers of sequences that will be measured.</param>
    /// <param name="tokens">Tokens per sequence and repeat.</param>
    /// <param name="cancel">Ends the measurement.</param>
    public BatchedBench(ModelSource source, DirectModelOptions options, IReadOnlyList<int> sequences, int tokens, CancellationToken cancel)
    {
        int most = sequences.Max();
        (_tokens, _mostTokens, _cancel) = (tokens, MostTokens(tokens, most), cancel);
        _model = LanguageModel.Load(source, tokenizer: null, new LanguageModelOptions
        {
            WeightType = options.WeightType,
            KvType = options.KvType,
            KvPolicy = options.KvPolicy,
            LearnedEviction = options.KvPolicy is null,
            Threads = options.Threads,
            MaxSequences = most,
            MaxRows = Math.Max(new LanguageModelOptions().MaxRows, most),
            ContextLength = ContextFor(tokens, most),
            Cancellation = cancel,
        });
    }

    public string BackendName => _model.BackendName;

    public WeightType WeightType => _model.Loaded.WeightType;

    /// <summary>Packed weights that a pass reads.</summary>
    public double WeightBytes => BenchCases.WeightBytesOf(_model.Plan, _model.Config);

    /// <summary>Tokens of the longest sequence.</summary>
    public static int ContextFor(int tokens, int sequences) => PromptTokens + MostTokens(tokens, sequences) + 1;

    /// <summary>Decoding of <paramref name="sequences"/> sequences together.</summary>
    public BenchCase Case(int sequences)
    {
        TransformerShape shape = _model.Config.Shape;
        double slot = new KvPageFormat(new KvLayout(shape.LayerCount, shape.KvHeadCount, shape.HeadDim, _model.Cache.Options.Layout.Type)).SlotBytes;
        double kv = slot * shape.LayerCount * shape.KvHeadCount * sequences * (PromptTokens + _tokens / 2.0);
        return new BenchCase($"tg{_tokens}x{sequences}", _tokens, _tokens * sequences, _tokens * (WeightBytes + kv), () => Start(sequences), Decode);
    }

    public void Dispose()
    {
        End();
        _model.Dispose();
    }

    /// <summary>While the last sequences still read their prompts, the first ones decode already.</summary>
    private static int MostTokens(int tokens, int sequences) => tokens + sequences * PromptTokens / new LanguageModelOptions().PrefillChunk + 16;

    /// <summary>Starts the sequences and lets all of them read their prompts.</summary>
    private void Start(int sequences)
    {
        End();
        var random = new SeededRandom(5);
        var options = new GenerationOptions { MaxTokens = _mostTokens, IgnoreEndTokens = true };
        for (int i = 0; i < sequences; i++)
            _sessions.Add(_model.Generate([.. Enumerable.Range(0, PromptTokens).Select(_ => random.Next(_model.Config.Shape.VocabSize))], options));
        foreach (GenerationSession session in _sessions) session.MoveNext();
    }

    /// <summary>Whoever waits for the last sequence's next token runs one step, and a step advances all.</summary>
    private void Decode()
    {
        for (int i = 0; i < _tokens; i++)
        {
            _cancel.ThrowIfCancellationRequested();
            _sessions[^1].MoveNext();
        }
    }

    private void End()
    {
        foreach (GenerationSession session in _sessions) session.Dispose();
        _sessions.Clear();
    }
}
