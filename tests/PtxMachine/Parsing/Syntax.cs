namespace Foretoken.Ptx.Parsing;

internal enum Space : byte { Generic, Global, Shared, Const, Local, Param }

/// <summary>A variable of any space, or a parameter.</summary>
internal sealed class Variable
{
    public required string Name { get; init; }
    public required Space Space { get; init; }
    public required PtxType Type { get; init; }
    public required int Line { get; init; }
    public int Alignment { get; init; }

    /// <summary>Number of elements; -1: an extern array without a size.</summary>
    public long Count { get; init; } = 1;
    /// <summary>Elements of a vector variable (.v2, .v4), 1 otherwise; counted in <see cref="Count"/>.</summary>
    public int Vector { get; init; } = 1;
    public bool IsExtern { get; init; }
    public List<Initialiser> Initialisers { get; init; } = [];

    public int ElementBytes => Math.Max(Type.Bits() / 8, 1);
    public long Bytes => Count < 0 ? 0 : Count * ElementBytes;
    public int ActualAlignment => Math.Max(Alignment, 1) > 1 ? Alignment : ElementBytes * Vector;
}

/// <summary>One initial element: a number's bits, or the address of a symbol plus an offset, cut to the element or, for <c>mask(symbol)</c>, one byte of it.</summary>
internal readonly record struct Initialiser(ulong Bits, string? Symbol, bool Generic, int ByteShift);

internal enum OperandKind : byte { Name, Integer, Float, Vector, Address, Pair, Arguments }

/// <summary>An operand. Integer: <see cref="Bits"/>; Float: f64 bits (or f32 bits when <see cref="IsSingle"/>); Address: [Name + Bits] or [Bits].</summary>
internal sealed class Operand
{
    public OperandKind Kind { get; init; }
    public string Name { get; init; } = "";
    public ulong Bits { get; init; }
    public bool IsSingle { get; init; }
    public bool Negated { get; init; }
    public Operand[] Items { get; init; } = [];
}

internal abstract record Statement(int Line);

internal sealed record LabelStatement(string Name, int Line) : Statement(Line);

/// <summary>name: .branchtargets labels; of a brx.idx.</summary>
internal sealed record TargetsStatement(string Name, List<string> Labels, int Line) : Statement(Line);

internal sealed record BlockStatement(List<Statement> Body, int Line) : Statement(Line);

internal sealed record RegisterStatement(PtxType Type, string Name, int Count, int Line) : Statement(Line); // Count 0: exactly Name

internal sealed record VariableStatement(Variable Variable, int Line) : Statement(Line);

internal sealed record InstructionStatement(string? Predicate, bool PredicateNegated, string Opcode, string[] Modifiers, List<Operand> Operands, int Line) : Statement(Line)
{
    public string Text => Modifiers.Length == 0 ? Opcode : Opcode + "." + string.Join('.', Modifiers);
}

internal sealed class Function
{
    public required string Name { get; init; }
    public required bool IsEntry { get; init; }
    public required int Line { get; init; }
    public List<Variable> Returns { get; init; } = [];
    public List<Variable> Parameters { get; init; } = [];
    public List<Statement>? Body { get; set; } // null: a forward declaration
    public long[]? RequiredThreads { get; set; }
    public long[]? MaxThreads { get; set; }
}

internal sealed class ModuleSyntax
{
    public int VersionMajor { get; set; }
    public int VersionMinor { get; set; }
    public string Target { get; set; } = "";
    public int AddressSize { get; set; } = 32;
    public List<Variable> Variables { get; } = [];
    public List<Function> Functions { get; } = [];
}
