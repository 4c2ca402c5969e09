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

    private Token Next() => Current.Kind == TokenKind.End ? throw Error("the text ends here") : _tokens[_at++];

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
        while (Current.Text is ".visible" or ".extern" or ".weak" or ".common")
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
                _module.AddressSize = Size(64, ".address_size");
                break;
            case ".file":
            case ".loc":
                SkipLine();
                break;
            case ".section":
                while (!Current.Is("{"))
                    Next();
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
            case ".alias":
                throw Error("'.alias' is not supported: give the function its name");
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

    private int AlignmentOf()
    {
        int value = Size(1 << 12, "an alignment");
        return System.Numerics.BitOperations.IsPow2(value) ? value : throw Error($"an alignment of {value} is no power of two");
    }

    /// <summary>.space [.align N] [.ptr [.space] [.align N]] [.v2|.v4] .type name[N] [= initialiser] {, name…} ;</summary>
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
        (PtxType type, int vector, int alignment) = VariableType();
        var result = new List<Variable>();
        do
        {
            string name = Word();
            List<long> sizes = [];
            while (Take("["))
            {
                if (Current.Is("]") && sizes.Count > 0)
                    throw Error("only an array's first size may be left out");
                sizes.Add(Current.Is("]") ? -1 : Size(int.MaxValue, "an array"));
                Expect("]");
            }

            List<Initialiser> initialisers = [];
            long element = Math.Max(sizes.Skip(1).Aggregate((long)vector, (a, b) => checked(a * b)), 1), count = sizes.Count == 0 ? element : sizes[0] < 0 ? -1 : sizes[0] * element;
            if (count > int.MaxValue)
                throw Error($"an array of {count} elements");
            if (!isParameter && Take("="))
            {
                long[] rows = [count, .. Rows([.. sizes.Skip(1), .. vector > 1 ? [(long)vector] : Array.Empty<long>()])];
                Initialisers(initialisers, type, rows, 0);
                count = count < 0 ? (initialisers.Count + element - 1) / element * element : count;
            }

            result.Add(new Variable
            {
                Name = name, Space = space, Type = type, Line = line, Alignment = alignment, Count = count, Vector = vector, IsExtern = isExtern, Initialisers = initialisers,
            });
        }
        while (!isParameter && Take(","));
        if (!isParameter)
            Expect(";");
        return result;
    }

    private (PtxType Type, int Vector, int Alignment) VariableType()
    {
        int alignment = 0, vector = 1;
        PtxType type = PtxType.None;
        bool pointer = false;
        while (Current.Kind == TokenKind.Directive)
        {
            string directive = Next().Text[1..];
            switch (directive)
            {
                case "align":
                    int value = AlignmentOf();
                    alignment = pointer ? alignment : value; // behind .ptr: the alignment of what it points to
                    break;
                case "attribute":
                    Expect("(");
                    while (!Take(")"))
                        Next();
                    break;
                case "v2" or "v4":
                    vector = directive[1] - '0';
                    break;
                case "ptr" or "global" or "const" or "shared" or "local":
                    pointer = true;
                    break;
                default:
                    if (!PtxTypes.TryParse(directive, out type))
                        throw Error($"unknown modifier '.{directive}' of a variable");
                    break;
            }
        }

        return type == PtxType.None ? throw Error("a variable needs a type") : (type, vector, alignment);
    }

    /// <summary>Elements of a row at each depth of braces below the first.</summary>
    private static long[] Rows(long[] sizes)
    {
        for (int n = sizes.Length - 2; n >= 0; n--)
            sizes[n] *= sizes[n + 1];
        return sizes;
    }

    /// <summary>Initial values; a row in braces of its own that has too few is filled up with zeros.</summary>
    private void Initialisers(List<Initialiser> list, PtxType type, long[] rows, int depth)
    {
        if (!Take("{"))
        {
            list.Add(OneInitialiser(type));
            return;
        }

        int first = list.Count;
        while (!Take("}"))
        {
            if (Current.Is("{") && depth + 1 >= rows.Length)
                throw Error("more braces than the array has dimensions");
            Initialisers(list, type, rows, depth + 1);
            if (!Take(",") && !Current.Is("}"))
                throw Error($"',' or '}}' expected, '{Current.Text}' found");
        }

        long row = depth < rows.Length ? rows[depth] : 1;
        if (row >= 0 && list.Count - first > row)
            throw Error($"{list.Count - first} initial values for {row} elements");
        while (depth > 0 && list.Count - first < row)
            list.Add(default);
    }

    private Initialiser OneInitialiser(PtxType type)
    {
        if (Current.Kind == TokenKind.Integer && _tokens[_at + 1].Is("(")) // mask(symbol): one byte of an address
        {
            ulong mask = Next().Bits;
            if (mask != 0xFFUL << (System.Numerics.BitOperations.TrailingZeroCount(mask) & 63))
                throw Error($"0x{mask:x} selects no byte of an address");
            Expect("(");
            Initialiser inner = OneInitialiser(type);
            Expect(")");
            return inner with { ByteShift = System.Numerics.BitOperations.TrailingZeroCount(mask) };
        }

        if (Current.Kind == TokenKind.Word && !Current.Is("WARP_SZ"))
        {
            string name = Word();
            bool generic = name == "generic";
            if (generic)
            {
                Expect("(");
                name = Word();
                Expect(")");
            }

            return new Initialiser((ulong)Offset(), name, generic, 0);
        }

        Operand number = NumberOperand();
        ulong bits = number.Bits;
        if (number.Kind == OperandKind.Float && type is not (PtxType.F32 or PtxType.F64 or PtxType.B32 or PtxType.B64))
            throw Error($"a float for an element of .{type.Text()}");
        if (number.Kind == OperandKind.Integer && bits != 0 && type is PtxType.F32 or PtxType.F64)
            throw Error($"an integer for an element of .{type.Text()}");
        if (number.Kind == OperandKind.Float && type == PtxType.F32 && !number.IsSingle)
            bits = BitConverter.SingleToUInt32Bits((float)BitConverter.UInt64BitsToDouble(bits));
        else if (number.Kind == OperandKind.Float && type == PtxType.F64 && number.IsSingle)
            bits = BitConverter.DoubleToUInt64Bits(BitConverter.UInt32BitsToSingle((uint)bits));
        return new Initialiser(bits, null, false, 0);
    }

    /// <summary>+ or − a constant behind a symbol.</summary>
    private long Offset() => Take("+") || Current.Is("-") ? Integer() : 0;
}
