using System.Buffers.Binary;
using Foretoken.Ptx.Decoding;
using Foretoken.Ptx.Execution;
using Foretoken.Ptx.Memory;
using Foretoken.Ptx.Parsing;

namespace Foretoken.Ptx;

/// <summary>A loaded PTX module: its variables lie in the machine's memory, its kernels are decoded when they are first asked for.</summary>
public sealed unsafe class PtxModule : IDisposable
{
    private readonly ModuleSyntax _syntax;
    private readonly GlobalMemory _global;
    private readonly string[] _lines;
    private readonly string _file;
    private readonly Scope _scope = new(null);
    private readonly Dictionary<string, Kernel> _kernels = new(StringComparer.Ordinal);
    private readonly Dictionary<string, (ulong Address, long Bytes)> _variables = new(StringComparer.Ordinal);
    private readonly Dictionary<Variable, Symbol> _inner = []; // variables of global and constant memory within functions
    private readonly byte[] _const; // pinned
    private readonly Lock _lock = new();
    private bool _disposed;

    /// <exception cref="PtxParseException">The text is not understood; with the line.</exception>
    internal PtxModule(string text, string file, GlobalMemory global, int capability)
    {
        _file = file;
        _global = global;
        _lines = text.Split('\n');
        _syntax = PtxParser.Parse(text, file);
        if (_syntax.Target.Length == 0 || _syntax.VersionMajor == 0)
            throw new PtxParseException(file, 1, "a module begins with .version and .target");
        if (_syntax.AddressSize != 64)
            throw new PtxParseException(file, 1, $".address_size {_syntax.AddressSize}: only 64 is supported (32 when the directive is absent)");
        string digits = new([.. _syntax.Target.Where(char.IsAsciiDigit)]);
        if (int.TryParse(digits, System.Globalization.CultureInfo.InvariantCulture, out int target) && target > capability)
            throw new PtxParseException(file, 1, $".target {_syntax.Target} is above the machine's compute capability {capability / 10}.{capability % 10} ({nameof(PtxMachineOptions)}.{nameof(PtxMachineOptions.ComputeCapability)} sets it)");
        _const = [];
        try
        {
            CheckFunctions();
            _const = GC.AllocateArray<byte>((int)Math.Max(PlaceVariables(), 16), pinned: true);
            Initialise();
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    /// <summary>Names of the kernels, in the order of the text.</summary>
    public IEnumerable<string> Kernels => _syntax.Functions.Where(f => f.IsEntry && f.Body is not null).Select(f => f.Name);

    public string Target => _syntax.Target;

    /// <summary>(major, minor) of .version.</summary>
    public (int Major, int Minor) Version => (_syntax.VersionMajor, _syntax.VersionMinor);

    /// <summary>Device address and size of a .global variable, null when there is none of this name.</summary>
    public (ulong Address, long Bytes)? Variable(string name) => _variables.TryGetValue(name, out (ulong, long) place) ? place : null;

    /// <summary>Decodes every kernel, so that unknown instructions show at once.</summary>
    /// <exception cref="PtxParseException">With the line.</exception>
    public void DecodeAll()
    {
        foreach (string name in Kernels)
            Kernel(name);
    }

    /// <summary>The kernel's parameters, in order.</summary>
    public IReadOnlyList<KernelParameter> Parameters(string kernel) => Kernel(kernel).Parameters;

    /// <summary>Frees the module's variables and code.</summary>
    public void Dispose()
    {
        _disposed = true;
        foreach (Kernel kernel in _kernels.Values)
            kernel.Dispose();
        _kernels.Clear();
        foreach (ulong address in _allocated)
            _global.Free(address);
        _allocated.Clear();
        _variables.Clear();
    }

    internal Kernel Kernel(string name)
    {
        lock (_lock)
        {
            ObjectDisposedException.ThrowIf(_disposed, this);
            if (_kernels.TryGetValue(name, out Kernel? kernel))
                return kernel;
            Function function = _syntax.Functions.Find(f => f.IsEntry && f.Name == name && f.Body is not null)
                ?? throw new ArgumentException($"{_file} has no kernel '{name}'; it has: {string.Join(", ", Kernels)}");
            KernelParameter[] parameters = Place(function.Parameters, out int bytes);
            kernel = new Kernel
            {
                Name = name, File = _file, Lines = _lines, Parameters = parameters, ParameterBytes = bytes, RequiredThreads = function.RequiredThreads,
                MaxThreads = function.MaxThreads is { } most ? most.Aggregate(1L, (a, b) => a * b) : 0,
                ConstMemory = (byte*)System.Runtime.InteropServices.Marshal.UnsafeAddrOfPinnedArrayElement(_const, 0), ConstBytes = _const.Length,
            };
            try
            {
                new KernelDecoder(_file, _syntax, kernel, _scope, _inner).Decode(function);
            }
            catch
            {
                kernel.Dispose();
                throw;
            }

            return _kernels[name] = kernel;
        }
    }

    private static KernelParameter[] Place(List<Variable> variables, out int bytes)
    {
        var list = new List<KernelParameter>();
        bytes = 0;
        foreach (Variable variable in variables)
        {
            bytes = (bytes + variable.ActualAlignment - 1) / variable.ActualAlignment * variable.ActualAlignment;
            list.Add(new KernelParameter(variable.Name, variable.Type.Text(), bytes, (int)variable.Bytes));
            bytes += (int)variable.Bytes;
        }

        return [.. list];
    }

    private void CheckFunctions()
    {
        var bodies = new HashSet<string>(StringComparer.Ordinal);
        int count = 0;
        foreach (Function function in _syntax.Functions)
        {
            if (function.Body is not null && !bodies.Add(function.Name))
                throw new PtxParseException(_file, function.Line, $"'{function.Name}' is defined twice");
            if (!function.IsEntry)
                _scope.TryAdd(function.Name, new Symbol(SymbolKind.Function, 0, 0, Space.Generic, Window.Code + (16 * (ulong)++count)));
        }
    }

    /// <summary>Gives every variable of the module and of its functions its address; returns the bytes of constant memory.</summary>
    private long PlaceVariables()
    {
        long constBytes = 0;
        foreach (Variable variable in _syntax.Variables)
        {
            if (variable.Space == Space.Shared || (variable.IsExtern && _syntax.Variables.Exists(v => v.Name == variable.Name && !v.IsExtern)))
                continue;
            Symbol symbol = Place(variable, ref constBytes);
            if (!_scope.TryAdd(variable.Name, symbol))
                throw new PtxParseException(_file, variable.Line, $"'{variable.Name}' is defined twice");
            if (symbol.Space == Space.Global)
                _variables[variable.Name] = (symbol.Address, variable.Bytes);
        }

        foreach (Variable variable in _syntax.Functions.Where(f => f.Body is not null).SelectMany(f => Inner(f.Body!)))
            _inner[variable] = Place(variable, ref constBytes);
        return constBytes;
    }

    private static IEnumerable<Variable> Inner(List<Statement> body)
    {
        foreach (Statement statement in body)
        {
            if (statement is VariableStatement { Variable.Space: Space.Global or Space.Const } inner)
                yield return inner.Variable;
            foreach (Variable variable in statement is BlockStatement block ? Inner(block.Body) : [])
                yield return variable;
        }
    }

    private const int MaxConstBytes = 64 << 10; // a bank of constant memory

    private Symbol Place(Variable variable, ref long constBytes)
    {
        if (variable.IsExtern)
            throw new PtxParseException(_file, variable.Line, $"'{variable.Name}' is extern: modules are not linked");
        if (variable.Count < 0)
            throw new PtxParseException(_file, variable.Line, $"'{variable.Name}' has neither size nor values");
        if (variable.Space == Space.Const)
        {
            long at = (constBytes + variable.ActualAlignment - 1) / variable.ActualAlignment * variable.ActualAlignment;
            constBytes = at + variable.Bytes;
            return constBytes <= MaxConstBytes
                ? new Symbol(SymbolKind.Variable, 0, 0, Space.Const, (ulong)at)
                : throw new PtxParseException(_file, variable.Line, $"'{variable.Name}': more than {MaxConstBytes} bytes of constant memory");
        }

        ulong address = _global.Allocate(Math.Max(variable.Bytes, 1), variable.Name);
        if (address == 0)
            throw new PtxParseException(_file, variable.Line, $"'{variable.Name}' of {variable.Bytes} bytes: no global memory left");
        _allocated.Add(address);
        return new Symbol(SymbolKind.Variable, 0, 0, Space.Global, address);
    }

    private readonly List<ulong> _allocated = [];

    private void Initialise()
    {
        foreach (Variable variable in _syntax.Variables)
        {
            if (variable.Space != Space.Shared && !variable.IsExtern && _scope.TryFind(variable.Name, out Symbol symbol))
                Initialise(variable, symbol);
        }

        foreach ((Variable variable, Symbol symbol) in _inner)
            Initialise(variable, symbol);
    }

    private void Initialise(Variable variable, Symbol symbol)
    {
        Span<byte> target = variable.Space == Space.Const
            ? _const.AsSpan((int)symbol.Address, (int)variable.Bytes)
            : new Span<byte>(_global.Host(symbol.Address, variable.Bytes), (int)variable.Bytes);
        target.Clear(); // what the initialiser leaves out is zero (ptx.md §5)
        Fill(variable, target);
        if (variable.Space == Space.Global)
            _global.MarkWritten(symbol.Address, variable.Bytes);
    }

    private void Fill(Variable variable, Span<byte> target)
    {
        int size = variable.ElementBytes;
        if (variable.Initialisers.Count > variable.Count)
            throw new PtxParseException(_file, variable.Line, $"'{variable.Name}' has {variable.Count} elements and {variable.Initialisers.Count} initialisers");
        Span<byte> bits = stackalloc byte[16];
        for (int n = 0; n < variable.Initialisers.Count; n++)
        {
            Initialiser initialiser = variable.Initialisers[n];
            ulong value = initialiser.Bits;
            if (initialiser.Symbol is { } name)
            {
                if (!_scope.TryFind(name, out Symbol symbol))
                    throw new PtxParseException(_file, variable.Line, $"'{name}' is not defined");
                value += symbol.Address + (initialiser.Generic && symbol.Space == Space.Const ? Window.Const : 0);
                value >>= initialiser.ByteShift;
            }

            bits.Clear();
            BinaryPrimitives.WriteUInt64LittleEndian(bits, value);
            bits[..size].CopyTo(target[(n * size)..]);
        }
    }
}
