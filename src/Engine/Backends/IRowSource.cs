using Foretoken.Numerics;

namespace Foretoken.Backends;

/// <summary>
/// A matrix [OutFeatures, InFeatures] that can be read row by row as f32: a tensor of a model file, or a generator of random weights.
/// Backends read each row once while they pack it; reads may come from several threads at a time.
/// </summary>
public interface IRowSource
{
    /// <summary>The name used in error messages.</summary>
    string Name { get; }

    /// <summary>Rows of the matrix.</summary>
    int OutFeatures { get; }

    /// <summary>Elements of a row.</summary>
    int InFeatures { get; }

    /// <summary>Writes row <paramref name="row"/> as f32 into <paramref name="destination"/> // [InFeatures].</summary>
    void ReadRow(int row, Span<float> destination);
}

/// <summary>A matrix whose rows can also be had as a file stores them, so that panels of the same type take blocks over without rounding them again.</summary>
public interface IStoredRowSource : IRowSource
{
    /// <summary>Type of the stored elements.</summary>
    DType StoredType { get; }

    /// <summary>The bytes of row <paramref name="row"/>, valid until this thread's next read of any row. // [StoredType.BytesOf(InFeatures)]</summary>
    ReadOnlySpan<byte> ReadStoredRow(int row);
}
