using Foretoken.Numerics;

namespace Foretoken.Formats;

/// <summary>Where a file keeps a tensor. Checked against the file's size when the file was opened.</summary>
/// <param name="Name">The tensor's name in the file.</param>
/// <param name="Type">Element type.</param>
/// <param name="Shape">Dimensions, slowest first; empty for a scalar.</param>
/// <param name="File">Path of the file.</param>
/// <param name="Offset">First byte, counted from the start of the file. Not necessarily aligned.</param>
/// <param name="Bytes">Length in bytes.</param>
public sealed record StoredTensor(string Name, DType Type, IReadOnlyList<long> Shape, string File, long Offset, long Bytes)
{
    /// <summary>Number of elements.</summary>
    public long Elements => Shape.Aggregate(1L, (product, d) => product * d);

    /// <summary>Bytes of one row of a matrix.</summary>
    public long RowBytes => Type.BytesOf(Shape[^1]);

    /// <summary>The shape as text, for example <c>[1024, 192]</c>.</summary>
    public string ShapeText => FormatShape(Shape);

    /// <summary>A shape as text, for example <c>[1024, 192]</c>.</summary>
    public static string FormatShape(IEnumerable<long> shape) => $"[{string.Join(", ", shape)}]";
}
