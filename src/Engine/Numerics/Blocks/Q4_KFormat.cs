namespace Foretoken.Numerics;

/// <summary>
/// 256 nibbles, 144 bytes: the header of <see cref="ScaleMinimumFormat"/>, then <c>u8 q[128]</c>: bytes 32p..32p+31 hold sub-block 2p in their low nibbles and
/// 2p + 1 in their high ones.
/// </summary>
public sealed class Q4_KFormat() : ScaleMinimumFormat(DType.Q4_K)
{
    private protected override int MaxLevel => 15;

    private protected override void ReadLevels(ReadOnlySpan<byte> block, int b, Span<byte> levels)
    {
        ReadOnlySpan<byte> pairs = block.Slice(HeaderBytes + b / 2 * SubLength, SubLength);
        int shift = b % 2 * 4;
        for (int i = 0; i < SubLength; i++) levels[i] = (byte)(pairs[i] >> shift & 15);
    }

    private protected override void WriteLevels(Span<byte> block, int b, ReadOnlySpan<byte> levels)
    {
        Span<byte> pairs = block.Slice(HeaderBytes + b / 2 * SubLength, SubLength);
        int shift = b % 2 * 4;
        for (int i = 0; i < SubLength; i++) pairs[i] |= (byte)(levels[i] << shift);
    }
}
