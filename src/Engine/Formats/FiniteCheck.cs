using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;

namespace Foretoken.Formats;

/// <summary>Damaged or overflowed weights would turn every output into NaN: they are found while they are read.</summary>
internal static class FiniteCheck
{
    /// <summary>Whether every value is a number, not NaN or infinite.</summary>
    public static bool AllFinite(ReadOnlySpan<float> values)
    {
        int i = 0;
        Vector256<uint> exponent = Vector256.Create(0x7F800000u);
        if (values.Length >= Vector256<float>.Count)
        {
            ref float first = ref MemoryMarshal.GetReference(values);
            Vector256<uint> bad = Vector256<uint>.Zero;
            for (; i <= values.Length - Vector256<float>.Count; i += Vector256<float>.Count)
            {
                Vector256<uint> bits = Vector256.LoadUnsafe(ref first, (nuint)i).AsUInt32();
                bad |= Vector256.Equals(bits & exponent, exponent);
            }

            if (bad != Vector256<uint>.Zero) return false;
        }

        for (; i < values.Length; i++)
        {
            if (!float.IsFinite(values[i])) return false;
        }

        return true;
    }
}
