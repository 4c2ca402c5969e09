namespace Foretoken.Backends;

/// <summary>
/// A matrix [OutFeatures, InFeatures] that can be read row by row as f32: a tensor of a model file, or a generator of random weights.
/// Backends read each row once while they pack it; reads may come from several threads at a time.
/// </summary>
public interface IRowSource
{
    /// <summary>The name used in error messages.</summary>
    string Name { get; }

    int OutFeatures { get; }

    int InFeatures { get; }

    /// <summary>Writes row <paramref name="row"/> as f32 into <paramref name="destination"/> // [InFeatures].</summary>
    void ReadRow(int row, Span<float> destination);
}
