using System.Text;

namespace Foretoken.Tokenization;

/// <summary>Unpaired surrogates are not text and have no UTF-8; they are read as U+FFFD.</summary>
internal static class WellFormedText
{
    /// <summary>The text itself if it is well-formed UTF-16, else a copy of the same length with U+FFFD for every unpaired surrogate.</summary>
    public static ReadOnlySpan<char> Repair(ReadOnlySpan<char> text)
    {
        if (IsWellFormed(text))
            return text;
        var repaired = new StringBuilder(text.Length);
        foreach (Rune rune in text.EnumerateRunes())
            repaired.Append(rune.ToString());
        return repaired.ToString();
    }

    private static bool IsWellFormed(ReadOnlySpan<char> text)
    {
        for (int at = 0; ; at += 2)
        {
            int next = text[at..].IndexOfAnyInRange('\uD800', '\uDFFF');
            if (next < 0)
                return true;
            at += next;
            if (at + 1 >= text.Length || !char.IsSurrogatePair(text[at], text[at + 1]))
                return false;
        }
    }
}
