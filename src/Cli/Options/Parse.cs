using System.Globalization;

namespace Foretoken.Cli.Options;

/// <summary>Parsers of flag values. Numbers are read invariantly; every range is checked here, before any work begins.</summary>
internal static class Parse
{
    public static string Text(string text, string source) => text;

    /// <summary>A path or name that is not empty.</summary>
    public static string NotEmpty(string text, string source) =>
        text.Length > 0 ? text : throw new UsageException($"{source} is empty: give a value or leave the flag out.");

    /// <summary>An integer in [<paramref name="minimum"/>, <paramref name="maximum"/>].</summary>
    public static FlagParser<int> Integer(int minimum, int maximum, string remedy) => (text, source) =>
        int.TryParse(text, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out int value) && value >= minimum && value <= maximum
            ? value
            : throw new UsageException($"{source} must be an integer from {minimum} to {maximum}, not '{Shown(text)}': {remedy}");

    /// <summary>A finite number in [<paramref name="minimum"/>, <paramref name="maximum"/>].</summary>
    public static FlagParser<float> Number(float minimum, float maximum, string remedy) => (text, source) =>
        float.TryParse(text, NumberStyles.Float, CultureInfo.InvariantCulture, out float value) && value >= minimum && value <= maximum
            ? value
            : throw new UsageException(string.Create(
                CultureInfo.InvariantCulture, $"{source} must be a number from {minimum} to {maximum}, not '{Shown(text)}': {remedy}"));

    /// <summary>A seed: any unsigned 64-bit integer.</summary>
    public static ulong Seed(string text, string source) =>
        ulong.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out ulong value)
            ? value
            : throw new UsageException($"{source} must be an integer from 0 to {ulong.MaxValue}, not '{Shown(text)}': leave it out for seed 0.");

    /// <summary>Ascending list of integers, for example <c>1,2,4,8</c>.</summary>
    public static FlagParser<int[]> IntegerList(int minimum, int maximum, string remedy)
    {
        FlagParser<int> one = Integer(minimum, maximum, remedy);
        return (text, source) => [.. text.Split(',').Select(part => one(part.Trim(), source))];
    }

    /// <summary>One of several words.</summary>
    /// <param name="available">Words that this build understands, each with its value.</param>
    /// <param name="planned">Words of the command-line contract that this build does not offer.</param>
    public static FlagParser<T> Choice<T>(IReadOnlyDictionary<string, T> available, params string[] planned) => (text, source) =>
    {
        if (available.TryGetValue(text, out T? value)) return value;
        string word = text.Split('=')[0];
        string rule = planned.Contains(word) ? $"{source} {Shown(text)} is not available in this build" : $"{source} does not know '{Shown(text)}'";
        throw new UsageException($"{rule}: available {(available.Count == 1 ? "is" : "are")} {string.Join(", ", available.Keys)}.");
    };

    /// <summary>A value as it stands in messages.</summary>
    public static string Shown(string text) => text.Length <= 60 ? text : text[..57] + "...";
}
