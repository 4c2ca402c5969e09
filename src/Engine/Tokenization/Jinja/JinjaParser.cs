namespace Foretoken.Tokenization.Jinja;

/// <summary>
/// Reads a template: text, <c>{{ expressions }}</c> and <c>{% statements %}</c>. What is not supported is refused by name and line.
/// </summary>
internal sealed class JinjaParser : JinjaExpressionParser
{
    private const int MaxNesting = 50;

    private int _nesting, _loops;

    private JinjaParser(List<JinjaToken> tokens, string file) : base(tokens, file) { }

    public static IReadOnlyList<JinjaStatement> Parse(string source, string file)
    {
        var parser = new JinjaParser(JinjaLexer.Read(source, file), file);
        return parser.ParseBody(out _);
    }

    /// <summary>
    /// Statements up to one of the closing words, which is taken with its tag's beginning; without words, to the end of the template.
    /// </summary>
    private List<JinjaStatement> ParseBody(out string end, params ReadOnlySpan<string> closing)
    {
        if (++_nesting > MaxNesting)
            throw Error(Present.Line, $"statements are nested more than {MaxNesting} deep");
        var body = new List<JinjaStatement>();
        while (true)
        {
            JinjaToken token = Take();
            switch (token.Kind)
            {
                case JinjaTokenKind.Data:
                    body.Add(new TextStatement(token.Line, token.Text));
                    break;
                case JinjaTokenKind.ExpressionBegin:
                    body.Add(new PrintStatement(token.Line, ParseTuple()));
                    ExpectEnd(JinjaTokenKind.ExpressionEnd);
                    break;
                case JinjaTokenKind.StatementBegin:
                    string word = ExpectName();
                    if (closing.Contains(word))
                    {
                        end = word;
                        _nesting--;
                        return body;
                    }
                    body.Add(ParseStatement(word, token.Line));
                    break;
                default:
                    end = "";
                    _nesting--;
                    return closing.Length == 0 ? body : throw Error(token.Line, $"\"{closing[^1]}\" is missing at the end of the template");
            }
        }
    }

    private void ExpectEnd(JinjaTokenKind kind = JinjaTokenKind.StatementEnd)
    {
        if (Present.Kind != kind)
            throw Unexpected(kind == JinjaTokenKind.StatementEnd ? "\"%}\"" : "\"}}\"");
        Take();
    }

    private List<JinjaStatement> ParseBlock(string closing)
    {
        ExpectEnd();
        List<JinjaStatement> body = ParseBody(out _, closing);
        return body;
    }

    private JinjaStatement ParseStatement(string word, int line)
    {
        JinjaStatement statement = word switch
        {
            "if" => ParseIf(line),
            "for" => ParseFor(line),
            "set" => ParseSet(line),
            "macro" => ParseMacro(line),
            "generation" => new BlockStatement(line, [], ParseBlock("endgeneration"), [], ownScope: false),
            "filter" => ParseFilterBlock(line),
            "with" => ParseWith(line),
            "break" or "continue" => _loops > 0
                ? new FlowStatement(line, word == "break" ? JinjaFlow.Break : JinjaFlow.Continue)
                : throw Error(line, $"\"{word}\" outside of a loop"),
            _ => throw Error(line, $"unsupported statement \"{word}\"",
                "Supported: if, for, set, macro, filter, with, generation, raw, break, continue"),
        };
        ExpectEnd();
        return statement;
    }

    private IfStatement ParseIf(int line)
    {
        var branches = new List<(JinjaExpression?, IReadOnlyList<JinjaStatement>)>();
        JinjaExpression? condition = ParseTuple();
        while (true)
        {
            ExpectEnd();
            string end;
            List<JinjaStatement> body = condition is null ? ParseBody(out end, "endif") : ParseBody(out end, "elif", "else", "endif");
            branches.Add((condition, body));
            if (end == "endif")
                return new IfStatement(line, branches);
            condition = end == "elif" ? ParseTuple() : null;
        }
    }

    private ForStatement ParseFor(int line)
    {
        List<string> names = ParseNames();
        Expect("in");
        JinjaExpression items = ParseExpression(withCondition: false);
        JinjaExpression? condition = TryTake("if") ? ParseExpression() : null;
        if (Present.Is("recursive"))
            throw Error(line, "recursive loops are not supported");
        ExpectEnd();
        _loops++;
        List<JinjaStatement> body = ParseBody(out string end, "else", "endfor");
        _loops--;
        List<JinjaStatement> otherwise = end == "else" ? ParseBlock("endfor") : [];
        return new ForStatement(line, names, items, condition, body, otherwise);
    }

    private List<string> ParseNames()
    {
        bool parentheses = TryTake("(");
        var names = new List<string> { ExpectName() };
        while (TryTake(","))
            names.Add(ExpectName());
        if (parentheses)
            Expect(")");
        return names;
    }

    private SetStatement ParseSet(int line)
    {
        List<string> names = ParseNames();
        string? member = TryTake(".") ? ExpectName() : null;
        if (TryTake("="))
            return new SetStatement(line, names, member, ParseTuple(), [], []);
        var filters = ParseFilters();
        return new SetStatement(line, names, member, null, ParseBlock("endset"), filters);
    }

    private List<(string Name, JinjaFilter Filter, ArgumentList Arguments)> ParseFilters()
    {
        var filters = new List<(string, JinjaFilter, ArgumentList)>();
        while (TryTake("|"))
            filters.Add(ParseFilter(Present.Line));
        return filters;
    }

    private BlockStatement ParseFilterBlock(int line)
    {
        var filters = new List<(string, JinjaFilter, ArgumentList)> { ParseFilter(line) };
        filters.AddRange(ParseFilters());
        return new BlockStatement(line, [], ParseBlock("endfilter"), filters, ownScope: true);
    }

    private BlockStatement ParseWith(int line)
    {
        var variables = new List<(string, JinjaExpression)>();
        while (Present.Kind != JinjaTokenKind.StatementEnd)
        {
            if (variables.Count > 0)
                Expect(",");
            string name = ExpectName();
            Expect("=");
            variables.Add((name, ParseExpression()));
        }
        return new BlockStatement(line, variables, ParseBlock("endwith"), [], ownScope: true);
    }

    private MacroStatement ParseMacro(int line)
    {
        string name = ExpectName();
        var parameters = new List<(string, JinjaExpression?)>();
        Expect("(");
        while (!TryTake(")"))
        {
            if (parameters.Count > 0)
                Expect(",");
            string parameter = ExpectName();
            parameters.Add((parameter, TryTake("=") ? ParseExpression() : null));
        }
        int loops = _loops;
        _loops = 0; // a macro's body is not part of the loop around it
        List<JinjaStatement> body = ParseBlock("endmacro");
        _loops = loops;
        return new MacroStatement(line, name, parameters, body);
    }
}
