using System.Globalization;
using Foretoken.Cli.Options;
using Foretoken.Cli.Output;
using Foretoken.Generation;
using Foretoken.Models;
using Foretoken.Speculation;
using Foretoken.Tokenization;

namespace Foretoken.Cli;

/// <summary>A loaded model with its chat template, if it has one, and with the drafter that the command line asked for.</summary>
internal sealed class ChatModel : IDisposable
{
    private readonly ChatTemplate? _template;
    private readonly HashSet<string> _told = new(StringComparer.Ordinal); // drafters whose problems were written

    private ChatModel(string directory, LanguageModel language, ChatTemplate? template) => (Directory, Language, _template) = (directory, language, template);

    /// <summary>Proposes recorded answers; null with another drafter, or none.</summary>
    public OracleDrafter? Oracle { get; private init; }

    /// <summary>Chooses among drafters; null with a fixed one, or none.</summary>
    public Governor? Governor => (Drafts?.Inner ?? Language.Drafter) as Governor;

    /// <summary>What became of each draft, where that was asked for.</summary>
    public DraftTrace? Drafts { get; private init; }

    /// <summary>The drafter as typed.</summary>
    public required DraftChoice Draft { get; init; }

    public string Directory { get; }

    public LanguageModel Language { get; }

    public bool HasTemplate => _template is not null;

    /// <summary>Name of the model's folder or file.</summary>
    public string Name => Path.GetFileName(Path.TrimEndingDirectorySeparator(Path.GetFullPath(Directory)));

    public static ChatModel Load(string path, LanguageModelOptions options, DraftChoice draft, bool traceDrafts)
    {
        string directory = ModelDirectory.Resolve(path);
        ChatTemplate? template = ChatTemplate.FromModel(directory); // before the weights: a broken template should not cost the time to load them
        LanguageModel language = LanguageModel.Load(directory, options with { Draft = traceDrafts ? new TracedDraft(options.Draft) : options.Draft });
        var trace = language.Drafter as DraftTrace;
        return new ChatModel(directory, language, template) { Draft = draft, Oracle = (trace?.Inner ?? language.Drafter) as OracleDrafter, Drafts = trace };
    }

    /// <summary>Token ids of a single prompt: through the template unless <paramref name="raw"/> or there is none.</summary>
    public int[] Encode(string prompt, bool raw) => raw || _template is null ? Language.Encode(prompt) : Encode([new ChatMessage("user", prompt)]);

    /// <summary>Token ids of a conversation that the model is to continue.</summary>
    public int[] Encode(IReadOnlyList<ChatMessage> messages) => _template is { } template
        ? [.. template.Encode(Language.Tokenizer!, messages)]
        : Language.Encode(string.Concat(messages.Select(m => m.Content + "\n")));

    /// <summary>Starts a request; with an oracle, after a plain run that records its answer, which stderr tells.</summary>
    /// <exception cref="OperationCanceledException">The plain run was interrupted.</exception>
    public GenerationSession Start(int[] prompt, GenerationOptions options, CliHost host)
    {
        RecordAnswers(prompt, options, host);
        Drafts?.Clear();
        return Language.Generate(prompt, options);
    }

    /// <summary>Starts several answers to one prompt; with an oracle as <see cref="Start"/>.</summary>
    /// <exception cref="OperationCanceledException">The plain run was interrupted.</exception>
    public ParallelSamples StartSamples(int[] prompt, GenerationOptions options, CliHost host)
    {
        RecordAnswers(prompt, options, host);
        return Language.GenerateSamples(prompt, options);
    }

    /// <summary>Drafters that the Governor wanted and whose weights could not be read.</summary>
    public IEnumerable<DrafterReport> RetiredDrafters => Governor is { } governor ? governor.Report.Drafters.Where(d => d.Problem is not null) : [];

    /// <summary>Writes a warning for every drafter that was retired, once.</summary>
    public void WarnOfRetired(CliHost host)
    {
        foreach (DrafterReport drafter in RetiredDrafters.Where(d => _told.Add(d.Name)))
            host.Error.WriteLine($"[warning: {drafter.Name} could not be loaded and drafts nothing: {drafter.Problem}]");
    }

    private void RecordAnswers(int[] prompt, GenerationOptions options, CliHost host)
    {
        if (Oracle is not { } oracle) return;
        using ParallelSamples plain = Language.GenerateSamples(prompt, options);
        using CancellationTokenRegistration registration = host.Interrupt.Register(plain.Cancel);
        GenerationResult[] answers = plain.Complete();
        host.Interrupt.ThrowIfCancellationRequested();
        for (int i = 0; i < answers.Length; i++) oracle.Record(prompt, plain[i].Sampling, [.. answers[i].Tokens]);
        host.Error.WriteLine(string.Create(
            CultureInfo.InvariantCulture,
            $"[--draft {Draft.Text}: a plain run recorded {answers.Sum(a => a.Tokens.Count)} tokens in {answers.Max(a => a.Statistics.DecodeMilliseconds):F0} ms; the drafted run follows]"));
    }

    public void Dispose() => Language.Dispose();
}
