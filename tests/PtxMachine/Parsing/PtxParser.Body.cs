namespace Foretoken.Ptx.Parsing;

/// <summary>Function bodies: statements and operands.</summary>
internal sealed partial class PtxParser
{
    private List<Statement> Body()
    {
        Expect("{");
        var body = new List<Statement>();
        while (!Take("}"))
            OneStatement(body);
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
            if (Current.Is(".callprototype"))
                SkipStatement(); // only an indirect call needs it, and that is refused where it stands
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
                count = (int)Integer();
                Expect(">");
            }

            foreach (string element in elements == 1 ? [""] : new[] { ".x", ".y", ".z", ".w" }[..elements])
                body.Add(new RegisterStatement(type, name + element, count, line));
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
            operands.Add(Operand());
            if (!Take(",") && !Current.Is(";"))
                throw Error($"',' or ';' expected, '{Current.Text}' found");
        }

        return new InstructionStatement(predicate, negated, parts[0], parts[1..], operands, line);
    }

    private Operand Operand()
    {
        if (Take("{"))
            return new Operand { Kind = OperandKind.Vector, Items = List("}") };
        if (Take("("))
            return new Operand { Kind = OperandKind.Arguments, Items = List(")") };
        if (Take("["))
            return AddressOperand();
        if (Take("!"))
            return new Operand { Kind = OperandKind.Name, Name = Word(), Negated = true };
        if (Current.Kind != TokenKind.Word)
            return NumberOperand();
        string name = Word();
        if (Take("|"))
            return new Operand { Kind = OperandKind.Pair, Name = name, Items = [new Operand { Kind = OperandKind.Name, Name = Word() }] };
        long offset = Take("+") ? Integer() : Current.Is("-") ? Integer() : 0;
        return new Operand { Kind = OperandKind.Name, Name = name, Bits = (ulong)offset };
    }

    private Operand[] List(string close)
    {
        var items = new List<Operand>();
        while (!Take(close))
        {
            items.Add(Operand());
            if (!Take(",") && !Current.Is(close))
                throw Error($"',' or '{close}' expected, '{Current.Text}' found");
        }

        return [.. items];
    }

    private Operand AddressOperand()
    {
        string name = Current.Kind == TokenKind.Word ? Word() : "";
        long offset = 0;
        while (!Take("]"))
        {
            Take("+");
            offset += Integer();
        }

        return new Operand { Kind = OperandKind.Address, Name = name, Bits = (ulong)offset };
    }

    private Operand NumberOperand()
    {
        bool negative = Take("-");
        Token token = Next();
        if (token.Kind == TokenKind.Integer)
            return new Operand { Kind = OperandKind.Integer, Bits = negative ? (ulong)-(long)token.Bits : token.Bits };
        if (token.Kind != TokenKind.Float)
        {
            _at--;
            throw Error($"an operand expected, '{token.Text}' found");
        }

        ulong sign = token.IsSingle ? 1UL << 31 : 1UL << 63;
        return new Operand { Kind = OperandKind.Float, Bits = negative ? token.Bits ^ sign : token.Bits, IsSingle = token.IsSingle };
    }
}
