namespace Foretoken.Backends.Cuda;

/// <summary>Blocks of a grid or threads of a block, in x, y and z.</summary>
internal readonly record struct Dim3(uint X, uint Y = 1, uint Z = 1)
{
    public static implicit operator Dim3(uint x) => new(x);

    public static implicit operator Dim3(int x) => new(checked((uint)x));

    public static implicit operator Dim3((int X, int Y) size) => new(checked((uint)size.X), checked((uint)size.Y));

    public static implicit operator Dim3((int X, int Y, int Z) size) => new(checked((uint)size.X), checked((uint)size.Y), checked((uint)size.Z));

    public override string ToString() => FormattableString.Invariant($"({X}, {Y}, {Z})");
}

/// <summary>How a kernel is launched beside its grid.</summary>
[Flags]
internal enum CudaLaunchOptions
{
    None = 0,

    /// <summary>All blocks run at the same time, so that they may wait for each other.</summary>
    Cooperative = 1,

    /// <summary>May begin before the kernel in front of it has ended (compute capability 9.0; the kernel waits with griddepcontrol).</summary>
    ProgrammaticSerialization = 2,
}
