namespace Foretoken.Tokenization;

/// <summary>One stage that cuts text into words (and may rewrite it); stages follow each other through <see cref="WordFlow"/>.</summary>
internal abstract class PreTokenizer
{
    /// <summary>
    /// Passes the pieces of <paramref name="text"/>, which starts at <paramref name="offset"/> of the segment, to <paramref name="next"/>.
    /// </summary>
    public abstract void Apply(ReadOnlySpan<char> text, int offset, WordFlow next);
}

/// <summary>The stages that a piece of text has still to pass; after the last one it is encoded as a word.</summary>
internal readonly struct WordFlow(PreTokenizer[] stages, int stage, EncodeRun run)
{
    /// <summary>True for the piece at the very beginning of the original text.</summary>
    public bool StartsText(int offset) => offset == 0 && run.StartsText;

    /// <param name="piece">A piece of text; an empty one is dropped.</param>
    /// <param name="offset">Where it starts in the segment, in UTF-16 units; less by what was put in front of it.</param>
    public void Pass(ReadOnlySpan<char> piece, int offset)
    {
        if (piece.IsEmpty)
            return;
        if (stage == stages.Length)
            run.EncodeWord(piece, offset);
        else
            stages[stage].Apply(piece, offset, new WordFlow(stages, stage + 1, run));
    }
}

/// <summary>Cuts text by a published pattern; every match is a word.</summary>
internal sealed class PatternPreTokenizer(SplitPattern pattern) : PreTokenizer
{
    public SplitPattern Pattern => pattern;

    public override void Apply(ReadOnlySpan<char> text, int offset, WordFlow next)
    {
        for (int start = 0; start < text.Length;)
        {
            int end = pattern.NextEnd(text, start);
            next.Pass(text[start..end], offset + start);
            start = end;
        }
    }
}

/// <summary>What happens to the separators when text is cut at them.</summary>
internal enum SplitBehavior
{
    Removed,
    Isolated,
    MergedWithPrevious,
    MergedWithNext,
    Contiguous,
}

/// <summary>Cuts text at every occurrence of a string.</summary>
internal sealed class LiteralPreTokenizer(string separator, SplitBehavior behavior) : PreTokenizer
{
    public override void Apply(ReadOnlySpan<char> text, int offset, WordFlow next)
    {
        int pieceStart = 0; // what is not passed on yet
        for (int at = 0; at < text.Length;)
        {
            int found = text[at..].IndexOf(separator, StringComparison.Ordinal);
            if (found < 0)
                break;
            int start = at + found, end = start + separator.Length;
            switch (behavior)
            {
                case SplitBehavior.MergedWithPrevious:
                    next.Pass(text[pieceStart..end], offset + pieceStart);
                    pieceStart = end;
                    break;
                case SplitBehavior.MergedWithNext:
                    next.Pass(text[pieceStart..start], offset + pieceStart);
                    pieceStart = start;
                    break;
                default:
                    next.Pass(text[pieceStart..start], offset + pieceStart);
                    while (behavior == SplitBehavior.Contiguous && text[end..].StartsWith(separator, StringComparison.Ordinal))
                        end += separator.Length;
                    if (behavior != SplitBehavior.Removed)
                        next.Pass(text[start..end], offset + start);
                    pieceStart = end;
                    break;
            }
            at = end;
        }
        next.Pass(text[pieceStart..], offset + pieceStart);
    }
}

/// <summary>Separates numbers from the rest, each digit by itself or in runs.</summary>
internal sealed class DigitsPreTokenizer(bool individual) : PreTokenizer
{
    public bool Individual => individual;

    public override void Apply(ReadOnlySpan<char> text, int offset, WordFlow next)
    {
        int pieceStart = 0;
        for (int at = 0; at < text.Length;)
        {
            if (CharacterClasses.At(text, at, out int length) != CharacterClass.Number)
            {
                at += length;
                continue;
            }
            next.Pass(text[pieceStart..at], offset + pieceStart);
            int end = individual ? at + length : CharacterClasses.EndOfRun(text, at, CharacterClass.Number);
            next.Pass(text[at..end], offset + at);
            pieceStart = at = end;
        }
        next.Pass(text[pieceStart..], offset + pieceStart);
    }
}

/// <summary>Puts a space in front of a piece that does not begin with one (<c>add_prefix_space</c> of byte-level tokenizers).</summary>
internal sealed class PrefixSpacePreTokenizer : PreTokenizer
{
    public override void Apply(ReadOnlySpan<char> text, int offset, WordFlow next)
    {
        if (text[0] == ' ')
            next.Pass(text, offset);
        else
            next.Pass(string.Concat(" ", text), offset - 1);
    }
}

/// <summary>When <see cref="MetaspacePreTokenizer"/> puts its mark in front of a text.</summary>
internal enum PrependScheme
{
    Never,
    First,
    Always,
}

/// <summary>SentencePiece's way with spaces: they become a visible mark (▁) that begins the next word.</summary>
internal sealed class MetaspacePreTokenizer(char mark, PrependScheme scheme, bool split) : PreTokenizer
{
    private readonly LiteralPreTokenizer _splitter = new(mark.ToString(), SplitBehavior.MergedWithNext);

    public override void Apply(ReadOnlySpan<char> text, int offset, WordFlow next)
    {
        bool prepend = text[0] != ' ' && text[0] != mark && (scheme == PrependScheme.Always || scheme == PrependScheme.First
            && next.StartsText(offset));
        var marked = new char[text.Length + (prepend ? 1 : 0)];
        if (prepend)
        {
            marked[0] = mark;
            offset--;
        }
        Span<char> rest = marked.AsSpan(prepend ? 1 : 0);
        text.CopyTo(rest);
        rest.Replace(' ', mark);
        if (split)
            _splitter.Apply(marked, offset, next);
        else
            next.Pass(marked, offset);
    }
}
