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
    public const string Syntax = "none, auto, ngram[=K], suffix[=K], recycling[=K], swift[=K], model=DIR[,K[,WIDTH]], medusa[=DIR[,K]], several joined by +, oracle=A or oracle=A,K";

    private const Backends.WeightType DraftType = Backends.WeightType.Int8; // of draft models: what they get wrong costs a draft, never a token
    private const int DefaultDepth = 4, MaximumDepth = 64;
    private static readonly string[] s_planned = ["eagle"];

    public static DraftChoice None { get; } = new("none", null);

    public static Flag<DraftChoice> Flag() => new(
        "--draft",
        "DRAFTER",
        "Who drafts tokens, which changes the speed only: auto, the default, chooses in every step among ngram, suffix, recycling, a draft model or trained heads beside the target and none what has paid so far; none decodes plainly; ngram repeats what followed the same tokens before; suffix likewise, with "
        + "alternatives, also over earlier requests; recycling proposes the model's own second thoughts; swift lets the model skip layers of its own; model=DIR lets a smaller model of the same vocabulary draft; medusa drafts with heads that were "
        + "trained for the model, those beside it unless a directory is given; "
        + "ngram+recycling merges two. =K sets the most drafts of a step. oracle=A,K runs every request plainly first and then drafts K tokens "
        + $"of its answer per step ({DefaultDepth} where ,K is left out), each right with probability A: what a drafter of that acceptance would be worth.",
        Parse,
        new DraftChoice("auto", Auto));

    /// <exception cref="UsageException">An unknown drafter, or a setting out of range.</exception>
    public static DraftChoice Parse(string text, string source)
    {
        if (text == "none") return None;
        if (text == "auto") return new DraftChoice(text, Auto);
        Func<CliHost, string, DrafterOptions>[] parts = [.. text.Split('+').Select(part => One(part, text, source))];
        if (parts.Length > 1 && text.Split('+').Any(p => p.Split('=')[0] == "oracle")) throw Refused(source, text, "joins oracle, which knows it all, with another");
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
                return Model(settings[0], Count(settings, 1, 5, source, name), Count(settings, 2, 1, source, name));
            case "medusa" when settings.Length <= 2:
                return Medusa(settings, text, source);
            case "oracle" when settings.Length is 1 or 2:
                float acceptance = Cli.Options.Parse.Number(0, 1, "the share of drafts that are right, for example oracle=0.8.")(
                    settings[0], $"{source}: the acceptance of oracle");
                return Always(new OracleDraft(acceptance, Count(settings, 1, DefaultDepth, source, name)));
        }

        throw Refused(
            source, text,
            s_planned.Contains(name) ? "is not available in this build"
            : name == "oracle" ? "needs an acceptance, for example oracle=0.8"
            : name == "model" ? "needs the directory of a draft model, for example model=models/reasoner-draft"
            : name is "none" or "auto" ? "takes no settings and joins no others"
            : name is "ngram" or "suffix" or "recycling" or "swift" ? "takes one setting, the most drafts of a step" : "is unknown");
    }

    /// <summary>The Governor over all that is at hand: a draft model is one that stands beside the target, under its name with -draft behind it.</summary>
    private static DrafterOptions Auto(CliHost host, string target)
    {
        string draft = Path.TrimEndingDirectorySeparator(target) + "-draft";
        DrafterOptions[] model = Directory.Exists(draft) ? [new DraftModelOptions { Directory = draft, Tokens = 8, WeightType = DraftType }] : [];
        DrafterOptions[] heads = Beside(target, "medusa") is { } medusa ? [new MedusaOptions { Directory = medusa }] : [];
        return new GovernorOptions([new NgramOptions(), new SuffixOptions(), new RecyclingOptions(), .. heads, .. model]);
    }

    /// <summary>Heads that belong to a target: in a directory of its name with the kind behind it, or within its own.</summary>
    internal static string? Beside(string target, string kind)
    {
        target = Path.TrimEndingDirectorySeparator(target);
        string[] places = [$"{target}-{kind}", Path.Combine(target, kind)];
        return places.FirstOrDefault(p => File.Exists(Path.Combine(p, "config.json")));
    }

    private static Func<CliHost, string, DrafterOptions> Medusa(string[] settings, string text, string source)
    {
        int nodes = Count(settings, 1, new MedusaOptions { Directory = "" }.Nodes, source, "medusa");
        return (host, target) => new MedusaOptions
        {
            Nodes = nodes,
            Directory = settings.Length > 0 && settings[0].Length > 0 ? ModelDirectory.Resolve(settings[0])
                : Beside(target, "medusa") ?? throw Refused(source, text, $"finds no heads beside {target}: give their directory, for example medusa=some/directory"),
        };
    }

    private static Func<CliHost, string, DrafterOptions> Always(DrafterOptions options) => (_, _) => options;

    private static Func<CliHost, string, DrafterOptions> Model(string directory, int tokens, int width) => (host, _) =>
        new DraftModelOptions { Directory = ModelLocator.Find(directory, host), Tokens = tokens, Width = width, WeightType = DraftType };

    private static int Count(string[] settings, int index, int fallback, string source, string name) => settings.Length <= index
        ? fallback
        : Cli.Options.Parse.Integer(1, MaximumDepth, $"the drafts of a step, for example {(name == "oracle" ? "oracle=0.8,4" : name + "=8")}.")(
            settings[index], $"{source}: the {(name == "model" && index == 2 ? "width" : "depth")} of {name}");

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

    public override IDrafter Create(DrafterContext context) => new Output.DraftTrace(Inner?.Create(context) ?? new NoDrafter());
}
