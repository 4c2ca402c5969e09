using Foretoken.Cli.Options;
using Foretoken.Models.Export;

namespace Foretoken.Cli.Commands;

/// <summary>Flags of the commands that write models.</summary>
internal static class ConversionFlags
{
    /// <summary>The types that matrices are written in.</summary>
    /// <param name="fallback">What is taken without the flag, for the help text.</param>
    public static Flag<WeightMix?> Type(string fallback) => new(
        "--type", "TYPE", $"Weights in the file: {string.Join(", ", WeightMix.All.Select(m => m.Name))}. {fallback}",
        (text, source) => WeightMix.Find(text is "q4_k" ? "q4_k_m" : text)
            ?? throw new UsageException($"{source} does not know '{text}': available are {string.Join(", ", WeightMix.All.Select(m => m.Name))}."),
        null);
}
