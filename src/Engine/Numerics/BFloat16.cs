namespace Foretoken.Numerics;

/// <summary>A bfloat16 number as its bits: the element type of buffers. Arithmetic is done in f32; see <see cref="BFloat16Bits"/> for conversions.</summary>
public readonly record struct BFloat16(ushort Bits)
{
    /// <summary>Rounds to nearest, ties to even.</summary>
    public static explicit operator BFloat16(float value) => new(BFloat16Bits.FromSingle(value));

    /// <summary>Exact: the lower 16 bits of the f32 are zero.</summary>
    public static implicit operator float(BFloat16 value) => BitConverter.UInt32BitsToSingle((uint)value.Bits << 16);

    /// <inheritdoc/>
    public override string ToString() => ((float)this).ToString(System.Globalization.CultureInfo.InvariantCulture);
}
