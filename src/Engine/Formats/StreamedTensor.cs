using Foretoken.Numerics;

namespace Foretoken.Formats;

/// <summary>A tensor to be written whose bytes come piece by piece, so that a file can be larger than the memory.</summary>
/// <param name="Name">Its name in the file.</param>
/// <param name="Type">Element type.</param>
/// <param name="Shape">Dimensions, slowest first.</param>
/// <param name="Write">Writes exactly <see cref="Bytes"/> bytes.</param>
public sealed record StreamedTensor(string Name, DType Type, IReadOnlyList<long> Shape, Action<Stream> Write)
{
    /// <summary>Length in bytes.</summary>
    public long Bytes => Type.BytesOf(Shape.Aggregate(1L, (product, d) => checked(product * d)));

    /// <summary>Writes the bytes and checks their number.</summary>
    /// <exception cref="InvalidOperationException">The writer wrote more or less than it announced.</exception>
    internal void WriteTo(Stream stream)
    {
        long start = stream.Position;
        Write(stream);
        if (stream.Position - start != Bytes) throw new InvalidOperationException($"Tensor {Name} wrote {stream.Position - start} bytes instead of {Bytes}.");
    }
}
