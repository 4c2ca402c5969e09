namespace Foretoken.Backends.Cuda;

/// <summary>
/// How a product is cut over the device: a function of the weight's shape alone, never of the rows, so that a row's sums are added in one order.
/// </summary>
/// <param name="Strips">Blocks along output features, 32 each.</param>
/// <param name="Units">Steps along K: 32 elements of bf16, 64 of int8.</param>
/// <param name="Pieces">Blocks along K; the kernel that reads the output adds them.</param>
/// <param name="Warps">Warps of a block, which share its piece of K.</param>
internal readonly record struct ProductShape(int Strips, int Units, int Pieces, int Warps)
{
    public const int StripFeatures = 32;

    /// <summary>Bytes of the weights of one unit of one strip.</summary>
    public const int UnitBytes = 2048;

    /// <summary>Blocks that fill a device well; more pieces than that gives only cost traffic.</summary>
    private const int WantedBlocks = 256;

    private const int MaxPieces = 8, MaxWarps = 8;

    /// <summary>K of one piece at least, so that pieces written and read stay far below the weights.</summary>
    private const int MinPieceLength = 1024;

    /// <summary>Elements of a row of activations: K rounded up to a whole unit of every weight type.</summary>
    public static int PaddedLength(int inFeatures) => (inFeatures + 63) / 64 * 64;

    public static ProductShape Of(int outFeatures, int inFeatures, WeightType type)
    {
        int strips = (outFeatures + StripFeatures - 1) / StripFeatures, padded = PaddedLength(inFeatures);
        int units = padded / (type == WeightType.Int8 ? 64 : 32);
        int pieces = Math.Clamp(WantedBlocks / strips, 1, Math.Clamp(padded / MinPieceLength, 1, MaxPieces));
        int warps = 1;
        while (warps < MaxWarps && 2 * warps * pieces <= units) warps *= 2;
        return new ProductShape(strips, units, pieces, warps);
    }
}

/// <summary>A weight matrix on the device, in fragment order (cu/foretoken.cuh).</summary>
internal sealed class CudaMatrix
{
    public required string Name { get; init; }

    public required WeightType Type { get; init; }

    public required int OutFeatures { get; init; }

    public required int InFeatures { get; init; }

    public required ProductShape Shape { get; init; }

    /// <summary>Fragments. // [strips, units, 2048 bytes]</summary>
    public required DevicePointer<byte> Data { get; init; }

    /// <summary>f16 bits of 8-bit weights. // [strips, units, 2, 8, 2, 2]</summary>
    public DevicePointer<ushort> Scales { get; init; }

    /// <summary>Bytes of <see cref="Data"/>.</summary>
    public long DataBytes => (long)Shape.Strips * Shape.Units * ProductShape.UnitBytes;

    /// <summary>Bytes of <see cref="Scales"/>; 0 where the type has none.</summary>
    public long ScaleBytes => Type == WeightType.Int8 ? (long)Shape.Strips * Shape.Units * FragmentPacker.UnitScales * sizeof(ushort) : 0;

    public int PaddedLength => ProductShape.PaddedLength(InFeatures);

    /// <summary>Floats of a row of the output.</summary>
    public int Stride => Shape.Strips * ProductShape.StripFeatures;
}
