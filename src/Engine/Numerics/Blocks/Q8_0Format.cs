namespace Foretoken.Numerics;

/// <summary>
/// 32 signed bytes and one scale, 34 bytes: <c>f16 d, i8 q[32]</c>; x = d · q. Quantised with d = largest magnitude / 127, rounded to f16 only after
/// q = round(x / d).
/// </summary>
public sealed class Q8_0Format() : BlockFormat(DType.Q8_0)
{
    /// <summary>Bytes of the scale in front of the quants.</summary>
    public const int ScaleBytes = 2;

    private protected override void DequantizeBlock(ReadOnlySpan<byte> block, Span<float> values)
    {
        float d = ReadHalf(block);
        for (int i = 0; i < 32; i++) values[i] = d * (sbyte)block[ScaleBytes + i];
    }

    private protected override void QuantizeBlock(ReadOnlySpan<float> values, Span<byte> block)
    {
        float d = MathF.Abs(Extreme(values)) / 127, inverse = BlockRounding.Inverse(ref d);
        WriteHalf(block, d);
        for (int i = 0; i < 32; i++) block[ScaleBytes + i] = (byte)(sbyte)MathF.Round(values[i] * inverse, MidpointRounding.AwayFromZero);
    }
}
