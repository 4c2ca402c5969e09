using System.Globalization;
using System.Text;

namespace Foretoken.Tokenization;

/// <summary>
/// Canonical Unicode normalization (UAX #15), forms C and D. The runtime's own <c>string.Normalize</c> leaves text beyond ASCII unchanged
/// when globalization is invariant, as it is here, and a tokenizer must not depend on the host's ICU library in any case.
/// </summary>
internal static class UnicodeNormalization
{
    // Hangul syllables are composed by arithmetic: S = SBase + (L * VCount + V) * TCount + T.
    private const int SBase = 0xAC00, LBase = 0x1100, VBase = 0x1161, TBase = 0x11A7;
    private const int LCount = 19, VCount = 21, TCount = 28, SCount = LCount * VCount * TCount;

    private static readonly Dictionary<int, (int First, int Second)> s_decompositions = []; // Second is 0 for a single
    private static readonly Dictionary<(int First, int Second), int> s_compositions = [];
    private static readonly Dictionary<int, byte> s_classes = [];

    static UnicodeNormalization()
    {
        ReadDecompositions();
        ReadClasses();
    }

    /// <summary>Canonical decomposition followed by canonical composition; the same string if it is already in form C by a quick check.</summary>
    public static string ToFormC(string text) => text.AsSpan().IndexOfAnyInRange('\u0300', '\uFFFF') < 0 ? text : Compose(Decompose(text));

    /// <summary>Canonical decomposition with combining marks in canonical order.</summary>
    public static string ToFormD(string text) => text.AsSpan().IndexOfAnyInRange('\u0080', '\uFFFF') < 0 ? text : ToText(Decompose(text));

    private static List<int> Decompose(string text)
    {
        var codePoints = new List<int>(text.Length + 16);
        foreach (Rune rune in text.EnumerateRunes())
            AddDecomposed(rune.Value, codePoints);
        OrderMarks(codePoints);
        return codePoints;
    }

    private static void AddDecomposed(int codePoint, List<int> output)
    {
        if ((uint)(codePoint - SBase) < SCount)
        {
            int index = codePoint - SBase;
            output.Add(LBase + index / (VCount * TCount));
            output.Add(VBase + index % (VCount * TCount) / TCount);
            if (index % TCount != 0)
                output.Add(TBase + index % TCount);
        }
        else if (codePoint >= 0x80 && s_decompositions.TryGetValue(codePoint, out var parts))
        {
            AddDecomposed(parts.First, output);
            if (parts.Second != 0)
                AddDecomposed(parts.Second, output);
        }
        else
        {
            output.Add(codePoint);
        }
    }

    /// <summary>Sorts every run of combining marks by class, keeping the order of equals; n log n, because runs come from untrusted text.</summary>
    private static void OrderMarks(List<int> codePoints)
    {
        for (int start = 0; start < codePoints.Count; start++)
        {
            if (ClassOf(codePoints[start]) == 0)
                continue;
            int end = start + 1;
            bool ordered = true;
            for (; end < codePoints.Count && ClassOf(codePoints[end]) != 0; end++)
                ordered &= ClassOf(codePoints[end - 1]) <= ClassOf(codePoints[end]);
            if (!ordered)
            {
                int[] sorted = [.. codePoints.GetRange(start, end - start).OrderBy(ClassOf)];
                for (int i = start; i < end; i++)
                    codePoints[i] = sorted[i - start];
            }
            start = end - 1;
        }
    }

    private static string Compose(List<int> codePoints)
    {
        int starter = -1, count = 0, lastClass = 0;
        for (int i = 0; i < codePoints.Count; i++)
        {
            int codePoint = codePoints[i], markClass = ClassOf(codePoint);
            // A mark is blocked from the starter by one of equal or higher class (or a starter) in between.
            bool adjacent = starter == count - 1;
            bool blocked = starter < 0 || !adjacent && (lastClass >= markClass || lastClass == 0);
            if (!blocked && TryCompose(codePoints[starter], codePoint, out int composite))
            {
                codePoints[starter] = composite;
                continue;
            }
            if (markClass == 0)
                starter = count;
            lastClass = markClass;
            codePoints[count++] = codePoint;
        }
        codePoints.RemoveRange(count, codePoints.Count - count);
        return ToText(codePoints);
    }

    private static bool TryCompose(int first, int second, out int composite)
    {
        if ((uint)(first - LBase) < LCount && (uint)(second - VBase) < VCount)
        {
            composite = SBase + ((first - LBase) * VCount + (second - VBase)) * TCount;
            return true;
        }
        if ((uint)(first - SBase) < SCount && (first - SBase) % TCount == 0 && (uint)(second - TBase - 1) < TCount - 1)
        {
            composite = first + (second - TBase);
            return true;
        }
        return s_compositions.TryGetValue((first, second), out composite);
    }

    private static int ClassOf(int codePoint) => codePoint >= 0x300 && s_classes.TryGetValue(codePoint, out byte value) ? value : 0;

    private static string ToText(List<int> codePoints)
    {
        var text = new StringBuilder(codePoints.Count + 16);
        Span<char> units = stackalloc char[2];
        foreach (int codePoint in codePoints)
            text.Append(units[..new Rune(codePoint).EncodeToUtf16(units)]);
        return text.ToString();
    }

    private static void ReadDecompositions()
    {
        int codePoint = 0;
        foreach (string word in NormalizationData.Decompositions.Split(' '))
        {
            int mark = word.AsSpan().IndexOfAny('=', '-');
            codePoint += Hex(word.AsSpan(0, mark));
            ReadOnlySpan<char> parts = word.AsSpan(mark + 1);
            int plus = parts.IndexOf('+');
            int first = Hex(plus < 0 ? parts : parts[..plus]), second = plus < 0 ? 0 : Hex(parts[(plus + 1)..]);
            s_decompositions.Add(codePoint, (first, second));
            if (word[mark] == '=')
                s_compositions.Add((first, second), codePoint);
        }
    }

    private static void ReadClasses()
    {
        int codePoint = 0;
        foreach (string word in NormalizationData.CombiningClasses.Split(' '))
        {
            int colon = word.IndexOf(':', StringComparison.Ordinal), dot = word.IndexOf('.', StringComparison.Ordinal);
            codePoint += Hex(word.AsSpan(0, dot < 0 ? colon : dot));
            byte value = (byte)Hex(word.AsSpan(colon + 1));
            int more = dot < 0 ? 0 : Hex(word.AsSpan(dot + 1, colon - dot - 1));
            for (int i = 0; i <= more; i++)
                s_classes.Add(codePoint + i, value);
            codePoint += more;
        }
    }

    private static int Hex(ReadOnlySpan<char> digits) => int.Parse(digits, NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture);
}
