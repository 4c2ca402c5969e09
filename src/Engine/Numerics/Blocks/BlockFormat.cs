using System.Buffers.Binary;

namespace Foretoken.Numerics;

/// <summary>
/// A block-quantised type of GGUF files (https://github.com/ggml-org/ggml): a block of 32 or 256 consecutive elements of a row shares its scales. A
/// type is one class, which documents its layout and holds the scalar reference of both directions, and one line in <see cref="All"/>.
/// </summary>
public abstract class BlockFormat
{
    private const int HalfBytes = 2;

    private protected BlockFormat(DType type) => Type = type;

    /// <summary>Every type.</summary>
    public static IReadOnlyList<BlockFormat> All { get; } =
        [new Q4_0Format(), new Q4_1Format(), new Q5_0Format(), new Q5_1Format(), new Q8_0Format(), new Q4_KFormat(), new Q5_KFormat(), new Q6_KFormat()];

    /// <summary>The type that this class reads and writes.</summary>
    public DType Type { get; }

    /// <summary>Elements of a block.</summary>
    public int BlockLength => Type.BlockLength();

    /// <summary>Bytes of a block.</summary>
    public int BlockBytes => Type.BlockBytes();

    /// <summary>The format of a block type.</summary>
    /// <exception cref="ArgumentException">A plain type.</exception>
    public static BlockFormat Of(DType type)
    {
        foreach (BlockFormat format in All)
        {
            if (format.Type == type) return format;
        }

        throw new ArgumentException($"{type.FileName()} is not a block type.", nameof(type));
    }

    /// <summary>Turns whole blocks into f32. The only rounding is that of one f32 sum in the types with a minimum.</summary>
    /// <param name="source">Blocks, as many as <paramref name="destination"/> holds elements for.</param>
    /// <param name="destination">Receives the elements.</param>
    public void Dequantize(ReadOnlySpan<byte> source, Span<float> destination)
    {
        Check(destination.Length, source.Length);
        for (int i = 0, at = 0; i < destination.Length; i += BlockLength, at += BlockBytes)
            DequantizeBlock(source.Slice(at, BlockBytes), destination.Slice(i, BlockLength));
    }

    /// <summary>Turns f32 into blocks.</summary>
    /// <param name="source">Whole blocks of finite values.</param>
    /// <param name="destination">Receives the blocks.</param>
    /// <exception cref="ArgumentException">A value is not finite, or a scale is too large for f16.</exception>
    public void Quantize(ReadOnlySpan<float> source, Span<byte> destination)
    {
        Check(source.Length, destination.Length);
        for (int i = 0, at = 0; i < source.Length; i += BlockLength, at += BlockBytes)
            QuantizeBlock(source.Slice(i, BlockLength), destination.Slice(at, BlockBytes));
    }

    private protected abstract void DequantizeBlock(ReadOnlySpan<byte> block, Span<float> values);

    private protected abstract void QuantizeBlock(ReadOnlySpan<float> values, Span<byte> block);

    private protected static float ReadHalf(ReadOnlySpan<byte> at) => (float)BinaryPrimitives.ReadHalfLittleEndian(at);

    /// <summary>Stores <paramref name="value"/> as f16 and returns what was stored.</summary>
    private protected float WriteHalf(Span<byte> at, float value)
    {
        var half = (Half)value;
        if (!Half.IsFinite(half)) throw new ArgumentException($"A scale of {value:R} is not finite in f16, so that the values cannot be held as {Type.FileName()}.");
        BinaryPrimitives.WriteHalfLittleEndian(at[..HalfBytes], half);
        return (float)half;
    }

    /// <summary>The value of largest magnitude, with its sign; NaN where there is one.</summary>
    private protected static float Extreme(ReadOnlySpan<float> values)
    {
        float extreme = 0;
        foreach (float v in values)
        {
            if (!(MathF.Abs(v) <= MathF.Abs(extreme))) extreme = v;
            if (float.IsNaN(extreme)) break;
        }

        return extreme;
    }

    private void Check(int elements, int bytes)
    {
        if (elements % BlockLength != 0 || bytes != Type.BytesOf(elements))
            throw new ArgumentException($"{bytes} bytes are not {elements} elements in blocks of {BlockLength} elements and {BlockBytes} bytes ({Type.FileName()}).");
    }
}
