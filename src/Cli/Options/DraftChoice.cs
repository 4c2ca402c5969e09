using Foretoken.Models;
using Foretoken.Speculation;

namespace Foretoken.Cli.Options;

/// <summary>What <c>--draft</c> asks for: a drafter's name, with its settings behind an equals sign. Adding a drafter is one case in each method.</summary>
/// <param name="Text">As typed, for messages.</param>
/// <param name="Name">none, or oracle.</param>
internal sealed record DraftChoice(string Text, string Name)
{
    /// <summary>The words that are understood, for help and errors.</summary>
    public const string Syntax = "none, auto, oracle=A or oracle=A,K";

    private const int DefaultDepth = 4, MaximumDepth = 64;
    private static readonly string[] s_planned = ["ngram", "suffix", "model", "medusa", "eagle", "swift", "recycling"];

    public static DraftChoice None { get; } = new("none", "none");

    /// <summary>Probability that the oracle's draft of a token is right.</summary>
    public float Acceptance { get; private init; }

    /// <summary>Drafts of a step.</summary>
    public int Depth { get; private init; }

    /// <summary>Answers must be recorded by a plain run before they can be drafted.</summary>
    public bool Records => Name == "oracle";

    public static Flag<DraftChoice> Flag() => new(
        "--draft",
        "DRAFTER",
        "Who drafts tokens: none; auto, which has only none to choose from in this build; oracle=A,K, which runs every request plainly first and then drafts K tokens "
        + $"of its answer per step ({DefaultDepth} where ,K is left out), each right with probability A: what a drafter of that acceptance would be worth.",
        Parse,
        None);

    /// <exception cref="UsageException">An unknown drafter, or a setting out of range.</exception>
    public static DraftChoice Parse(string text, string source)
    {
        int equals = text.IndexOf('=', StringComparison.Ordinal);
        string name = equals < 0 ? text : text[..equals];
        string[] settings = equals < 0 ? [] : text[(equals + 1)..].Split(',');
        if (name is "none" or "auto" && equals < 0) return None;
        if (name == "oracle" && settings.Length is 1 or 2)
        {
            return new DraftChoice(text, name)
            {
                Acceptance = Options.Parse.Number(0, 1, "the share of drafts that are right, for example oracle=0.8.")(settings[0], $"{source}: the acceptance of oracle"),
                Depth = settings.Length == 1
                    ? DefaultDepth
                    : Options.Parse.Integer(1, MaximumDepth, "the drafts of a step, for example oracle=0.8,4.")(settings[1], $"{source}: the depth of oracle"),
            };
        }

        string rule = s_planned.Contains(name) ? "is not available in this build"
            : name == "oracle" ? "needs an acceptance, for example oracle=0.8"
            : name is "none" or "auto" ? "takes no settings" : "is unknown";
        throw new UsageException($"{source} {Options.Parse.Shown(text)} {rule}: available are {Syntax}.");
    }

    /// <summary>The drafter for the model at <paramref name="directory"/>; null for plain decoding.</summary>
    public IDrafter? Create(string directory)
    {
        if (Name != "oracle") return null;
        using ModelSource source = ModelLoader.Open(directory);
        return new OracleDrafter(new OracleOptions { VocabSize = source.Config.Shape.VocabSize, Acceptance = Acceptance, Depth = Depth });
    }
}
