using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using Foretoken.Backends.Cpu.Lanes;

namespace Foretoken.Backends.Cpu.Kernels;

/// <summary>
/// Signed 8-bit blocks of 32 elements along K. Weights follow the Q8_0 convention: scale = absmax / 127 rounded to f16, q = x · (1 / unrounded scale)
/// rounded to nearest. Activations keep their scale in f32: see <see cref="ActivationBlock"/>.
/// </summary>
internal static unsafe class Int8Quantizer
{
    /// <summary>Blocks whose largest magnitude is below this count as zero, so that no denormal scale arises.</summary>
    public const float ZeroBelow = 1e-30f;

    // Adding 1.5 · 2^23 rounds a small number to the nearest integer, ties to even.
    public const float Rounder = 12582912f;

    /// <summary>Quantises one weight row to u8 = q + 128 with f16 scales.</summary>
    /// <param name="row">[steps · 32]</param>
    /// <param name="steps">Blocks.</param>
    /// <param name="bytes">[steps · 32]</param>
    /// <param name="scales">[steps], f16 bits, not negative.</param>
    /// <returns>False when a weight is not finite or a scale exceeds f16.</returns>
    public static bool QuantizeWeights(float* row, int steps, byte* bytes, ushort* scales)
    {
        for (int s = 0; s < steps; s++, row += 32, bytes += 32)
        {
            Vector256<float> a = Vector256.Load(row), b = Vector256.Load(row + 8), c = Vector256.Load(row + 16), d = Vector256.Load(row + 24);
            Vector256<float> magnitude = Vector256.Max(
                Vector256.Max(Vector256.Abs(a), Vector256.Abs(b)), Vector256.Max(Vector256.Abs(c), Vector256.Abs(d)));
            float largest = 0f;
            for (int i = 0; i < 8; i++) largest = MathF.Max(largest, magnitude[i]); // NaN propagates
            float scale = largest / 127f;
            Half half = (Half)scale;
            if (!Half.IsFinite(half)) return false;
            scales[s] = BitConverter.HalfToUInt16Bits(half);
            float inverse = largest < ZeroBelow ? 0f : 127f / largest;
            Vector256<short> low = Vector256.Narrow(Round(a, inverse), Round(b, inverse)), high = Vector256.Narrow(Round(c, inverse), Round(d, inverse));
            (Vector256.Narrow(low, high).AsByte() ^ Vector256.Create((byte)0x80)).Store(bytes); // two's complement + 128
        }

        return true;
    }

    /// <summary>Quantises one row of activations for the weights of one format.</summary>
    /// <param name="row">[inFeatures], followed by zeros up to a whole block.</param>
    /// <param name="steps">Blocks.</param>
    /// <param name="factor">A power of two that the stored scales carry in addition.</param>
    /// <param name="format">Decides the corrections.</param>
    /// <param name="blocks">[steps, <see cref="ActivationBlock.BytesOf(bool)"/>] bytes.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void QuantizeActivations<TLanes>(float* row, int steps, float factor, in PanelFormat format, byte* blocks)
        where TLanes : struct, ILanes<TLanes>
    {
        TLanes rounder = TLanes.Broadcast(Rounder);
        int blockBytes = ActivationBlock.BytesOf(format.HasHalves), offset = -format.Offset;
        bool halves = format.HasHalves, minimum = format.HasMinimum;
        int done = 0;
        for (; typeof(TLanes) == typeof(Lanes512) && done + 4 <= steps; done += 4, row += 4 * 32, blocks += 4 * blockBytes)
            Int8QuantizerOfFour.Quantize(row, factor, offset, halves, minimum, blocks, blockBytes);
        for (; done < steps; done++, row += 32, blocks += blockBytes)
        {
            TLanes a = TLanes.Load(row), b = TLanes.Load(row + 16);
            float largest = TLanes.MaxMagnitude(a, b).Max();
            float inverse = largest < ZeroBelow ? 0f : 127f / largest, scale = largest < ZeroBelow ? 0f : largest / 127f * factor;
            TLanes inverses = TLanes.Broadcast(inverse);
            a = (a * inverses + rounder) - rounder;
            b = (b * inverses + rounder) - rounder;
            a.StoreAsBytes((sbyte*)blocks);
            b.StoreAsBytes((sbyte*)blocks + 16);
            *(float*)(blocks + ActivationBlock.ScaleOffset) = scale;
            var corrections = (int*)(blocks + ActivationBlock.CorrectionOffset);
            if (halves)
            {
                corrections[0] = offset * (int)a.Sum(); // sums of small integers are exact in f32
                corrections[1] = offset * (int)b.Sum();
            }
            else if (minimum)
            {
                *(float*)corrections = -(scale * (a + b).Sum());
            }
            else
            {
                *corrections = offset * (int)(a + b).Sum();
            }
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<int> Round(Vector256<float> v, float inverse)
    {
        // Each step rounds separately here and in the activations: a fused multiply-add would round ties differently.
        Vector256<float> rounded = v * Vector256.Create(inverse) + Vector256.Create(Rounder);
        return (rounded.AsInt32() << 24) >> 24; // the integer stands in the low mantissa bits
    }
}
