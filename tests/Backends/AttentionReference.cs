using Foretoken.Backends;
using Foretoken.KvCache;

namespace Foretoken.Tests.Backends;

/// <summary>Attention in float64 with an explicit visibility test per (row, key); written to be obviously right.</summary>
public static class AttentionReference
{
    /// <summary>Output of the last token of <paramref name="path"/>. // [heads · headDim]</summary>
    public static double[] Output(AttentionCase test, ReadOnlySpan<int> path)
    {
        int width = (test.Heads + 2 * test.KvHeads) * test.HeadDim, last = path.Length - 1;
        var qkv = new float[path.Length][];
        for (int p = 0; p < path.Length; p++) AttentionHarness.Fill(path[p], p, qkv[p] = new float[width]);
        double[][] Stored(int at) => [.. qkv.Select(row => StoredAs(test.Type, row.AsSpan(at, test.HeadDim)))];
        var output = new double[test.Heads * test.HeadDim];
        for (int h = 0; h < test.Heads; h++)
        {
            int kvHead = h / (test.Heads / test.KvHeads);
            int keyAt = (test.Heads + kvHead) * test.HeadDim, valueAt = keyAt + test.KvHeads * test.HeadDim;
            double[][] keys = Stored(keyAt), values = Stored(valueAt);
            double sum = 0, maximum = double.NegativeInfinity;
            var scores = new double[path.Length];
            for (int k = 0; k <= last; k++)
            {
                scores[k] = double.NegativeInfinity;
                if (!Visible(test, path, kvHead, k, last)) continue;
                scores[k] = 0;
                for (int d = 0; d < test.HeadDim; d++) scores[k] += qkv[last][h * test.HeadDim + d] * keys[k][d];
                scores[k] /= Math.Sqrt(test.HeadDim);
                maximum = Math.Max(maximum, scores[k]);
            }

            for (int k = 0; k <= last; k++)
            {
                double weight = Math.Exp(scores[k] - maximum);
                sum += weight;
                for (int d = 0; d < test.HeadDim; d++) output[h * test.HeadDim + d] += weight * values[k][d];
            }

            for (int d = 0; d < test.HeadDim; d++) output[h * test.HeadDim + d] /= sum;
        }

        return output;
    }

    /// <summary>Within f32 rounding, and for int8 within that of queries and weights to 15 bits; storing in int8 has lost far more before.</summary>
    public static void AssertClose(KvType type, double[] expected, float[] actual, string what)
    {
        Assert.Equal(expected.Length, actual.Length);
        for (int i = 0; i < expected.Length; i++)
            Assert.True(Math.Abs(expected[i] - actual[i]) < (type == KvType.Int8 ? 1e-3 : 2e-5), $"{what}: element {i} is {actual[i]}, expected {expected[i]}");
    }

    /// <summary>One element of the T×T mask, from the rules' own words.</summary>
    private static bool Visible(AttentionCase test, ReadOnlySpan<int> path, int kvHead, int key, int query)
    {
        if (key == query) return true;
        if (test.Window > 0 && key <= query - test.Window) return false;
        switch (test.Policy)
        {
            case null:
                return test.Expire is null || query <= test.Expire(kvHead, key);
            case DmsPolicy dms: // the row after a token decides about it, for rows beyond the window
                return query - key <= dms.DecisionWindow || !dms.Decisions!.Evicts(AttentionHarness.Layer, kvHead, key + dms.DecisionShift, path[key + dms.DecisionShift]);
            case SlidingWindowPolicy window:
                return query - key < window.Tokens;
            case SinksPolicy sinks:
                return key < 4 || query - key < sinks.Tokens - 4;
            default:
                return query <= test.Policy.ExpireOf(AttentionHarness.Layer, kvHead, key);
        }
    }

    /// <summary>What is left of a key or value after it was stored.</summary>
    public static double[] StoredAs(KvType type, ReadOnlySpan<float> vector)
    {
        var stored = new double[vector.Length];
        double largest = 0;
        foreach (float x in vector) largest = Math.Max(largest, Math.Abs(x));
        for (int d = 0; d < stored.Length; d++)
        {
            stored[d] = type switch
            {
                KvType.F32 => vector[d],
                KvType.BF16 => RoundToBFloat16(vector[d]),
                KvType.F16 => (double)(Half)vector[d],
                _ => Math.Round(vector[d] * (127 / (float)largest)) * ((float)largest / 127), // scale and inverse are f32
            };
        }

        return stored;
    }

    private static double RoundToBFloat16(float x)
    {
        uint bits = BitConverter.SingleToUInt32Bits(x), low = bits & 0xFFFF;
        bits >>= 16;
        if (low > 0x8000 || (low == 0x8000 && (bits & 1) == 1)) bits++; // to nearest, ties to even
        return BitConverter.UInt32BitsToSingle(bits << 16);
    }
}
