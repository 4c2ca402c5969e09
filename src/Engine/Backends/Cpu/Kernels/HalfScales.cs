using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace Foretoken.Backends.Cpu.Kernels;

/// <summary>
/// Widens f16 scales without a conversion instruction, which .NET does not expose. Exponent and mantissa of a non-negative f16, shifted left by 13,
/// are those of an f32 that is smaller by 2^112 (the difference of the exponent biases, 127 − 15); the activation scales carry the missing
/// <see cref="Missing"/>. Powers of two change no mantissa, so the product of both scales has the bits of the direct conversion.
/// </summary>
internal static unsafe class HalfScales
{
    /// <summary>log2 of the factor that the widened scales lack.</summary>
    public const int Missing = 112;

    /// <summary>Sixteen scales as two vectors of eight.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Load(byte* scales, out Vector256<float> low, out Vector256<float> high)
    {
        low = (Avx2.ConvertToVector256Int32((ushort*)scales) << 13).AsSingle();
        high = (Avx2.ConvertToVector256Int32((ushort*)scales + 8) << 13).AsSingle();
    }

    /// <summary>Four scales from the <paramref name="first"/>-th on, portably.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> LoadFour(byte* scales, int first) =>
        (Vector128.WidenLower(Vector128.CreateScalarUnsafe(*(ulong*)(scales + 2 * first)).AsUInt16()) << 13).AsSingle();
}
