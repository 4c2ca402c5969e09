using System.Globalization;
using System.Text;
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
/// <param name="Html">Where to write the page; null = nowhere.</param>
/// <param name="Format">The table's format; null = JSON.</param>
internal sealed record SpecRequest(IReadOnlyList<DraftChoice> Drafters, int Limit, int MaxTokens, float Temperature, int Repeats, string? Html, TableFormat? Format);

/// <summary>Loads a model with all drafters and measures them.</summary>
internal static class SpecRunner
{
    private const ulong Seed = 4242;     // not that of the published scores

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
        return Run(chat.Language, chat.Name, SpecBench.HeldOut(chat, request.Limit * request.Repeats, Seed), request, host);
    }

    public static int Run(ModelSource source, string name, LanguageModelOptions options, SpecRequest request, CliHost host)
    {
        DrafterOptions[] drafters = [.. request.Drafters.Select(d => d.Options!(host, name))];
        using LanguageModel model = LanguageModel.Load(source, tokenizer: null, options with { Draft = new SwitchedDrafts(drafters) });
        IReadOnlyList<SpecQuestion> questions = SpecBench.Random(request.Limit * request.Repeats, model.Config.Shape.VocabSize, RandomPrompt);
        return Run(model, name, questions, request, host);
    }

    private static int Run(LanguageModel model, string name, IReadOnlyList<SpecQuestion> questions, SpecRequest request, CliHost host)
    {
        string[] names = [.. request.Drafters.Select(d => Path.GetFileName(d.Text.Contains('/', StringComparison.Ordinal) ? d.Text : "/" + d.Text))];
        var bench = new SpecBench(model, names, request.MaxTokens, request.Temperature, request.Repeats, host.Interrupt);
        IReadOnlyList<SpecCell> cells;
        using (var progress = new ProgressLine(host)) cells = bench.Run(questions, (text, fraction) => progress.Report((text, fraction)));
        string machine = string.Create(
            CultureInfo.InvariantCulture,
            $"{name}, weights {model.Loaded.WeightType.ToString().ToLowerInvariant()}, {model.BackendName}, {Environment.ProcessorCount} processors, {questions.Count} questions, {(request.Temperature == 0 ? "greedy" : $"temperature {request.Temperature.ToString(CultureInfo.InvariantCulture)}")}.");
        if (request.Format is { } format) SpecReport.ToTable(cells).Write(host.Output, format);
        else host.Output.WriteLine(SpecReport.Json(name, cells, bench.Governor));
        if (request.Html is { } path)
        {
            using OutputFile file = OutputFile.Create(path, "--html");
            file.Stream.Write(Encoding.UTF8.GetBytes(SpecReport.Html(name, machine, cells, bench.Governor)));
            file.Commit();
            host.Error.WriteLine($"[page written to {path}]");
        }

        host.Error.WriteLine($"[{machine} MAT: tokens per pass with the bonus; c, v: drafting and verifying per step in plain steps; medians of {request.Repeats}]");
        if (bench.Governor is { } governor) host.Error.WriteLine($"[auto: {governor.Explain()}]");
        if (bench.Different == 0) return ExitCode.Success;
        host.Error.WriteLine($"error: {bench.Different} answers differ from plain decoding. This is a defect: report it with the model's name and the machine.");
        return ExitCode.RunError;
    }
}
