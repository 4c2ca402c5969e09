using Foretoken.Backends.Cuda;
using Foretoken.Numerics;

namespace Foretoken.Tests.Backends.Cuda.Kernels;

/// <summary>The three forms of product inputs, from the words of cu/foretoken.cuh.</summary>
internal static class ActivationReference
{
    public const int BFloat16 = 0, Float = 1, Int8 = 2;

    /// <summary>What the form keeps of a row, as exact numbers. // [width]</summary>
    public static double[] Kept(int form, ReadOnlySpan<float> row)
    {
        var kept = new double[row.Length];
        for (int k = 0; k < row.Length; k++)
        {
            kept[k] = form switch
            {
                BFloat16 => BFloat16Bits.ToSingle(BFloat16Bits.FromSingle(row[k])),
                Float => row[k],
                _ => Quantised(row, k) * (double)ScaleOf(row, k / 32),
            };
        }

        return kept;
    }

    /// <summary>The bytes of rows in a form, and the scales. // [parts, rows, padded] and [rows, padded / 32]</summary>
    public static (byte[] Values, float[] Scales) Pack(int form, float[][] rows)
    {
        int padded = ProductShape.PaddedLength(rows[0].Length), count = rows.Length;
        var values = new byte[3 * count * padded * 2];
        var scales = new float[count * padded / 32];
        Span<ushort> words = System.Runtime.InteropServices.MemoryMarshal.Cast<byte, ushort>(values.AsSpan());
        for (int r = 0; r < count; r++)
        {
            var row = new float[padded];
            rows[r].CopyTo(row, 0);
            for (int k = 0; k < padded; k++)
            {
                if (form == Int8)
                {
                    int place = k / 64 * 64 + k / 8 % 4 * 16 + k / 32 % 2 * 8 + k % 8;
                    values[r * padded + place] = (byte)(sbyte)Quantised(row, k);
                    scales[r * (padded / 32) + k / 32] = ScaleOf(row, k / 32);
                    continue;
                }

                float rest = row[k];
                for (int part = 0; part < (form == Float ? 3 : 1); part++)
                {
                    ushort bits = BFloat16Bits.FromSingle(rest);
                    words[(part * count + r) * padded + k] = bits;
                    rest -= BFloat16Bits.ToSingle(bits);
                }
            }
        }

        return (values, scales);
    }

    /// <summary>Reads a form back as numbers. // [rows][width]</summary>
    public static double[][] Unpack(int form, byte[] values, float[] scales, int rows, int width)
    {
        int padded = ProductShape.PaddedLength(width);
        ReadOnlySpan<ushort> words = System.Runtime.InteropServices.MemoryMarshal.Cast<byte, ushort>(values.AsSpan());
        var result = new double[rows][];
        for (int r = 0; r < rows; r++)
        {
            result[r] = new double[width];
            for (int k = 0; k < width; k++)
            {
                if (form == Int8)
                {
                    int place = k / 64 * 64 + k / 8 % 4 * 16 + k / 32 % 2 * 8 + k % 8;
                    result[r][k] = (sbyte)values[r * padded + place] * (double)scales[r * (padded / 32) + k / 32];
                    continue;
                }

                for (int part = 0; part < (form == Float ? 3 : 1); part++) result[r][k] += BFloat16Bits.ToSingle(words[(part * rows + r) * padded + k]);
            }
        }

        return result;
    }

    private static float Largest(ReadOnlySpan<float> row, int block)
    {
        float largest = 0;
        for (int k = 32 * block; k < Math.Min(row.Length, 32 * block + 32); k++) largest = MathF.Max(largest, MathF.Abs(row[k]));
        return largest;
    }

    private static float ScaleOf(ReadOnlySpan<float> row, int block) => Largest(row, block) is var largest && largest < 1e-30f ? 0 : largest / 127f;

    private static int Quantised(ReadOnlySpan<float> row, int k)
    {
        float largest = Largest(row, k / 32);
        return largest < 1e-30f ? 0 : (int)MathF.Round(row[k] * (127f / largest), MidpointRounding.ToEven);
    }
}
