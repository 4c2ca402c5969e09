using Foretoken.Ptx.Execution;

namespace Foretoken.Ptx.Decoding;

/// <summary>Which operand fields of an instruction name a register.</summary>
[Flags]
internal enum OperandFields
{
    None = 0,
    D = 1,
    A = 2,
    B = 4,
    C = 8,
    E = 16,
}

/// <summary>
/// An instruction on its way to <see cref="Instruction"/>: operands are virtual register numbers (or constants) until registers are placed. Uses and Defs
/// name registers as they are and predicates as ~index.
/// </summary>
internal sealed class DecodedOp
{
    public Instruction I;
    public OperandFields Fields;
    public List<int> List { get; } = [];
    public List<int> Uses { get; } = [];
    public List<int> Defs { get; } = [];

    /// <summary>Label that a branch goes to, −1: none.</summary>
    public int Label { get; set; } = -1;

    /// <summary>Other lanes keep the old value of the destination.</summary>
    public bool IsConditional => I.Guard != 0;
}

/// <summary>A named thing of a scope.</summary>
internal readonly record struct Symbol(SymbolKind Kind, int Id, int Bits, Parsing.Space Space, ulong Address);

internal enum SymbolKind : byte { Register, Predicate, Variable, Label, Targets, Function }

internal sealed class Scope(Scope? parent)
{
    private readonly Dictionary<string, Symbol> _symbols = new(StringComparer.Ordinal);

    public bool TryAdd(string name, Symbol symbol) => _symbols.TryAdd(name, symbol);

    public bool TryFind(string name, out Symbol symbol)
    {
        for (Scope? scope = this; scope is not null; scope = scope.Parent)
        {
            if (scope._symbols.TryGetValue(name, out symbol))
                return true;
        }

        symbol = default;
        return false;
    }

    public Scope? Parent { get; } = parent;
}

/// <summary>The words behind an opcode's dots; each must be used, or the instruction is refused.</summary>
internal sealed class Modifiers(string[] words)
{
    private readonly bool[] _used = new bool[words.Length];

    /// <summary>True when the word is there; it counts as used.</summary>
    public bool Take(string word)
    {
        for (int i = 0; i < words.Length; i++)
        {
            if (!_used[i] && words[i] == word)
                return _used[i] = true;
        }

        return false;
    }

    /// <summary>The first of the words that is there, or null.</summary>
    public string? TakeAny(params ReadOnlySpan<string> candidates)
    {
        foreach (string word in candidates)
        {
            if (Take(word))
                return word;
        }

        return null;
    }

    public bool TakePrefix(string prefix)
    {
        bool any = false;
        for (int i = 0; i < words.Length; i++)
        {
            if (!_used[i] && words[i].StartsWith(prefix, StringComparison.Ordinal))
                any = _used[i] = true;
        }

        return any;
    }

    /// <summary>The next type word; None when there is none.</summary>
    public Parsing.PtxType TakeType()
    {
        for (int i = 0; i < words.Length; i++)
        {
            if (!_used[i] && Parsing.PtxTypes.TryParse(words[i], out Parsing.PtxType type))
            {
                _used[i] = true;
                return type;
            }
        }

        return Parsing.PtxType.None;
    }

    public string? Unused()
    {
        for (int i = 0; i < words.Length; i++)
        {
            if (!_used[i])
                return words[i];
        }

        return null;
    }
}
