namespace Foretoken.Models;

/// <summary>
/// RoPE rotates pairs of a head's elements. This engine and Hugging Face files pair element i with i + headDim/2; GGUF files of architecture <c>llama</c> pair
/// 2i with 2i + 1, and have the rows of q and k (and their biases) in that order.
/// </summary>
internal static class RopePairs
{
    /// <summary>Whether the rows of a tensor are rotated.</summary>
    public static bool Concerns(WeightRole role) => role is WeightRole.Query or WeightRole.Key or WeightRole.QueryBias or WeightRole.KeyBias;

    /// <summary>The row of interleaved pairs that is row <paramref name="row"/> of half rotation.</summary>
    public static int InterleavedRow(int row, int headDim)
    {
        int first = row / headDim * headDim, i = row - first, half = headDim / 2;
        return first + (i < half ? 2 * i : 2 * (i - half) + 1);
    }

    /// <summary>The row of half rotation that is row <paramref name="row"/> of interleaved pairs.</summary>
    public static int HalfRotationRow(int row, int headDim)
    {
        int first = row / headDim * headDim, i = row - first;
        return first + i / 2 + i % 2 * (headDim / 2);
    }
}
