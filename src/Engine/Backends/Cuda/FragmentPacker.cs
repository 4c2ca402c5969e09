using Foretoken.Backends.Cpu.Kernels;
using Foretoken.Numerics;

namespace Foretoken.Backends.Cuda;

/// <summary>
/// Writes strips of 32 output features in the order in which a warp loads them as the A operand of <c>mma.sync</c> (cu/foretoken.cuh says which element
/// stands where). Features and K are padded with zeros.
/// </summary>
internal sealed unsafe class FragmentPacker
{
    /// <summary>f16 scales of one unit of one strip of 8-bit weights.</summary>
    public const int UnitScales = 64;

    private readonly IRowSource[] _parts;
    private readonly WeightType _type;
    private readonly ProductShape _shape;
    private readonly string _name;
    private readonly int _padded;

    /// <exception cref="ArgumentException">The parts are none or differ in width, or the device has no kernels for the type.</exception>
    public FragmentPacker(string name, WeightType type, ReadOnlySpan<IRowSource> parts)
    {
        if (type is not (WeightType.BF16 or WeightType.Int8))
            throw new ArgumentException($"The CUDA backend holds matrices as bf16 or int8, and {name} is asked for as {type}.", nameof(type));
        if (parts.Length == 0) throw new ArgumentException($"The matrix {name} has no parts.", nameof(parts));
        foreach (IRowSource part in parts)
        {
            if (part.InFeatures != parts[0].InFeatures)
                throw new ArgumentException($"{part.Name} has {part.InFeatures} columns, {parts[0].Name} has {parts[0].InFeatures}: both are stacked in {name}.", nameof(parts));
            OutFeatures = checked(OutFeatures + part.OutFeatures);
        }

        (_name, _type, _parts, InFeatures) = (name, type, parts.ToArray(), parts[0].InFeatures);
        _shape = ProductShape.Of(OutFeatures, InFeatures, type);
        _padded = ProductShape.PaddedLength(InFeatures);
    }

    public int OutFeatures { get; }

    public int InFeatures { get; }

    public ProductShape Shape => _shape;

    /// <summary>Bytes of a strip's weights.</summary>
    public int StripBytes => _shape.Units * ProductShape.UnitBytes;

    /// <summary>f16 scales of a strip; 0 where the type has none.</summary>
    public int StripScales => _type == WeightType.Int8 ? _shape.Units * UnitScales : 0;

    /// <summary>Reads the rows of one strip and packs them. Strips may be packed by several threads at a time.</summary>
    /// <param name="strip">Number of the strip.</param>
    /// <param name="data">Receives the weights. // [StripBytes]</param>
    /// <param name="scales">Receives the scales. // [StripScales]</param>
    /// <exception cref="ArgumentException">A weight does not fit the type.</exception>
    public void Pack(int strip, Span<byte> data, Span<ushort> scales)
    {
        var row = new float[_padded];
        data.Clear();
        scales.Clear();
        for (int f = 0; f < ProductShape.StripFeatures; f++)
        {
            int feature = strip * ProductShape.StripFeatures + f;
            if (feature >= OutFeatures) return;
            ReadRow(feature, row.AsSpan(0, InFeatures));
            if (_type == WeightType.BF16) PackBFloat16(f, row, data);
            else PackInt8(feature, f, row, data, scales);
        }
    }

    /// <summary>Index of element <paramref name="k"/> of a strip's feature, in bfloat16 elements.</summary>
    internal static int BFloat16Index(int feature, int k)
    {
        int m = feature >> 4, high = (feature >> 3) & 1, g = feature & 7, unit = k >> 5, t = (k >> 3) & 3, s = (k >> 2) & 1, j = k & 3;
        return ((((unit * 2 + m) * 2 + s) * 32 + g * 4 + t) * 8) + ((j >> 1) * 2 + high) * 2 + (j & 1);
    }

    /// <summary>The same in bytes.</summary>
    internal static int Int8Index(int feature, int k)
    {
        int m = feature >> 4, high = (feature >> 3) & 1, g = feature & 7, unit = k >> 6, s = (k >> 5) & 1, t = (k >> 3) & 3, j = k & 7;
        return ((((unit * 2 + m) * 2 + s) * 32 + g * 4 + t) * 16) + ((j >> 2) * 2 + high) * 4 + (j & 3);
    }

    /// <summary>Index of the scale of block <paramref name="block"/> (of 32 elements).</summary>
    internal static int ScaleIndex(int feature, int block)
    {
        int m = feature >> 4, high = (feature >> 3) & 1, g = feature & 7;
        return ((((block >> 1) * 2 + m) * 8 + g) * 2 + (block & 1)) * 2 + high;
    }

    private static void PackBFloat16(int feature, float[] row, Span<byte> data)
    {
        Span<ushort> to = System.Runtime.InteropServices.MemoryMarshal.Cast<byte, ushort>(data);
        for (int k = 0; k < row.Length; k++) to[BFloat16Index(feature, k)] = BFloat16Bits.FromSingle(row[k]);
    }

    private void PackInt8(int feature, int inStrip, float[] row, Span<byte> data, Span<ushort> scales)
    {
        int blocks = _padded / 32;
        var bytes = new byte[_padded];
        var rowScales = new ushort[blocks];
        fixed (float* x = row)
        fixed (byte* q = bytes)
        fixed (ushort* s = rowScales)
        {
            if (!Int8Quantizer.QuantizeWeights(x, blocks, q, s))
            {
                throw new ArgumentException(
                    $"{_name}, row {feature}: a weight is not finite or too large for 8-bit blocks with f16 scales; load it as bf16.");
            }
        }

        for (int k = 0; k < _padded; k++) data[Int8Index(inStrip, k)] = (byte)(bytes[k] ^ 0x80); // the quantiser writes q + 128
        for (int b = 0; b < blocks; b++) scales[ScaleIndex(inStrip, b)] = rowScales[b];
    }

    private void ReadRow(int feature, Span<float> destination)
    {
        foreach (IRowSource part in _parts)
        {
            if (feature < part.OutFeatures)
            {
                part.ReadRow(feature, destination);
                return;
            }

            feature -= part.OutFeatures;
        }
    }
}
