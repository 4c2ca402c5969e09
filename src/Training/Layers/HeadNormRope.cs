using System.Runtime.Intrinsics;

namespace Foretoken.Training;

/// <summary>Cosines and sines of the rotary embedding with the half rotation of Llama: cos, sin [positions, head_dim / 2].</summary>
internal sealed unsafe class RotaryTable : IDisposable
{
    private readonly FloatBuffer _cosine, _sine;
    private readonly int _half;

    public RotaryTable(int positions, int headDim, double theta)
    {
        _half = headDim / 2;
        _cosine = new FloatBuffer((long)positions * _half);
        _sine = new FloatBuffer((long)positions * _half);
        for (int position = 0; position < positions; position++)
        {
            for (int i = 0; i < _half; i++)
            {
                double angle = position * Math.Pow(theta, -2.0 * i / headDim);
                _cosine.Pointer[position * _half + i] = (float)Math.Cos(angle);
                _sine.Pointer[position * _half + i] = (float)Math.Sin(angle);
            }
        }
    }

    public float* Cosine(int position) => _cosine.Pointer + position * _half;

    public float* Sine(int position) => _sine.Pointer + position * _half;

    public void Dispose()
    {
        _cosine.Dispose();
        _sine.Dispose();
    }
}

/// <summary>
/// Per head and row: optional RMS norm with a gain shared by the heads (Qwen3's q/k norm), then the rotation
/// (a, b) → (a·cos − b·sin, b·cos + a·sin) of the first and second half of the head.
/// </summary>
internal static unsafe class HeadNormRope
{
    /// <summary>target[row, heads·headDim] from source[row, heads·headDim], each with its own row stride; gain null: no norm.</summary>
    public static void Forward(
        float* source, long sourceStride, float* target, long targetStride, float* gain, RotaryTable table, ReadOnlySpan<int> positions,
        int heads, int headDim, float epsilon)
    {
        int half = headDim / 2;
        for (int row = 0; row < positions.Length; row++)
        {
            float* cosine = table.Cosine(positions[row]), sine = table.Sine(positions[row]);
            for (int head = 0; head < heads; head++)
            {
                float* x = source + row * sourceStride + head * headDim;
                float* y = target + row * targetStride + head * headDim;
                float scale = gain == null ? 1f : 1f / MathF.Sqrt(RowMath.Dot(x, x, headDim) / headDim + epsilon);
                int i = 0;
                for (; i + 16 <= half; i += 16)
                {
                    Vector512<float> low = Vector512.Load(x + i), high = Vector512.Load(x + half + i);
                    if (gain != null)
                    {
                        low *= Vector512.Load(gain + i) * scale;
                        high *= Vector512.Load(gain + half + i) * scale;
                    }
                    Vector512<float> c = Vector512.Load(cosine + i), s = Vector512.Load(sine + i);
                    (low * c - high * s).Store(y + i);
                    (high * c + low * s).Store(y + half + i);
                }
                for (; i < half; i++)
                {
                    float low = x[i] * scale * (gain == null ? 1f : gain[i]), high = x[half + i] * scale * (gain == null ? 1f : gain[half + i]);
                    y[i] = low * cosine[i] - high * sine[i];
                    y[half + i] = high * cosine[i] + low * sine[i];
                }
            }
        }
    }

    /// <summary>
    /// dsource[row, …] = the input gradient, given dtarget and the forward's source; dgain[headDim] += when not null. dsource and dtarget may be
    /// the same memory.
    /// </summary>
    public static void Backward(
        float* dtarget, long targetStride, float* source, long sourceStride, float* dsource, long dsourceStride, float* gain, float* dgain,
        RotaryTable table, ReadOnlySpan<int> positions, int heads, int headDim, float epsilon)
    {
        int half = headDim / 2;
        for (int row = 0; row < positions.Length; row++)
        {
            float* cosine = table.Cosine(positions[row]), sine = table.Sine(positions[row]);
            for (int head = 0; head < heads; head++)
            {
                float* dy = dtarget + row * targetStride + head * headDim;
                float* dx = dsource + row * dsourceStride + head * headDim;
                int i = 0;
                for (; i + 16 <= half; i += 16)
                {
                    Vector512<float> low = Vector512.Load(dy + i), high = Vector512.Load(dy + half + i);
                    Vector512<float> c = Vector512.Load(cosine + i), s = Vector512.Load(sine + i);
                    (low * c + high * s).Store(dx + i);
                    (high * c - low * s).Store(dx + half + i);
                }
                for (; i < half; i++)
                {
                    float low = dy[i], high = dy[half + i];
                    dx[i] = low * cosine[i] + high * sine[i];
                    dx[half + i] = high * cosine[i] - low * sine[i];
                }
                if (gain == null) continue;
                float* x = source + row * sourceStride + head * headDim;
                float inverse = 1f / MathF.Sqrt(RowMath.Dot(x, x, headDim) / headDim + epsilon);
                RmsNorm.Backward(dx, x, gain, &inverse, dx, dgain, 1, headDim, accumulate: false);
            }
        }
    }
}
