using Foretoken.Models;
using Foretoken.Speculation;
using Foretoken.Speculation.Trained;

namespace Foretoken.Cli.Options;

/// <summary>What <c>--draft</c> asks for: drafters' names, with their settings behind an equals sign, joined by +. Adding a drafter is one case.</summary>
/// <param name="Text">As typed, for messages.</param>
/// <param name="Options">The drafter for a target in a directory, once paths are known; null for plain decoding.</param>
internal sealed record DraftChoice(string Text, Func<CliHost, string, DrafterOptions>? Options)
{
    /// <summary>The words that are understood, for help and errors.</summary>
    public const string Syntax = "none, auto[=eager], ngram[=K], suffix[=K], recycling[=K], swift[=K], model=DIR[,K[,WIDTH]], medusa[=DIR[,K]], eagle[=DIR[,K[,WIDTH]]], DIR, several joined by +, oracle=A or oracle=A,K";

    private const Backends.WeightType DraftType = Backends.WeightType.Int8; // of draft models: what they get wrong costs a draft, never a token
    private const int DefaultDepth = 4, MaximumDepth = 64;
    private const int AutoDepth = 12; // the Governor finds out how deep pays
    private static readonly string[] s_eagles = ["eagle3", "eagle", "mtp"]; // what directories beside a target are called

    public static DraftChoice None { get; } = new("none", null);

    public static Flag<DraftChoice> Flag() => new(
        "--draft",
        "DRAFTER",
        "Who drafts tokens, which changes the speed only: auto, the default, chooses in every step among ngram, suffix, recycling, a draft model or trained heads beside the target and none what has paid so far, and loads models and heads when it first wants to try them (auto=eager: at once); none decodes plainly; ngram repeats what followed the same tokens before; suffix likewise, with "
        + "alternatives, also over earlier requests; recycling proposes the model's own second thoughts; swift lets the model skip layers of its own; model=DIR lets a smaller model of the same vocabulary draft; medusa and eagle (also "
        + "MTP) draft with heads that were trained on the model's hidden states, those beside it unless a directory is given; DIR alone is looked at for what it holds; "
        + "ngram+recycling merges two. =K sets the most drafts of a step. oracle=A,K runs every request plainly first and then drafts K tokens "
        + $"of its answer per step ({DefaultDepth} where ,K is left out), each right with probability A: what a drafter of that acceptance would be worth.",
        Parse,
        new DraftChoice("auto", (host, target) => Auto(target, loadsAtStart: false)));

    /// <exception cref="UsageException">An unknown drafter, or a setting out of range.</exception>
    public static DraftChoice Parse(string text, string source)
    {
        if (text == "none") return None;
        if (text is "auto" or "auto=eager") return new DraftChoice(text, (host, target) => Auto(target, loadsAtStart: text != "auto"));
        Func<CliHost, string, DrafterOptions>[] parts = [.. text.Split('+').Select(part => One(part, text, source))];
        if (parts.Length > 1 && text.Split('+').Any(p => p.Split('=')[0] == "oracle")) throw Refused(source, text, "joins oracle, which knows it all, with another");
        if (text.Split('+').GroupBy(p => p.Split('=')[0]).FirstOrDefault(g => g.Count() > 1 && g.Key != "model") is { } twice)
            throw Refused(source, text, $"names {twice.Key} twice, whose drafts would be the same");
        return new DraftChoice(text, parts.Length == 1 ? parts[0] : (host, target) => new CompositeOptions([.. parts.Select(p => p(host, target))]));
    }

    private static Func<CliHost, string, DrafterOptions> One(string part, string text, string source)
    {
        int equals = part.IndexOf('=', StringComparison.Ordinal);
        string name = equals < 0 ? part : part[..equals];
        string[] settings = equals < 0 ? [] : part[(equals + 1)..].Split(',');
        switch (name)
        {
            case "ngram" when settings.Length <= 1:
                return Always(new NgramOptions { Tokens = Count(settings, 0, new NgramOptions().Tokens, source, name) });
            case "suffix" when settings.Length <= 1:
                return Always(new SuffixOptions { Nodes = Count(settings, 0, new SuffixOptions().Nodes, source, name) });
            case "recycling" when settings.Length <= 1:
                return Always(new RecyclingOptions { Nodes = Count(settings, 0, new RecyclingOptions().Nodes, source, name) });
            case "swift" when settings.Length <= 1:
                return Always(new SwiftOptions { Tokens = Count(settings, 0, new SwiftOptions().Tokens, source, name) });
            case "model" when settings.Length is >= 1 and <= 3 && settings[0].Length > 0:
                return Model(settings[0], source, Count(settings, 1, 5, source, name), Count(settings, 2, 1, source, name));
            case "medusa" when settings.Length <= 2:
                return Heads(settings, ["medusa"], text, source, d => new MedusaOptions { Directory = d, Nodes = Count(settings, 1, MedusaTree.Default.Count, source, name), FitsCosts = settings.Length < 2 });
            case "eagle" when settings.Length <= 3:
                (int depth, int width) = (Count(settings, 1, 8, source, name, EagleOptions.MaxDepth), Count(settings, 2, 4, source, name));
                if (width * (depth - 1) > Backends.RowBatch.MaxTreeRows)
                    throw Refused(source, text, $"expands {width * (depth - 1)} nodes, and at most {Backends.RowBatch.MaxTreeRows} are possible: lower its depth or width");
                return Heads(settings, s_eagles, text, source, d => new EagleOptions { Directory = d, Depth = depth, Width = width, FitsCosts = settings.Length < 2 });
            case var path when settings.Length == 0 && (path.Contains('/', StringComparison.Ordinal) || Directory.Exists(path)):
                return (host, _) => TrainedDrafters.Recognise(ModelLocator.Find(path, host, source));
            case "oracle" when settings.Length is 1 or 2:
                float acceptance = Cli.Options.Parse.Number(0, 1, "the share of drafts that are right, for example oracle=0.8.")(
                    settings[0], $"{source}: the acceptance of oracle");
                return Always(new OracleDraft(acceptance, Count(settings, 1, DefaultDepth, source, name)));
        }

        throw Refused(
            source, text,
            name == "oracle" ? "needs an acceptance, for example oracle=0.8"
            : name == "model" ? "needs the directory of a draft model, for example model=models/reasoner-draft"
            : name == "none" ? "takes no settings and joins no others"
            : name == "auto" ? "takes no settings but eager and joins no others"
            : name is "medusa" or "eagle" ? $"takes a directory, {(name == "medusa" ? "and nodes" : "a depth and a width")}"
            : name is "ngram" or "suffix" or "recycling" or "swift" ? "takes one setting, the most drafts of a step" : "is unknown");
    }

    /// <summary>The Governor over all that is at hand: a draft model is one that stands beside the target, under its name with -draft behind it.</summary>
    private static DrafterOptions Auto(string target, bool loadsAtStart)
    {
        string draft = Path.TrimEndingDirectorySeparator(target) + "-draft";
        List<DrafterOptions> trained = []; // in the order in which they are tried: those that usually gain most first
        if (Directory.Exists(draft)) trained.Add(new DraftModelOptions { Directory = draft, Tokens = AutoDepth, MinProbability = 0.3f, WeightType = DraftType });
        if (Beside(target, s_eagles) is { } eagle) trained.Add(new EagleOptions { Directory = eagle, Depth = AutoDepth, Width = 1, Nodes = AutoDepth }); // chains: trees cost more rows than they spare passes on a processor
        if (Beside(target, "medusa") is { } medusa) trained.Add(new MedusaOptions { Directory = medusa });
        return new GovernorOptions([new NgramOptions(), new SuffixOptions(), new RecyclingOptions(), .. trained]) { LoadsAtStart = loadsAtStart };
    }

    /// <summary>Heads that belong to a target: in a directory of its name with the kind behind it, or within its own.</summary>
    internal static string? Beside(string target, params ReadOnlySpan<string> kinds)
    {
        target = Path.TrimEndingDirectorySeparator(target);
        foreach (string kind in kinds)
        {
            string[] places = [$"{target}-{kind}", Path.Combine(target, kind)];
            if (places.FirstOrDefault(p => File.Exists(Path.Combine(p, "config.json"))) is { } found) return found;
        }

        return null;
    }

    /// <summary>Names of drafters whose heads lie beside a target.</summary>
    internal static IEnumerable<string> TrainedBeside(string target)
    {
        if (Beside(target, "medusa") is not null) yield return "medusa";
        if (Beside(target, s_eagles) is not null) yield return "eagle";
    }

    private static Func<CliHost, string, DrafterOptions> Heads(string[] settings, string[] kinds, string text, string source, Func<string, DrafterOptions> make)
    {
        string given = settings.Length > 0 ? settings[0] : "";
        _ = make(given); // settings are checked before any model is looked for
        return (host, target) => make(given.Length > 0 ? Checked(ModelLocator.Find(given, host, source))
            : Beside(target, kinds) ?? throw Refused(source, text, $"finds no heads beside {target}: give their directory, for example {kinds[0]}=some/directory"));

        string Checked(string directory) // what else it may hold is said when it is loaded
        {
            DrafterOptions found = TrainedDrafters.Recognise(directory);
            if (found is MedusaOptions or EagleOptions && found.GetType() != make(directory).GetType())
                throw Refused(source, text, $"names a directory that holds {found.Name}: give {found.Name}={given}");
            return directory;
        }
    }

    private static Func<CliHost, string, DrafterOptions> Always(DrafterOptions options) => (_, _) => options;

    private static Func<CliHost, string, DrafterOptions> Model(string directory, string source, int tokens, int width) => (host, _) =>
        new DraftModelOptions { Directory = ModelLocator.Find(directory, host, source), Tokens = tokens, Width = width, WeightType = DraftType };

    private static int Count(string[] settings, int index, int fallback, string source, string name, int most = MaximumDepth) => settings.Length <= index
        ? fallback
        : Cli.Options.Parse.Integer(1, most, $"the drafts of a step, for example {name switch { "oracle" => "oracle=0.8,4", "model" => "model=DIR,8", "medusa" or "eagle" => name + "=,8", _ => name + "=8" }}.")(
            settings[index], $"{source}: the {(index == 2 ? "width" : name == "medusa" ? "tree" : "depth")} of {name}");

    private static UsageException Refused(string source, string text, string rule) =>
        new($"{source} {Cli.Options.Parse.Shown(text)} {rule}: available are {Syntax}.");
}

/// <summary>An <see cref="OracleDrafter"/>, whose answers must be recorded by a plain run before they can be drafted.</summary>
internal sealed record OracleDraft(double Acceptance, int Depth) : DrafterOptions
{
    public override string Name => "oracle";

    public override int MaxNodes => Depth;

    public override IDrafter Create(DrafterContext context) =>
        new OracleDrafter(new OracleOptions { VocabSize = context.Target.Shape.VocabSize, Acceptance = Acceptance, Depth = Depth, MaxSequences = context.MaxSequences });
}

/// <summary>Notes what becomes of each draft of another drafter.</summary>
/// <param name="Inner">Null for plain decoding.</param>
internal sealed record TracedDraft(DrafterOptions? Inner) : DrafterOptions
{
    public override string Name => Inner?.Name ?? "none";

    public override int MaxNodes => Inner?.MaxNodes ?? 0;

    public override bool ReadsFeatures => Inner?.ReadsFeatures ?? false;

    public override IDrafter Create(DrafterContext context) => new Output.DraftTrace(Inner?.Create(context) ?? new NoDrafter());
}
