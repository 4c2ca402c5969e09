namespace Foretoken.Tokenization;

/// <summary>
/// The published regular expressions that cut text into words before BPE, each as a hand-written linear scanner. They are recognised by
/// their exact text; the scanners are held equal to the expressions by tests.
/// </summary>
public abstract class SplitPattern
{
    /// <summary>GPT-2: contractions, letters, numbers and punctuation with an optional leading space.</summary>
    public static SplitPattern Gpt2 { get; } = new Gpt2SplitPattern();

    /// <summary>Llama 3: like GPT-4's, numbers in groups of up to three.</summary>
    public static SplitPattern Llama3 { get; } = new LineAwareSplitPattern(maxDigits: 3);

    /// <summary>Qwen2, Qwen2.5 and Qwen3: like Llama 3's, every digit on its own.</summary>
    public static SplitPattern Qwen2 { get; } = new LineAwareSplitPattern(maxDigits: 1);

    private static readonly SplitPattern[] s_all = [Gpt2, Llama3, Qwen2];

    /// <summary>The expression that this scanner implements, as it stands in <c>tokenizer.json</c>.</summary>
    public abstract string Expression { get; }

    /// <summary>The models whose patterns are known, for messages.</summary>
    internal static string Names => "GPT-2, Llama 3 (GPT-4) and Qwen2";

    /// <summary>The scanner for <paramref name="expression"/>, or null if there is none.</summary>
    public static SplitPattern? Find(string expression) => Array.Find(s_all, pattern => pattern.Expression == expression);

    /// <summary>
    /// The end of the match that starts at <paramref name="start"/>. The patterns match at every position, so the pieces cover the text.
    /// <paramref name="text"/> must be well-formed UTF-16 and end where the expression would see the end of its input.
    /// </summary>
    public abstract int NextEnd(ReadOnlySpan<char> text, int start);

    /// <summary>The pieces of <paramref name="text"/> in order; joined they give the text again.</summary>
    public IEnumerable<string> Split(string text)
    {
        for (int start = 0; start < text.Length;)
        {
            int end = NextEnd(text, start);
            yield return text[start..end];
            start = end;
        }
    }

    /// <summary>
    /// Length of the contraction ('s 't 're 've 'm 'll 'd) at <paramref name="start"/>, 0 if there is none. Without regard to case, ſ (U+017F)
    /// is an s, as in Unicode case folding.
    /// </summary>
    private protected static int ContractionLength(ReadOnlySpan<char> text, int start, bool ignoreCase)
    {
        if (text[start] != '\'' || start + 1 >= text.Length)
            return 0;
        char first = Fold(text[start + 1], ignoreCase);
        if (first is 's' or 't' or 'm' or 'd')
            return 2;
        if (start + 2 >= text.Length)
            return 0;
        char second = Fold(text[start + 2], ignoreCase);
        return (first, second) is ('r', 'e') or ('v', 'e') or ('l', 'l') ? 3 : 0;
    }

    /// <summary>
    /// The end of a run of white space under <c>\s+(?!\S)|\s+</c>: the last space of a run before a word is left to the word.
    /// </summary>
    private protected static int EndOfSpaces(ReadOnlySpan<char> text, int start, int endOfRun) =>
        endOfRun == text.Length || endOfRun == start + 1 ? endOfRun : endOfRun - 1;

    private static char Fold(char unit, bool ignoreCase) => !ignoreCase ? unit : unit switch
    {
        >= 'A' and <= 'Z' => (char)(unit | 0x20),
        '\u017F' => 's',
        _ => unit,
    };
}

/// <summary><c>'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+</c></summary>
internal sealed class Gpt2SplitPattern : SplitPattern
{
    public override string Expression => @"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";

    public override int NextEnd(ReadOnlySpan<char> text, int start)
    {
        int contraction = ContractionLength(text, start, ignoreCase: false);
        if (contraction > 0)
            return start + contraction;
        int word = text[start] == ' ' && start + 1 < text.Length ? start + 1 : start;
        CharacterClass kind = CharacterClasses.At(text, word, out _);
        return kind != CharacterClass.Space
            ? CharacterClasses.EndOfRun(text, word, kind)
            : EndOfSpaces(text, start, CharacterClasses.EndOfRun(text, start, CharacterClass.Space));
    }
}

/// <summary>
/// <c>(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+</c>,
/// with <c>\p{N}</c> in place of <c>\p{N}{1,3}</c> when every digit stands alone.
/// </summary>
internal sealed class LineAwareSplitPattern(int maxDigits) : SplitPattern
{
    public override string Expression { get; } =
        @"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}" + (maxDigits > 1 ? "{1," + (char)('0' + maxDigits) + "}" : "") +
        @"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

    public override int NextEnd(ReadOnlySpan<char> text, int start)
    {
        int contraction = ContractionLength(text, start, ignoreCase: true);
        if (contraction > 0)
            return start + contraction;
        char unit = text[start];
        CharacterClass kind = CharacterClasses.At(text, start, out int length);
        if (kind == CharacterClass.Letter)
            return CharacterClasses.EndOfRun(text, start, CharacterClass.Letter);
        if (kind == CharacterClass.Number)
            return EndOfNumber(text, start);
        int next = start + length;
        if (unit is not ('\r' or '\n') && CharacterClasses.Is(text, next, CharacterClass.Letter, out _))
            return CharacterClasses.EndOfRun(text, next, CharacterClass.Letter);
        if (kind == CharacterClass.Other)
            return EndOfPunctuation(text, start);
        if (unit == ' ' && CharacterClasses.Is(text, next, CharacterClass.Other, out _))
            return EndOfPunctuation(text, next);
        int endOfRun = CharacterClasses.EndOfRun(text, start, CharacterClass.Space);
        int lastBreak = text[start..endOfRun].LastIndexOfAny('\r', '\n');
        return lastBreak >= 0 ? start + lastBreak + 1 : EndOfSpaces(text, start, endOfRun);
    }

    private int EndOfNumber(ReadOnlySpan<char> text, int start)
    {
        int end = start;
        for (int digits = 0; digits < maxDigits && CharacterClasses.Is(text, end, CharacterClass.Number, out int length); digits++)
            end += length;
        return end;
    }

    private static int EndOfPunctuation(ReadOnlySpan<char> text, int start)
    {
        int end = CharacterClasses.EndOfRun(text, start, CharacterClass.Other);
        while (end < text.Length && text[end] is '\r' or '\n')
            end++;
        return end;
    }
}
