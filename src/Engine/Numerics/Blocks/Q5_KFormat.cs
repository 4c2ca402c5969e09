namespace Foretoken.Numerics;

/// <summary>
/// 256 values of 5 bits, 176 bytes: the header of <see cref="ScaleMinimumFormat"/>, then <c>u8 h[32]</c>, whose bit b of byte i is the fifth bit of element i of
/// sub-block b, then the nibbles as in <see cref="Q4_KFormat"/>.
/// </summary>
public sealed class Q5_KFormat() : ScaleMinimumFormat(DType.Q5_K)
{
    private protected override int MaxLevel => 31;

    private protected override void ReadLevels(ReadOnlySpan<byte> block, int b, Span<byte> levels)
    {
        ReadOnlySpan<byte> high = block.Slice(HeaderBytes, SubLength), pairs = block.Slice(HeaderBytes + SubLength + b / 2 * SubLength, SubLength);
        int shift = b % 2 * 4;
        for (int i = 0; i < SubLength; i++) levels[i] = (byte)(pairs[i] >> shift & 15 | (high[i] >> b & 1) << 4);
    }

    private protected override void WriteLevels(Span<byte> block, int b, ReadOnlySpan<byte> levels)
    {
        Span<byte> high = block.Slice(HeaderBytes, SubLength), pairs = block.Slice(HeaderBytes + SubLength + b / 2 * SubLength, SubLength);
        int shift = b % 2 * 4;
        for (int i = 0; i < SubLength; i++)
        {
            high[i] |= (byte)(levels[i] >> 4 << b);
            pairs[i] |= (byte)((levels[i] & 15) << shift);
        }
    }
}
