using System.Globalization;

namespace Foretoken.Ptx.Parsing;

internal enum TokenKind : byte { End, Word, Directive, Integer, Float, String, Symbol }

/// <summary>A token. Words keep their dots (<c>ld.global.v4.f32</c>, <c>%tid.x</c>); directives begin with one.</summary>
internal readonly record struct Token(TokenKind Kind, string Text, ulong Bits, bool IsSingle, int Line)
{
    public bool Is(string text) => Kind is TokenKind.Symbol or TokenKind.Word or TokenKind.Directive && Text == text;
}

/// <summary>Cuts PTX text into tokens; comments vanish.</summary>
internal static class PtxLexer
{
    public static List<Token> Tokenize(string text, string file)
    {
        var tokens = new List<Token>(text.Length / 4);
        int at = 0, line = 1;
        while (true)
        {
            SkipBlanks(text, file, ref at, ref line);
            if (at >= text.Length || text[at] == '\0')
                break;
            char c = text[at];
            int start = at;
            if (char.IsAsciiDigit(c))
            {
                tokens.Add(Number(text, file, ref at, line));
            }
            else if ((IsWordStart(c) && !(c == '%' && (at + 1 == text.Length || !IsWordStart(text[at + 1])))) || (c == '.' && at + 1 < text.Length && IsWordStart(text[at + 1])))
            {
                at++;
                while (at < text.Length && ((IsWordPart(text[at]) && !(c == '.' && text[at] == '.')) || IsScope(text, at))) // .param.u64 is two directives
                    at += text[at] == ':' ? 2 : 1;
                tokens.Add(new Token(c == '.' ? TokenKind.Directive : TokenKind.Word, text[start..at], 0, false, line));
            }
            else if (c == '"')
            {
                at = text.IndexOf('"', at + 1) + 1;
                if (at == 0)
                    throw new PtxParseException(file, line, "a string is not closed");
                tokens.Add(new Token(TokenKind.String, text[(start + 1)..(at - 1)], 0, false, line));
            }
            else
            {
                at++;
                tokens.Add(new Token(TokenKind.Symbol, text[start..at], 0, false, line));
            }
        }

        tokens.Add(new Token(TokenKind.End, "end of the text", 0, false, line));
        return tokens;
    }

    private static void SkipBlanks(string text, string file, ref int at, ref int line)
    {
        while (at < text.Length)
        {
            char c = text[at];
            if (c == '\n')
                line++;
            if (char.IsWhiteSpace(c) || c == '\uFEFF') // a byte order mark
            {
                at++;
            }
            else if (c == '/' && at + 1 < text.Length && text[at + 1] == '/')
            {
                while (at < text.Length && text[at] != '\n')
                    at++;
            }
            else if (c == '/' && at + 1 < text.Length && text[at + 1] == '*')
            {
                int end = text.IndexOf("*/", at + 2, StringComparison.Ordinal);
                if (end < 0)
                    throw new PtxParseException(file, line, "a comment is not closed");
                line += text.AsSpan(at, end - at).Count('\n');
                at = end + 2;
            }
            else
            {
                return;
            }
        }
    }

    private static bool IsWordStart(char c) => char.IsAsciiLetter(c) || c is '_' or '%' or '$';

    private static bool IsWordPart(char c) => char.IsAsciiLetterOrDigit(c) || c is '_' or '$' or '.';

    private static bool IsScope(string text, int at) => text[at] == ':' && at + 2 < text.Length && text[at + 1] == ':' && char.IsAsciiLetterOrDigit(text[at + 2]);

    private static Token Number(string text, string file, ref int at, int line)
    {
        int start = at;
        char second = at + 1 < text.Length ? text[at + 1] : ' ';
        int digits = second is 'f' or 'F' ? 8 : second is 'd' or 'D' ? 16 : 0;
        if (text[at] == '0' && digits > 0 && at + 2 + digits <= text.Length
            && ulong.TryParse(text.AsSpan(at + 2, digits), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out ulong bits))
        {
            at += 2 + digits;
            return new Token(TokenKind.Float, text[start..at], bits, digits == 8, line);
        }

        bool hex = text[at] == '0' && second is 'x' or 'X', binary = text[at] == '0' && second is 'b' or 'B';
        if (hex || binary)
            at += 2;
        int first = at;
        while (at < text.Length && (hex ? char.IsAsciiHexDigit(text[at]) : char.IsAsciiDigit(text[at]) || (!binary && text[at] == '.')))
            at++;
        string body = text[first..at];
        bool isFloat = !hex && (body.Contains('.') || (at < text.Length && text[at] is 'e' or 'E'));
        if (isFloat)
        {
            while (at < text.Length && (char.IsAsciiDigit(text[at]) || text[at] is 'e' or 'E' || (text[at] is '+' or '-' && text[at - 1] is 'e' or 'E')))
                at++;
            if (!double.TryParse(text.AsSpan(first, at - first), NumberStyles.Float, CultureInfo.InvariantCulture, out double value))
                throw new PtxParseException(file, line, $"'{text[start..at]}' is no number");
            return new Token(TokenKind.Float, text[start..at], BitConverter.DoubleToUInt64Bits(value), false, line);
        }

        if (at < text.Length && text[at] is 'U' or 'u')
            at++;
        try
        {
            ulong value = hex ? Convert.ToUInt64(body, 16) : binary ? Convert.ToUInt64(body, 2)
                : body.Length > 1 && body[0] == '0' ? Convert.ToUInt64(body, 8) : ulong.Parse(body, CultureInfo.InvariantCulture);
            return new Token(TokenKind.Integer, text[start..at], value, false, line);
        }
        catch (Exception e) when (e is FormatException or OverflowException or ArgumentException)
        {
            throw new PtxParseException(file, line, $"'{text[start..at]}' is no number");
        }
    }
}
