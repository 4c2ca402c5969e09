using System.Runtime.Intrinsics;

namespace Foretoken.Training;

/// <summary>y = x / √(mean(x²) + ε) · gain, row by row (Zhang and Sennrich, 2019).</summary>
internal static unsafe class RmsNorm
{
    /// <summary>Writes y[rows, width] and inverse[rows] = 1 / √(mean(x²) + ε), which the backward pass needs.</summary>
    public static void Forward(float* x, float* gain, float* y, float* inverse, int rows, int width, float epsilon)
    {
        for (int row = 0; row < rows; row++, x += width, y += width)
        {
            float scale = 1f / MathF.Sqrt(RowMath.Dot(x, x, width) / width + epsilon);
            inverse[row] = scale;
            Vector512<float> s = Vector512.Create(scale);
            int i = 0;
            for (; i + 16 <= width; i += 16) (Vector512.Load(x + i) * s * Vector512.Load(gain + i)).Store(y + i);
            for (; i < width; i++) y[i] = x[i] * scale * gain[i];
        }
    }

    /// <summary>
    /// dx[rows, width] (+)= the input gradient; dgain[width] += the gain gradient when not null.
    /// dx = inverse · (g·dy − x · inverse² · mean(g·dy·x)).
    /// </summary>
    public static void Backward(float* dy, float* x, float* gain, float* inverse, float* dx, float* dgain, int rows, int width, bool accumulate)
    {
        for (int row = 0; row < rows; row++, x += width, dy += width, dx += width)
        {
            float scale = inverse[row];
            Vector512<float> s = Vector512.Create(scale), product = default;
            int i = 0;
            for (; i + 16 <= width; i += 16)
            {
                Vector512<float> value = Vector512.Load(dy + i) * Vector512.Load(x + i);
                product = Vector512.FusedMultiplyAdd(value, Vector512.Load(gain + i), product);
                if (dgain != null) Vector512.FusedMultiplyAdd(value, s, Vector512.Load(dgain + i)).Store(dgain + i);
            }
            float dot = Vector512.Sum(product);
            for (; i < width; i++)
            {
                dot += dy[i] * x[i] * gain[i];
                if (dgain != null) dgain[i] += dy[i] * x[i] * scale;
            }
            float correction = dot / width * scale * scale * scale;
            Vector512<float> c = Vector512.Create(-correction);
            for (i = 0; i + 16 <= width; i += 16)
            {
                Vector512<float> value = Vector512.FusedMultiplyAdd(c, Vector512.Load(x + i), Vector512.Load(dy + i) * Vector512.Load(gain + i) * s);
                if (accumulate) value += Vector512.Load(dx + i);
                value.Store(dx + i);
            }
            for (; i < width; i++)
            {
                float value = dy[i] * gain[i] * scale - correction * x[i];
                dx[i] = accumulate ? dx[i] + value : value;
            }
        }
    }
}
