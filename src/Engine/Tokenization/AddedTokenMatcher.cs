using System.Globalization;
using System.Text;

namespace Foretoken.Tokenization;

/// <summary>
/// Finds added tokens in text: at the leftmost position the longest, without overlaps. A trie, so that the cost does not grow with their
/// number.
/// </summary>
internal sealed class AddedTokenMatcher
{
    private readonly List<Node> _nodes = [new()];
    private readonly HashSet<char> _first = [];

    public AddedTokenMatcher(IEnumerable<(string Pattern, AddedToken Token)> tokens)
    {
        foreach (var (pattern, token) in tokens)
        {
            int at = 0;
            foreach (char unit in pattern)
            {
                if (!_nodes[at].Children.TryGetValue(unit, out int child))
                {
                    child = _nodes.Count;
                    _nodes[at].Children.Add(unit, child);
                    _nodes.Add(new Node());
                }
                at = child;
            }
            _nodes[at].Token = token;
            _first.Add(pattern[0]);
        }
    }

    public bool IsEmpty => _first.Count == 0;

    /// <summary>
    /// The next match at or after <paramref name="from"/>, with the white space that it strips, or null. Text before <paramref name="from"/>
    /// belongs to earlier matches. <paramref name="protectedText"/> marks UTF-16 units (of the whole text, or none) that no control token may touch.
    /// </summary>
    public AddedTokenMatch? Next(ReadOnlySpan<char> text, int from, bool recognizeSpecialTokens, ReadOnlySpan<bool> protectedText)
    {
        for (int at = from; at < text.Length;)
        {
            if (!_first.Contains(text[at]) || Longest(text, at, protectedText, out int end) is not { } token)
            {
                at++;
                continue;
            }
            if (token.Special && !recognizeSpecialTokens || token.SingleWord && !StandsAlone(text, at, end))
            {
                at = end;
                continue;
            }
            int start = at;
            while (token.LeftStrip && start > from && char.IsWhiteSpace(text[start - 1]))
                start--;
            while (token.RightStrip && end < text.Length && char.IsWhiteSpace(text[end]))
                end++;
            return new AddedTokenMatch(start, end, token);
        }
        return null;
    }

    private AddedToken? Longest(ReadOnlySpan<char> text, int start, ReadOnlySpan<bool> protectedText, out int end)
    {
        AddedToken? longest = null;
        bool touchesProtected = false;
        end = start;
        int node = 0;
        for (int at = start; at < text.Length; at++)
        {
            if (!_nodes[node].Children.TryGetValue(text[at], out node))
                break;
            touchesProtected |= !protectedText.IsEmpty && protectedText[at];
            if (_nodes[node].Token is { } token && !(token.IsControl && touchesProtected))
                (longest, end) = (token, at + 1);
        }
        return longest;
    }

    private static bool StandsAlone(ReadOnlySpan<char> text, int start, int end)
    {
        bool wordBefore = Rune.DecodeLastFromUtf16(text[..start], out Rune before, out _) == System.Buffers.OperationStatus.Done && IsWord(before);
        bool wordAfter = Rune.DecodeFromUtf16(text[end..], out Rune after, out _) == System.Buffers.OperationStatus.Done && IsWord(after);
        return !wordBefore && !wordAfter;
    }

    /// <summary><c>\w</c> of Unicode regular expressions: letters, marks, decimal digits, letter numbers, connectors, join controls.</summary>
    private static bool IsWord(Rune rune) => rune.Value is 0x200C or 0x200D || Rune.GetUnicodeCategory(rune) is
        <= UnicodeCategory.OtherLetter or UnicodeCategory.NonSpacingMark or UnicodeCategory.SpacingCombiningMark or UnicodeCategory.EnclosingMark
        or UnicodeCategory.DecimalDigitNumber or UnicodeCategory.LetterNumber or UnicodeCategory.ConnectorPunctuation;

    private sealed class Node
    {
        public Dictionary<char, int> Children { get; } = [];

        public AddedToken? Token { get; set; }
    }
}

/// <summary>Where an added token stands in a text: [Start, End) in UTF-16 units, stripped white space included.</summary>
internal readonly record struct AddedTokenMatch(int Start, int End, AddedToken Token);
