using System.Globalization;
using Foretoken.KvCache;

namespace Foretoken.Cli.Options;

/// <summary>What <c>--kv</c> asks for: a policy's name, with its sizes behind an equals sign. Adding a policy is one case here.</summary>
/// <param name="Text">As typed.</param>
/// <param name="Policy">The policy.</param>
internal sealed record KvChoice(string Text, IEvictionPolicy Policy)
{
    /// <summary>The words that are understood, for help and errors.</summary>
    public const string Syntax = "dense, window=TOKENS, sinks=TOKENS, random=SHARE or random=SHARE,WINDOW";

    private const int DefaultTokens = 1024, DefaultRandomWindow = 128, MaximumTokens = 1 << 24;
    private const float DefaultShare = 0.5f;
    private const ulong RandomSeed = 0;
    private static readonly string[] s_planned = ["dms", "tova", "h2o", "snapkv"];

    public static Flag<KvChoice> Flag() => new(
        "--kv",
        "POLICY",
        $"What the cache keeps: dense, all of it; window=N, the last N tokens ({DefaultTokens} where =N is left out); sinks=N, the first {SinksPolicy.Sinks} and the last "
        + $"N-{SinksPolicy.Sinks}; random=S,W, a share S of the tokens and the last W ({Invariant(DefaultShare)},{DefaultRandomWindow}). All but dense lose quality.",
        Parse,
        new KvChoice("dense", new DensePolicy()));

    /// <exception cref="UsageException">An unknown policy, or a size out of range.</exception>
    public static KvChoice Parse(string text, string source)
    {
        int equals = text.IndexOf('=', StringComparison.Ordinal);
        string name = equals < 0 ? text : text[..equals];
        string[] sizes = equals < 0 ? [] : text[(equals + 1)..].Split(',');
        IEvictionPolicy? policy = (name, sizes.Length) switch
        {
            ("dense", 0) => new DensePolicy(),
            ("window", <= 1) => new SlidingWindowPolicy(Tokens(sizes, 0, 1, DefaultTokens, source, "window")),
            ("sinks", <= 1) => new SinksPolicy(Tokens(sizes, 0, SinksPolicy.Sinks + 1, DefaultTokens, source, "sinks")),
            ("random", <= 2) => new RandomPolicy(Share(sizes, source), Tokens(sizes, 1, 1, DefaultRandomWindow, source, "the window of random"), RandomSeed),
            _ => null,
        };
        if (policy is not null) return new KvChoice(text, policy);
        string rule = s_planned.Contains(name) ? "is not available in this build" : equals < 0 ? "is unknown" : "has sizes that it does not take";
        throw new UsageException($"{source} {Options.Parse.Shown(text)} {rule}: available are {Syntax}.");
    }

    private static int Tokens(string[] sizes, int index, int minimum, int fallback, string source, string what) => index >= sizes.Length
        ? fallback
        : Options.Parse.Integer(minimum, MaximumTokens, $"for example {fallback.ToString(CultureInfo.InvariantCulture)}.")(sizes[index], $"{source}: {what}");

    private static float Share(string[] sizes, string source) =>
        sizes.Length == 0 ? DefaultShare : Options.Parse.Number(0, 1, "the share of tokens that stay, for example 0.25.")(sizes[0], $"{source}: the share of random");

    private static string Invariant(float value) => value.ToString(CultureInfo.InvariantCulture);
}
