using Foretoken.Backends;
using Foretoken.Backends.Cuda;
using Foretoken.Backends.Cuda.Kernels;
using Foretoken.KvCache;
using Foretoken.Ptx;
using Dim3 = Foretoken.Backends.Cuda.Dim3;

namespace Foretoken.Tests.Backends.Cuda.Kernels;

/// <summary>
/// Attention on the machine over a real cache, without rotation: queries, keys and values of a row are a function of its token and position, as in
/// <see cref="AttentionHarness"/>, so that the same references serve.
/// </summary>
internal sealed class CudaAttentionHarness : IDisposable
{
    private readonly AttentionCase _case;
    private readonly KernelHarness _harness;
    private readonly DevicePass _pass;
    private readonly CudaKvStore _store;
    private readonly TransformerShape _shape;
    private readonly int _maxRows, _splits, _width;

    public CudaAttentionHarness(AttentionCase test, int maxRows, PtxMachineOptions? options = null)
    {
        _harness = new KernelHarness(options, "qkv", "attention", "kv");
        (_case, _maxRows) = (test, maxRows);
        _shape = new TransformerShape
        {
            LayerCount = 2, HiddenSize = 64, IntermediateSize = 64, HeadCount = test.Heads, KvHeadCount = test.KvHeads, HeadDim = test.HeadDim,
            VocabSize = 16, RmsNormEpsilon = 1e-5f, MaxPositions = test.MaxTokens, RopeInverseFrequencies = new double[test.HeadDim / 2],
            AttentionScale = (float)(1 / Math.Sqrt(test.HeadDim)),
        };
        _splits = (test.MaxTokens + CudaActivations.SplitPositions - 1) / CudaActivations.SplitPositions;
        _width = (test.Heads + 2 * test.KvHeads) * test.HeadDim;
        _pass = new DevicePass(_harness.Device, maxRows, _shape.QueryGroup, _harness.Plan);
        _pass.Take(DeviceArena.Allocate(_harness.Device, _pass.Bytes, "The rows of a pass", _harness.Plan));
        _store = new CudaKvStore(
            _harness.Device, _harness.Stream, _harness.Plan, bytes => DeviceArena.Allocate(_harness.Device, bytes, "The KV cache", _harness.Plan));
        var layout = new KvLayout(2, test.KvHeads, test.HeadDim, test.Type, test.SlotsPerPage);
        Cache = new PagedKvCache(
            new KvCacheOptions
            {
                Layout = layout, MaxSequences = test.Sequences, MaxTokensPerSequence = test.MaxTokens, MaxRowsPerSequence = maxRows,
                BudgetBytes = PagedKvCache.BytesFor(layout, test.Sequences, test.MaxTokens + maxRows), ReclaimBatch = test.ReclaimBatch,
                Policy = test.Policy ?? new DensePolicy(), Store = _store,
            },
            _harness.Plan);
        if (test.PlacementSeed != 0) Cache.Pool.Shuffle(new Foretoken.Numerics.SeededRandom(test.PlacementSeed).Next);
        Rows = new RowBatch(maxRows);
    }

    public PtxMachine Machine => _harness.Machine;

    public PagedKvCache Cache { get; }

    public RowBatch Rows { get; }

    public int NewSequence()
    {
        int sequence = Cache.TryAcquire();
        Assert.True(Cache.TryReserve(sequence, _case.MaxTokens));
        return sequence;
    }

    public void AddChain(int sequence, ReadOnlySpan<int> tokens)
    {
        int position = Cache.Length(sequence);
        for (int i = 0; i < tokens.Length; i++) Rows.Add(tokens[i], position + i, sequence, i == 0 ? -1 : Rows.Count - 1, false);
    }

    /// <summary>Runs the rows without committing. // [rows][heads · headDim]</summary>
    /// <param name="attend">False: keys and values are stored only.</param>
    public float[][] Run(bool attend = true)
    {
        int rows = Rows.Count, output = _case.Heads * _case.HeadDim, padded = ProductShape.PaddedLength(output);
        var qkv = new float[rows * _width];
        for (int r = 0; r < rows; r++) AttentionHarness.Fill(Rows.Tokens[r], Rows.Positions[r], qkv.AsSpan(r * _width, _width));
        Cache.BeginPass(Rows);
        int bytes = _pass.Fill(Rows, _store.TablesPerSequence);
        _store.Flush(Rows);
        _pass.Upload(_harness.Stream, bytes);
        var angles = new float[rows * _case.HeadDim];
        for (int r = 0; r < rows; r++) angles.AsSpan(r * _case.HeadDim, _case.HeadDim / 2).Fill(1);
        DevicePointer<float> queries = _harness.Allocate<float>((long)rows * output), sums = _harness.Allocate<float>((long)_splits * rows * _case.Heads * 2);
        DevicePointer<float> outputs = _harness.Allocate<float>((long)_splits * rows * output);
        Store(_harness.Upload(qkv), _harness.Upload(angles), queries, rows);
        if (!attend) return [];
        Attend(queries, sums, outputs, rows);
        DevicePointer<byte> values = _harness.Allocate<byte>(6L * rows * padded);
        new Combine
        {
            Sums = sums, Outputs = outputs, RowStride = rows, Heads = _case.Heads, HeadDim = _case.HeadDim, Rows = _pass.Rows, Positions = _pass.Positions,
            Window = _case.Window, Form = (int)ActivationForm.Float, Values = values, Scales = default, Padded = padded, Part = (long)rows * padded,
            Grid = ((padded + 255) / 256, rows), Block = 256,
        }.Launch(_harness.Stream);
        double[][] result = ActivationReference.Unpack(ActivationReference.Float, _harness.Download(values, 6 * rows * padded), [], rows, output);
        return [.. result.Select(row => row.Select(x => (float)x).ToArray())];
    }

    /// <summary>Runs tokens as one chain and commits them.</summary>
    public float[][] RunChain(int sequence, ReadOnlySpan<int> tokens, bool attend = true)
    {
        Rows.Clear();
        AddChain(sequence, tokens);
        float[][] outputs = Run(attend);
        Cache.Commit(sequence, [.. Enumerable.Range(0, tokens.Length)]);
        return outputs;
    }

    public float[][] RunChunks(int sequence, ReadOnlySpan<int> tokens, int chunk)
    {
        var outputs = new List<float[]>();
        for (int i = 0; i < tokens.Length; i += chunk) outputs.AddRange(RunChain(sequence, tokens.Slice(i, Math.Min(chunk, tokens.Length - i))));
        return [.. outputs];
    }

    public void Dispose()
    {
        Cache.Dispose();
        _harness.Dispose();
    }

    private void Store(DevicePointer<float> qkv, DevicePointer<float> angles, DevicePointer<float> queries, int rows) => new QkvRope
    {
        Pieces = qkv, Count = 1, Piece = 0, Stride = _width, Epsilon = 0, Angles = angles, Heads = _case.Heads, Scale = _shape.AttentionScale, Pass = _pass,
        Layer = AttentionHarness.Layer, Queries = queries,
    }.Launch(_harness.Stream, _store, rows);

    private void Attend(DevicePointer<float> queries, DevicePointer<float> sums, DevicePointer<float> outputs, int rows) => new Attention
    {
        Queries = queries, Heads = _case.Heads, Pass = _pass, Window = _case.Window, Layer = AttentionHarness.Layer, RowStride = rows, Sums = sums, Outputs = outputs,
    }.Launch(_harness.Stream, _store, rows, _splits);
}
