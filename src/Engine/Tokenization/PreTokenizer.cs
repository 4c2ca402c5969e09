namespace Foretoken.Tokenization;

/// <summary>One stage that cuts text into words (and may rewrite it); stages follow each other through <see cref="WordFlow"/>.</summary>
internal abstract class PreTokenizer
{
    /// <summary>Passes the pieces of <paramref name="text"/>, which starts at <paramref name="offset"/> of the segment, to <paramref name="next"/>.</summary>
    public abstract void Apply(ReadOnlySpan<char> text, int offset, WordFlow next);
}

/// <summary>The stages that a piece of text has still to pass; after the last one it is encoded as a word.</summary>
internal readonly struct WordFlow(PreTokenizer[] stages, int stage, EncodeRun run)
{
    /// <summary>True if the segment is the beginning of the whole text.</summary>
    public bool SegmentStartsText => run.SegmentStartsText;

    /// <param name="piece">A piece of text, never empty.</param>
    /// <param name="offset">Where it starts in the segment, in UTF-16 units; one less when a character was put in front of it.</param>
    public void Pass(ReadOnlySpan<char> piece, int offset)
    {
        if (stage == stages.Length)
            run.EncodeWord(piece, offset);
        else
            stages[stage].Apply(piece, offset, new WordFlow(stages, stage + 1, run));
    }
}

/// <summary>Cuts text by a published pattern; every match is a word.</summary>
internal sealed class PatternPreTokenizer(SplitPattern pattern) : PreTokenizer
{
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

/// <summary>The state of one encoding: the output and where the present segment starts.</summary>
internal sealed class EncodeRun(BpeModel model, List<int> output)
{
    private readonly BpeScratch _scratch = BpeScratch.Current;

    public bool SegmentStartsText { get; set; }

    public void EncodeWord(ReadOnlySpan<char> word, int offset) => model.Encode(word, output, _scratch);

    public void Add(int id) => output.Add(id);
}
