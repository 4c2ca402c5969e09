namespace Foretoken.Ptx;

/// <summary>Sizes of a grid (in blocks) or a block (in threads).</summary>
public readonly record struct Dim3(long X, long Y = 1, long Z = 1)
{
    public static implicit operator Dim3(int x) => new(x);

    public override string ToString() => $"{X}×{Y}×{Z}";
}
