namespace Foretoken.Tokenization;

/// <summary>A token that is matched in the text before BPE: a control token such as <c>&lt;|end|&gt;</c>, or a word added to the vocabulary.</summary>
/// <param name="Id">Token id.</param>
/// <param name="Content">The text that it matches.</param>
/// <param name="Special">A control token: skipped by decoding on request, not recognised in plain text.</param>
/// <param name="Normalized">Matched in the normalized text instead of the original one.</param>
/// <param name="LeftStrip">Takes the white space before it.</param>
/// <param name="RightStrip">Takes the white space after it.</param>
/// <param name="SingleWord">Matched only where no word character is next to it.</param>
public sealed record AddedToken(
    int Id, string Content, bool Special = true, bool Normalized = false, bool LeftStrip = false, bool RightStrip = false, bool SingleWord = false);
