namespace Foretoken.Ptx.Parsing;

/// <summary>Function bodies: statements and operands.</summary>
internal sealed partial class PtxParser
{
    private List<Statement> Body()
    {
        Expect("{");
        if (++_depth > Deepest)
            throw Error($"more than {Deepest} nested braces");
        var body = new List<Statement>();
        while (!Take("}"))
            OneStatement(body);
        _depth--;
        return body;
    }

    private void OneStatement(List<Statement> body)
    {
        Token token = Current;
        if (Take(";"))
            return;
        if (token.Is("{"))
        {
            body.Add(new BlockStatement(Body(), token.Line));
        }
        else if (token.Kind == TokenKind.Directive)
        {
            DirectiveStatement(body, token);
        }
        else if (token.Kind == TokenKind.Word && _tokens[_at + 1].Is(":"))
        {
            _at += 2;
            if (Current.Text is ".callprototype" or ".calltargets")
                SkipStatement(); // only an indirect call needs it, and that is refused where it stands
            else if (Take(".branchtargets"))
                body.Add(new TargetsStatement(token.Text, BranchTargets(), token.Line));
            else
                body.Add(new LabelStatement(token.Text, token.Line));
        }
        else if (token.Is("@") || token.Kind == TokenKind.Word)
        {
            body.Add(Instruction());
        }
        else
        {
            throw Error($"a statement expected, '{token.Text}' found");
        }
    }

    private List<string> BranchTargets()
    {
        var labels = new List<string> { Word() };
        while (Take(","))
            labels.Add(Word());
        Expect(";");
        return labels;
    }

    private void DirectiveStatement(List<Statement> body, Token token)
    {
        switch (token.Text)
        {
            case ".reg":
                RegisterDeclaration(body);
                break;
            case ".loc" or ".file":
                SkipLine();
                break;
            case ".pragma":
                SkipStatement();
                break;
            case ".shared" or ".local" or ".param" or ".global" or ".const":
                foreach (Variable variable in Variables(isExtern: false))
                    body.Add(new VariableStatement(variable, token.Line));
                break;
            default:
                throw Error($"unknown directive '{token.Text}'");
        }
    }

    private const int MaxRegisters = 1 << 20;

    private void RegisterDeclaration(List<Statement> body)
    {
        int line = Next().Line;
        int elements = Take(".v2") ? 2 : Take(".v4") ? 4 : 1;
        Token typeName = Next();
        if (!PtxTypes.TryParse(typeName.Text.TrimStart('.'), out PtxType type))
            throw new PtxParseException(_file, line, $"unknown register type '{typeName.Text}'");
        do
        {
            string name = Word();
            int count = 0;
            if (Take("<"))
            {
                Token number = Next();
                if (number.Kind != TokenKind.Integer || number.Bits > MaxRegisters)
                    throw Error($"{number.Text} registers: 0 to {MaxRegisters} are possible");
                count = (int)number.Bits;
                Expect(">");
                if (count == 0)
                    continue;
            }

            if (elements == 1)
                body.Add(new RegisterStatement(type, name, count, line));
            for (int n = 0; elements > 1 && n < Math.Max(count, 1); n++)
            {
                string vector = count == 0 ? name : name + n.ToString(System.Globalization.CultureInfo.InvariantCulture);
                foreach (string element in new[] { ".x", ".y", ".z", ".w" }[..elements])
                    body.Add(new RegisterStatement(type, vector + element, 0, line));
            }
        }
        while (Take(","));
        Expect(";");
    }

    private InstructionStatement Instruction()
    {
        int line = Current.Line;
        string? predicate = null;
        bool negated = false;
        if (Take("@"))
        {
            negated = Take("!");
            predicate = Word();
        }

        string[] parts = Word().Split('.');
        var operands = new List<Operand>();
        while (!Take(";"))
        {
            operands.Add(parts[0] == "call" && Take("(") ? new Operand { Kind = OperandKind.Arguments, Items = List(")") } : Operand());
            if (!Take(",") && !Current.Is(";"))
                throw Error($"',' or ';' expected, '{Current.Text}' found");
        }

        return new InstructionStatement(predicate, negated, parts[0], parts[1..], operands, line);
    }

    private Operand Operand()
    {
        if (Take("{"))
            return new Operand { Kind = OperandKind.Vector, Items = List("}") };
        if (Take("["))
            return AddressOperand();
        if (Current.Is("!") && _tokens[_at + 1].Kind == TokenKind.Word && Take("!"))
            return new Operand { Kind = OperandKind.Name, Name = Word(), Negated = true };
        if (Current.Kind != TokenKind.Word || Current.Is("WARP_SZ"))
            return NumberOperand();
        string name = Word();
        if (Take("|"))
            return new Operand { Kind = OperandKind.Pair, Name = name, Items = [new Operand { Kind = OperandKind.Name, Name = Word() }] };
        return new Operand { Kind = OperandKind.Name, Name = name, Bits = (ulong)Offset() };
    }

    private Operand[] List(string close)
    {
        if (++_depth > Deepest)
            throw Error($"more than {Deepest} nested braces");
        var items = new List<Operand>();
        while (!Take(close))
        {
            items.Add(Operand());
            if (!Take(",") && !Current.Is(close))
                throw Error($"',' or '{close}' expected, '{Current.Text}' found");
        }

        _depth--;
        return [.. items];
    }

    private Operand AddressOperand()
    {
        string name = Current.Kind == TokenKind.Word && !Current.Is("WARP_SZ") ? Word() : "";
        long offset = name.Length > 0 ? Offset() : Integer();
        var items = new List<Operand>(); // coordinates of textures, which only the decoder can refuse by name
        while (Take(","))
            items.Add(Operand());
        Expect("]");
        return new Operand { Kind = OperandKind.Address, Name = name, Bits = (ulong)offset, Items = [.. items] };
    }

    private Operand NumberOperand()
    {
        if (Current.Kind is not (TokenKind.Integer or TokenKind.Float or TokenKind.Symbol or TokenKind.Word))
            throw Error($"an operand expected, '{Current.Text}' found");
        Constant value = Expression();
        return new Operand { Kind = value.IsFloat ? OperandKind.Float : OperandKind.Integer, Bits = value.Bits, IsSingle = value.IsSingle };
    }
}
