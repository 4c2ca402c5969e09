using System.Text.RegularExpressions;

namespace Foretoken.Training.Tasks;

/// <summary>
/// Recognises the wordings of arithmetic that are kept for evaluation, whatever their names, numbers and things: case and punctuation do not
/// count, and a text that only contains such a wording is recognised too.
/// </summary>
internal static partial class HeldOutWordings
{
    private static readonly HashSet<string> s_names = [.. Words.Names.Select(name => name.ToLowerInvariant())];
    private static readonly HashSet<string> s_things = [.. StoryGrammar.Things, .. Words.Counted.Select(thing => thing + "s")];
    private static readonly string[] s_normalized = [.. Templates().Select(Normalize).Distinct()];

    /// <summary>Whether the prompt holds a wording that training must not show.</summary>
    public static bool Contains(string prompt)
    {
        string text = Normalize(prompt);
        return s_normalized.Any(template => text.Contains(template, StringComparison.Ordinal));
    }

    /// <summary>Every held-out wording filled in once: stories, requests, nouns, and frames around an expression or any noun.</summary>
    public static IEnumerable<string> Templates()
    {
        IEnumerable<string> nouns = ArithmeticPhrases.Nouns.Values.SelectMany(set => set.Seen.Concat(set.HeldOut)).Append("12 + 3");
        IEnumerable<string> frames = ArithmeticPhrases.Frames.HeldOut.SelectMany(frame => nouns.Select(noun => frame.Replace("{0}", noun, StringComparison.Ordinal)));
        return ArithmeticPhrases.Stories.Values.Concat(ArithmeticPhrases.Requests.Values).Concat(ArithmeticPhrases.Nouns.Values)
            .SelectMany(set => set.HeldOut).Concat(frames).Select(Fill);
    }

    /// <summary>Lower-case words between spaces; names, things and numbers or written expressions become one mark each.</summary>
    public static string Normalize(string text)
    {
        string written = WrittenExpression().Replace(text.ToLowerInvariant(), "#");
        IEnumerable<string> words = Word().Matches(written).Select(match => s_names.Contains(match.Value) ? "@" : s_things.Contains(match.Value) ? "%" : match.Value);
        return " " + string.Join(' ', words) + " ";
    }

    private static string Fill(string template) => Letter().Replace(template, match => match.Value switch
    {
        "{n}" => Words.Names[0],
        "{m}" => Words.Names[1],
        "{i}" => Words.Counted[0] + "s",
        _ => "12",
    });

    [GeneratedRegex(@"\(*\d+\)*(\s*[-+*/x]\s*\(*\d+\)*)*")]
    private static partial Regex WrittenExpression();

    [GeneratedRegex(@"[a-z']+|#")]
    private static partial Regex Word();

    [GeneratedRegex(@"\{[a-z]\}")]
    private static partial Regex Letter();
}
