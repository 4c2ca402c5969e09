using System.Globalization;
using Foretoken.Speculation;

namespace Foretoken.Cli.Options;

/// <summary>What <c>--accept</c> asks for: a rule's name, with its settings behind an equals sign. Adding a rule is one case here.</summary>
/// <param name="Text">As typed, for messages.</param>
/// <param name="Options">The rule.</param>
internal sealed record AcceptChoice(string Text, AcceptanceOptions Options)
{
    /// <summary>The words that are understood, for help and errors.</summary>
    public const string Syntax = "match, rejection, block, and the lossy typical[=EPSILON[,DELTA]], topk[=K[,NATS]], divergence[=NATS]";

    public static AcceptChoice Match { get; } = new("match", new AcceptanceOptions());

    public static Flag<AcceptChoice> Flag() => new(
        "--accept",
        "RULE",
        "Which drafts become part of the answer: match, those that plain decoding would have said, token by token; rejection and block, which accept more of a draft model's "
        + "draws and keep the model's distribution, though not the very tokens of a seed. Lossy, the answer is no longer the model's: typical=E,D accepts a draft likelier than min(E, D times exp of minus the entropy) (0.09,0.3); "
        + "topk=K,N one among the K likeliest and at most N nats behind the first (4,1); divergence=N what a draft model draws while it is within N nats of the model (0.1).",
        Parse,
        Match);

    /// <exception cref="UsageException">An unknown rule, or a setting out of range.</exception>
    public static AcceptChoice Parse(string text, string source)
    {
        int equals = text.IndexOf('=', StringComparison.Ordinal);
        string name = equals < 0 ? text : text[..equals];
        string[] settings = equals < 0 ? [] : text[(equals + 1)..].Split(',');
        AcceptanceOptions? options = (name, settings.Length) switch
        {
            ("match", 0) => new AcceptanceOptions(),
            ("rejection", 0) => new AcceptanceOptions(AcceptanceKind.Rejection),
            ("block", 0) => new AcceptanceOptions(AcceptanceKind.Block),
            ("typical", <= 2) => new AcceptanceOptions(AcceptanceKind.Typical) { Epsilon = Number(0, 0.001f, 1, 0.09f), Delta = Number(1, 0, 100, 0.3f) },
            ("topk", <= 2) => new AcceptanceOptions(AcceptanceKind.TopK) { K = settings.Length > 0 ? Count() : 4, Delta = Number(1, 0, 100, 1) },
            ("divergence", <= 1) => new AcceptanceOptions(AcceptanceKind.Divergence) { Delta = Number(0, 0, 100, 0.1f) },
            _ => null,
        };
        if (options is not null) return new AcceptChoice(text, options);
        string rule = name is "match" or "rejection" or "block" ? "takes no settings" : name is "typical" or "topk" or "divergence" ? "has settings that it does not take" : "is unknown";
        throw new UsageException($"{source} {Cli.Options.Parse.Shown(text)} {rule}: available are {Syntax}.");

        float Number(int index, float least, float most, float fallback) => index >= settings.Length
            ? fallback
            : Cli.Options.Parse.Number(least, most, $"{fallback.ToString(CultureInfo.InvariantCulture)} is usual.")(settings[index], $"{source}: a setting of {name}");

        int Count() => Cli.Options.Parse.Integer(1, 1000, "4 is usual.")(settings[0], $"{source}: the K of topk");
    }

    /// <summary>Refuses what could not do what it says together with a drafter.</summary>
    /// <exception cref="UsageException">The combination does not work.</exception>
    public void CheckWith(DraftChoice draft)
    {
        if (Options.Kind == AcceptanceKind.SampleAndMatch) return;
        string[] names = [.. draft.Text.Split('+').Select(part => part.Split('=')[0])];
        if (draft.Options is null) throw new UsageException($"--accept {Text} decides about drafts, and --draft none makes none: name a drafter or leave it out.");
        if (names.Contains("oracle"))
            throw new UsageException($"--draft {draft.Text} drafts plain decoding's own answer, from which --accept {Text} departs: use --accept match or another drafter.");
        if (Options.Kind == AcceptanceKind.Divergence && !names.Contains("model"))
            throw new UsageException($"--accept {Text} compares distributions, and {draft.Text} draws from none: use --draft model=DIR.");
    }

    /// <summary>What one has to know before using the rule; null = nothing.</summary>
    /// <param name="draft">The drafter beside it.</param>
    public string? Note(DraftChoice draft)
    {
        if (!Options.IsLossless) return $"[--accept {Text} is lossy: answers are no longer the model's own]";
        if (Options.Kind == AcceptanceKind.SampleAndMatch) return null;
        return draft.Text == "auto"
            ? $"[--accept {Text} with --draft auto: who drafts depends on time, so sampled answers differ from run to run; name a drafter for answers that --seed repeats]"
            : null;
    }
}
