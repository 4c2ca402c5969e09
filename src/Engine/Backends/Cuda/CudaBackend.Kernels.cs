using Foretoken.Backends.Cuda.Kernels;

namespace Foretoken.Backends.Cuda;

/// <content>The kernels of each operation. Grids are those of the bucket; kernels read the true counts from device memory.</content>
public sealed unsafe partial class CudaBackend
{
    private const int MaxHeadDim = 128, ElementThreads = 256, SamplingThreads = 512;
    private Pending _pending; // what the last product left to be added to the hidden state

    private void Enqueue(PassBucket bucket)
    {
        _pending = default;
        foreach (PassStep step in _steps)
        {
            switch (step.Operation)
            {
                case PassOperation.Embed:
                    EnqueueEmbed(Matrix(step.First), bucket);
                    break;
                case PassOperation.NormQkvRope:
                    EnqueueQkv(step.Layer, step.Weights!, bucket);
                    break;
                case PassOperation.Attend:
                    EnqueueAttention(step.Layer, step.Weights!, bucket);
                    break;
                case PassOperation.OutResidual:
                    EnqueueProduct(Matrix(step.Weights!.Output), Pass.Rows, bucket.Rows, Buffers.PieceBuffer, Buffers.MaxRows);
                    _pending = new Pending(Matrix(step.Weights.Output), Vector(step.Weights.OutputBias));
                    break;
                case PassOperation.Mlp:
                    EnqueueMlp(step.Weights!, bucket);
                    break;
                case PassOperation.Tap:
                    EnqueueTap(step.Layer, Vector(step.First), bucket);
                    break;
                case PassOperation.Logits:
                    EnqueueLogits(Vector(step.First), Matrix(step.Second), bucket);
                    break;
                case PassOperation.Sample:
                    new SampleRows
                    {
                        Logits = Buffers.Logits, Stride = Buffers.LogitStride, Vocabulary = Shape.VocabSize, Rows = Pass.LogitRowCount, Samplings = Pass.Samplings,
                        Results = Buffers.Samples, Grid = bucket.LogitRows, Block = SamplingThreads,
                    }.Launch(_stream);
                    break;
                default:
                    EnqueueAccept(bucket);
                    break;
            }
        }
    }

    private void EnqueueAccept(PassBucket bucket)
    {
        new AcceptTrees
        {
            Counts = Pass.Rows, Segments = Pass.Segments, Parents = Pass.Parents, Tokens = Pass.Tokens, LogitIndices = Pass.LogitIndices,
            Results = Buffers.Samples, MaxRows = Buffers.MaxRows, Starts = Buffers.PathStarts, Records = Buffers.Paths, Lengths = Buffers.PathLengths,
            Grid = (bucket.Rows + 31) / 32, Block = 32,
        }.Launch(_stream);
        _store!.EnqueueCommit(Pass.Rows + 3, Buffers.PathStarts, Buffers.Paths, bucket.Rows);
    }

    private void EnqueueEmbed(CudaMatrix table, PassBucket bucket)
    {
        CheckWidth(table, Shape.HiddenSize);
        if (table.Type == WeightType.BF16)
        {
            new EmbedBf16
            {
                Table = table.Data.As<ushort>(), Units = table.Shape.Units, Tokens = Pass.Tokens, Rows = Pass.Rows, Hidden = Buffers.Hidden,
                Width = Shape.HiddenSize, Grid = bucket.Rows, Block = ElementThreads,
            }.Launch(_stream);
        }
        else
        {
            new EmbedInt8
            {
                Table = table.Data, Scales = table.Scales, Units = table.Shape.Units, Tokens = Pass.Tokens, Rows = Pass.Rows, Hidden = Buffers.Hidden,
                Width = Shape.HiddenSize, Grid = bucket.Rows, Block = ElementThreads,
            }.Launch(_stream);
        }

        new RopeAngles
        {
            Frequencies = Buffers.Frequencies, Positions = Pass.Positions, Rows = Pass.Rows, Angles = Buffers.Angles, Half = Shape.HeadDim / 2,
            Factor = Shape.RopeAttentionFactor, Grid = bucket.Rows, Block = 64,
        }.Launch(_stream);
    }

    private void EnqueueQkv(int layer, LayerWeights weights, PassBucket bucket)
    {
        CudaMatrix qkv = Matrix(weights.Qkv);
        EnqueueNorm(Vector(weights.InputNorm), qkv, bucket.Rows, default, Pass.Rows);
        EnqueueProduct(qkv, Pass.Rows, bucket.Rows, Buffers.PieceBuffer, Buffers.MaxRows);
        new QkvRope
        {
            Pieces = Buffers.PieceBuffer, Count = qkv.Shape.Pieces, Piece = (long)Buffers.MaxRows * qkv.Stride, Stride = qkv.Stride,
            Bias = Vector(weights.QkvBias), QueryGain = Vector(weights.QueryNorm), KeyGain = Vector(weights.KeyNorm), Epsilon = Shape.RmsNormEpsilon,
            Angles = Buffers.Angles, Heads = Shape.HeadCount, Scale = Shape.AttentionScale, Pass = Pass, Layer = layer, Queries = Buffers.Queries,
        }.Launch(_stream, _store!, bucket.Rows);
    }

    private void EnqueueAttention(int layer, LayerWeights weights, PassBucket bucket)
    {
        new Attention
        {
            Queries = Buffers.Queries, Heads = Shape.HeadCount, Pass = Pass, Window = weights.SlidingWindow, Layer = layer, RowStride = Buffers.MaxRows,
            Sums = Buffers.Sums, Outputs = Buffers.Outputs,
        }.Launch(_stream, _store!, bucket.Rows, bucket.Splits);
        CudaMatrix output = Matrix(weights.Output);
        CheckWidth(output, Shape.HeadCount * Shape.HeadDim);
        new Combine
        {
            Sums = Buffers.Sums, Outputs = Buffers.Outputs, RowStride = Buffers.MaxRows, Heads = Shape.HeadCount, HeadDim = Shape.HeadDim, Rows = Pass.Rows,
            Positions = Pass.Positions, Window = weights.SlidingWindow, Form = (int)FormOf(output), Values = Buffers.Inputs, Scales = Buffers.InputScales,
            Padded = output.PaddedLength, Part = (long)Buffers.MaxRows * output.PaddedLength, Grid = (ElementBlocks(output.PaddedLength), bucket.Rows),
            Block = ElementThreads,
        }.Launch(_stream);
    }

    private void EnqueueMlp(LayerWeights weights, PassBucket bucket)
    {
        CudaMatrix gateUp = Matrix(weights.GateUp), down = Matrix(weights.Down);
        if (gateUp.OutFeatures != 2 * Shape.IntermediateSize)
            throw new ArgumentException($"{gateUp.Name} has {gateUp.OutFeatures} rows; gate and up together have {2 * Shape.IntermediateSize}.");
        CheckWidth(down, Shape.IntermediateSize);
        EnqueueNorm(Vector(weights.PostAttentionNorm), gateUp, bucket.Rows, default, Pass.Rows);
        EnqueueProduct(gateUp, Pass.Rows, bucket.Rows, Buffers.PieceBuffer, Buffers.MaxRows);
        new Swiglu
        {
            Pieces = Buffers.PieceBuffer, Count = gateUp.Shape.Pieces, Piece = (long)Buffers.MaxRows * gateUp.Stride, Stride = gateUp.Stride,
            Inner = Shape.IntermediateSize, Rows = Pass.Rows, Form = (int)FormOf(down), Values = Buffers.Inputs, Scales = Buffers.InputScales,
            Padded = down.PaddedLength, Part = (long)Buffers.MaxRows * down.PaddedLength, Grid = (ElementBlocks(down.PaddedLength), bucket.Rows),
            Block = ElementThreads,
        }.Launch(_stream);
        EnqueueProduct(down, Pass.Rows, bucket.Rows, Buffers.PieceBuffer, Buffers.MaxRows);
        _pending = new Pending(down, default);
    }

    private void EnqueueLogits(DevicePointer<float> norm, CudaMatrix head, PassBucket bucket)
    {
        EnqueueNorm(norm, head, bucket.LogitRows, Pass.LogitRows, Pass.LogitRowCount);
        bool whole = head.Shape.Pieces == 1;
        EnqueueProduct(head, Pass.LogitRowCount, bucket.LogitRows, whole ? Buffers.Logits : Buffers.LogitPieces, Buffers.MaxLogitRows);
        if (whole) return;
        new AddPieces
        {
            Pieces = Buffers.LogitPieces, Count = head.Shape.Pieces, Piece = (long)Buffers.MaxLogitRows * head.Stride, Stride = head.Stride, Width = head.Stride,
            Rows = Pass.LogitRowCount, Output = Buffers.Logits, Grid = (ElementBlocks(head.Stride), bucket.LogitRows), Block = ElementThreads,
        }.Launch(_stream);
    }

    /// <summary>Adds what is pending to the hidden state and writes the input of a product.</summary>
    /// <param name="gain">Gain of the norm.</param>
    /// <param name="next">The product that follows.</param>
    /// <param name="bucketRows">Blocks.</param>
    /// <param name="gather">Rows to take; null = all, and the sum is written back.</param>
    /// <param name="rows">Their number.</param>
    private void EnqueueNorm(DevicePointer<float> gain, CudaMatrix next, int bucketRows, DevicePointer<int> gather, DevicePointer<int> rows)
    {
        CheckWidth(next, Shape.HiddenSize);
        int stride = _pending.Matrix?.Stride ?? 0;
        new ResidualNorm
        {
            Hidden = Buffers.Hidden, Width = Shape.HiddenSize, Pieces = Buffers.PieceBuffer, Count = _pending.Matrix?.Shape.Pieces ?? 0,
            Piece = (long)Buffers.MaxRows * stride, Stride = stride, Bias = _pending.Bias, Gain = gain, Epsilon = Shape.RmsNormEpsilon, Gather = gather,
            Rows = rows, Form = (int)FormOf(next), Values = Buffers.Inputs, Scales = Buffers.InputScales, Padded = next.PaddedLength,
            Part = (long)Buffers.MaxRows * next.PaddedLength, Grid = bucketRows, Block = ElementThreads,
        }.Launch(_stream);
        if (gather.IsNull) _pending = default;
    }

    private ActivationForm FormOf(CudaMatrix matrix) =>
        matrix.Type == WeightType.Int8 ? ActivationForm.Int8 : _options.FloatActivations ? ActivationForm.Float : ActivationForm.BFloat16;

    /// <summary>Enqueues a product with the inputs that the kernel before it wrote.</summary>
    /// <param name="matrix">Weights.</param>
    /// <param name="rows">Number of rows, on the device.</param>
    /// <param name="bucketRows">Most rows.</param>
    /// <param name="output">Receives the pieces. // [pieces, outputCapacity, Stride]</param>
    /// <param name="outputCapacity">Rows from one piece to the next.</param>
    private void EnqueueProduct(CudaMatrix matrix, DevicePointer<int> rows, int bucketRows, DevicePointer<float> output, int outputCapacity) =>
        new CudaProduct
        {
            Matrix = matrix, Form = FormOf(matrix), Input = Buffers.Inputs, InputScales = Buffers.InputScales, RowCapacity = Buffers.MaxRows, Rows = rows,
            Output = output, OutputCapacity = outputCapacity,
        }.Launch(_stream, bucketRows);

    private static int ElementBlocks(int elements) => (elements + ElementThreads - 1) / ElementThreads;

    private static void CheckWidth(CudaMatrix matrix, int width)
    {
        if (matrix.InFeatures != width) throw new ArgumentException($"{matrix.Name} takes {matrix.InFeatures} features, the pass has {width}.");
    }

    /// <summary>A product whose output waits to be added to the hidden state.</summary>
    private readonly record struct Pending(CudaMatrix? Matrix, DevicePointer<float> Bias);
}
