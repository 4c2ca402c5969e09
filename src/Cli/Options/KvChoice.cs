using System.Globalization;
using Foretoken.KvCache;
using Foretoken.Models;

namespace Foretoken.Cli.Options;

/// <summary>What <c>--kv</c> asks for: a policy's name, with its sizes behind an equals sign. Adding a policy is one case here.</summary>
/// <param name="Text">As typed.</param>
/// <param name="Policy">The policy; null = the model decides.</param>
/// <param name="Decisions">Where the model's decisions come from, if not from its own files or the folder beside it; else null.</param>
internal sealed record KvChoice(string Text, IEvictionPolicy? Policy, string? Decisions = null)
{
    /// <summary>The words that are understood, for help and errors.</summary>
    public const string Syntax = "dense, dms, dms=DIR, dms-random=CR,WINDOW, window=TOKENS, sinks=TOKENS, tova=TOKENS, h2o=TOKENS, snapkv=TOKENS, random=SHARE or random=SHARE,WINDOW";

    /// <summary>What the name of the folder with a model's decisions ends with, where it stands beside the model.</summary>
    private const string FolderSuffix = "-dms";

    private const int DefaultTokens = 1024, DefaultRandomWindow = 128, MaximumTokens = 1 << 24;
    private const float DefaultShare = 0.5f;
    private const ulong RandomSeed = 0;
    /// <summary>Keeps something less than everything.</summary>
    public bool Evicts => Policy is not { Evicts: false };

    public static Flag<KvChoice> Flag() => new(
        "--kv",
        "POLICY",
        "What the cache keeps: dense, all of it; dms, what the model decides, if it was trained to or a folder of its name and -dms with an adapter stands beside it (dms=DIR names "
        + $"the folder); dms-random=C,W, one in C tokens beside the last W, drawn at random; window=N, the last N tokens ({DefaultTokens} where =N is left out); sinks=N, the first {SinksPolicy.Sinks} and the last "
        + $"N-{SinksPolicy.Sinks}; tova=N, h2o=N and snapkv=N, N tokens by the attention that they were given (without drafts); random=S,W, a share S of the tokens and the last W ({Invariant(DefaultShare)},{DefaultRandomWindow}). All but dense and dms lose quality.",
        Parse,
        new KvChoice("dense", new DensePolicy()));

    /// <summary>
    /// Finds the model's decisions: in the model itself, in the folder that was named, or in the folder beside the model. Such a folder holds an adapter, or a
    /// whole model, which then is run in place of the first.
    /// </summary>
    /// <param name="model">Folder or file of the model.</param>
    /// <param name="host">Knows where shipped models are.</param>
    /// <returns>The model to run, and the folder of the adapter or null.</returns>
    /// <exception cref="RunException">There are no decisions.</exception>
    public (string Model, string? Adapter) Locate(string model, CliHost host)
    {
        if (Policy is not null) return (model, null);
        string folder;
        if (Decisions is { } given)
        {
            folder = Directory.Exists(given) ? given : Path.Combine(host.BaseDirectory, "models", given);
            if (!Directory.Exists(folder)) throw new RunException($"--kv {Text}: there is no folder {given}, nor a shipped one of this name. Check the path, or choose another policy.");
        }
        else
        {
            if (Directory.Exists(model) && ModelConfig.Read(model).Dms is not null) return (model, null);
            folder = Path.TrimEndingDirectorySeparator(model) + FolderSuffix;
            if (!Directory.Exists(folder))
            {
                throw new RunException(
                    $"--kv dms: {model} was not trained to decide what its cache evicts, and there is no folder {folder} with an adapter: "
                    + "give --kv dms=DIR, train one with 'foretoken train models/recipes/reasoner-dms.json', or choose another policy.");
            }
        }

        return DmsAdapterSource.IsAdapter(folder) ? (model, folder) : (folder, null);
    }

    /// <exception cref="UsageException">An unknown policy, or a size out of range.</exception>
    public static KvChoice Parse(string text, string source)
    {
        int equals = text.IndexOf('=', StringComparison.Ordinal);
        string name = equals < 0 ? text : text[..equals];
        string[] sizes = equals < 0 ? [] : text[(equals + 1)..].Split(',');
        if (name == "dms" && (equals < 0 || text.Length > equals + 1)) return new KvChoice(text, null, equals < 0 ? null : text[(equals + 1)..]);
        IEvictionPolicy? policy = (name, sizes.Length) switch
        {
            ("dense", 0) => new DensePolicy(),
            ("dms-random", 2) => new DmsPolicy(
                Tokens(sizes, 1, 1, DefaultRandomWindow, source, "the window of dms-random"), SyntheticDecisions.ForCompression(RandomSeed, Compression(sizes, source))),
            ("window", <= 1) => new SlidingWindowPolicy(Tokens(sizes, 0, 1, DefaultTokens, source, "window")),
            ("sinks", <= 1) => new SinksPolicy(Tokens(sizes, 0, SinksPolicy.Sinks + 1, DefaultTokens, source, "sinks")),
            ("tova", <= 1) => new TovaPolicy(Tokens(sizes, 0, 2, DefaultTokens, source, name)),
            ("h2o", <= 1) => new H2oPolicy(Tokens(sizes, 0, 2, DefaultTokens, source, name)),
            ("snapkv", <= 1) => new SnapKvPolicy(Tokens(sizes, 0, 2, DefaultTokens, source, name)),
            ("random", <= 2) => new RandomPolicy(Share(sizes, source), Tokens(sizes, 1, 1, DefaultRandomWindow, source, "the window of random"), RandomSeed),
            _ => null,
        };
        if (policy is not null) return new KvChoice(text, policy);
        string rule = equals < 0 ? "is unknown" : "has sizes that it does not take";
        throw new UsageException($"{source} {Options.Parse.Shown(text)} {rule}: available are {Syntax}.");
    }

    private static int Tokens(string[] sizes, int index, int minimum, int fallback, string source, string what) => index >= sizes.Length
        ? fallback
        : Options.Parse.Integer(minimum, MaximumTokens, $"for example {fallback.ToString(CultureInfo.InvariantCulture)}.")(sizes[index], $"{source}: {what}");

    private static float Share(string[] sizes, string source) =>
        sizes.Length == 0 ? DefaultShare : Options.Parse.Number(0, 1, "the share of tokens that stay, for example 0.25.")(sizes[0], $"{source}: the share of random");

    private static float Compression(string[] sizes, string source) =>
        Options.Parse.Number(1, 1e6f, "how many tokens one survivor stands for, for example 8.")(sizes[0], $"{source}: the compression of dms-random");

    private static string Invariant(float value) => value.ToString(CultureInfo.InvariantCulture);
}
