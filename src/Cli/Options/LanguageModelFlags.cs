using Foretoken.Backends;
using Foretoken.Backends.Cuda;
using Foretoken.Cli.Output;
using Foretoken.Generation;

namespace Foretoken.Cli.Options;

/// <summary>The flags that say which model answers and how it is held: the same for run, chat, eval and inspect.</summary>
internal sealed class LanguageModelFlags
{
    private readonly Flag<string?> _model = ModelFlags.Model();
    private readonly Flag<WeightType?> _type = ModelFlags.Type();
    private readonly Flag<KvType> _kvType = ModelFlags.KvType(KvType.BF16);
    private readonly Flag<int> _context = ModelFlags.Context();
    private readonly Flag<int> _threads = ModelFlags.Threads();
    private readonly Flag<ComputeDevice> _device = ModelFlags.Device();
    private readonly Flag<bool> _activations = ModelFlags.Activations();
    private readonly Flag<KvChoice> _kv = KvChoice.Flag();
    private readonly Flag<DraftChoice> _draft = DraftChoice.Flag();
    private readonly Flag<AcceptChoice> _accept = AcceptChoice.Flag();

    public Flag<string?> Model => _model;

    /// <summary>All flags, in the order of the help text.</summary>
    public IEnumerable<Flag> All => [_model, _type, _kvType, _context, _threads, _device, _activations, _kv, _draft, _accept];

    /// <summary>Reads and checks all flags; nothing is loaded.</summary>
    /// <param name="context">The command line.</param>
    /// <param name="sequences">Most requests that run at a time.</param>
    public LanguageModelOptions Get(CommandContext context, int sequences)
    {
        AcceptChoice accept = _accept.Get(context);
        DraftChoice draft = _draft.Get(context);
        if (_activations.GivenOnLine(context) && _device.Get(context) != ComputeDevice.Cuda)
            throw new UsageException($"{_activations.Name} says how {_device.Name} cuda computes: give that too, or leave it out.");
        accept.CheckWith(draft);
        if (accept.Note(draft) is { } note) context.Host.Error.WriteLine(note);
        return new LanguageModelOptions
        {
            Acceptance = accept.Options,
            Device = _device.Get(context),
            CudaPlatform = context.Host.Cuda,
            Cuda = new CudaOptions { FloatActivations = _activations.Get(context) },
            WeightType = _type.Get(context),
            KvType = _kvType.Get(context),
            KvPolicy = _kv.Get(context).Policy,
            LearnedEviction = _kv.Get(context).Policy is null,
            ContextLength = _context.Get(context),
            Threads = _threads.Get(context),
            MaxSequences = sequences,
            Cancellation = context.Host.Interrupt,
        };
    }

    /// <summary>Reads and checks <c>--kv</c>; what it means for a model is known when that is found.</summary>
    public KvChoice Kv(CommandContext context) => _kv.Get(context);

    /// <summary>Reads and checks <c>--draft</c>; the drafter is made when the model is loaded. Policies that cannot follow drafts have none unless asked for one.</summary>
    public DraftChoice Draft(CommandContext context) =>
        !_draft.GivenOnLine(context) && _kv.Get(context).Policy is { Evicts: true, ActsAtCommit: true } ? DraftChoice.None : _draft.Get(context);

    /// <summary>Loads the model with progress on a terminal.</summary>
    /// <param name="directory">The model.</param>
    /// <param name="options">What <see cref="Get"/> read.</param>
    /// <param name="draft">What <see cref="Draft"/> read.</param>
    /// <param name="kv">What <see cref="Kv"/> read.</param>
    /// <param name="host">The terminal.</param>
    /// <param name="traceDrafts">Notes what becomes of every draft.</param>
    public static ChatModel Load(string directory, LanguageModelOptions options, DraftChoice draft, KvChoice kv, CliHost host, bool traceDrafts = false)
    {
        (string found, string? adapter) = kv.Locate(directory, host);
        if (options.KvPolicy is { Evicts: true } policy)
            host.Error.WriteLine($"[--kv {policy.Name} is lossy: the model was not trained to forget what it evicts]");
        using var progress = new ProgressLine(host);
        ChatModel model = ChatModel.Load(
            found, options with { Draft = draft.Options?.Invoke(host, directory), DmsAdapter = adapter, Progress = LoadReport.To(progress) }, draft, traceDrafts);
        progress.Dispose();
        LoadReport.WriteNote(model.Language.Loaded, host);
        return model;
    }
}
