using System.Text;

namespace Foretoken.Tokenization.Jinja;

/// <summary>The kinds of token in a template.</summary>
internal enum JinjaTokenKind
{
    /// <summary>Literal text outside of tags.</summary>
    Data,
    ExpressionBegin,
    ExpressionEnd,
    StatementBegin,
    StatementEnd,
    Name,
    String,
    Integer,
    Float,
    Operator,
    End,
}

/// <summary>One token and the line it stands on (from 1).</summary>
internal readonly record struct JinjaToken(JinjaTokenKind Kind, string Text, int Line)
{
    public bool Is(string text) => Kind is JinjaTokenKind.Operator or JinjaTokenKind.Name && Text == text;
}

/// <summary>
/// Cuts a template into tokens with the settings that chat templates are written for: <c>trim_blocks</c> (the line break after a statement tag
/// goes) and <c>lstrip_blocks</c> (so does the indentation before it); <c>-</c> at a tag's edge takes all white space there, <c>+</c> none.
/// </summary>
internal sealed class JinjaLexer
{
    private static readonly string[] s_operators =
        ["**", "//", "==", "!=", "<=", ">=", "+", "-", "*", "/", "%", "~", "<", ">", "=", "(", ")", "[", "]", "{", "}", ",", ":", ".", "|"];

    private readonly string _source;
    private readonly string _file;
    private readonly List<JinjaToken> _tokens = [];
    private int _at, _line = 1;

    private JinjaLexer(string source, string file)
    {
        _source = source.Replace("\r\n", "\n", StringComparison.Ordinal).Replace('\r', '\n');
        if (_source.EndsWith('\n'))
            _source = _source[..^1]; // as the reference does with keep_trailing_newline off
        _file = file;
    }

    public static List<JinjaToken> Read(string source, string file)
    {
        var lexer = new JinjaLexer(source, file);
        lexer.Run();
        return lexer._tokens;
    }

    private void Run()
    {
        bool trimStart = false; // the tag before asked for the white space after it
        while (_at < _source.Length)
        {
            int tag = NextTag();
            string data = _source[_at..tag];
            int dataLine = _line;
            bool lineStart = _at == 0 || _source[_at - 1] == '\n';
            Advance(tag);
            if (trimStart)
                data = data.TrimStart();
            trimStart = false;
            if (tag < _source.Length)
                data = TrimBefore(data, lineStart, _source[tag + 1], tag + 2 < _source.Length ? _source[tag + 2] : ' ');
            if (data.Length > 0)
                _tokens.Add(new JinjaToken(JinjaTokenKind.Data, data, dataLine));
            if (tag == _source.Length)
                break;
            trimStart = ReadTag();
        }
        _tokens.Add(new JinjaToken(JinjaTokenKind.End, "", _line));
    }

    private int NextTag()
    {
        for (int at = _at; ; at++)
        {
            at = _source.IndexOf('{', at);
            if (at < 0 || at + 1 >= _source.Length)
                return _source.Length;
            if (_source[at + 1] is '{' or '%' or '#')
                return at;
        }
    }

    /// <summary>White space before a tag: all of it at a minus, the line's indentation before a statement or comment.</summary>
    private static string TrimBefore(string data, bool startsLine, char kind, char edge)
    {
        if (edge == '-')
            return data.TrimEnd();
        if (kind == '{' || edge == '+')
            return data;
        int lineStart = data.LastIndexOf('\n') + 1;
        bool indentation = (lineStart > 0 || startsLine) && data.AsSpan(lineStart).IsWhiteSpace();
        return indentation ? data[..lineStart] : data;
    }

    /// <summary>Reads a tag and what it trims after it. True if all white space after it is to go.</summary>
    private bool ReadTag()
    {
        char kind = _source[_at + 1];
        int line = _line;
        if (kind == '#')
            return ReadComment(line);
        int start = _at;
        Advance(_at + 2);
        if (_at < _source.Length && _source[_at] is '-' or '+')
            Advance(_at + 1);
        bool statement = kind == '%';
        _tokens.Add(new JinjaToken(statement ? JinjaTokenKind.StatementBegin : JinjaTokenKind.ExpressionBegin, _source[start..(start + 2)], line));
        int first = _tokens.Count;
        string close = statement ? "%}" : "}}";
        bool trim = ReadInside(close, line);
        _tokens.Add(new JinjaToken(statement ? JinjaTokenKind.StatementEnd : JinjaTokenKind.ExpressionEnd, close, _line));
        if (statement && _tokens.Count == first + 2 && _tokens[first].Is("raw"))
            return ReadRaw(first, line);
        return trim;
    }

    private bool ReadComment(int line)
    {
        int end = _source.IndexOf("#}", _at + 2, StringComparison.Ordinal);
        if (end < 0)
            throw Error(line, "the comment is never closed");
        bool trim = _source[end - 1] == '-' && end - 1 >= _at + 2;
        Advance(end + 2);
        if (!trim)
            SkipLineBreak();
        return trim;
    }

    /// <summary>Text between <c>{% raw %}</c> and <c>{% endraw %}</c> is literal.</summary>
    private bool ReadRaw(int first, int line)
    {
        _tokens.RemoveRange(first - 1, _tokens.Count - first + 1);
        for (int at = _at; (at = _source.IndexOf("{%", at, StringComparison.Ordinal)) >= 0; at += 2)
        {
            int word = at + 2 + (at + 2 < _source.Length && _source[at + 2] is '-' or '+' ? 1 : 0);
            while (word < _source.Length && char.IsWhiteSpace(_source[word]))
                word++;
            int close = _source.IndexOf("%}", word, StringComparison.Ordinal);
            if (close < 0 || _source[word..close].TrimEnd(' ', '\t', '\n', '-', '+') != "endraw")
                continue;
            bool trim = _source[close - 1] == '-';
            if (at > _at)
                _tokens.Add(new JinjaToken(JinjaTokenKind.Data, TrimBefore(_source[_at..at], startsLine: false, '%', _source[at + 2]), line));
            Advance(close + 2);
            if (!trim)
                SkipLineBreak();
            return trim;
        }
        throw Error(line, "raw is never closed by endraw");
    }

    private bool ReadInside(string close, int line)
    {
        int depth = 0;
        while (true)
        {
            while (_at < _source.Length && char.IsWhiteSpace(_source[_at]))
                Advance(_at + 1);
            if (_at >= _source.Length)
                throw Error(line, $"the tag is never closed by {close}");
            if (depth == 0 && TryClose(close, out bool trim))
                return trim;
            char unit = _source[_at];
            if (unit is '"' or '\'')
                ReadString(unit);
            else if (char.IsAsciiDigit(unit))
                ReadNumber();
            else if (char.IsLetter(unit) || unit == '_')
                ReadName();
            else
                depth = Math.Max(0, depth + ReadOperator());
        }
    }

    private bool TryClose(string close, out bool trim)
    {
        bool edge = _source[_at] is '-' or '+' && string.CompareOrdinal(_source, _at + 1, close, 0, 2) == 0;
        trim = edge && _source[_at] == '-';
        if (!edge && string.CompareOrdinal(_source, _at, close, 0, 2) != 0)
            return false;
        bool keepsLineBreak = edge || close == "}}";
        Advance(_at + (edge ? 3 : 2));
        if (!keepsLineBreak)
            SkipLineBreak();
        return true;
    }

    private void ReadString(char quote)
    {
        int line = _line;
        var text = new StringBuilder();
        Advance(_at + 1);
        for (; _at < _source.Length && _source[_at] != quote; Advance(_at + 1))
        {
            if (_source[_at] != '\\' || _at + 1 >= _source.Length)
            {
                text.Append(_source[_at]);
                continue;
            }
            Advance(_at + 1);
            AppendEscape(text);
        }
        if (_at >= _source.Length)
            throw Error(line, "the string is never closed");
        Advance(_at + 1);
        _tokens.Add(new JinjaToken(JinjaTokenKind.String, text.ToString(), line));
    }

    private void AppendEscape(StringBuilder text)
    {
        char unit = _source[_at];
        int digits = unit switch { 'x' => 2, 'u' => 4, 'U' => 8, _ => 0 };
        if (digits > 0)
        {
            ReadOnlySpan<char> hex = _source.AsSpan(_at + 1, Math.Min(digits, _source.Length - _at - 1));
            if (hex.Length < digits || !int.TryParse(hex, System.Globalization.NumberStyles.AllowHexSpecifier,
                System.Globalization.CultureInfo.InvariantCulture, out int value)
                || !Rune.IsValid(value))
                throw Error(_line, $"\\{unit} is not followed by {digits} hexadecimal digits of a character");
            text.Append(new Rune(value).ToString());
            Advance(_at + digits);
            return;
        }
        _ = unit switch
        {
            'n' => text.Append('\n'),
            't' => text.Append('\t'),
            'r' => text.Append('\r'),
            'b' => text.Append('\b'),
            'f' => text.Append('\f'),
            'v' => text.Append('\v'),
            '0' => text.Append('\0'),
            '\n' => text,
            '\\' or '\'' or '"' => text.Append(unit),
            _ => text.Append('\\').Append(unit),
        };
    }

    private void ReadNumber()
    {
        int start = _at;
        while (_at < _source.Length && (char.IsAsciiDigit(_source[_at]) || _source[_at] == '_'))
            _at++;
        bool isFloat = _at + 1 < _source.Length && _source[_at] == '.' && char.IsAsciiDigit(_source[_at + 1]);
        if (isFloat)
        {
            _at++;
            while (_at < _source.Length && char.IsAsciiDigit(_source[_at]))
                _at++;
        }
        if (_at < _source.Length && _source[_at] is 'e' or 'E')
        {
            isFloat = true;
            _at += _at + 1 < _source.Length && _source[_at + 1] is '+' or '-' ? 2 : 1;
            while (_at < _source.Length && char.IsAsciiDigit(_source[_at]))
                _at++;
        }
        string text = _source[start..Math.Min(_at, _source.Length)].Replace("_", "", StringComparison.Ordinal);
        _tokens.Add(new JinjaToken(isFloat ? JinjaTokenKind.Float : JinjaTokenKind.Integer, text, _line));
    }

    private void ReadName()
    {
        int start = _at;
        while (_at < _source.Length && (char.IsLetterOrDigit(_source[_at]) || _source[_at] == '_'))
            _at++;
        _tokens.Add(new JinjaToken(JinjaTokenKind.Name, _source[start.._at], _line));
    }

    /// <returns>1 for an opening bracket, -1 for a closing one.</returns>
    private int ReadOperator()
    {
        foreach (string text in s_operators)
        {
            if (string.CompareOrdinal(_source, _at, text, 0, text.Length) != 0)
                continue;
            _tokens.Add(new JinjaToken(JinjaTokenKind.Operator, text, _line));
            _at += text.Length;
            return text is "(" or "[" or "{" ? 1 : text is ")" or "]" or "}" ? -1 : 0;
        }
        throw Error(_line, $"unexpected character '{_source[_at]}'");
    }

    private void SkipLineBreak()
    {
        if (_at < _source.Length && _source[_at] == '\n')
            Advance(_at + 1);
    }

    private void Advance(int to)
    {
        _line += _source.AsSpan(_at, to - _at).Count('\n');
        _at = to;
    }

    private TokenizerException Error(int line, string rule) => JinjaSyntax.Error(_file, line, rule);
}

/// <summary>Errors in the text of a template.</summary>
internal static class JinjaSyntax
{
    public static TokenizerException Error(string file, int line, string rule, string remedy = "Correct the chat template") =>
        TokenizerException.For(file, $"chat template line {line}", rule, remedy);
}
