using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace Foretoken.Backends.Cpu.Kernels;

/// <summary>The parts of the integer contract that 256-bit kernels share. // x: features 0..7, y: features 8..15</summary>
internal static unsafe class IntegerSums<TFormat>
    where TFormat : struct, IIntegerFormat
{
    /// <summary>Where an integer sum starts: at the correction for the weights' offset.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<int> Start(byte* block, int half) =>
        TFormat.HasMinimum ? Vector256<int>.Zero : Vector256.Create(*(int*)(block + ActivationBlock.CorrectionOffset + 4 * half));

    /// <summary>Converts the integer sums of a row and adds them to its float sums.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Add(
        byte* block, Vector256<float> scaleLow, Vector256<float> scaleHigh, Vector256<int> x, Vector256<int> y, ref Vector256<float> low, ref Vector256<float> high)
    {
        Vector256<float> scale = Vector256.Create(*(float*)(block + ActivationBlock.ScaleOffset));
        low = Fma.MultiplyAdd(Avx.ConvertToVector256Single(x), scaleLow * scale, low);
        high = Fma.MultiplyAdd(Avx.ConvertToVector256Single(y), scaleHigh * scale, high);
    }

    /// <summary>Adds minimum · (−scale · Σ activations).</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void AddMinimum(
        byte* block, Vector256<float> minimumLow, Vector256<float> minimumHigh, ref Vector256<float> low, ref Vector256<float> high)
    {
        Vector256<float> sum = Vector256.Create(*(float*)(block + ActivationBlock.CorrectionOffset));
        low = Fma.MultiplyAdd(minimumLow, sum, low);
        high = Fma.MultiplyAdd(minimumHigh, sum, high);
    }
}
