using System.Diagnostics;
using Foretoken.Backends.Cpu.Kernels;
using Foretoken.Memory;

namespace Foretoken.Backends.Cpu;

/// <summary>
/// Runs passes on the processor: weights in panels (<see cref="PanelMatrix"/>), f32 activations, a thread team. The bits of a row's results depend
/// neither on the other rows of the pass, nor on the number of threads, nor on the <see cref="IsaLevel"/>.
/// </summary>
public sealed unsafe partial class CpuBackend : IBackend
{
    private readonly CpuKernels _kernels;
    private static readonly ThreadTeam s_alone = new(1); // starts no thread and keeps no state
    private readonly bool _ownsTeam;
    private readonly List<IDisposable?> _owned = []; // by handle: PanelStack or NativeBuffer
    private MemoryPlan? _plan;
    private CpuActivations? _buffers;
    private CpuAttention? _attention;
    private TransformerShape? _shape;
    private RowBatch? _rows;
    private KvView? _kv;
    private PanelMatrix? _last;
    private int _logitRows;
    private ThreadTeam _packers;

    private CpuBackend(int threads, ThreadTeam? team, IsaLevel level)
    {
        _ownsTeam = team is null;
        _packers = Team = team ?? new ThreadTeam(threads);
        Level = level;
        _kernels = CpuKernels.For(level);
    }

    /// <summary>The threads that compute.</summary>
    public ThreadTeam Team { get; }

    /// <summary>The kernels in use.</summary>
    public IsaLevel Level { get; }

    /// <summary>Time spent in matrix products since the start, in ticks of <see cref="Stopwatch"/>: for measurements.</summary>
    public long MatrixTicks { get; private set; }

    /// <summary>The same for attention.</summary>
    public long AttentionTicks { get; private set; }

    /// <inheritdoc/>
    public string Name => Level switch { IsaLevel.Emitted => "cpu-emitted", IsaLevel.Avx512 => "cpu-avx512", IsaLevel.Avx2 => "cpu-avx2", _ => "cpu-portable" };

    private TransformerShape Shape => _shape ?? throw new InvalidOperationException("Prepare comes first.");

    private CpuActivations Buffers => _buffers ?? throw new InvalidOperationException("Prepare comes first.");

    private RowBatch Rows => _rows ?? throw new InvalidOperationException("BeginPass comes first.");

    /// <summary>Starts the threads.</summary>
    /// <exception cref="PlatformNotSupportedException">The asked level's instructions are absent or switched off.</exception>
    public static CpuBackend Create(CpuOptions? options = null)
    {
        options ??= new CpuOptions();
        ArgumentOutOfRangeException.ThrowIfNegative(options.Threads, nameof(options.Threads));
        IsaLevel level = options.IsaLevel ?? IsaLevels.Best;
        if (!IsaLevels.IsSupported(level))
            throw new PlatformNotSupportedException($"This machine does not offer the instructions of level {level}; its best is {IsaLevels.Best}.");
        return new CpuBackend(options.Threads == 0 ? ProcessorLimits.Current.Threads : options.Threads, options.Team, level);
    }

    /// <inheritdoc/>
    public void Prepare(TransformerShape shape, int maxRows, int maxLogitRows, MemoryPlan plan)
    {
        if (_shape is not null) throw new InvalidOperationException("The backend is prepared already.");
        _shape = shape;
        _plan = plan;
        _buffers = new CpuActivations(shape, maxRows, maxLogitRows, Team.Threads, plan);
        _attention = new CpuAttention(shape, maxRows, Team, plan, Level);
    }

    /// <inheritdoc/>
    public void LoadAlone() => _packers = s_alone;

    /// <inheritdoc/>
    public TensorHandle LoadMatrix(string name, WeightType type, ReadOnlySpan<IRowSource> parts) =>
        Own(new PanelStack([PanelPacker.Pack(name, type, parts, _packers, _plan ?? throw new InvalidOperationException("Prepare comes first."))], Owns: true));

    /// <inheritdoc/>
    public bool StacksTypes => true;

    /// <inheritdoc/>
    public bool MakesDecisions => true;

    /// <inheritdoc/>
    public TensorHandle Stack(string name, ReadOnlySpan<TensorHandle> matrices)
    {
        var parts = new PanelMatrix[matrices.Length];
        for (int i = 0; i < parts.Length; i++) parts[i] = Matrix(matrices[i]);
        return Own(new PanelStack(parts, Owns: false));
    }

    /// <inheritdoc/>
    public TensorHandle LoadVector(string name, ReadOnlySpan<float> values)
    {
        MemoryPlan plan = _plan ?? throw new InvalidOperationException("Prepare comes first.");
        NativeBuffer buffer = plan.Allocate("weights", name, $"[{values.Length}] F32", (CpuActivations.RoundUp(values.Length, 16) + 16) * sizeof(float)); // part of a stack may end anywhere
        values.CopyTo(buffer.Span<float>(0, values.Length));
        return Own(buffer);
    }

    /// <inheritdoc/>
    public void BeginPass(RowBatch rows, KvView kv)
    {
        CheckRows(rows);
        _rows = rows;
        _kv = kv;
        _logitRows = 0;
        foreach (int position in rows.Positions)
        {
            if ((uint)position >= (uint)Shape.MaxPositions)
                throw new ArgumentException($"Position {position} is outside the model's context of {Shape.MaxPositions} tokens.", nameof(rows));
        }

        var job = new RotationAngles { Shape = Shape, Rows = rows, Angles = Buffers.Angles, HalfStride = Buffers.HalfStride };
        RunRows(ref job, rows.Count, rows.Count * Buffers.HalfStride * 16L); // an angle costs about sixteen element operations
    }

    /// <inheritdoc/>
    public void Embed(TensorHandle table)
    {
        PanelMatrix matrix = Matrix(table);
        foreach (int token in Rows.Tokens)
        {
            if ((uint)token >= (uint)matrix.OutFeatures)
                throw new ArgumentException($"Token {token} is outside the embedding table of {matrix.OutFeatures} rows.", nameof(table));
        }

        var job = new EmbeddingRows { Table = matrix, Rows = Rows, Hidden = Buffers.Hidden, Stride = Buffers.HiddenStride };
        RunRows(ref job, Rows.Count, (long)Rows.Count * matrix.InFeatures);
    }

    /// <inheritdoc/>
    public void NormQkvRope(int layer, LayerWeights weights)
    {
        bool decides = weights.Decision is not null && _kv is HostKvView { ModelDecides: true };
        if (decides && !weights.Decision!.BorrowsChannel) ProjectDecisions(weights.Decision);
        int feature = 0;
        foreach (PanelMatrix matrix in Matrices(weights.Qkv).Parts)
        {
            StoreQkv(Normalized(weights.InputNorm, matrix), weights, feature);
            feature += matrix.OutFeatures;
        }

        Rotate(weights);
        if (decides) WriteDecisions(layer, weights.Decision!, (HostKvView)_kv!);
    }

    private void StoreQkv(ProductArguments product, LayerWeights weights, int feature)
    {
        product.Bias = weights.QkvBias.Exists ? Vector(weights.QkvBias) + feature : null;
        product.Output = Buffers.Qkv + feature;
        product.OutputStride = Buffers.QkvStride;
        Multiply(product);
    }

    private void Rotate(LayerWeights weights)
    {
        TransformerShape shape = Shape;
        _kernels.RotateHeads(
            new HeadRotationArguments
            {
                Qkv = Buffers.Qkv,
                Stride = Buffers.QkvStride,
                Rows = Rows.Count,
                Heads = shape.HeadCount,
                KvHeads = shape.KvHeadCount,
                HeadDim = shape.HeadDim,
                QueryGain = Buffers.SplitGain(Vector(weights.QueryNorm), 0),
                KeyGain = Buffers.SplitGain(Vector(weights.KeyNorm), 1),
                Epsilon = shape.RmsNormEpsilon,
                Angles = Buffers.Angles,
                HalfStride = Buffers.HalfStride,
                Borrowed = weights.Decision is { BorrowsChannel: true } ? Buffers.Decisions : null,
                BorrowedStride = Buffers.DecisionStride,
                ZeroAfterRope = weights.Decision is { ZeroAfterRope: true },
            },
            Team);
    }

    /// <inheritdoc/>
    public void Attend(int layer, LayerWeights weights)
    {
        long start = Stopwatch.GetTimestamp();
        _attention!.Run(layer, Rows, _kv!, Buffers.Qkv, Buffers.Attention, weights.SlidingWindow);
        AttentionTicks += Stopwatch.GetTimestamp() - start;
    }

    /// <inheritdoc/>
    public void OutResidual(int layer, LayerWeights weights)
    {
        int width = Shape.HeadCount * Shape.HeadDim;
        ProductArguments product = Input(Matrix(weights.Output), Buffers.Attention, width, width, padded: false);
        product.Bias = Vector(weights.OutputBias);
        AddToHidden(ref product);
    }

    /// <inheritdoc/>
    public void Mlp(int layer, LayerWeights weights)
    {
        ProductArguments product = Normalized(weights.PostAttentionNorm, Matrix(weights.GateUp));
        if (!product.Matrix.Paired)
            throw new ArgumentException($"{product.Matrix.Name} must be loaded from two parts of equal height, gate and up.", nameof(weights));
        product.Output = Buffers.Gated;
        product.OutputStride = Buffers.GatedStride;
        product.End = ProductEnd.SwiGlu;
        Multiply(product);
        product = Input(Matrix(weights.Down), Buffers.Gated, Buffers.GatedStride, Shape.IntermediateSize, padded: true);
        AddToHidden(ref product);
    }

    /// <inheritdoc/>
    public void Logits(TensorHandle finalNorm, TensorHandle head)
    {
        ReadOnlySpan<int> asked = Rows.LogitRows;
        if (asked.Length == 0) return;
        PanelMatrix matrix = Matrix(head);
        ProductArguments product = Product(matrix);
        product.Rows = asked.Length;
        fixed (int* gather = asked)
        {
            RowInputArguments input = InputArguments(matrix, Buffers.Hidden, Buffers.HiddenStride, Shape.HiddenSize);
            input.Rows = asked.Length;
            input.Gather = gather;
            input.Gain = Vector(finalNorm);
            _kernels.PrepareInput(input, ref product, Team);
        }

        product.Output = Buffers.Logits;
        product.OutputStride = Buffers.LogitStride;
        Multiply(product);
        _logitRows = asked.Length;
    }

    /// <inheritdoc/>
    public Span<float> LogitsOf(int index)
    {
        if ((uint)index >= (uint)_logitRows) throw new ArgumentOutOfRangeException(nameof(index), index, $"The last pass gave logits for {_logitRows} rows.");
        return new Span<float>(Buffers.Logits + index * Buffers.LogitStride, Shape.VocabSize);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (IDisposable? weight in _owned) weight?.Dispose();
        _owned.Clear();
        _attention?.Dispose();
        _buffers?.Dispose();
        _input?.Dispose();
        _inputBlocks?.Dispose();
        if (_ownsTeam) Team.Dispose();
    }

    private void CheckRows(RowBatch rows)
    {
        if (rows.Count > Buffers.MaxRows) throw new ArgumentException($"A pass has at most {Buffers.MaxRows} rows, not {rows.Count}.", nameof(rows));
        if (rows.LogitRows.Length > Buffers.MaxLogitRows)
            throw new ArgumentException($"A pass gives logits for at most {Buffers.MaxLogitRows} rows, not {rows.LogitRows.Length}.", nameof(rows));
    }

    private TensorHandle Own(IDisposable weight)
    {
        _owned.Add(weight);
        return new TensorHandle(_owned.Count - 1);
    }

    private PanelMatrix Matrix(TensorHandle handle) => Matrices(handle).Parts is [var only]
        ? only
        : throw new ArgumentException("A stack of matrices of different types can only be the q, k and v projections.", nameof(handle));

    private PanelStack Matrices(TensorHandle handle) => (PanelStack)_owned[handle.Index]!;

    private float* Vector(TensorHandle handle) => handle.Exists ? (float*)((NativeBuffer)_owned[handle.Index]!).Pointer : null;

    /// <summary>A product with the RMSNorm of the hidden rows.</summary>
    private ProductArguments Normalized(TensorHandle gain, PanelMatrix matrix)
    {
        ProductArguments product = Product(matrix);
        RowInputArguments input = InputArguments(matrix, Buffers.Hidden, Buffers.HiddenStride, Shape.HiddenSize);
        input.Gain = Vector(gain);
        _kernels.PrepareInput(input, ref product, Team);
        return product;
    }

    /// <summary>A product with rows as they are.</summary>
    private ProductArguments Input(PanelMatrix matrix, float* source, long stride, int width, bool padded)
    {
        ProductArguments product = Product(matrix);
        RowInputArguments input = InputArguments(matrix, source, stride, width);
        input.SourceIsPadded = padded;
        _kernels.PrepareInput(input, ref product, Team);
        return product;
    }

    private RowInputArguments InputArguments(PanelMatrix matrix, float* source, long stride, int width)
    {
        if (matrix.InFeatures != width) throw new ArgumentException($"{matrix.Name} takes {matrix.InFeatures} features, the pass has {width}.");
        return new RowInputArguments
        {
            Matrix = matrix,
            Source = source,
            SourceStride = stride,
            Width = width,
            Rows = Rows.Count,
            Epsilon = Shape.RmsNormEpsilon,
            Floats = Buffers.Floats,
            FloatStride = Buffers.FloatStride,
            Blocks = Buffers.Blocks,
            BlockStride = Buffers.BlockStride,
        };
    }

    private ProductArguments Product(PanelMatrix matrix) =>
        new() { Matrix = matrix, Rows = Rows.Count, Scratch = Buffers.ProductScratch, Threads = Team.Threads };

    private void AddToHidden(ref ProductArguments product)
    {
        product.Output = Buffers.Hidden;
        product.OutputStride = Buffers.HiddenStride;
        product.End = ProductEnd.AddTo;
        Multiply(product);
    }

    private void Multiply(in ProductArguments product)
    {
        if (_last is { } last) last.Next = product.Matrix;
        _last = product.Matrix;
        long start = Stopwatch.GetTimestamp();
        _kernels.Multiply(product, Team);
        MatrixTicks += Stopwatch.GetTimestamp() - start;
    }

    /// <summary>Runs one chunk per row: on the calling thread when there are few elements.</summary>
    private void RunRows<TJob>(ref TJob job, int rows, long elements)
        where TJob : struct, IParallelJob
    {
        if (elements > 16 * 1024) Team.Run(ref job, rows);
        else for (int r = 0; r < rows; r++) job.Execute(r, 0);
    }

    /// <summary>Matrices stacked along output features: usually one.</summary>
    private sealed record PanelStack(PanelMatrix[] Parts, bool Owns) : IDisposable
    {
        public void Dispose()
        {
            if (!Owns) return;
            foreach (PanelMatrix part in Parts) part.Dispose();
        }
    }

    /// <summary>hidden[r] = table[token[r]].</summary>
    private struct EmbeddingRows : IParallelJob
    {
        public PanelMatrix Table;
        public RowBatch Rows;
        public float* Hidden;
        public long Stride;

        public readonly void Execute(int chunk, int thread) =>
            Table.ReadRow(Rows.Tokens[chunk], new Span<float>(Hidden + chunk * Stride, Table.InFeatures));
    }

    /// <summary>cos and sin of position · frequency in double precision, rounded once to f32.</summary>
    private struct RotationAngles : IParallelJob
    {
        public TransformerShape Shape;
        public RowBatch Rows;
        public float* Angles;
        public int HalfStride;

        public readonly void Execute(int chunk, int thread)
        {
            float* cos = Angles + (long)chunk * 2 * HalfStride;
            double[] frequencies = Shape.RopeInverseFrequencies;
            for (int i = 0; i < frequencies.Length; i++)
            {
                (double s, double c) = Math.SinCos(Rows.Positions[chunk] * frequencies[i]);
                cos[i] = (float)(c * Shape.RopeAttentionFactor);
                cos[HalfStride + i] = (float)(s * Shape.RopeAttentionFactor);
            }
        }
    }
}
