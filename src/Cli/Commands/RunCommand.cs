using System.CommandLine;
using Foretoken.Cli.Input;
using Foretoken.Cli.Options;
using Foretoken.Cli.Output;
using Foretoken.Generation;

namespace Foretoken.Cli.Commands;

/// <summary>Answers one prompt.</summary>
internal sealed class RunCommand : CliCommand
{
    private const float ChainTemperature = 0.7f;
    private const int MostAtATime = 64; // samples; further ones begin when others end
    private readonly Argument<string> _prompt;
    private readonly Flag<string?> _file;
    private readonly Switch _raw;
    private readonly Switch _json;
    private readonly Switch _showDrafts;
    private readonly Flag<int> _samples;
    private readonly Flag<int> _beams;
    private readonly Flag<int> _chains;
    private readonly Flag<int> _kvBudget = ModelFlags.KvBudget();
    private readonly Flag<float> _lengthPenalty;
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
        _chains = Add(new Flag<int>(
            "--chains", "N", "Chains of reasoning to draw; the answer is the one that most of them share. They run together as --samples do; without --temperature at 0.7.",
            Parse.Integer(1, GenerationOptions.MaxSamples, "8 is usual."), 0));
        Add(_kvBudget);
        _beams = Add(new Flag<int>(
            "--beams", "N", "Search the likeliest answer with N beams instead of taking the likeliest token each time; nothing is drawn. With --json all N answers.",
            Parse.Integer(1, BeamOptions.MaxBeams, "4 is usual."), 0));
        _lengthPenalty = Add(new Flag<float>(
            "--length-penalty", "A", "Answers of --beams are compared by log-probability over length to the power of A: 0 prefers short ones.", Parse.Number(-10, 10, "1 is usual."), 1));
        _showDrafts = Add(new Switch(
            "--show-drafts", "Mark accepted drafts, rejected ones and the model's own tokens: in colour on a terminal; else on stderr, so that stdout stays the answer."));
    }

    public override int Run(CommandContext context)
    {
        CliHost host = context.Host;
        int samples = _samples.Get(context), beams = _beams.Get(context), chains = _chains.Get(context), budget = _kvBudget.Get(context);
        LanguageModelOptions options = _model.Get(context, sequences: Math.Max(beams, Math.Min(Math.Max(samples, chains), MostAtATime)));
        options = options with { KvBytes = (long)budget << 20, KvAdmission = budget > 0 && _model.Kv(context).Evicts ? KvAdmission.Measured : KvAdmission.WorstCase, MaxWaiting = GenerationOptions.MaxSamples };
        GenerationOptions generation = _generation.Get(context) with { Samples = samples };
        if (chains > 0)
        {
            if (samples > 1 || beams > 0 || _showDrafts.Get(context))
                throw new UsageException($"{_chains.Name} draws its own answers and votes: leave out {_samples.Name}, {_beams.Name} and {_showDrafts.Name}.");
            bool greedy = generation.Sampling.IsGreedy && chains > 1;
            generation = generation with { Samples = chains, Sampling = greedy ? generation.Sampling with { Temperature = ChainTemperature } : generation.Sampling };
        }

        if (beams > 0 && samples > 1) throw new UsageException($"{_beams.Name} draws nothing, so that {_samples.Name} {samples} would be the same search {samples} times: give one of both.");
        if (beams == 0 && _lengthPenalty.GivenOnLine(context)) throw new UsageException($"{_lengthPenalty.Name} compares the answers of {_beams.Name}: give that too, or leave it out.");
        if (samples > 1 && generation.Sampling.IsGreedy)
            throw new UsageException($"{_samples.Name} {samples} at temperature 0 would give the same answer {samples} times: set --temperature above 0, for example 0.8.");
        DraftChoice draft = _model.Draft(context);
        bool raw = _raw.Get(context), json = _json.Get(context), showDrafts = _showDrafts.Get(context);
        if (samples > 1 && showDrafts) throw new UsageException($"{_showDrafts.Name} follows one answer: leave out {_samples.Name} {samples}.");
        if (beams > 0) CheckBeams(options, generation, showDrafts, draft);
        string? argument = Value(context, _prompt);
        string prompt = PromptReader.Read(argument, _file.GetBeside(argument is not null, context), host);
        using ChatModel model = LanguageModelFlags.Load(ModelLocator.Find(_model.Model.Get(context), host), options, draft, _model.Kv(context), host, showDrafts);
        if (!raw && !model.HasTemplate) host.Error.WriteLine($"[{model.Name} has no chat template: the text is continued as it is, as with {_raw.Name}]");
        int[] tokens = model.Encode(prompt, raw);
        if (beams > 0) return BeamWriter.Write(model, tokens, new BeamOptions(beams) { MaxTokens = generation.MaxTokens, LengthPenalty = _lengthPenalty.Get(context) }, host, json);
        if (chains > 0)
        {
            using ParallelSamples all = model.StartSamples(tokens, generation, host);
            return ChainWriter.Write(all, model, host, json);
        }

        if (samples > 1)
        {
            using ParallelSamples all = model.StartSamples(tokens, generation, host);
            return AnswerWriter.Write(all, model, host, json);
        }

        using GenerationSession session = model.Start(tokens, generation, host);
        return AnswerWriter.Write(session, model, host, json);
    }

    /// <summary>Refuses what a search that draws nothing and sees whole answers cannot do.</summary>
    private void CheckBeams(LanguageModelOptions options, GenerationOptions generation, bool showDrafts, DraftChoice draft)
    {
        string name = _beams.Name;
        if (!generation.Sampling.IsGreedy) throw new UsageException($"{name} draws nothing: leave out --temperature.");
        if (generation.Sampling.HasPenalties) throw new UsageException($"{name} compares the model's own probabilities: leave out --repetition-penalty.");
        if (generation.StopStrings.Count > 0) throw new UsageException($"{name} ends answers at the model's end tokens: leave out --stop.");
        if (showDrafts) throw new UsageException($"{_showDrafts.Name} follows one answer: leave out {name}.");
        if (options.LearnedEviction || options.KvPolicy is { Evicts: true }) throw new UsageException($"{name} cuts beams back to where they part, and an evicting --kv forgets what lies there: use --kv dense.");
        if (options.Acceptance is { Kind: not Speculation.AcceptanceKind.SampleAndMatch }) throw new UsageException($"{name} accepts the drafts that lie on its beams and no others: leave out --accept.");
        if (draft.Text.StartsWith("oracle", StringComparison.Ordinal)) throw new UsageException($"{name} has no plain run to record for --draft {draft.Text}: use another drafter.");
    }
}
