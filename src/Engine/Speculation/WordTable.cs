using System.Text;
using Foretoken.Memory;
using Foretoken.Tokenization;

namespace Foretoken.Speculation;

/// <summary>
/// Which tokens of a vocabulary are words or parts of them, and how each word is written without the space before it: the tokens of " cat" and of "cat" share
/// nothing, though one text may well copy the word from the other. A token is part of a word if, apart from one space before it, it holds letters only or digits only.
/// </summary>
internal sealed class WordTable
{
    /// <summary>Most tokens that a word is written with; longer ones stand for themselves.</summary>
    public const int MaxPieces = 4;

    private readonly WordKind[] _kinds;  // [vocab]
    private readonly int[] _starts;      // [vocab + 1] of a token's pieces
    private readonly int[] _pieces;

    public WordTable(BpeTokenizer tokenizer, MemoryPlan plan)
    {
        int vocabSize = tokenizer.VocabularySize;
        _kinds = new WordKind[vocabSize];
        _starts = new int[vocabSize + 1];
        var pieces = new List<int>(vocabSize + vocabSize / 2);
        var written = new List<int>();
        for (int token = 0; token < vocabSize; token++)
        {
            _starts[token] = pieces.Count;
            ReadOnlySpan<byte> text = !tokenizer.IsSpecial(token) ? tokenizer.TokenBytes(token) : default;
            bool spaced = text.Length > 1 && text[0] == ' ';
            if (spaced) text = text[1..];
            written.Clear();
            if (IsWord(text))
            {
                _kinds[token] = spaced ? WordKind.Spaced : WordKind.Bare;
                if (spaced) tokenizer.EncodeToIds(Encoding.UTF8.GetString(text), written, recognizeSpecialTokens: false);
            }

            if (written.Count is 0 or > MaxPieces) pieces.Add(token);
            else pieces.AddRange(written);
        }

        _starts[vocabSize] = pieces.Count;
        _pieces = [.. pieces];
        plan.Add("speculation", "words of the vocabulary", $"[vocab {vocabSize}] kind u8, start i32, [pieces {_pieces.Length}] i32", vocabSize * 5L + _pieces.Length * 4L);
    }

    public WordKind KindOf(int token) => (uint)token < (uint)_kinds.Length ? _kinds[token] : WordKind.None;

    /// <summary>The tokens that write the same word without a space before it.</summary>
    public ReadOnlySpan<int> PiecesOf(int token) => _pieces.AsSpan(_starts[token].._starts[token + 1]);

    private static bool IsWord(ReadOnlySpan<byte> text) =>
        !text.IsEmpty && (text.IndexOfAnyExceptInRange((byte)'0', (byte)'9') < 0 || AllLetters(text));

    private static bool AllLetters(ReadOnlySpan<byte> text)
    {
        foreach (byte b in text)
        {
            if (b < 0x80 && !char.IsAsciiLetter((char)b)) return false; // bytes of other scripts count as letters
        }

        return true;
    }
}

/// <summary>What a token is to a word.</summary>
internal enum WordKind : byte
{
    /// <summary>Punctuation, a line break, a control token.</summary>
    None,

    /// <summary>A word, its beginning or a part of one, without space.</summary>
    Bare,

    /// <summary>A word or its beginning, with a space before it.</summary>
    Spaced,
}
