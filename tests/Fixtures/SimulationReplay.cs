using System.Globalization;

namespace Foretoken.Tests.Fixtures;

/// <summary>
/// Names one random history, so that a failure can be run again alone: <c>kind:seed/more/…</c>, as failures print it. The environment variable
/// <see cref="Variable"/> has the replay tests run it (<c>dotnet test --filter Replay</c>); without it they have nothing to do.
/// </summary>
public sealed record SimulationReplay(string Kind, params IReadOnlyList<string> Values)
{
    public const string Variable = "FORETOKEN_SIMULATE";

    /// <summary>What the environment asks for; null = nothing.</summary>
    public static SimulationReplay? FromEnvironment() => Environment.GetEnvironmentVariable(Variable) is { Length: > 0 } text ? Parse(text) : null;

    /// <exception cref="FormatException">The text is not of the form <c>kind:value/value</c>.</exception>
    public static SimulationReplay Parse(string text)
    {
        int colon = text.IndexOf(':', StringComparison.Ordinal);
        return colon > 0 && colon + 1 < text.Length
            ? new SimulationReplay(text[..colon], text[(colon + 1)..].Split('/'))
            : throw new FormatException($"{Variable} is '{text}': give what a failure printed, for example scheduler:17/0/dms/None.");
    }

    /// <exception cref="FormatException">The first value is no number.</exception>
    public ulong Seed => ulong.TryParse(Values[0], NumberStyles.None, CultureInfo.InvariantCulture, out ulong seed)
        ? seed
        : throw new FormatException($"{Variable} is '{this}': its first value, '{Values[0]}', must be a seed, as failures print it.");

    public override string ToString() => $"{Kind}:{string.Join('/', Values)}";
}
