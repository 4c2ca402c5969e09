using Foretoken.Memory;
using Foretoken.Numerics;

namespace Foretoken.Backends.Cpu;

/// <summary>
/// A weight matrix [OutFeatures, InFeatures] in panels of 16 output features. A panel holds its 16 rows for all of K, in the order in which a
/// kernel consumes them, so that a pass streams each panel once; SIMD lanes are output features, and K runs in sequence within each lane.
/// Features are padded to whole panels and K to whole steps of 32 with zero weights.
/// <code>
/// F32         step = 32 lines of 64 bytes; line k: {w[n][k], n = 0..15}
/// BF16*, F16  step = 16 lines; line j: 16 × {w[n][2j], w[n][2j+1]}
/// integers    step = 8 lines of 16 × {w[n][4j..4j+3]}, packed as <see cref="PanelFormat"/> says; scales behind all steps of the panel
/// </code>
/// </summary>
internal sealed unsafe class PanelMatrix : IDisposable
{
    /// <summary>Output features of a panel.</summary>
    public const int PanelRows = 16;

    /// <summary>Elements of K in one step of a kernel: the block that shares one scale in integer types.</summary>
    public const int StepLength = 32;

    private readonly NativeBuffer _buffer;

    public PanelMatrix(string name, WeightType type, int outFeatures, int inFeatures, bool paired, MemoryPlan plan)
    {
        if (inFeatures % type.ColumnMultiple() != 0)
            throw new ArgumentException($"{name} has {inFeatures} columns: {type} needs a multiple of {type.ColumnMultiple()}; load it as int8 or int4.");
        Name = name;
        Type = type;
        Format = PanelFormat.Of(type);
        OutFeatures = outFeatures;
        InFeatures = inFeatures;
        Paired = paired;
        Panels = paired ? 2 * RoundUp(outFeatures / 2) : RoundUp(outFeatures);
        Steps = (inFeatures + StepLength - 1) / StepLength;
        _buffer = plan.Allocate("weights", name, $"[{outFeatures}, {inFeatures}] {type}", Panels * PanelBytes);
        Data = _buffer.Pointer;
    }

    public string Name { get; }

    public WeightType Type { get; }

    public PanelFormat Format { get; }

    /// <summary>Rows of the matrix; of a paired one, both halves together.</summary>
    public int OutFeatures { get; }

    public int InFeatures { get; }

    /// <summary>
    /// The matrix is two equal halves stacked (gate and up projections) whose panels alternate: panel 2p holds features 16p.. of the first half
    /// and panel 2p+1 the same features of the second, so that both values of a feature meet in one thread.
    /// </summary>
    public bool Paired { get; }

    public int Panels { get; }

    /// <summary>Steps of 32 along K.</summary>
    public int Steps { get; }

    /// <summary>First byte of the first panel; 64-byte aligned, as is every panel.</summary>
    public byte* Data { get; }

    public long PanelBytes => ((long)Steps * (Format.StepBytes + Format.ScaleBytes) + 63) & ~63L;

    /// <summary>
    /// Integer types: the stored f16 scales are the real ones times 2^ScaleExponent, so that kernels never meet a denormal scale. Exact, as a
    /// power of two only moves the exponent.
    /// </summary>
    public int ScaleExponent { get; set; }

    /// <summary>The matrix that the last pass multiplied after this one: its first panels are prefetched while this one ends.</summary>
    public PanelMatrix? Next { get; set; }

    public byte* Panel(int panel) => Data + panel * PanelBytes;

    /// <summary>The scales of a panel. // [steps · ScaleBytes]</summary>
    public byte* Scales(int panel) => Panel(panel) + (long)Steps * Format.StepBytes;

    /// <summary>Reads row <paramref name="row"/> back as f32 (an embedding looked up in a tied output head). // [InFeatures]</summary>
    public void ReadRow(int row, Span<float> destination)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual((uint)row, (uint)OutFeatures);
        (int panel, int lane) = Locate(row);
        byte* data = Panel(panel);
        switch (Type)
        {
            case WeightType.F32:
                for (int k = 0; k < InFeatures; k++) destination[k] = ((float*)data)[k * PanelRows + lane];
                break;
            case WeightType.BF16 or WeightType.BF16Rounded:
                for (int k = 0; k < InFeatures; k++) destination[k] = BFloat16Bits.ToSingle(((ushort*)data)[(k / 2 * PanelRows + lane) * 2 + k % 2]);
                break;
            case WeightType.F16:
                for (int k = 0; k < InFeatures; k++) destination[k] = (float)((Half*)data)[(k / 2 * PanelRows + lane) * 2 + k % 2];
                break;
            default:
                IntegerPanel.ReadLane(Type, data, Scales(panel), lane, MathF.ScaleB(1f, -ScaleExponent), destination[..InFeatures]);
                break;
        }
    }

    /// <summary>Where a row of the stacked matrix stands.</summary>
    public (int Panel, int Lane) Locate(int row)
    {
        if (!Paired) return (row / PanelRows, row % PanelRows);
        int half = OutFeatures / 2, second = row >= half ? 1 : 0, feature = row - second * half;
        return (2 * (feature / PanelRows) + second, feature % PanelRows);
    }

    public void Dispose() => _buffer.Dispose();

    private static int RoundUp(int rows) => (rows + PanelRows - 1) / PanelRows;
}
