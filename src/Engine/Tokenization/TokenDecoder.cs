using System.Globalization;
using System.Text;

namespace Foretoken.Tokenization;

/// <summary>
/// What tokens decode to. Nearly everything is a table from id to bytes; the rest is what happens at the beginning of a text: SentencePiece's
/// first space is dropped.
/// </summary>
internal sealed class TokenDecoder
{
    private readonly byte[]?[] _bytes;      // [ids]
    private readonly byte[]?[] _firstBytes; // [ids] the same for the first token of a text

    /// <param name="tokens">[ids] tokens as written in the vocabulary; null where an id has none.</param>
    /// <param name="rules">How they are turned into text.</param>
    public TokenDecoder(string?[] tokens, DecoderRules rules)
    {
        _bytes = [.. tokens.Select(token => token is null ? null : rules.ToBytes(token, first: false))];
        _firstBytes = rules.FirstDiffers ? [.. tokens.Select(token => token is null ? null : rules.ToBytes(token, first: true))] : _bytes;
        LongestToken = _bytes.Concat(_firstBytes).Append(null).Max(bytes => bytes?.Length ?? 0);
        LeadingToStrip = rules.StripCount;
        Stripped = rules.StripContent;
    }

    /// <summary>Bytes of the longest token.</summary>
    public int LongestToken { get; }

    /// <summary>How many times <see cref="Stripped"/> is removed at most from the beginning of a text.</summary>
    public int LeadingToStrip { get; }

    /// <summary>The byte that is removed from the beginning of a text.</summary>
    public byte Stripped { get; }

    /// <summary>The bytes of a token; empty for an id without one.</summary>
    public ReadOnlySpan<byte> Bytes(int id, bool first) =>
        (uint)id < (uint)_bytes.Length ? (first ? _firstBytes : _bytes)[id] : default;
}

/// <summary>The decoder of a <c>tokenizer.json</c> as rules on single tokens.</summary>
internal sealed class DecoderRules
{
    /// <summary>Tokens are written in <see cref="ByteAlphabet"/>.</summary>
    public bool ByteLevel { get; set; }

    /// <summary>Tokens <c>&lt;0xNN&gt;</c> are bytes.</summary>
    public bool ByteFallback { get; set; }

    /// <summary>Strings replaced in every token, in order.</summary>
    public List<(string Pattern, string Content)> Replacements { get; } = [];

    /// <summary>SentencePiece's mark for a space, if it is a Metaspace decoder.</summary>
    public char? Mark { get; set; }

    /// <summary>The mark is dropped from the first token instead of becoming a space.</summary>
    public bool DropsFirstMark { get; set; }

    /// <summary>Put between tokens (a tokenizer without any decoder separates them by spaces).</summary>
    public string Separator { get; set; } = "";

    public int StripCount { get; set; }

    public byte StripContent { get; set; }

    public bool FirstDiffers => Mark is not null && DropsFirstMark || Separator.Length > 0;

    public byte[] ToBytes(string token, bool first)
    {
        if (ByteLevel)
            return ByteAlphabet.ToBytes(token);
        foreach (var (pattern, content) in Replacements)
            token = token.Replace(pattern, content, StringComparison.Ordinal);
        if (ByteFallback && TryParseByte(token, out byte value))
            return [value];
        if (Mark is { } mark)
            token = token.Replace(mark.ToString(), first && DropsFirstMark ? "" : " ", StringComparison.Ordinal);
        return Encoding.UTF8.GetBytes(first ? token : Separator + token);
    }

    private static bool TryParseByte(string token, out byte value)
    {
        value = 0;
        return token.Length == 6 && token.StartsWith("<0x", StringComparison.Ordinal) && token[5] == '>'
            && byte.TryParse(token.AsSpan(3, 2), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out value);
    }
}
