namespace Foretoken.Training;

/// <summary>
/// The borrowed decision neuron: the last channel of the first query head of each group, read after the q norm and before the rotation, where attention
/// sees only a fraction of it, 1 at first and 0 in the end. The rotation mixes it with the channel half a head before, so the fraction is taken before the
/// rotation and again after it.
/// </summary>
internal static unsafe class BorrowedNeuron
{
    /// <summary>
    /// projected[rows, KV heads] from q[rows, …] before the norm; the channel pair of rotated[rows, …] is computed again. gain null: no norm.
    /// </summary>
    public static void Forward(
        float* q, long stride, float* rotated, long rotatedStride, float* gain, RotaryTable table, ReadOnlySpan<int> positions, TransformerShape shape,
        float factor, float* projected)
    {
        int dim = shape.HeadDim, half = dim / 2, group = shape.QueryHeads / shape.KeyValueHeads;
        for (int row = 0; row < positions.Length; row++)
        {
            float cosine = table.Cosine(positions[row])[half - 1], sine = table.Sine(positions[row])[half - 1];
            for (int head = 0; head < shape.KeyValueHeads; head++)
            {
                float* x = q + row * stride + head * group * dim, y = rotated + row * rotatedStride + head * group * dim;
                float scale = gain == null ? 1f : 1f / MathF.Sqrt(RowMath.Dot(x, x, dim) / dim + shape.RmsNormEpsilon);
                float low = x[half - 1] * scale * (gain == null ? 1f : gain[half - 1]), high = x[dim - 1] * scale * (gain == null ? 1f : gain[dim - 1]);
                projected[(long)row * shape.KeyValueHeads + head] = high;
                y[half - 1] = low * cosine - factor * high * sine;
                y[dim - 1] = factor * (factor * high * cosine + low * sine);
            }
        }
    }

    /// <summary>
    /// Changes the channel pair of drotated[rows, …] so that the plain rotation's backward pass, which follows, yields the gradients of both channels,
    /// the decision's dprojected[rows, KV heads] included.
    /// </summary>
    public static void Backward(
        float* drotated, long stride, RotaryTable table, ReadOnlySpan<int> positions, TransformerShape shape, float factor, float* dprojected)
    {
        int dim = shape.HeadDim, half = dim / 2, group = shape.QueryHeads / shape.KeyValueHeads;
        for (int row = 0; row < positions.Length; row++)
        {
            float cosine = table.Cosine(positions[row])[half - 1], sine = table.Sine(positions[row])[half - 1];
            for (int head = 0; head < shape.KeyValueHeads; head++)
            {
                float* dy = drotated + row * stride + head * group * dim;
                float upper = factor * dy[dim - 1];
                float low = dy[half - 1] * cosine + upper * sine;
                float high = factor * (upper * cosine - dy[half - 1] * sine) + dprojected[(long)row * shape.KeyValueHeads + head];
                dy[half - 1] = low * cosine - high * sine;
                dy[dim - 1] = high * cosine + low * sine;
            }
        }
    }
}
