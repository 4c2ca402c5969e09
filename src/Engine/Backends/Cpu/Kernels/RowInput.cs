using System.Runtime.CompilerServices;
using Foretoken.Backends.Cpu.Lanes;
using Foretoken.Numerics;

namespace Foretoken.Backends.Cpu.Kernels;

/// <summary>Rows on their way into a matrix product: gathered, normalised, padded and quantised, as the case may be.</summary>
internal unsafe struct RowInputArguments
{
    /// <summary>The matrix that will be multiplied: its type decides the form of the rows.</summary>
    public PanelMatrix Matrix;

    /// <summary>[.., Width]; what follows the width is zero up to a whole step if <see cref="Gain"/> is given or the source is said to be padded.</summary>
    public float* Source;

    /// <summary>Floats from row to row of the source.</summary>
    public long SourceStride;

    public int Width;

    public int Rows;

    /// <summary>Source row of each row, or null for all in order. // [Rows]</summary>
    public int* Gather;

    /// <summary>RMSNorm gain, or null for none. // [Width] padded with zeros to 16</summary>
    public float* Gain;

    public float Epsilon;

    /// <summary>Whether zeros follow each source row up to a whole step.</summary>
    public bool SourceIsPadded;

    /// <summary>Receives normalised or padded rows; zero beyond the width. // [Rows, FloatStride]</summary>
    public float* Floats;

    public long FloatStride;

    /// <summary>Receives quantised rows. // [Rows, BlockStride bytes]</summary>
    public byte* Blocks;

    public long BlockStride;
}

/// <summary>Prepares one row per chunk.</summary>
internal unsafe struct RowInput<TLanes> : IParallelJob
    where TLanes : struct, ILanes<TLanes>
{
    /// <summary>Below this many elements the calling thread does all rows.</summary>
    private const long InlineElements = 4 * 1024;

    private RowInputArguments _p;
    private bool _copies;
    private float _factor;

    /// <summary>Prepares the rows and points the product's activations at them.</summary>
    public static void Run(in RowInputArguments arguments, ref ProductArguments product, ThreadTeam team)
    {
        PanelMatrix matrix = arguments.Matrix;
        bool copies = arguments.Gain is not null || arguments.Gather is not null
            || (!arguments.SourceIsPadded && arguments.Width % PanelMatrix.StepLength != 0);
        bool quantizes = ActivationBlock.Serves(matrix.Type);
        product.Activations = quantizes ? arguments.Blocks : (byte*)(copies ? arguments.Floats : arguments.Source);
        product.ActivationStride = quantizes ? arguments.BlockStride : (copies ? arguments.FloatStride : arguments.SourceStride) * sizeof(float);
        if (!copies && !quantizes) return;
        var job = new RowInput<TLanes>
        {
            _p = arguments,
            _copies = copies,
            _factor = MathF.ScaleB(1f, HalfScales.Missing - matrix.ScaleExponent),
        };
        if ((long)arguments.Rows * arguments.Width > InlineElements) team.Run(ref job, arguments.Rows);
        else for (int r = 0; r < arguments.Rows; r++) job.Execute(r, 0);
    }

    public readonly void Execute(int chunk, int thread)
    {
        float* source = _p.Source + (_p.Gather is null ? chunk : _p.Gather[chunk]) * _p.SourceStride;
        if (_copies)
        {
            float* row = _p.Floats + chunk * _p.FloatStride;
            if (_p.Gain is not null) RmsNorm<TLanes>.Apply(source, _p.Gain, _p.Width, _p.Epsilon, row);
            else new ReadOnlySpan<float>(source, _p.Width).CopyTo(new Span<float>(row, _p.Width));
            int padded = _p.Matrix.Steps * PanelMatrix.StepLength; // the buffer may hold a wider row of an earlier use
            new Span<float>(row + _p.Width, padded - _p.Width).Clear();
            source = row;
        }

        byte* blocks = _p.Blocks + chunk * _p.BlockStride;
        if (_p.Matrix.Type == WeightType.BF16Rounded)
        {
            int padded = _p.Matrix.Steps * PanelMatrix.StepLength;
            BFloat16Factors.Round(new ReadOnlySpan<float>(source, padded), new Span<ushort>(blocks, padded));
        }
        else if (_p.Matrix.Type.IsInteger())
        {
            Int8Quantizer.QuantizeActivations<TLanes>(source, _p.Matrix.Steps, _factor, _p.Matrix.Format, blocks);
        }
    }
}

/// <summary>y = x / sqrt(mean(x²) + ε) · gain (Zhang and Sennrich, 2019).</summary>
internal static unsafe class RmsNorm<TLanes>
    where TLanes : struct, ILanes<TLanes>
{
    /// <summary>
    /// Normalises one row. Squares are summed by fused multiply-adds into lane (index mod 16) in increasing index, then over the lanes by halving.
    /// </summary>
    /// <param name="x">[width], zero up to a multiple of 16.</param>
    /// <param name="gain">[width], zero up to a multiple of 16.</param>
    /// <param name="width">Elements that count.</param>
    /// <param name="epsilon">Added to the mean square.</param>
    /// <param name="y">[width] up to a multiple of 16; may be x.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Apply(float* x, float* gain, int width, float epsilon, float* y)
    {
        TLanes squares = TLanes.Zero;
        for (int i = 0; i < width; i += ILanes<TLanes>.Count)
        {
            TLanes v = TLanes.Load(x + i);
            squares = TLanes.MultiplyAdd(v, v, squares);
        }

        TLanes inverse = TLanes.Broadcast(1f / MathF.Sqrt(squares.Sum() / width + epsilon));
        for (int i = 0; i < width; i += ILanes<TLanes>.Count) (TLanes.Load(x + i) * inverse * TLanes.Load(gain + i)).Store(y + i);
    }
}
