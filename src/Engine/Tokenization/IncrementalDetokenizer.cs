using System.Buffers;
using System.Text;

namespace Foretoken.Tokenization;

/// <summary>
/// Turns tokens into text as they arrive. Only whole characters come out: the bytes of an unfinished one are held back until the next token
/// or <see cref="Flush"/>. The pieces joined are exactly <see cref="BpeTokenizer.Decode"/> of all tokens. Nothing is allocated per token.
/// Not thread-safe; one per sequence.
/// </summary>
public sealed class IncrementalDetokenizer
{
    private static readonly byte[] s_replacement = [0xEF, 0xBF, 0xBD]; // U+FFFD

    private readonly BpeTokenizer _tokenizer;
    private readonly bool _skipSpecialTokens;
    private readonly byte[] _input;  // held-back bytes, then those of the new token
    private readonly byte[] _output; // each invalid input byte may become three
    private int _held, _outputCount;
    private bool _started;
    private int _leftToStrip;

    /// <param name="tokenizer">The tokenizer.</param>
    /// <param name="skipSpecialTokens">Whether control tokens give no text.</param>
    public IncrementalDetokenizer(BpeTokenizer tokenizer, bool skipSpecialTokens = false)
    {
        ArgumentNullException.ThrowIfNull(tokenizer);
        _tokenizer = tokenizer;
        _skipSpecialTokens = skipSpecialTokens;
        _input = new byte[3 + tokenizer.Decoder.LongestToken]; // an unfinished character has at most three bytes
        _output = new byte[3 * _input.Length];
        Reset();
    }

    /// <summary>True while the bytes of an unfinished character are held back.</summary>
    public bool HoldsBytes => _held > 0;

    /// <summary>Starts a new text.</summary>
    public void Reset()
    {
        _held = 0;
        _started = false;
        _leftToStrip = _tokenizer.Decoder.LeadingToStrip;
    }

    /// <summary>Takes over the state of another detokenizer of the same tokenizer (for sequences that fork).</summary>
    public void CopyFrom(IncrementalDetokenizer other)
    {
        ArgumentNullException.ThrowIfNull(other);
        other._input.AsSpan(0, other._held).CopyTo(_input);
        (_held, _started, _leftToStrip) = (other._held, other._started, other._leftToStrip);
    }

    /// <summary>The UTF-8 text that <paramref name="id"/> completes; valid until the next call, often empty.</summary>
    /// <exception cref="ArgumentOutOfRangeException">The id is negative.</exception>
    public ReadOnlySpan<byte> Append(int id)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(id);
        _outputCount = 0;
        if (_skipSpecialTokens && _tokenizer.IsSpecial(id) || _tokenizer.IdToToken(id) is null)
            return default;
        ReadOnlySpan<byte> bytes = _tokenizer.Decoder.Bytes(id, first: !_started);
        _started = true;
        while (_leftToStrip > 0 && !bytes.IsEmpty)
        {
            bool strip = bytes[0] == _tokenizer.Decoder.Stripped;
            _leftToStrip = strip ? _leftToStrip - 1 : 0;
            bytes = strip ? bytes[1..] : bytes;
        }
        bytes.CopyTo(_input.AsSpan(_held));
        Emit(_held + bytes.Length, atEnd: false);
        return _output.AsSpan(0, _outputCount);
    }

    /// <summary>Appends the text that <paramref name="ids"/> complete to <paramref name="text"/>.</summary>
    public void Append(ReadOnlySpan<int> ids, StringBuilder text)
    {
        ArgumentNullException.ThrowIfNull(text);
        foreach (int id in ids)
            AppendUtf8(text, Append(id));
    }

    /// <summary>The text of an unfinished character at the end of all tokens: U+FFFD, or nothing. Starts a new text.</summary>
    public ReadOnlySpan<byte> Flush()
    {
        _outputCount = 0;
        Emit(_held, atEnd: true);
        Reset();
        return _output.AsSpan(0, _outputCount);
    }

    private static void AppendUtf8(StringBuilder text, ReadOnlySpan<byte> utf8)
    {
        Span<char> units = stackalloc char[2];
        while (!utf8.IsEmpty)
        {
            _ = Rune.DecodeFromUtf8(utf8, out Rune rune, out int length);
            text.Append(units[..rune.EncodeToUtf16(units)]);
            utf8 = utf8[length..];
        }
    }

    /// <summary>Moves whole characters of the first <paramref name="count"/> input bytes to the output and holds back an unfinished one.</summary>
    private void Emit(int count, bool atEnd)
    {
        ReadOnlySpan<byte> rest = _input.AsSpan(0, count);
        while (!rest.IsEmpty)
        {
            OperationStatus status = Rune.DecodeFromUtf8(rest, out _, out int length);
            if (status == OperationStatus.NeedMoreData && !atEnd)
                break;
            ReadOnlySpan<byte> piece = status == OperationStatus.Done ? rest[..length] : s_replacement;
            piece.CopyTo(_output.AsSpan(_outputCount));
            _outputCount += piece.Length;
            rest = rest[length..];
        }
        _held = rest.Length;
        rest.CopyTo(_input);
    }
}
