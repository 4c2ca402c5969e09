using System.CommandLine;
using Foretoken.Cli.Input;
using Foretoken.Cli.Options;
using Foretoken.Cli.Output;
using Foretoken.Generation;

namespace Foretoken.Cli.Commands;

/// <summary>Answers one prompt.</summary>
internal sealed class RunCommand : CliCommand
{
    private const int MostAtATime = 64; // samples; further ones begin when others end
    private readonly Argument<string> _prompt;
    private readonly Flag<string?> _file;
    private readonly Switch _raw;
    private readonly Switch _json;
    private readonly Switch _showDrafts;
    private readonly Flag<int> _samples;
    private readonly LanguageModelFlags _model = new();
    private readonly GenerationFlags _generation = new();

    public RunCommand()
        : base("run", "Answers one prompt, step by step on stdout.")
    {
        _prompt = AddArgument("PROMPT", "The prompt; without it and --file, all of stdin.");
        _file = Add(new Flag<string?>("--file", "FILE", "Read the prompt from a file; - is stdin.", Parse.NotEmpty, null, "-f"));
        foreach (Flag flag in _model.All.Concat(_generation.All)) Add(flag);
        _raw = Add(new Switch("--raw", "Continue the text as it is, without the model's chat template."));
        _json = Add(new Switch("--json", "One JSON object with text and statistics, instead of streaming."));
        _samples = Add(new Flag<int>(
            "--samples", "N", "Answers to draw, each with random numbers of its own; they run together and share the prompt's keys and values. More than one takes a --temperature above 0.",
            Parse.Integer(1, GenerationOptions.MaxSamples, "1 is one answer."), 1));
        _showDrafts = Add(new Switch(
            "--show-drafts", "Mark accepted drafts, rejected ones and the model's own tokens: in colour on a terminal; else on stderr, so that stdout stays the answer."));
    }

    public override int Run(CommandContext context)
    {
        CliHost host = context.Host;
        int samples = _samples.Get(context);
        LanguageModelOptions options = _model.Get(context, sequences: Math.Min(samples, MostAtATime));
        GenerationOptions generation = _generation.Get(context) with { Samples = samples };
        if (samples > 1 && generation.Sampling.IsGreedy)
            throw new UsageException($"{_samples.Name} {samples} at temperature 0 would give the same answer {samples} times: set --temperature above 0, for example 0.8.");
        DraftChoice draft = _model.Draft(context);
        bool raw = _raw.Get(context), json = _json.Get(context), showDrafts = _showDrafts.Get(context);
        if (samples > 1 && showDrafts) throw new UsageException($"{_showDrafts.Name} follows one answer: leave out {_samples.Name} {samples}.");
        string? argument = Value(context, _prompt);
        string prompt = PromptReader.Read(argument, _file.GetBeside(argument is not null, context), host);
        using ChatModel model = LanguageModelFlags.Load(ModelLocator.Find(_model.Model.Get(context), host), options, draft, _model.Kv(context), host, showDrafts);
        if (!raw && !model.HasTemplate) host.Error.WriteLine($"[{model.Name} has no chat template: the text is continued as it is, as with {_raw.Name}]");
        int[] tokens = model.Encode(prompt, raw);
        if (samples > 1)
        {
            using ParallelSamples all = model.StartSamples(tokens, generation, host);
            return AnswerWriter.Write(all, model, host, json);
        }

        using GenerationSession session = model.Start(tokens, generation, host);
        return AnswerWriter.Write(session, model, host, json);
    }
}
