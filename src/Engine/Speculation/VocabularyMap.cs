using System.Text;
using Foretoken.Tokenization;

namespace Foretoken.Speculation;

/// <summary>
/// Carries tokens between the vocabularies of a target and a draft model: the identity where they are the same, else by the text of the tokens. A target's
/// token without a counterpart becomes several tokens of the draft, longest first; a draft's token without a counterpart cannot be proposed.
/// </summary>
internal sealed class VocabularyMap
{
    private readonly int[]? _pieces;   // draft tokens of all target tokens, one after the other
    private readonly int[]? _starts;   // [target vocab + 1] first piece of each
    private readonly int[]? _toTarget; // [draft vocab] target token, or -1
    private readonly int _shared;      // of equal vocabularies: heads may be padded differently beyond it

    private VocabularyMap(int[] pieces, int[] starts, int[] toTarget) => (_pieces, _starts, _toTarget) = (pieces, starts, toTarget);

    private VocabularyMap(int shared) => _shared = shared;

    /// <summary>Most draft tokens of one target token.</summary>
    public int LongestToken => _starts is null ? 1 : Enumerable.Range(0, _starts.Length - 1).Max(i => _starts[i + 1] - _starts[i]);

    /// <summary>Whether no token changes its id.</summary>
    public bool IsIdentity => _toTarget is null;

    /// <summary>Draft tokens that <paramref name="token"/> of the target consists of; empty where it has no text that the draft knows.</summary>
    public ReadOnlySpan<int> Pieces(int token, Span<int> one)
    {
        if (_starts is not null) return _pieces.AsSpan(_starts[token].._starts[token + 1]);
        one[0] = token < _shared ? token : 0;
        return one[..1];
    }

    /// <summary>The target's token with the same text, or −1.</summary>
    public int ToTarget(int draftToken) => _toTarget is not null ? _toTarget[draftToken] : draftToken < _shared ? draftToken : -1;

    /// <summary>Compares the vocabularies.</summary>
    /// <param name="target">Null for a model without tokenizer.</param>
    /// <param name="targetVocab">Tokens that the target's head gives.</param>
    /// <param name="draft">Null for a model without tokenizer.</param>
    /// <param name="draftVocab">Tokens that the draft's head gives.</param>
    /// <param name="name">The draft, for messages.</param>
    /// <param name="byText">Whether different vocabularies are mapped.</param>
    /// <exception cref="DrafterException">They differ and may not be mapped, or cannot be.</exception>
    public static VocabularyMap Create(BpeTokenizer? target, int targetVocab, BpeTokenizer? draft, int draftVocab, string name, bool byText)
    {
        if (Difference(target, targetVocab, draft, draftVocab) is not { } difference) return new VocabularyMap(Math.Min(targetVocab, draftVocab));
        if (!byText)
        {
            throw new DrafterException(
                $"{name} has another vocabulary than the model it drafts for: {difference}. Use a draft of the same family, or ask for tokens to be mapped by their text.");
        }

        if (target is null || draft is null) throw new DrafterException($"{name}: tokens can be mapped by text only where both models have a tokenizer.");
        return ByText(target, targetVocab, draft, draftVocab, name);
    }

    private static string? Difference(BpeTokenizer? target, int targetVocab, BpeTokenizer? draft, int draftVocab)
    {
        if (target is null || draft is null) return targetVocab == draftVocab ? null : $"{draftVocab} tokens, not {targetVocab}";
        if (target.VocabularySize != draft.VocabularySize) return $"{draft.VocabularySize} tokens, not {target.VocabularySize}";
        if (Math.Min(targetVocab, draftVocab) < target.VocabularySize) return $"its head gives {draftVocab} tokens, the target's {targetVocab}";
        for (int id = 0; id < target.VocabularySize; id++)
        {
            if (target.IdToToken(id) != draft.IdToToken(id)) return $"token {id} is '{draft.IdToToken(id)}', not '{target.IdToToken(id)}'";
        }

        return null;
    }

    private static VocabularyMap ByText(BpeTokenizer target, int targetVocab, BpeTokenizer draft, int draftVocab, string name)
    {
        var ids = new Dictionary<string, int>(StringComparer.Ordinal);
        int longest = 0;
        for (int id = Math.Min(draftVocab, draft.VocabularySize) - 1; id >= 0; id--)
        {
            if (Text(draft, id) is not { Length: > 0 } text) continue;
            ids[text] = id;
            longest = Math.Max(longest, text.Length);
        }

        var toTarget = new int[draftVocab];
        toTarget.AsSpan().Fill(-1);
        var pieces = new List<int>();
        var starts = new int[targetVocab + 1];
        int shared = 0;
        for (int id = 0; id < targetVocab; id++)
        {
            if (id < target.VocabularySize && Text(target, id) is { Length: > 0 } text)
            {
                if (ids.TryGetValue(text, out int same))
                {
                    shared += toTarget[same] < 0 ? 1 : 0;
                    if (toTarget[same] < 0) toTarget[same] = id;
                    pieces.Add(same);
                }
                else
                {
                    Split(text, ids, longest, pieces);
                }
            }

            starts[id + 1] = pieces.Count;
        }

        if (shared == 0) throw new DrafterException($"{name} shares no token with the model it drafts for: use another draft.");
        return new VocabularyMap([.. pieces], starts, toTarget);
    }

    /// <summary>Bytes of a token as characters; special tokens by their names, apart from any text.</summary>
    private static string? Text(BpeTokenizer tokenizer, int id) =>
        tokenizer.IsSpecial(id) ? "\uFFFF" + tokenizer.IdToToken(id) : Encoding.Latin1.GetString(tokenizer.TokenBytes(id));

    private static void Split(string text, Dictionary<string, int> ids, int longest, List<int> pieces)
    {
        int first = pieces.Count;
        for (int at = 0; at < text.Length;)
        {
            int length = Math.Min(longest, text.Length - at), id = -1;
            while (length > 0 && !ids.TryGetValue(text.Substring(at, length), out id)) length--;
            if (length == 0)
            {
                pieces.RemoveRange(first, pieces.Count - first);
                return;
            }

            pieces.Add(id);
            at += length;
        }
    }
}
