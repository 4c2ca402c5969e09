using Foretoken.Backends.Cpu.Kernels;
using Foretoken.Memory;
using Foretoken.Numerics;

namespace Foretoken.Backends.Cpu;

/// <content>Hidden states for drafters, and the operations of drafters that read them. What they compute never decides a token, so that element loops stay plain.</content>
public sealed unsafe partial class CpuBackend : IFeatureBackend
{
    private NativeBuffer? _input;       // [rows, _inputStride] f32
    private NativeBuffer? _inputBlocks; // [rows, _inputBlockStride] quantised input
    private long _inputStride, _inputBlockStride;

    /// <inheritdoc/>
    public bool GivesHidden => true;

    /// <inheritdoc/>
    public void ReadHidden(Memory<float> destination)
    {
        int width = Shape.HiddenSize;
        for (int r = 0; r < Rows.Count; r++) HiddenOf(r).CopyTo(destination.Span.Slice(r * width, width));
    }

    /// <inheritdoc/>
    public void ReadNormed(TensorHandle norm, Memory<float> destination)
    {
        int width = Shape.HiddenSize;
        for (int r = 0; r < Rows.Count; r++) RmsNorm(HiddenOf(r), norm, destination.Span.Slice(r * width, width));
    }

    /// <inheritdoc/>
    public void PrepareInput(int width)
    {
        MemoryPlan plan = _plan ?? throw new InvalidOperationException("Prepare comes first.");
        if (_input is not null) throw new InvalidOperationException("The input is prepared already.");
        _inputStride = CpuActivations.RoundUp(width, PanelMatrix.StepLength);
        _inputBlockStride = CpuActivations.RoundUp(_inputStride / PanelMatrix.StepLength * ActivationBlock.MaxBytes, 64);
        _input = plan.Allocate("activations", "feature input", $"[{Buffers.MaxRows}, {_inputStride}] f32", Buffers.MaxRows * _inputStride * sizeof(float));
        _inputBlocks = plan.Allocate("activations", "8-bit feature input", $"[rows {Buffers.MaxRows}, {_inputBlockStride} bytes]", Buffers.MaxRows * _inputBlockStride);
    }

    /// <inheritdoc/>
    public TensorHandle Borrow(IBackend owner, TensorHandle weight)
    {
        if (!weight.Exists) return weight;
        if (owner is not CpuBackend cpu)
        {
            IRowSource rows = owner.RowsOf(weight, out WeightType type);
            using (rows as IDisposable) return LoadMatrix($"copy of {rows.Name}", type, [rows]);
        }

        return Own(new PanelStack(cpu.Matrices(weight).Parts, Owns: false));
    }

    /// <inheritdoc/>
    public void BeginRows(RowBatch rows)
    {
        CheckRows(rows);
        (_rows, _kv, _logitRows) = (rows, null, 0);
    }

    /// <inheritdoc/>
    public Span<float> HiddenOf(int row) => new(Buffers.Hidden + row * Buffers.HiddenStride, Shape.HiddenSize);

    /// <inheritdoc/>
    public Span<float> InputOf(int row) => new(InputRow(row), (int)_inputStride);

    /// <inheritdoc/>
    public void EmbedInput(TensorHandle table, int offset, TensorHandle norm)
    {
        PanelMatrix matrix = Matrix(table);
        for (int r = 0; r < Rows.Count; r++)
        {
            Span<float> part = InputOf(r).Slice(offset, matrix.InFeatures);
            matrix.ReadRow(Rows.Tokens[r], part);
            if (norm.Exists) RmsNorm(part, norm, part);
        }
    }

    /// <inheritdoc/>
    public void NormInput(int offset, TensorHandle norm)
    {
        for (int r = 0; r < Rows.Count; r++) RmsNorm(HiddenOf(r), norm, InputOf(r).Slice(offset, Shape.HiddenSize));
    }

    /// <inheritdoc/>
    public void NormHidden(TensorHandle norm)
    {
        for (int r = 0; r < Rows.Count; r++) RmsNorm(HiddenOf(r), norm, HiddenOf(r));
    }

    /// <inheritdoc/>
    public void ProjectInput(TensorHandle matrix, TensorHandle bias)
    {
        ProductArguments product = OfInput(Matrix(matrix));
        product.Bias = Vector(bias);
        product.Output = Buffers.Hidden;
        product.OutputStride = Buffers.HiddenStride;
        Multiply(product);
    }

    /// <inheritdoc/>
    public void InputQkvRope(LayerWeights weights)
    {
        int feature = 0;
        foreach (PanelMatrix matrix in Matrices(weights.Qkv).Parts)
        {
            StoreQkv(OfInput(matrix), weights, feature);
            feature += matrix.OutFeatures;
        }

        Rotate(weights);
    }

    /// <inheritdoc/>
    public void SiluResidual(TensorHandle matrix, TensorHandle bias)
    {
        ProductArguments product = Input(Matrix(matrix), Buffers.Hidden, Buffers.HiddenStride, Shape.HiddenSize, padded: false);
        if (product.Matrix.OutFeatures > Shape.IntermediateSize)
            throw new ArgumentException($"{product.Matrix.Name} gives {product.Matrix.OutFeatures} features, the pass has room for {Shape.IntermediateSize}.", nameof(matrix));
        product.Bias = Vector(bias);
        product.Output = Buffers.Gated;
        product.OutputStride = Buffers.GatedStride;
        Multiply(product);
        for (int r = 0; r < Rows.Count; r++)
        {
            Span<float> hidden = HiddenOf(r);
            float* x = Buffers.Gated + r * Buffers.GatedStride;
            for (int i = 0; i < hidden.Length; i++) hidden[i] += x[i] / (1 + VectorMath.Exp(-x[i]));
        }
    }

    private float* InputRow(int row) => (float*)(_input ?? throw new InvalidOperationException("PrepareInput comes first.")).Pointer + row * _inputStride;

    /// <summary>A product with the first elements of the input, as many as the matrix has columns.</summary>
    private ProductArguments OfInput(PanelMatrix matrix)
    {
        int width = matrix.InFeatures, padded = matrix.Steps * PanelMatrix.StepLength;
        if (padded > _inputStride) throw new ArgumentException($"{matrix.Name} takes {width} features, the input has {_inputStride}.");
        for (int r = 0; r < Rows.Count; r++) new Span<float>(InputRow(r) + width, padded - width).Clear(); // of a wider use
        ProductArguments product = Product(matrix);
        RowInputArguments input = InputArguments(matrix, InputRow(0), _inputStride, width);
        input.SourceIsPadded = true;
        input.Blocks = _inputBlocks!.Pointer;
        input.BlockStride = _inputBlockStride;
        _kernels.PrepareInput(input, ref product, Team);
        return product;
    }

    private void RmsNorm(ReadOnlySpan<float> x, TensorHandle norm, Span<float> y)
    {
        float* gain = Vector(norm);
        double squares = 0;
        foreach (float v in x) squares += (double)v * v;
        float scale = (float)(1 / Math.Sqrt(squares / x.Length + Shape.RmsNormEpsilon));
        for (int i = 0; i < x.Length; i++) y[i] = x[i] * scale * gain[i];
    }
}
