using System.Text;

namespace Foretoken.Tokenization;

/// <summary>The state of one encoding: the output, and where tokens end if that is asked for.</summary>
/// <param name="model">The BPE model.</param>
/// <param name="output">Receives the token ids.</param>
/// <param name="ends">
/// If not null, receives for each token where it ends in the normalized text, in UTF-16 units; -1 where it ends inside a character or the
/// place is not known (inside a word with unknown symbols).
/// </param>
internal sealed class EncodeRun(BpeModel model, List<int> output, List<int>? ends = null)
{
    private readonly BpeScratch _scratch = BpeScratch.Current;

    private int _position; // where the part being encoded starts in the normalized text

    /// <summary>If not null, receives the normalized text.</summary>
    public StringBuilder? NormalizedText { get; init; }

    /// <summary>True while the part being encoded is the beginning of the original text.</summary>
    public bool StartsText { get; private set; }

    /// <summary>Cuts normalized text without added tokens into words and encodes them.</summary>
    public void EncodePlain(ReadOnlySpan<char> text, bool startsText, PreTokenizer[] stages)
    {
        StartsText = startsText;
        new WordFlow(stages, 0, this).Pass(text, 0);
        Advance(text);
    }

    /// <summary>Encodes a word that starts at <paramref name="offset"/> of the part being encoded.</summary>
    public void EncodeWord(ReadOnlySpan<char> word, int offset)
    {
        int first = output.Count;
        model.Encode(word, output, _scratch);
        if (ends is not null)
            AddEnds(word, _position + offset, first);
    }

    /// <summary>Adds the added token that stands for <paramref name="text"/>.</summary>
    public void AddToken(int id, ReadOnlySpan<char> text)
    {
        Advance(text);
        output.Add(id);
        ends?.Add(_position);
    }

    private void Advance(ReadOnlySpan<char> text)
    {
        _position += text.Length;
        NormalizedText?.Append(text);
    }

    private void AddEnds(ReadOnlySpan<char> word, int start, int first)
    {
        int total = 0;
        for (int i = first; i < output.Count; i++)
            total += model.SourceBytes(output[i]);
        bool aligned = total == Encoding.UTF8.GetByteCount(word);
        int units = 0, pending = 0; // bytes of tokens that do not complete a character yet
        for (int i = first; i < output.Count; i++)
        {
            pending += model.SourceBytes(output[i]);
            for (int width; aligned && units < word.Length && pending >= (width = Utf8Width(word[units])); pending -= width)
                units += width == 4 ? 2 : 1;
            int end = i == output.Count - 1 ? word.Length : aligned && pending == 0 ? units : -1;
            ends!.Add(end < 0 ? -1 : Math.Max(0, start + end));
        }
    }

    private static int Utf8Width(char first) => char.IsHighSurrogate(first) ? 4 : first < 0x80 ? 1 : first < 0x800 ? 2 : 3;
}
