using System.Buffers;
using System.Globalization;
using System.Text;

namespace Foretoken.Tokenization;

/// <summary>The character classes that pre-tokenizer patterns distinguish.</summary>
internal enum CharacterClass : byte
{
    /// <summary>Neither letter, number nor white space: punctuation, symbols, marks, controls, unassigned.</summary>
    Other,

    /// <summary><c>\p{L}</c>.</summary>
    Letter,

    /// <summary><c>\p{N}</c>: decimal digits, letter numbers (Ⅷ) and other numbers (½).</summary>
    Number,

    /// <summary><c>\s</c>: the White_Space property, line breaks included.</summary>
    Space,
}

/// <summary>Classifies code points; the basic plane through a table, the rest through <see cref="Rune"/>.</summary>
internal static class CharacterClasses
{
    private static readonly CharacterClass[] s_basicPlane = BuildBasicPlane();

    /// <summary>Class of the code point at <paramref name="index"/>; <paramref name="length"/> is its number of UTF-16 units.</summary>
    public static CharacterClass At(ReadOnlySpan<char> text, int index, out int length)
    {
        char unit = text[index];
        if (!char.IsSurrogate(unit))
        {
            length = 1;
            return s_basicPlane[unit];
        }
        return AtSurrogate(text[index..], out length);
    }

    /// <summary>True if a code point starts at <paramref name="index"/> and is of class <paramref name="wanted"/>.</summary>
    public static bool Is(ReadOnlySpan<char> text, int index, CharacterClass wanted, out int length)
    {
        length = 0;
        return index < text.Length && At(text, index, out length) == wanted;
    }

    /// <summary>
    /// The end of the run of <paramref name="wanted"/> that starts at <paramref name="index"/> (the index itself if there is none).
    /// </summary>
    public static int EndOfRun(ReadOnlySpan<char> text, int index, CharacterClass wanted)
    {
        while (Is(text, index, wanted, out int length))
            index += length;
        return index;
    }

    public static CharacterClass Of(Rune rune) => rune.Value <= 0xFFFF ? s_basicPlane[rune.Value] : Classify(Rune.GetUnicodeCategory(rune));

    private static CharacterClass AtSurrogate(ReadOnlySpan<char> text, out int length) =>
        Rune.DecodeFromUtf16(text, out Rune rune, out length) == OperationStatus.Done
            ? Classify(Rune.GetUnicodeCategory(rune))
            : CharacterClass.Other;

    private static CharacterClass Classify(UnicodeCategory category) => category switch
    {
        UnicodeCategory.UppercaseLetter or UnicodeCategory.LowercaseLetter or UnicodeCategory.TitlecaseLetter
            or UnicodeCategory.ModifierLetter or UnicodeCategory.OtherLetter => CharacterClass.Letter,
        UnicodeCategory.DecimalDigitNumber or UnicodeCategory.LetterNumber or UnicodeCategory.OtherNumber => CharacterClass.Number,
        _ => CharacterClass.Other,
    };

    private static CharacterClass[] BuildBasicPlane()
    {
        var table = new CharacterClass[0x10000];
        for (int unit = 0; unit < table.Length; unit++)
            table[unit] = char.IsWhiteSpace((char)unit) ? CharacterClass.Space : Classify(CharUnicodeInfo.GetUnicodeCategory((char)unit));
        return table;
    }
}
