namespace Foretoken.Backends.Cuda;

/// <summary>The activation buffers of a pass on the device.</summary>
internal sealed class CudaActivations
{
    /// <summary>Absolute positions of one split of attention (cu/attention.cu).</summary>
    public const int SplitPositions = 256;

    private readonly (string Name, string Shape, long Bytes)[] _sizes;

    /// <summary>Plans them; <see cref="Take"/> makes them.</summary>
    /// <param name="shape">Sizes of the model.</param>
    /// <param name="maxRows">Most rows of a pass.</param>
    /// <param name="maxLogitRows">Most rows with logits.</param>
    public CudaActivations(TransformerShape shape, int maxRows, int maxLogitRows)
    {
        int width = shape.HeadCount * shape.HeadDim, half = shape.HeadDim / 2;
        (MaxRows, MaxLogitRows) = (maxRows, maxLogitRows);
        Splits = (shape.MaxPositions + SplitPositions - 1) / SplitPositions;
        LogitStride = (shape.VocabSize + ProductShape.StripFeatures - 1) / ProductShape.StripFeatures * ProductShape.StripFeatures;
        int longest = new[] { shape.HiddenSize, shape.IntermediateSize, width }.Max(ProductShape.PaddedLength);
        PieceFloats = new[]
        {
            Pieces(width + 2 * shape.KvHeadCount * shape.HeadDim, shape.HiddenSize, maxRows), Pieces(shape.HiddenSize, width, maxRows),
            Pieces(2 * shape.IntermediateSize, shape.HiddenSize, maxRows), Pieces(shape.HiddenSize, shape.IntermediateSize, maxRows),
        }.Max();
        long logitPieces = Pieces(shape.VocabSize, shape.HiddenSize, maxLogitRows); // apart: the head's may be larger, and hold the hidden rows' last pieces in use
        _sizes =
        [
            ("frequencies", $"[{half}] f64", half * 8L),
            ("angles", $"[{maxRows}, 2, {half}] f32", maxRows * 2L * half * 4),
            ("hidden", $"[{maxRows}, {shape.HiddenSize}] f32", (long)maxRows * shape.HiddenSize * 4),
            ("product pieces", $"[{PieceFloats}] f32", PieceFloats * 4),
            ("product inputs", $"[3, {maxRows}, {longest}] bf16", 3L * maxRows * longest * 2),
            ("input scales", $"[{maxRows}, {longest / 32}] f32", (long)maxRows * longest / 32 * 4),
            ("queries", $"[{maxRows}, {width}] f32", (long)maxRows * width * 4),
            ("attention sums", $"[{Splits}, {maxRows}, {shape.HeadCount}, 2] f32", (long)Splits * maxRows * shape.HeadCount * 8),
            ("attention outputs", $"[{Splits}, {maxRows}, {width}] f32", (long)Splits * maxRows * width * 4),
            ("logits", $"[{maxLogitRows}, {LogitStride}] f32", (long)Math.Max(1, maxLogitRows) * LogitStride * 4),
            ("samples", $"[{maxRows} + {maxLogitRows} · 4] int32", (maxRows + 4L * Math.Max(1, maxLogitRows)) * 4),
            ("accepted paths", $"[{maxRows}, 3 + {maxRows}] int32", maxRows * (3L + maxRows) * 4),
            ("logit pieces", $"[{logitPieces}] f32", Math.Max(1, logitPieces) * 4),
        ];
    }

    /// <summary>Bytes of an arena that they take.</summary>
    public long Bytes => _sizes.Sum(s => DeviceArena.Padded(s.Bytes));

    /// <summary>Cuts the buffers from an arena.</summary>
    public void Take(DeviceArena arena)
    {
        int next = 0;
        DevicePointer<T> Take<T>()
            where T : unmanaged
        {
            (string name, string text, long bytes) = _sizes[next++];
            return arena.Take<byte>("activations", name, text, bytes).As<T>();
        }

        Frequencies = Take<double>();
        Angles = Take<float>();
        Hidden = Take<float>();
        PieceBuffer = Take<float>();
        Inputs = Take<byte>();
        InputScales = Take<float>();
        Queries = Take<float>();
        Sums = Take<float>();
        Outputs = Take<float>();
        Logits = Take<float>();
        PathLengths = Take<int>();
        Samples = PathLengths + MaxRows;
        PathStarts = Take<int>();
        Paths = PathStarts + MaxRows;
        LogitPieces = Take<float>();
    }

    public int MaxRows { get; }

    public int MaxLogitRows { get; }

    /// <summary>Splits that the longest context has.</summary>
    public int Splits { get; }

    /// <summary>Floats of a row of logits.</summary>
    public int LogitStride { get; }

    public long PieceFloats { get; }

    /// <summary>Radians per position. // [headDim / 2]</summary>
    public DevicePointer<double> Frequencies { get; private set; }

    /// <summary>cos, then sin. // [rows, 2, headDim / 2]</summary>
    public DevicePointer<float> Angles { get; private set; }

    /// <summary>The residual stream. // [rows, hidden]</summary>
    public DevicePointer<float> Hidden { get; private set; }

    /// <summary>Output of the last product. // [pieces, rows, stride]</summary>
    public DevicePointer<float> PieceBuffer { get; private set; }

    /// <summary>Input of the next product (cu/foretoken.cuh: activations). // [parts, rows, padded]</summary>
    public DevicePointer<byte> Inputs { get; private set; }

    /// <summary>Scales of 8-bit inputs. // [rows, padded / 32]</summary>
    public DevicePointer<float> InputScales { get; private set; }

    /// <summary>Rotated and scaled queries. // [rows, heads, headDim]</summary>
    public DevicePointer<float> Queries { get; private set; }

    /// <summary>Maximum and sum of each split. // [splits, rows, heads, 2]</summary>
    public DevicePointer<float> Sums { get; private set; }

    /// <summary>Weighted values of each split. // [splits, rows, heads, headDim]</summary>
    public DevicePointer<float> Outputs { get; private set; }

    /// <summary>// [logit rows, LogitStride]</summary>
    public DevicePointer<float> Logits { get; private set; }

    /// <summary>Rows of each segment that the device accepted. // [rows], in front of Samples</summary>
    public DevicePointer<int> PathLengths { get; private set; }

    /// <summary>Token, its logit below the best, sum of e^(x − best). // [logit rows, 4]</summary>
    public DevicePointer<int> Samples { get; private set; }

    /// <summary>Where the record of each segment begins. // [rows]</summary>
    public DevicePointer<int> PathStarts { get; private set; }

    /// <summary>Accepted paths as kv_commit takes them. // [segments, 2 + rows]</summary>
    public DevicePointer<int> Paths { get; private set; }

    /// <summary>Output of the head where it comes in pieces. // [pieces, logit rows, LogitStride]</summary>
    public DevicePointer<float> LogitPieces { get; private set; }

    private static long Pieces(int outFeatures, int inFeatures, int rows)
    {
        ProductShape product = ProductShape.Of(outFeatures, inFeatures, WeightType.BF16); // pieces and strips are the same for all types
        return (long)product.Pieces * rows * product.Strips * ProductShape.StripFeatures;
    }
}
