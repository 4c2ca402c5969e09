using System.Text;

namespace Foretoken.Tokenization;

/// <summary>A text and which of its UTF-16 units came from untrusted input (null: none), so that no control token is matched in them.</summary>
internal readonly record struct MarkedText(string Text, bool[]? Protected = null)
{
    public static implicit operator MarkedText(string text) => new(text);

    /// <summary>The text after a rewriting whose alignment is not known: all of it is protected if any of it was.</summary>
    public MarkedText RewrittenAs(string text)
    {
        if (Protected is null || text == Text)
            return this with { Text = text };
        var marks = new bool[text.Length];
        Array.Fill(marks, Protected.Contains(true));
        return new MarkedText(text, marks);
    }

    public MarkedText Slice(int start, int end) => new(Text[start..end], Protected?[start..end]);
}

/// <summary>One rewriting of the text before it is cut into words.</summary>
internal abstract class Normalizer
{
    public abstract MarkedText Apply(MarkedText text);
}

internal sealed class SequenceNormalizer(IReadOnlyList<Normalizer> steps) : Normalizer
{
    public override MarkedText Apply(MarkedText text) => steps.Aggregate(text, (present, step) => step.Apply(present));
}

/// <summary>A rewriting of the whole text: Unicode forms, lower case.</summary>
internal sealed class RewritingNormalizer(Func<string, string> rewrite) : Normalizer
{
    public override MarkedText Apply(MarkedText text) => text.RewrittenAs(rewrite(text.Text));

    /// <summary>Lower case code point by code point, without regard to context (so Σ is σ even at the end of a word); İ keeps its dot.</summary>
    public static string ToLower(string text)
    {
        var lower = new StringBuilder(text.Length);
        foreach (Rune rune in text.EnumerateRunes())
            lower.Append(rune.Value == 0x130 ? "i\u0307" : Rune.ToLowerInvariant(rune).ToString());
        return lower.ToString();
    }
}

/// <summary>Puts a string in front of every text that is not empty.</summary>
internal sealed class PrependNormalizer(string prefix) : Normalizer
{
    public override MarkedText Apply(MarkedText text) =>
        text.Text.Length == 0 ? text : new MarkedText(prefix + text.Text, text.Protected is null ? null
            : [.. new bool[prefix.Length], .. text.Protected]);
}

/// <summary>Replaces every occurrence of a string.</summary>
internal sealed class ReplaceNormalizer(string pattern, string content) : Normalizer
{
    public override MarkedText Apply(MarkedText text)
    {
        if (text.Protected is null)
            return text.Text.Replace(pattern, content, StringComparison.Ordinal);
        var result = new StringBuilder();
        var marks = new List<bool>();
        for (int at = 0; at < text.Text.Length;)
        {
            int found = text.Text.IndexOf(pattern, at, StringComparison.Ordinal);
            int end = found < 0 ? text.Text.Length : found;
            result.Append(text.Text, at, end - at);
            marks.AddRange(text.Protected.AsSpan(at, end - at));
            if (found < 0)
                break;
            result.Append(content);
            marks.AddRange(Enumerable.Repeat(text.Protected.AsSpan(found, pattern.Length).Contains(true), content.Length));
            at = found + pattern.Length;
        }
        return new MarkedText(result.ToString(), [.. marks]);
    }
}

/// <summary>Removes white space at the ends.</summary>
internal sealed class StripNormalizer(bool left, bool right) : Normalizer
{
    public override MarkedText Apply(MarkedText text)
    {
        int start = 0, end = text.Text.Length;
        while (left && start < end && char.IsWhiteSpace(text.Text[start]))
            start++;
        while (right && end > start && char.IsWhiteSpace(text.Text[end - 1]))
            end--;
        return text.Slice(start, end);
    }
}
