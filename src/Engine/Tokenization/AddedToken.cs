using System.Globalization;
using System.Text;

namespace Foretoken.Tokenization;

/// <summary>
/// A token that is matched in the text before BPE: a control token such as <c>&lt;|end|&gt;</c>, or a word added to the vocabulary.
/// </summary>
/// <param name="Id">Token id.</param>
/// <param name="Content">The text that it matches.</param>
/// <param name="Special">A control token: skipped by decoding on request, not recognised in plain text.</param>
/// <param name="Normalized">Matched in the normalized text instead of the original one.</param>
/// <param name="LeftStrip">Takes the white space before it.</param>
/// <param name="RightStrip">Takes the white space after it.</param>
/// <param name="SingleWord">Matched only where no word character is next to it.</param>
public sealed record AddedToken(
    int Id, string Content, bool Special = true, bool Normalized = false, bool LeftStrip = false, bool RightStrip = false, bool SingleWord = false)
{
    /// <summary>
    /// Never matched in untrusted text: special, or with any character that is not a letter, mark, number or white space (tokens such as
    /// <c>&lt;tool_call&gt;</c> steer a model without being special, while runs of spaces and added words are ordinary text).
    /// </summary>
    public bool IsControl { get; } = Special || Content.EnumerateRunes().Any(rune =>
        CharacterClasses.Of(rune) == CharacterClass.Other
            && !(Rune.GetUnicodeCategory(rune) is UnicodeCategory.NonSpacingMark or UnicodeCategory.SpacingCombiningMark));
}
