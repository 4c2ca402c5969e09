using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace Foretoken.Backends.Cpu.Kernels;

/// <summary>
/// Widens f16 scales without a conversion instruction, which .NET does not expose. Sign, exponent and mantissa of an f16, sign-extended and shifted left by
/// 13, are those of an f32 that is smaller by 2^112 (the difference of the exponent biases, 127 − 15); the activation scales carry the missing
/// <see cref="Missing"/>. Powers of two change no mantissa, so the product of both scales has the bits of the direct conversion.
/// </summary>
internal static unsafe class HalfScales
{
    /// <summary>log2 of the factor that the widened scales lack.</summary>
    public const int Missing = 112;

    /// <summary>Clears the copies of the sign that the shift leaves between sign and exponent.</summary>
    public const int Mask = unchecked((int)0x8FFFE000);

    /// <summary>Sixteen scales as two vectors of eight.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Load(byte* scales, out Vector256<float> low, out Vector256<float> high)
    {
        Vector256<int> mask = Vector256.Create(Mask);
        low = (Avx2.ConvertToVector256Int32((short*)scales) << 13 & mask).AsSingle();
        high = (Avx2.ConvertToVector256Int32((short*)scales + 8) << 13 & mask).AsSingle();
    }

    /// <summary>Four scales from the <paramref name="first"/>-th on, portably.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> LoadFour(byte* scales, int first) =>
        (Vector128.WidenLower(Vector128.CreateScalarUnsafe(*(long*)(scales + 2 * first)).AsInt16()) << 13 & Vector128.Create(Mask)).AsSingle();
}
