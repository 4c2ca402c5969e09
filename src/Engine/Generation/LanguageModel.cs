using Foretoken.Backends;
using Foretoken.Backends.Cuda;
using Foretoken.KvCache;
using Foretoken.Memory;
using Foretoken.Models;
using Foretoken.Sampling;
using Foretoken.Speculation;
using Foretoken.Tokenization;

namespace Foretoken.Generation;

/// <summary>
/// A model, its tokenizer and an engine, ready to answer.
/// <code>
/// using var model = LanguageModel.Load("models/reasoner");
/// using GenerationSession session = model.Generate("What is 2 + 3?");
/// while (session.MoveNext()) Console.Write(session.NewText);
/// </code>
/// </summary>
public sealed class LanguageModel : IDisposable
{
    private readonly IBackend _backend;
    private readonly IDrafter _drafter;

    private LanguageModel(
        LoadedModel model, IBackend backend, PagedKvCache cache, IDrafter drafter, IAcceptanceRule rule, DecodeLoopOptions loopOptions, BpeTokenizer? tokenizer,
        ChatTemplate? template, MemoryPlan plan, FeatureTaps taps)
    {
        (_backend, Cache, _drafter, Plan, Loaded, Tokenizer, ChatTemplate) = (backend, cache, drafter, plan, model, tokenizer, template);
        var loop = new DecodeLoop(model.Transformer, cache, drafter, loopOptions, plan, rule, taps);
        Acceptance = rule;
        IReadOnlyList<int> ends = model.Config.EosTokenIds;
        if (ends.Count == 0 && tokenizer?.EosTokenId is { } end) ends = [end];
        Engine = new InferenceEngine(loop, model.Config.Shape.VocabSize, ends, tokenizer);
    }

    /// <summary>The configuration and the forward pass.</summary>
    public LoadedModel Loaded { get; }

    /// <summary>Shape, family and special tokens, as the model's files give them.</summary>
    public ModelConfig Config => Loaded.Config;

    /// <summary>Null for a model without tokenizer files or of random weights: token ids only.</summary>
    public BpeTokenizer? Tokenizer { get; }

    /// <summary>Turns messages into a prompt; null for a model without one.</summary>
    public ChatTemplate? ChatTemplate { get; }

    /// <summary>Runs the requests of this model.</summary>
    public InferenceEngine Engine { get; }

    /// <summary>Keys and values of all requests. Its statistics may be read while no session is pulled.</summary>
    public PagedKvCache Cache { get; }

    /// <summary>Who drafts.</summary>
    public IDrafter Drafter => _drafter;

    /// <summary>Decides which drafts become part of an answer.</summary>
    public IAcceptanceRule Acceptance { get; }

    /// <summary>Every buffer that was allocated at load.</summary>
    public MemoryPlan Plan { get; }

    /// <summary>The device and its kernels, for example <c>cpu-avx512</c>.</summary>
    public string BackendName => _backend.Name;

    /// <summary>Longest prompt and answer together, in tokens.</summary>
    public int ContextLength => Engine.ContextLength;

    /// <summary>Loads a Hugging Face directory or a GGUF file.</summary>
    /// <exception cref="Formats.ModelFormatException">Files are missing, malformed or not supported.</exception>
    /// <exception cref="TokenizerException">The tokenizer's files are missing, malformed or not supported.</exception>
    /// <exception cref="OutOfMemoryBudgetException">Weights or buffers do not fit into memory.</exception>
    /// <exception cref="CudaUnavailableException">CUDA is asked for and there is no driver or device.</exception>
    /// <exception cref="InvalidRequestException">An option is out of range.</exception>
    public static LanguageModel Load(string path, LanguageModelOptions? options = null)
    {
        ArgumentNullException.ThrowIfNull(path);
        using ModelSource source = ModelLoader.Open(path);
        if (source is GgufSource gguf) return Load(source, BpeTokenizer.FromGguf(gguf.Metadata), options, ChatTemplate.FromGguf(gguf.Metadata), directory: null);
        string resolved = ModelDirectory.Resolve(path);
        return Load(source, BpeTokenizer.FromDirectory(resolved), options, ChatTemplate.FromDirectory(resolved), resolved);
    }

    /// <summary>Loads from an opened source, for example random weights of a named shape.</summary>
    /// <param name="source">Stays the caller's.</param>
    /// <param name="tokenizer">Null = token ids only.</param>
    /// <param name="options">Null = defaults.</param>
    /// <param name="template">Null = no chats.</param>
    public static LanguageModel Load(ModelSource source, BpeTokenizer? tokenizer, LanguageModelOptions? options = null, ChatTemplate? template = null)
    {
        ArgumentNullException.ThrowIfNull(source);
        return Load(source, tokenizer, options, template, directory: null);
    }

    /// <param name="source">The model.</param>
    /// <param name="tokenizer">Null = token ids only.</param>
    /// <param name="options">Null = defaults.</param>
    /// <param name="template">Null = no chats.</param>
    /// <param name="directory">Where the tokenizer comes from; null = from elsewhere than a directory.</param>
    private static LanguageModel Load(ModelSource source, BpeTokenizer? tokenizer, LanguageModelOptions? options, ChatTemplate? template, string? directory)
    {
        options ??= new LanguageModelOptions();
        Check(options);
        using DmsAdapterSource? adapter = options.DmsAdapter is { } decisions ? new DmsAdapterSource(source, decisions) : null;
        source = adapter ?? source;
        if (options.LearnedEviction) options = options with { KvPolicy = Generation.LearnedEviction.PolicyOf(source.Config, source.Origin) };
        IDrafter? drafter = options.Drafter ?? (options.Draft is null ? new NoDrafter() : null);
        int draftNodes = drafter?.MaxNodes ?? options.Draft!.MaxNodes;
        if (draftNodes > 0 && options.KvPolicy is { Evicts: true, ActsAtCommit: true } acts)
        {
            throw new InvalidRequestException(
                "kv", $"kv {acts.Name} evicts by what each pass attended to, so that drafts would change the answer: decode plainly (draft none), or choose another policy.");
        }

        DecodeLoopOptions loop = LoopOptions(options, source.Config);
        var plan = new MemoryPlan();
        IBackend backend = BackendFactory.Create(options.Device, options.Threads, options.CudaPlatform, options.Cuda);
        PagedKvCache? cache = null;
        try
        {
            LoadedModel model = ModelLoader.Load(source, new LoadOptions
            {
                Backend = backend,
                Plan = plan,
                MaxRows = loop.MaxRows,
                MaxLogitRows = loop.MaxLogitRows(draftNodes),
                WeightType = options.WeightType,
                ContextLength = loop.ContextLength,
                Announced = config => cache = new PagedKvCache(CacheOptions(options, loop, config.Shape, draftNodes, backend), plan),
                Progress = options.Progress,
                Cancellation = options.Cancellation,
            });
            IAcceptanceRule rule = (options.Acceptance ?? new AcceptanceOptions()).Create(model.Config.Shape.VocabSize, loop.MaxLogitRows(draftNodes), plan);
            var taps = new FeatureTaps(model.Config.Shape, loop.MaxRows, plan);
            drafter ??= options.Draft!.Create(new DrafterContext
            {
                Target = model.Transformer,
                TargetCache = cache!,
                Plan = plan,
                MaxSequences = loop.MaxSequences,
                ContextLength = loop.ContextLength,
                Tokenizer = tokenizer,
                TargetDirectory = directory,
                DraftDistributions = rule.UsesDraftDistributions,
                Taps = taps,
                CreateBackend = () => BackendFactory.CreateBeside(backend, options.Threads),
            });
            return new LanguageModel(model, backend, cache!, drafter, rule, loop, tokenizer, template, plan, taps);
        }
        catch
        {
            if (options.Drafter is null) drafter?.Dispose();
            cache?.Dispose();
            backend.Dispose();
            throw;
        }
    }

    /// <summary>Continues a text.</summary>
    /// <exception cref="InvalidRequestException">The prompt or an option is out of range.</exception>
    public GenerationSession Generate(string prompt, GenerationOptions? options = null) => Generate(Encode(prompt), options);

    /// <summary>Continues a list of token ids.</summary>
    /// <exception cref="InvalidRequestException">The prompt or an option is out of range.</exception>
    public GenerationSession Generate(ReadOnlySpan<int> prompt, GenerationOptions? options = null) => Engine.Start(prompt, options);

    /// <summary>Continues a text in several ways (<see cref="GenerationOptions.Samples"/>) that share the keys and values of the prompt.</summary>
    /// <exception cref="InvalidRequestException">The prompt or an option is out of range.</exception>
    public ParallelSamples GenerateSamples(string prompt, GenerationOptions options) => GenerateSamples(Encode(prompt), options);

    /// <summary>Continues a list of token ids in several ways that share the keys and values of the prompt.</summary>
    /// <exception cref="InvalidRequestException">The prompt or an option is out of range.</exception>
    public ParallelSamples GenerateSamples(ReadOnlySpan<int> prompt, GenerationOptions options) => Engine.StartSamples(prompt, options);

    /// <summary>
    /// Searches the likeliest continuations of a list of token ids. Drafters make it faster and change nothing. Other requests wait until it has ended.
    /// </summary>
    /// <exception cref="InvalidRequestException">The prompt or an option is out of range, or the cache evicts.</exception>
    /// <exception cref="GenerationException">The cache has no room for the beams.</exception>
    /// <exception cref="OperationCanceledException">The search was cancelled.</exception>
    public BeamResult GenerateBeams(ReadOnlySpan<int> prompt, BeamOptions options, CancellationToken cancel = default)
    {
        ArgumentNullException.ThrowIfNull(options);
        Engine.CheckPrompt(prompt);
        options.Validate(Cache.Options.MaxSequences);
        if (Cache.Options.Policy.Evicts)
            throw new InvalidRequestException("kv", $"Beams are cut back to where they part, and {Cache.Options.Policy.Name} forgets what lies there: load the model with a dense cache.");
        int[] tokens = prompt.ToArray(), ends = options.IgnoreEndTokens ? [.. options.StopTokens] : [.. options.StopTokens, .. Engine.EndTokens];
        int room = ContextLength - tokens.Length, most = options.MaxTokens == 0 ? room : Math.Min(options.MaxTokens, room);
        return Engine.Exclusively(loop =>
        {
            var search = new BeamSearch(Loaded.Transformer, Cache, _drafter, loop.Options, options, ends, loop.Taps);
            (IReadOnlyList<BeamSearch.Finished> found, int steps, int lengths, int drafted, double milliseconds) = search.Run(tokens, most, cancel);
            BeamAnswer[] answers = [.. found.Select(f => new BeamAnswer(f.Tokens, TextOf(f), f.LogProbability, f.Score, f.Reason))];
            return new BeamResult(answers, steps, lengths, drafted, milliseconds);
        });

        string TextOf(in BeamSearch.Finished f) => Tokenizer?.Decode(f.Reason == FinishReason.Stop ? f.Tokens[..^1] : f.Tokens, skipSpecialTokens: true) ?? "";
    }

    /// <summary>Answers the last message of a chat.</summary>
    /// <exception cref="InvalidRequestException">The model has no chat template, or the chat or an option is out of range.</exception>
    /// <exception cref="TokenizerException">The template refuses the messages.</exception>
    public GenerationSession Chat(IReadOnlyList<ChatMessage> messages, GenerationOptions? options = null) => Generate(EncodeChat(messages), options);

    /// <summary>Token ids of a chat up to where the answer begins. Control tokens come from the template only, never from the messages.</summary>
    public int[] EncodeChat(IReadOnlyList<ChatMessage> messages, ChatTemplateOptions? options = null)
    {
        ArgumentNullException.ThrowIfNull(messages);
        if (messages.Count == 0) throw new InvalidRequestException("prompt", "The chat is empty: give at least one message.");
        if (Tokenizer is null || ChatTemplate is null)
            throw new InvalidRequestException("prompt", $"{Loaded.Origin} has no chat template: give the whole prompt as text.");
        return [.. ChatTemplate.Encode(Tokenizer, messages, addGenerationPrompt: true, options)];
    }

    /// <summary>Token ids of a text, with the tokens that the model's tokenizer puts in front of every text.</summary>
    public int[] Encode(string text)
    {
        ArgumentNullException.ThrowIfNull(text);
        return Tokenizer is { } tokenizer
            ? [.. tokenizer.EncodeToIds(text, addBos: tokenizer.AddsPrefix)]
            : throw new InvalidRequestException("prompt", "The model was loaded without tokenizer: give token ids.");
    }

    /// <summary>Ends everything, after the step that runs. Unfinished sessions then fail with a <see cref="GenerationException"/>.</summary>
    public void Dispose()
    {
        try
        {
            Engine.Close();
        }
        finally
        {
            _drafter.Dispose();
            _backend.Dispose();
            Cache.Dispose();
        }
    }

    private static DecodeLoopOptions LoopOptions(LanguageModelOptions options, ModelConfig config)
    {
        int own = config.Shape.MaxPositions;
        if (options.ContextLength > own)
            throw new InvalidRequestException("context", $"context is {options.ContextLength}: the model was made for at most {own} tokens. Give at most these (context), or 0 for the model's own.");
        return new DecodeLoopOptions
        {
            ContextLength = options.ContextLength > 0 ? options.ContextLength : Math.Min(own, LanguageModelOptions.DefaultContextLimit),
            MaxSequences = options.MaxSequences,
            MaxWaiting = options.MaxWaiting,
            KvAdmission = options.KvAdmission,
            KvExhaustion = options.KvExhaustion,
            ExpectedAnswerTokens = options.ExpectedAnswerTokens,
            MaxRows = Math.Max(options.MaxRows, options.MaxSequences),
            PrefillChunk = options.PrefillChunk,
        };
    }

    private static KvCacheOptions CacheOptions(LanguageModelOptions options, DecodeLoopOptions loop, TransformerShape shape, int draftNodes, IBackend backend)
    {
        var layout = new KvLayout(shape.LayerCount, shape.KvHeadCount, shape.HeadDim, options.KvType);
        int window = options.KvPolicy is { Evicts: true } policy ? policy.DecisionWindow : 0;
        if (backend.KvStore is not null && options.KvPolicy is { Evicts: true, Observation: not null } watches)
            throw new InvalidRequestException("kv", $"kv {watches.Name} looks at attention weights, which {backend.Name} does not note: use the CPU.");
        if (backend.KvStore?.Refusal(layout, window) is { } refusal) throw new InvalidRequestException(window > 0 ? "kv" : "kv-type", refusal);
        int slack = loop.MaxRowsPerSequence(draftNodes);
        long one = PagedKvCache.BytesFor(layout, 1, loop.ContextLength + draftNodes), all = one * loop.MaxSequences;
        long bytes = options.KvBytes > 0 ? options.KvBytes : Math.Min(all, Math.Max(one, backend.KvMemoryBytes));
        return new KvCacheOptions
        {
            Layout = layout,
            MaxSequences = loop.MaxSequences,
            MaxTokensPerSequence = loop.ContextLength,
            MaxRowsPerSequence = slack,
            BudgetBytes = bytes,
            Policy = options.KvPolicy ?? new DensePolicy(),
            MaxPrefixes = options.MaxPrefixes,
            Store = backend.KvStore,
        };
    }

    private static void Check(LanguageModelOptions options)
    {
        Require(options.Threads is >= 0 and <= 1024, "threads", options.Threads, "between 0 (one per processor) and 1024");
        Require(options.ContextLength is 0 or >= 2, "context", options.ContextLength, "0 (the model's own) or at least 2");
        Require(options.MaxSequences is >= 1 and <= 4096, "max-sequences", options.MaxSequences, "between 1 and 4096");
        Require(options.MaxWaiting is >= 1 and <= 1_000_000, "max-waiting", options.MaxWaiting, "between 1 and 1000000");
        Require(options.ExpectedAnswerTokens >= 0, "expected-answer-tokens", options.ExpectedAnswerTokens, "0 (unknown) or a number of tokens");
        Require(options.MaxRows is >= 1 and <= 65536, "max-rows", options.MaxRows, "between 1 and 65536");
        Require(options.PrefillChunk >= 1, "prefill-chunk", options.PrefillChunk, "at least 1");
        Require(options.MaxPrefixes is >= 0 and <= 4096, "max-prefixes", options.MaxPrefixes, "between 0 (none) and 4096");
        if (options.Draft is not null && options.Drafter is not null)
            throw new InvalidRequestException("draft", "Draft and Drafter are both set: give the options or the finished drafter, not both.");
        if (options.LearnedEviction && options.KvPolicy is not null)
            throw new InvalidRequestException("kv", "LearnedEviction and KvPolicy are both set: the model decides, or a policy does.");
        Require(options.KvBytes >= 0, "kv-memory", options.KvBytes, "0 (automatic) or a number of bytes");
    }

    private static void Require(bool holds, string field, long value, string rule)
    {
        if (!holds) throw new InvalidRequestException(field, $"{field} is {value}: it must be {rule}.");
    }
}
