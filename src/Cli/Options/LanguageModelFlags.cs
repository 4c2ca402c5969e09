using Foretoken.Backends;
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
    private readonly Flag<string> _device = ModelFlags.Device();
    private readonly Flag<string> _kv = ModelFlags.Kv();
    private readonly Flag<string> _draft = ModelFlags.Draft();

    public Flag<string?> Model => _model;

    /// <summary>All flags, in the order of the help text.</summary>
    public IEnumerable<Flag> All => [_model, _type, _kvType, _context, _threads, _device, _kv, _draft];

    /// <summary>Reads and checks all flags; nothing is loaded.</summary>
    /// <param name="context">The command line.</param>
    /// <param name="sequences">Most requests that run at a time.</param>
    public LanguageModelOptions Get(CommandContext context, int sequences)
    {
        _ = _device.Get(context);
        _ = _kv.Get(context);
        _ = _draft.Get(context);
        return new LanguageModelOptions
        {
            WeightType = _type.Get(context),
            KvType = _kvType.Get(context),
            ContextLength = _context.Get(context),
            Threads = _threads.Get(context),
            MaxSequences = sequences,
            Cancellation = context.Host.Interrupt,
        };
    }

    /// <summary>Loads the model with progress on a terminal.</summary>
    public static ChatModel Load(string directory, LanguageModelOptions options, CliHost host)
    {
        using var progress = new ProgressLine(host);
        return ChatModel.Load(directory, options with { Progress = LoadReport.To(progress) });
    }
}
