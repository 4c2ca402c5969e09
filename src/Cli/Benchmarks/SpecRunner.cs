using System.Globalization;
using Foretoken.Cli.Options;
using Foretoken.Cli.Output;
using Foretoken.Generation;
using Foretoken.Models;
using Foretoken.Speculation;

namespace Foretoken.Cli.Benchmarks;

/// <summary>What <c>bench spec</c> is asked.</summary>
/// <param name="Drafters">As for --draft, each by itself.</param>
/// <param name="Limit">Questions of a bucket per repeat.</param>
/// <param name="MaxTokens">Most tokens of an answer.</param>
/// <param name="Temperature">0 = greedy.</param>
/// <param name="Repeats">Repeats, each over other questions.</param>
/// <param name="Warm">Other questions of a bucket that every drafter sees before.</param>
/// <param name="Bucket">The only bucket to measure; null = all.</param>
/// <param name="Page">Receives the page; null = none.</param>
/// <param name="Format">The table's format; null = JSON.</param>
internal sealed record SpecRequest(
    IReadOnlyList<DraftChoice> Drafters, int Limit, int MaxTokens, float Temperature, int Repeats, int Warm, string? Bucket, OutputFile? Page, TableFormat? Format);

/// <summary>Loads a model with all drafters and measures them.</summary>
internal static class SpecRunner
{
    private const ulong Seed = 4242;     // not that of the published scores
    private const ulong WarmSeed = 777;

    /// <summary>Prompt tokens of a pass per request of a batch: prompts are read in a few steps, so that drafts do not end the first answers before the last ones begin.</summary>
    private const int PromptRows = 64;

    /// <summary>Tokens of a prompt for random weights.</summary>
    public const int RandomPrompt = 64;

    /// <summary>Drafters that are measured unless others are named.</summary>
    public static IReadOnlyList<DraftChoice> Defaults(string? directory)
    {
        string names = directory is null ? "oracle=0.6,4 oracle=0.8,4 oracle=0.9,4"
            : "ngram suffix recycling swift" + (Directory.Exists(directory + "-draft") ? $" model={directory}-draft" : "")
                + string.Concat(DraftChoice.TrainedBeside(directory).Select(d => " " + d)) + " auto";
        return [.. names.Split(' ').Select(n => DraftChoice.Parse(n, "--drafters"))];
    }

    public static int Run(string directory, LanguageModelOptions options, SpecRequest request, CliHost host)
    {
        DrafterOptions[] drafters = [.. request.Drafters.Select(d => d.Options!(host, directory))];
        using ChatModel chat = ChatModel.Load(directory, options with { Draft = new SwitchedDrafts(drafters) }, DraftChoice.None, traceDrafts: false);
        IReadOnlyList<SpecQuestion> warm = SpecBench.HeldOut(chat, request.Warm, WarmSeed, request.Bucket);
        return Run(chat.Language, chat.Name, warm, SpecBench.HeldOut(chat, request.Limit * request.Repeats, Seed, request.Bucket), request, host);
    }

    public static int Run(ModelSource source, string name, LanguageModelOptions options, SpecRequest request, CliHost host)
    {
        DrafterOptions[] drafters = [.. request.Drafters.Select(d => d.Options!(host, name))];
        using LanguageModel model = LanguageModel.Load(source, tokenizer: null, options with { Draft = new SwitchedDrafts(drafters) });
        IReadOnlyList<SpecQuestion> questions = SpecBench.Random(request.Limit * request.Repeats, model.Config.Shape.VocabSize, RandomPrompt);
        return Run(model, name, [], questions, request, host);
    }

    /// <summary>Misleads the Governor, and holds it to plain decoding's time.</summary>
    public static int RunAdversaries(string directory, LanguageModelOptions options, AdversarialRequest request, string? bucket, CliHost host)
    {
        IReadOnlyList<AdversaryOptions> adversaries = AdversarialBench.All(request.Tokens);
        DrafterOptions auto = DraftChoice.Parse("auto", "--adversarial").Options!(host, directory);
        var switched = new SwitchedDrafts([auto, .. adversaries.Select(a => new GovernorOptions(a))]);
        options = options with { Draft = switched, MaxSequences = request.Batch, MaxRows = Math.Max(options.MaxRows, request.Batch * (1 + PromptRows)), PrefillChunk = request.Batch * PromptRows };
        using ChatModel chat = ChatModel.Load(directory, options, DraftChoice.None, traceDrafts: false);
        IReadOnlyList<SpecQuestion> questions = [.. SpecBench.HeldOut(chat, 2 * request.Batch + 24, Seed, bucket).Where(q => q.Prompt.Length < chat.Language.ContextLength / 2)];
        var bench = new AdversarialBench(chat.Language, ["auto", .. adversaries.Select(a => a.Name)], adversaries, request, host.Interrupt);
        int different;
        using (var progress = new ProgressLine(host)) different = bench.Run(questions, host, (text, fraction) => progress.Report((text, fraction)));
        host.Error.WriteLine(string.Create(
            CultureInfo.InvariantCulture,
            $"[{chat.Name}, {chat.Language.BackendName}, {request.Batch} at a time, {request.Tokens} tokens per bucket and alternation, medians of {request.Alternations}: time over that of plain decoding]"));
        return Check(different, host);
    }

    /// <summary>Predicts what drafts of set acceptances bring, and measures it.</summary>
    public static int RunPredictions(ModelSource source, string name, LanguageModelOptions options, IReadOnlyList<double> acceptances, int drafts, int tokens, int repeats, TableFormat? format, CliHost host)
    {
        DrafterOptions drafters = PredictionBench.Drafters(acceptances, drafts);
        using LanguageModel model = LanguageModel.Load(source, tokenizer: null, options with { Draft = drafters, ContextLength = RandomPrompt + tokens });
        IReadOnlyList<SpecQuestion> questions = SpecBench.Random(repeats, model.Config.Shape.VocabSize, RandomPrompt);
        var bench = new PredictionBench(model, acceptances, drafts, tokens, host.Interrupt);
        IReadOnlyList<Prediction> predictions;
        using (var progress = new ProgressLine(host)) predictions = bench.Run(questions, (text, fraction) => progress.Report((text, fraction)));
        PredictionBench.Write(name, predictions, format, host);
        host.Error.WriteLine(string.Create(
            CultureInfo.InvariantCulture, $"[{name}, weights {model.Loaded.WeightType.ToString().ToLowerInvariant()}, {model.BackendName}, {tokens} tokens, medians of {repeats} prompts]"));
        return ExitCode.Success;
    }

    private static int Check(int different, CliHost host)
    {
        if (different == 0) return ExitCode.Success;
        host.Error.WriteLine($"error: {different} answers differ from plain decoding. This is a defect: report it with the model's name and the machine.");
        return ExitCode.RunError;
    }

    /// <summary>A drafter as typed, without the folders of its directory.</summary>
    private static string ShortName(string text)
    {
        int slash = text.LastIndexOf('/'), equals = text.IndexOf('=', StringComparison.Ordinal);
        return slash < 0 ? text : text[..(equals + 1)] + text[(slash + 1)..];
    }

    private static int Run(
        LanguageModel model, string name, IReadOnlyList<SpecQuestion> warm, IReadOnlyList<SpecQuestion> questions, SpecRequest request, CliHost host)
    {
        string[] names = [.. request.Drafters.Select(d => ShortName(d.Text))];
        var bench = new SpecBench(model, names, request.MaxTokens, request.Temperature, request.Repeats, host.Interrupt);
        IReadOnlyList<SpecCell> cells;
        using (var progress = new ProgressLine(host)) cells = bench.Run(warm, questions, (text, fraction) => progress.Report((text, fraction)));
        string machine = string.Create(
            CultureInfo.InvariantCulture,
            $"{name}, weights {model.Loaded.WeightType.ToString().ToLowerInvariant()}, {model.BackendName}, {Environment.ProcessorCount} processors, {questions.Count} questions after {warm.Count} others, {(request.Temperature == 0 ? "greedy" : $"temperature {request.Temperature.ToString(CultureInfo.InvariantCulture)}")}.");
        SpecReport.Write(name, machine, cells, bench.Governor, request.Page, request.Format, host);
        host.Error.WriteLine($"[{machine} MAT: tokens per pass with the bonus; c, v: drafting and verifying per step in plain steps; first token: time until it in plain decoding's; whole: speed-up of whole requests; medians of {request.Repeats}]");
        if (bench.Governor is { } governor) host.Error.WriteLine($"[auto: {governor.Explain()}]");
        return Check(bench.Different, host);
    }
}
