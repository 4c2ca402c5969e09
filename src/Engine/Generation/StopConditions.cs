using System.Text;
using Foretoken.Speculation;

namespace Foretoken.Generation;

/// <summary>The bytes of text that the next token of an answer completes, as an incremental detokenizer gives them.</summary>
public delegate ReadOnlySpan<byte> TokenText(int token);

/// <summary>
/// Watches one answer for stop tokens and stop strings. Stop strings are matched byte by byte (Knuth, Morris, Pratt), so that they are found across
/// token boundaries; bytes that may be the beginning of one are held back. All state is made with the request; <see cref="Accept"/> allocates nothing.
/// </summary>
public sealed class StopConditions : IAnswerEnd
{
    private readonly int[] _stopTokens;
    private readonly byte[][] _patterns;  // stop strings as UTF-8
    private readonly int[][] _fallbacks;  // [pattern][k] longest proper border of its first k + 1 bytes
    private readonly int[] _matched;      // [pattern] bytes of the pattern that the text now ends with
    private readonly TokenText? _text;    // null without stop strings
    private long _bytes;

    /// <summary>A <see cref="ShownBytes"/> without any limit.</summary>
    public const long All = long.MaxValue;

    /// <param name="stopTokens">Tokens that end the answer.</param>
    /// <param name="stopStrings">Texts that end the answer, not empty.</param>
    /// <param name="text">This answer's own detokenizer; needed only for stop strings.</param>
    public StopConditions(IEnumerable<int> stopTokens, IReadOnlyList<string> stopStrings, TokenText? text = null)
    {
        if (stopStrings.Count > 0) ArgumentNullException.ThrowIfNull(text);
        _stopTokens = stopTokens.Distinct().ToArray();
        _patterns = stopStrings.Select(Encoding.UTF8.GetBytes).ToArray();
        _fallbacks = _patterns.Select(Borders).ToArray();
        _matched = new int[_patterns.Length];
        _text = stopStrings.Count > 0 ? text : null;
        ShownBytes = _text is null ? All : 0;
    }

    /// <summary>Bytes of the answer's text that may be shown: what precedes a stop string or its possible beginning, or <see cref="All"/>.</summary>
    public long ShownBytes { get; private set; }

    /// <summary>Whether a stop token ended the answer; its own text is not shown.</summary>
    public bool EndedByToken { get; private set; }

    /// <summary>Takes the next token of the answer.</summary>
    /// <returns>True if the answer ends with it.</returns>
    public bool Accept(int token)
    {
        if (Array.IndexOf(_stopTokens, token) >= 0)
        {
            EndedByToken = true;
            ShownBytes = All;
            return true;
        }

        if (_text is null) return false;
        foreach (byte b in _text(token))
        {
            _bytes++;
            int longest = Advance(b);
            if (longest == 0) continue;
            ShownBytes = _bytes - longest;
            return true;
        }

        int held = 0;
        foreach (int matched in _matched) held = Math.Max(held, matched);
        ShownBytes = _bytes - held;
        return false;
    }

    /// <summary>Releases what was held back: the answer ended without the rest of a stop string.</summary>
    public void Flush() => ShownBytes = All;

    /// <summary>Advances every pattern by a byte; returns the length of the longest one that is now complete, or 0.</summary>
    private int Advance(byte b)
    {
        int longest = 0;
        for (int p = 0; p < _patterns.Length; p++)
        {
            byte[] pattern = _patterns[p];
            int matched = _matched[p];
            while (matched > 0 && pattern[matched] != b) matched = _fallbacks[p][matched - 1];
            if (pattern[matched] == b) matched++;
            if (matched == pattern.Length) longest = Math.Max(longest, matched);
            _matched[p] = matched;
        }

        return longest;
    }

    private static int[] Borders(byte[] pattern)
    {
        var borders = new int[pattern.Length];
        for (int i = 1, border = 0; i < pattern.Length; i++)
        {
            while (border > 0 && pattern[i] != pattern[border]) border = borders[border - 1];
            if (pattern[i] == pattern[border]) border++;
            borders[i] = border;
        }

        return borders;
    }
}
