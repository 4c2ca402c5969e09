using System.Globalization;

namespace Foretoken.Tokenization.Jinja;

/// <summary>Reads expressions: conditional, or, and, not, comparisons, + -, ~, * / // %, signs, **, then members, calls, filters and tests.</summary>
internal class JinjaExpressionParser(List<JinjaToken> tokens, string file)
{
    private const int MaxNesting = 100;

    private int _at, _nesting;

    protected JinjaToken Present => tokens[_at];

    protected JinjaToken Take() => tokens[_at < tokens.Count - 1 ? _at++ : _at];

    protected bool TryTake(string text)
    {
        bool found = Present.Is(text);
        if (found)
            _at++;
        return found;
    }

    protected void Expect(string text)
    {
        if (!TryTake(text))
            throw Unexpected($"\"{text}\"");
    }

    protected string ExpectName()
    {
        JinjaToken token = Take();
        return token.Kind == JinjaTokenKind.Name ? token.Text : throw Error(token.Line, $"a name is expected before \"{token.Text}\"");
    }

    protected TokenizerException Unexpected(string expected) =>
        Error(Present.Line, Present.Kind == JinjaTokenKind.End ? $"{expected} is expected at the end of the template"
            : $"{expected} is expected before \"{Present.Text}\"");

    protected TokenizerException Error(int line, string rule, string remedy = "Correct the chat template") => JinjaSyntax.Error(file, line,
        rule, remedy);

    /// <summary>An expression, or several with commas between them as a tuple.</summary>
    protected JinjaExpression ParseTuple()
    {
        JinjaExpression first = ParseExpression();
        if (!Present.Is(","))
            return first;
        var items = new List<JinjaExpression> { first };
        while (TryTake(",") && !AtEndOfTuple())
            items.Add(ParseExpression());
        return new ListExpression(first.Line, items);
    }

    private bool AtEndOfTuple() => Present.Kind is JinjaTokenKind.StatementEnd or JinjaTokenKind.ExpressionEnd || Present.Is(")");

    protected JinjaExpression ParseExpression(bool withCondition = true)
    {
        if (++_nesting > MaxNesting)
            throw Error(Present.Line, $"expressions are nested more than {MaxNesting} deep");
        JinjaExpression value = ParseOr();
        while (withCondition && Present.Is("if"))
        {
            int line = Take().Line;
            JinjaExpression condition = ParseOr();
            value = new ConditionalExpression(line, condition, value, TryTake("else") ? ParseExpression() : null);
        }
        _nesting--;
        return value;
    }

    private JinjaExpression ParseOr()
    {
        JinjaExpression left = ParseAnd();
        while (Present.Is("or"))
            left = new LogicalExpression(Take().Line, isAnd: false, left, ParseAnd());
        return left;
    }

    private JinjaExpression ParseAnd()
    {
        JinjaExpression left = ParseNot();
        while (Present.Is("and"))
            left = new LogicalExpression(Take().Line, isAnd: true, left, ParseNot());
        return left;
    }

    private JinjaExpression ParseNot()
    {
        int negations = 0, line = Present.Line;
        while (TryTake("not"))
            negations++;
        JinjaExpression value = ParseComparison();
        for (; negations > 0; negations--)
            value = new NotExpression(line, value);
        return value;
    }

    private JinjaExpression ParseComparison()
    {
        JinjaExpression first = ParseSum();
        var rest = new List<(string, JinjaExpression)>();
        while (true)
        {
            string op = Present.Text;
            if (Present.Kind == JinjaTokenKind.Operator && op is "==" or "!=" or "<" or "<=" or ">" or ">=" || Present.Is("in"))
                Take();
            else if (Present.Is("not") && tokens[_at + 1].Is("in"))
                (op, _at) = ("not in", _at + 2);
            else
                return rest.Count == 0 ? first : new ComparisonExpression(first.Line, first, rest);
            rest.Add((op, ParseSum()));
        }
    }

    private JinjaExpression ParseSum() => ParseBinary(ParseConcatenation, "+", "-");

    private JinjaExpression ParseConcatenation() => ParseBinary(ParseProduct, "~");

    private JinjaExpression ParseProduct() => ParseBinary(ParsePower, "*", "/", "//", "%");

    private JinjaExpression ParseBinary(Func<JinjaExpression> operand, params ReadOnlySpan<string> operators)
    {
        JinjaExpression left = operand();
        while (Present.Kind == JinjaTokenKind.Operator && operators.Contains(Present.Text))
        {
            JinjaToken op = Take();
            left = new BinaryExpression(op.Line, op.Text, left, operand());
        }
        return left;
    }

    private JinjaExpression ParsePower()
    {
        JinjaExpression left = ParseUnary(withFilters: true);
        while (Present.Is("**"))
            left = new BinaryExpression(Take().Line, "**", left, ParseUnary(withFilters: true));
        return left;
    }

    /// <summary>A sign binds more tightly than filters: <c>-1|abs</c> is 1.</summary>
    private JinjaExpression ParseUnary(bool withFilters)
    {
        JinjaToken sign = Present;
        JinjaExpression value;
        if (TryTake("-") || TryTake("+"))
        {
            if (++_nesting > MaxNesting)
                throw Error(sign.Line, $"expressions are nested more than {MaxNesting} deep");
            value = new UnaryExpression(sign.Line, sign.Text, ParseUnary(withFilters: false));
            _nesting--;
        }
        else
        {
            value = ParsePrimary();
        }
        return ParsePostfix(value, withFilters);
    }

    private JinjaExpression ParsePrimary()
    {
        JinjaToken token = Take();
        switch (token.Kind)
        {
            case JinjaTokenKind.String:
                string text = token.Text;
                while (Present.Kind == JinjaTokenKind.String) // neighbouring strings are one
                    text += Take().Text;
                return new LiteralExpression(token.Line, new MarkedText(text));
            case JinjaTokenKind.Integer:
                return new LiteralExpression(token.Line, long.TryParse(token.Text, NumberStyles.None, CultureInfo.InvariantCulture, out long integer)
                    ? integer : throw Error(token.Line, $"the number {token.Text} is too large"));
            case JinjaTokenKind.Float:
                return new LiteralExpression(token.Line, double.TryParse(token.Text, NumberStyles.Float, CultureInfo.InvariantCulture,
                    out double number)
                    ? number : throw Error(token.Line, $"{token.Text} is not a number"));
            case JinjaTokenKind.Name:
                return ParseName(token);
            case JinjaTokenKind.Operator when token.Text == "(":
                return ParseParentheses(token.Line);
            case JinjaTokenKind.Operator when token.Text == "[":
                return new ListExpression(token.Line, ParseItems("]"));
            case JinjaTokenKind.Operator when token.Text == "{":
                return ParseMap(token.Line);
            default:
                throw Error(token.Line, token.Text.Length == 0 ? "an expression is missing at the end of the template"
                    : $"an expression is expected before \"{token.Text}\"");
        }
    }

    private static JinjaExpression ParseName(JinjaToken token) => token.Text switch
    {
        "true" or "True" => new LiteralExpression(token.Line, true),
        "false" or "False" => new LiteralExpression(token.Line, false),
        "none" or "None" => new LiteralExpression(token.Line, null),
        _ => new NameExpression(token.Line, token.Text),
    };

    private JinjaExpression ParseParentheses(int line)
    {
        if (TryTake(")"))
            return new ListExpression(line, []);
        JinjaExpression inner = ParseTuple();
        Expect(")");
        return inner;
    }

    private List<JinjaExpression> ParseItems(string close)
    {
        var items = new List<JinjaExpression>();
        while (!TryTake(close))
        {
            if (items.Count > 0)
            {
                Expect(",");
                if (TryTake(close))
                    break;
            }
            items.Add(ParseExpression());
        }
        return items;
    }

    private MapExpression ParseMap(int line)
    {
        var entries = new List<(JinjaExpression, JinjaExpression)>();
        while (!TryTake("}"))
        {
            if (entries.Count > 0)
            {
                Expect(",");
                if (TryTake("}"))
                    break;
            }
            JinjaExpression key = ParseExpression();
            Expect(":");
            entries.Add((key, ParseExpression()));
        }
        return new MapExpression(line, entries);
    }

    private JinjaExpression ParsePostfix(JinjaExpression value, bool withFilters)
    {
        while (true)
        {
            int line = Present.Line;
            if (TryTake("."))
                value = Present.Kind == JinjaTokenKind.Integer
                    ? new MemberExpression(line, value, ParsePrimary(), null)
                    : new MemberExpression(line, value, null, ExpectName());
            else if (TryTake("["))
                value = ParseIndex(line, value);
            else if (TryTake("("))
                value = new CallExpression(line, value, ParseArguments());
            else if (withFilters && TryTake("|"))
                value = ParseFilter(line) is var (name, filter, arguments) ? new FilterExpression(line, value, name, filter, arguments) : value;
            else if (withFilters && Present.Is("is"))
                value = ParseTest(Take().Line, value);
            else
                return value;
        }
    }

    private JinjaExpression ParseIndex(int line, JinjaExpression target)
    {
        JinjaExpression?[] bounds = new JinjaExpression?[3];
        int colons = 0;
        while (!TryTake("]"))
        {
            if (TryTake(":"))
                colons++;
            else if (colons < 3 && bounds[colons] is null)
                bounds[colons] = ParseExpression();
            else
                throw Unexpected("\"]\"");
            if (colons > 2)
                throw Unexpected("\"]\"");
        }
        if (colons > 0)
            return new SliceExpression(line, target, bounds[0], bounds[1], bounds[2]);
        return bounds[0] is { } index ? new MemberExpression(line, target, index, null) : throw Error(line, "an index is empty");
    }

    private ArgumentList ParseArguments()
    {
        var positional = new List<JinjaExpression>();
        var named = new List<(string, JinjaExpression)>();
        while (!TryTake(")"))
        {
            if (positional.Count + named.Count > 0)
            {
                Expect(",");
                if (TryTake(")"))
                    break;
            }
            if (Present.Kind == JinjaTokenKind.Name && tokens[_at + 1].Is("="))
            {
                string name = ExpectName();
                Expect("=");
                named.Add((name, ParseExpression()));
            }
            else if (Present.Is("*") || Present.Is("**"))
                throw Error(Present.Line, $"unpacking arguments with \"{Present.Text}\" is not supported");
            else
                positional.Add(ParseExpression());
        }
        return new ArgumentList(positional, named);
    }

    /// <summary>A filter after its bar.</summary>
    protected (string Name, JinjaFilter Filter, ArgumentList Arguments) ParseFilter(int line)
    {
        string name = ExpectName();
        JinjaFilter filter = JinjaFilters.Find(name) ?? throw Error(line, $"unknown filter \"{name}\"", $"Supported: {JinjaFilters.Names}");
        return (name, filter, TryTake("(") ? ParseArguments() : ArgumentList.Empty);
    }

    private TestExpression ParseTest(int line, JinjaExpression value)
    {
        bool negated = TryTake("not");
        string name = Present.Kind == JinjaTokenKind.Operator && Present.Text is "==" or "!=" ? Take().Text : ExpectName();
        JinjaTest test = JinjaTests.Find(name) ?? throw Error(line, $"unknown test \"{name}\"", $"Supported: {JinjaTests.Names}");
        ArgumentList arguments = ArgumentList.Empty;
        if (TryTake("("))
            arguments = ParseArguments();
        else if (StartsOperand())
            arguments = new ArgumentList([ParsePostfix(ParsePrimary(), withFilters: false)], []);
        return new TestExpression(line, value, name, test, arguments, negated);
    }

    /// <summary>A test may take one argument without parentheses: <c>is divisibleby 3</c>.</summary>
    private bool StartsOperand() => Present.Kind is JinjaTokenKind.String or JinjaTokenKind.Integer or JinjaTokenKind.Float
        || Present.Is("[") || Present.Is("{")
        || Present.Kind == JinjaTokenKind.Name && Present.Text is not ("and" or "or" or "not" or "in" or "is" or "if" or "else");
}
