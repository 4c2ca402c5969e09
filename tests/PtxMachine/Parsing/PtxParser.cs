using System.Globalization;

namespace Foretoken.Ptx.Parsing;

/// <summary>
/// Parses a PTX module into its variables and functions (PTX ISA chapters 4, 5, 7, 11). Line information, file tables, debug sections and pragmas are
/// skipped on purpose; any other directive that is not understood is an error naming the line.
/// </summary>
internal sealed partial class PtxParser
{
    private readonly List<Token> _tokens;
    private readonly string _file;
    private readonly ModuleSyntax _module = new();
    private int _at;

    private PtxParser(string text, string file)
    {
        _file = file;
        _tokens = PtxLexer.Tokenize(text, file);
    }

    private Token Current => _tokens[_at];

    /// <exception cref="PtxParseException">With the line.</exception>
    public static ModuleSyntax Parse(string text, string file)
    {
        var parser = new PtxParser(text, file);
        while (parser.Current.Kind != TokenKind.End)
            parser.TopLevel();
        return parser._module;
    }

    private PtxParseException Error(string message) => new(_file, Current.Line, message);

    private Token Next() => _tokens[_at++];

    private bool Take(string text)
    {
        if (!Current.Is(text))
            return false;
        _at++;
        return true;
    }

    private void Expect(string text)
    {
        if (!Take(text))
            throw Error($"'{text}' expected, '{Current.Text}' found");
    }

    private string Word() => Current.Kind == TokenKind.Word ? Next().Text : throw Error($"a name expected, '{Current.Text}' found");

    private long Integer()
    {
        bool negative = Take("-");
        if (Current.Kind != TokenKind.Integer)
            throw Error($"a number expected, '{Current.Text}' found");
        long value = (long)Next().Bits;
        return negative ? -value : value;
    }

    private void SkipLine()
    {
        int line = Current.Line;
        while (Current.Kind != TokenKind.End && Current.Line == line)
            _at++;
    }

    private void SkipBraces()
    {
        int depth = 0;
        do
        {
            if (Current.Kind == TokenKind.End)
                throw Error("a brace is not closed");
            depth += Current.Is("{") ? 1 : Current.Is("}") ? -1 : 0;
            _at++;
        }
        while (depth > 0);
    }

    private void TopLevel()
    {
        if (Take(";"))
            return;
        bool isExtern = false;
        while (Current.Is(".visible") || Current.Is(".extern") || Current.Is(".weak") || Current.Is(".common"))
            isExtern |= Next().Text == ".extern";
        switch (Current.Text)
        {
            case ".version":
                _at++;
                string[] version = Next().Text.Split('.');
                if (version.Length != 2 || !int.TryParse(version[0], CultureInfo.InvariantCulture, out int major) || !int.TryParse(version[1], CultureInfo.InvariantCulture, out int minor))
                    throw Error("a version such as 8.0 expected");
                (_module.VersionMajor, _module.VersionMinor) = (major, minor);
                break;
            case ".target":
                _at++;
                _module.Target = Word();
                while (Take(","))
                    Word();
                break;
            case ".address_size":
                _at++;
                _module.AddressSize = (int)Integer();
                break;
            case ".file":
            case ".loc":
                SkipLine();
                break;
            case ".section":
                while (!Current.Is("{"))
                    _at++;
                SkipBraces();
                break;
            case ".pragma":
                SkipStatement();
                break;
            case ".entry":
            case ".func":
                FunctionDefinition();
                break;
            case ".global" or ".const" or ".shared":
                _module.Variables.AddRange(Variables(isExtern));
                break;
            default:
                throw Error($"unknown directive '{Current.Text}'");
        }
    }

    private void SkipStatement()
    {
        while (!Current.Is(";"))
        {
            if (Current.Kind == TokenKind.End)
                throw Error("';' expected");
            _at++;
        }

        _at++;
    }

    private void FunctionDefinition()
    {
        bool isEntry = Next().Text == ".entry";
        int line = Current.Line;
        List<Variable> returns = Current.Is("(") ? Parameters() : [];
        string name = Word();
        var function = new Function { Name = name, IsEntry = isEntry, Line = line, Returns = returns, Parameters = Current.Is("(") ? Parameters() : [] };
        while (Current.Kind == TokenKind.Directive)
        {
            string directive = Next().Text;
            switch (directive)
            {
                case ".maxntid":
                    function.MaxThreads = Dimensions();
                    break;
                case ".reqntid":
                    function.RequiredThreads = Dimensions();
                    break;
                case ".minnctapersm" or ".maxnctapersm" or ".maxnreg":
                    Integer();
                    break;
                case ".noreturn":
                    break;
                case ".pragma":
                    SkipStatement();
                    break;
                default:
                    _at--;
                    throw Error($"unknown function directive '{directive}'");
            }
        }

        if (!Take(";"))
            function.Body = Body();
        _module.Functions.Add(function);
    }

    private long[] Dimensions()
    {
        var sizes = new List<long> { Integer() };
        while (Take(","))
            sizes.Add(Integer());
        return [.. sizes];
    }

    private List<Variable> Parameters()
    {
        var list = new List<Variable>();
        Expect("(");
        while (!Take(")"))
        {
            if (!Current.Is(".param") && !Current.Is(".reg"))
                throw Error($"a parameter expected, '{Current.Text}' found");
            list.AddRange(Variables(isExtern: false, isParameter: true));
            if (!Take(",") && !Current.Is(")"))
                throw Error($"',' or ')' expected, '{Current.Text}' found");
        }

        return list;
    }

    /// <summary>.space [.align N] [.ptr [.space] [.align N]] .type name[N] [= initialiser] {, name…} ;</summary>
    private List<Variable> Variables(bool isExtern, bool isParameter = false)
    {
        int line = Current.Line;
        string spaceName = Next().Text;
        Space space = spaceName switch
        {
            ".global" => Space.Global, ".const" => Space.Const, ".shared" => Space.Shared, ".local" => Space.Local, ".param" => Space.Param,
            ".reg" => Space.Generic, // a parameter in a register
            _ => throw Error($"unknown space '{spaceName}'"),
        };
        int alignment = 0;
        PtxType type = PtxType.None;
        while (Current.Kind == TokenKind.Directive)
        {
            string directive = Next().Text[1..];
            if (directive == "align")
            {
                int value = (int)Integer();
                alignment = type == PtxType.None ? value : alignment; // behind .ptr: the alignment of what it points to
            }
            else if (directive == "attribute")
            {
                Expect("(");
                while (!Take(")"))
                    _at++;
            }
            else if (directive is not ("ptr" or "global" or "const" or "shared" or "local") && !PtxTypes.TryParse(directive, out type))
            {
                throw Error($"unknown modifier '.{directive}' of a variable");
            }
        }

        if (type == PtxType.None)
            throw Error("a variable needs a type");
        var result = new List<Variable>();
        do
        {
            string name = Word();
            long count = 1;
            while (Take("["))
            {
                count = Take("]") ? -1 : count * Integer();
                if (count >= 0)
                    Expect("]");
            }

            List<Initialiser> initialisers = [];
            if (!isParameter && Take("="))
                Initialisers(initialisers, type);
            result.Add(new Variable
            {
                Name = name, Space = space, Type = type, Line = line, Alignment = alignment, Count = count, IsExtern = isExtern, Initialisers = initialisers,
            });
        }
        while (!isParameter && Take(","));
        if (!isParameter)
            Expect(";");
        return result;
    }

    private void Initialisers(List<Initialiser> list, PtxType type)
    {
        if (!Take("{"))
        {
            list.Add(OneInitialiser(type));
            return;
        }

        while (!Take("}"))
        {
            Initialisers(list, type);
            if (!Take(",") && !Current.Is("}"))
                throw Error($"',' or '}}' expected, '{Current.Text}' found");
        }
    }

    private Initialiser OneInitialiser(PtxType type)
    {
        if (Current.Kind == TokenKind.Integer && _tokens[_at + 1].Is("(")) // mask(symbol): one byte of an address
        {
            ulong mask = Next().Bits;
            Expect("(");
            Initialiser inner = OneInitialiser(type);
            Expect(")");
            return inner with { ByteShift = System.Numerics.BitOperations.TrailingZeroCount(mask) };
        }

        if (Current.Kind == TokenKind.Word)
        {
            string name = Word();
            bool generic = name == "generic";
            if (generic)
            {
                Expect("(");
                name = Word();
                Expect(")");
            }

            long offset = Take("+") ? Integer() : Current.Is("-") ? Integer() : 0;
            return new Initialiser((ulong)offset, name, generic, 0);
        }

        Operand number = NumberOperand();
        ulong bits = number.Bits;
        if (number.Kind == OperandKind.Float && type == PtxType.F32 && !number.IsSingle)
            bits = BitConverter.SingleToUInt32Bits((float)BitConverter.UInt64BitsToDouble(bits));
        else if (number.Kind == OperandKind.Float && type == PtxType.F64 && number.IsSingle)
            bits = BitConverter.DoubleToUInt64Bits(BitConverter.UInt32BitsToSingle((uint)bits));
        return new Initialiser(bits, null, false, 0);
    }
}
