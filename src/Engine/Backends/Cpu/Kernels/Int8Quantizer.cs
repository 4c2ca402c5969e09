using System.Buffers.Binary;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using Foretoken.Backends.Cpu.Lanes;

namespace Foretoken.Backends.Cpu.Kernels;

/// <summary>
/// Signed 8-bit blocks of 32 elements along K. Weights follow the Q8_0 convention: scale = absmax / 127 rounded to f16, q = x · (1 / unrounded scale)
/// rounded to nearest. Activations keep their scale in f32.
/// </summary>
internal static unsafe class Int8Quantizer
{
    /// <summary>Bytes of one block of activations: 32 signed bytes, the f32 scale, the int32 correction.</summary>
    public const int ActivationBlockBytes = 40;

    /// <summary>Bytes of a Q8_0 block in a file.</summary>
    private const int Q8BlockBytes = 34;

    /// <summary>Offset of the scale in a block of activations.</summary>
    public const int ScaleOffset = 32;

    /// <summary>Offset of the correction: −128 · Σq, which undoes the offset of weights stored as w + 128.</summary>
    public const int CorrectionOffset = 36;

    /// <summary>Blocks whose largest magnitude is below this count as zero, so that no denormal scale arises.</summary>
    public const float ZeroBelow = 1e-30f;

    // Adding 1.5 · 2^23 rounds a small number to the nearest integer, ties to even.
    private const float Rounder = 12582912f;

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

    /// <summary>Takes over a row of Q8_0 blocks: f16 scale, 32 signed bytes.</summary>
    /// <param name="blocks">[steps, 34]</param>
    /// <param name="bytes">[steps · 32], receives q + 128.</param>
    /// <param name="scales">[steps], receives f16 bits.</param>
    /// <returns>False when a scale is negative or not finite: then nothing that was written counts.</returns>
    public static bool TakeBlocks(ReadOnlySpan<byte> blocks, byte* bytes, ushort* scales)
    {
        const ushort MinusZero = 0x8000, Infinity = 0x7C00;
        for (; blocks.Length > 0; blocks = blocks[Q8BlockBytes..], bytes += 32)
        {
            ushort scale = BinaryPrimitives.ReadUInt16LittleEndian(blocks);
            if (scale == MinusZero) scale = 0;
            if (scale >= Infinity) return false;
            *scales++ = scale;
            (Vector256.Create(blocks.Slice(2, 32)) ^ Vector256.Create((byte)0x80)).Store(bytes);
        }

        return true;
    }

    /// <summary>Quantises one row of activations.</summary>
    /// <param name="row">[inFeatures], followed by zeros up to a whole block.</param>
    /// <param name="steps">Blocks.</param>
    /// <param name="factor">A power of two that the stored scales carry in addition.</param>
    /// <param name="blocks">[steps, 40] bytes.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void QuantizeActivations<TLanes>(float* row, int steps, float factor, byte* blocks)
        where TLanes : struct, ILanes<TLanes>
    {
        TLanes rounder = TLanes.Broadcast(Rounder);
        for (int s = 0; s < steps; s++, row += 32, blocks += ActivationBlockBytes)
        {
            TLanes a = TLanes.Load(row), b = TLanes.Load(row + 16);
            float largest = TLanes.MaxMagnitude(a, b).Max();
            float inverse = largest < ZeroBelow ? 0f : 127f / largest;
            TLanes scale = TLanes.Broadcast(inverse);
            a = (a * scale + rounder) - rounder;
            b = (b * scale + rounder) - rounder;
            a.StoreAsBytes((sbyte*)blocks);
            b.StoreAsBytes((sbyte*)blocks + 16);
            *(float*)(blocks + ScaleOffset) = largest < ZeroBelow ? 0f : largest / 127f * factor;
            *(int*)(blocks + CorrectionOffset) = -128 * (int)(a + b).Sum(); // sums of small integers are exact in f32
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
