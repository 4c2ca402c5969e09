using Foretoken.Memory;

namespace Foretoken.Backends.Cuda;

/// <summary>
/// Runs passes on a CUDA device. Operations are collected while the forward pass names them and enqueued together, as one graph, when it asks for logits.
/// The bits of a row's results depend neither on the other rows of the pass nor on where its keys are stored.
/// </summary>
public sealed unsafe partial class CudaBackend : IBackend
{
    private const int StagingHalfBytes = 4 << 20;
    private const double MassUnit = 1.0 / (1L << 40); // of the weights in cu/sampling.cu
    private readonly CudaDevice _device;
    private readonly CudaStream _stream;
    private readonly CudaOptions _options;
    private readonly List<object> _weights = []; // by handle: CudaMatrix or DevicePointer<float>
    private readonly List<PassStep> _steps = [];
    private readonly PassGraphs _graphs;
    private readonly Action<PassBucket> _enqueue;
    private StagedCopy? _loader;
    private MemoryPlan? _plan;
    private TransformerShape? _shape;
    private CudaActivations? _buffers;
    private DevicePass? _pass;
    private CudaKvStore? _store;
    private PinnedBuffer? _logits; // [maxLogitRows, LogitStride]
    private PinnedBuffer? _samples; // [maxRows] path lengths, [maxLogitRows, 4] samples
    private CudaEvent? _passRead;
    private RowBatch? _rows;
    private int _logitRows;
    private bool _hasLogits, _hasSamples, _samplesPlanned, _deviceCommits;

    private CudaBackend(CudaDevice device, CudaOptions options)
    {
        _device = device;
        _options = options;
        _stream = CudaStream.Create(device);
        _graphs = new PassGraphs(_stream, options.Graphs);
        _enqueue = Enqueue;
    }

    /// <inheritdoc/>
    public string Name => $"cuda-sm{_device.Info.Capabilities.Major}{_device.Info.Capabilities.Minor}" + (_options.FloatActivations ? "-f32" : "");

    /// <inheritdoc/>
    public bool SkipsSublayers => false; // its graphs are recorded for whole passes

    /// <inheritdoc/>
    public bool LogitsOnHost => false;

    /// <inheritdoc/>
    public long MemoryBytes => _device.Info.Capabilities.TotalBytes;

    /// <summary>Where a cache keeps keys and values that this backend attends to; give it to <see cref="KvCache.KvCacheOptions.Store"/>.</summary>
    public IKvStore KvStore => _store ?? throw new InvalidOperationException("Prepare comes first.");

    internal CudaDevice Device => _device;

    internal CudaStream Stream => _stream;

    internal int Graphs => _graphs.Captured;

    private TransformerShape Shape => _shape ?? throw new InvalidOperationException("Prepare comes first.");

    private CudaActivations Buffers => _buffers ?? throw new InvalidOperationException("Prepare comes first.");

    private DevicePass Pass => _pass ?? throw new InvalidOperationException("Prepare comes first.");

    /// <summary>Copies weights; there until the first pass.</summary>
    private StagedCopy Loader => _loader ??= new StagedCopy(_stream, StagingHalfBytes, _plan ?? throw new InvalidOperationException("Prepare comes first."));

    private RowBatch Rows => _rows ?? throw new InvalidOperationException("BeginPass comes first.");

    /// <summary>Opens the device and compiles its kernels.</summary>
    /// <exception cref="CudaUnavailableException">There is no driver or no such device; the message says what to do.</exception>
    /// <exception cref="CudaException">The driver refuses a call.</exception>
    public static CudaBackend Create(CudaOptions? options = null) => Create(CudaPlatform.Find(), options);

    internal static CudaBackend Create(CudaPlatform platform, CudaOptions? options = null)
    {
        options ??= new CudaOptions();
        CudaDevice device = CudaDevice.Open(platform, options.Device);
        try
        {
            return new CudaBackend(device, options);
        }
        catch
        {
            device.Dispose();
            throw;
        }
    }

    /// <inheritdoc/>
    public void Prepare(TransformerShape shape, int maxRows, int maxLogitRows, MemoryPlan plan)
    {
        if (_shape is not null) throw new InvalidOperationException("The backend is prepared already.");
        if (shape.HeadDim % 8 != 0 || shape.HeadDim > MaxHeadDim)
            throw new CudaUnavailableException($"The CUDA kernels take a head_dim that is a multiple of 8 up to {MaxHeadDim}, not {shape.HeadDim}: use the CPU.");
        _shape = shape;
        _plan = plan;
        _device.MakeCurrent();
        _buffers = new CudaActivations(shape, maxRows, maxLogitRows);
        _pass = new DevicePass(_device, maxRows, shape.QueryGroup, plan);
        _store = new CudaKvStore(_device, _stream, plan, ArenaForKv);
        _passRead = CudaEvent.Create(_device);
        long logits = (long)Math.Max(1, maxLogitRows) * _buffers.LogitStride;
        _logits = PinnedBuffer.Allocate(_device, "logits", "logits, host", $"[{maxLogitRows}, {_buffers.LogitStride}] f32", logits * sizeof(float), plan);
        int samples = (maxRows + 4 * Math.Max(1, maxLogitRows)) * sizeof(int);
        _samples = PinnedBuffer.Allocate(_device, "logits", "samples, host", $"[{maxRows} + {maxLogitRows} · 4] int32", samples, plan);
    }

    /// <summary>Floats as bf16, integers as int8.</summary>
    public WeightType Holds(WeightType type) => type.IsInteger() ? WeightType.Int8 : WeightType.BF16;

    /// <inheritdoc/>
    public TensorHandle LoadMatrix(string name, WeightType type, ReadOnlySpan<IRowSource> parts)
    {
        var packer = new FragmentPacker(name, type, parts);
        ProductShape shape = packer.Shape;
        long bytes = (long)shape.Strips * packer.StripBytes, scales = (long)shape.Strips * packer.StripScales;
        _device.MakeCurrent();
        DeviceArena arena = ArenaFor($"The weight {name}", BytesOf(type, packer.OutFeatures, packer.InFeatures));
        var matrix = new CudaMatrix
        {
            Name = name, Type = type, OutFeatures = packer.OutFeatures, InFeatures = packer.InFeatures, Shape = shape,
            Data = arena.Take<byte>("weights", name, $"[{packer.OutFeatures}, {packer.InFeatures}] {type}", bytes),
            Scales = scales == 0 ? default : arena.Take<ushort>("weights", name + " scales", $"[{shape.Strips}, {packer.StripScales}] f16", scales),
        };
        Upload(packer, matrix);
        _weights.Add(matrix);
        return new TensorHandle(_weights.Count - 1);
    }

    /// <inheritdoc/>
    public TensorHandle LoadVector(string name, ReadOnlySpan<float> values)
    {
        _device.MakeCurrent();
        DeviceArena arena = ArenaFor($"The weight {name}", DeviceArena.Padded((long)values.Length * sizeof(float)));
        DevicePointer<float> vector = arena.Take<float>("weights", name, $"[{values.Length}] F32", values.Length);
        Loader.Upload(values, vector);
        _weights.Add(vector);
        return new TensorHandle(_weights.Count - 1);
    }

    /// <inheritdoc/>
    public void BeginPass(RowBatch rows, KvView kv)
    {
        CheckPass(rows, kv);
        _device.MakeCurrent();
        if (_loader is not null) ReleaseLoader();
        _rows = rows;
        _steps.Clear();
        _destinations.Clear();
        _logitRows = 0;
        _store!.Settle();
        _passRead!.Synchronize(); // the last pass has read its rows
        int bytes = Pass.Fill(rows, _store.TablesPerSequence);
        _store.Flush(rows);
        Pass.Upload(_stream, bytes);
        _passRead.Record(_stream);
    }

    /// <inheritdoc/>
    public void Embed(TensorHandle table)
    {
        int vocabulary = Matrix(table).OutFeatures;
        foreach (int token in Rows.Tokens)
        {
            if ((uint)token >= (uint)vocabulary) throw new ArgumentException($"Token {token} is outside the embedding table of {vocabulary} rows.", nameof(table));
        }

        _steps.Add(new PassStep(PassOperation.Embed, 0, null, table, TensorHandle.None));
    }

    /// <inheritdoc/>
    public void NormQkvRope(int layer, LayerWeights weights) => Add(PassOperation.NormQkvRope, layer, weights);

    /// <inheritdoc/>
    public void Attend(int layer, LayerWeights weights) => Add(PassOperation.Attend, layer, weights);

    /// <inheritdoc/>
    public void OutResidual(int layer, LayerWeights weights) => Add(PassOperation.OutResidual, layer, weights);

    /// <inheritdoc/>
    public void Mlp(int layer, LayerWeights weights) => Add(PassOperation.Mlp, layer, weights);

    /// <inheritdoc/>
    public void Logits(TensorHandle finalNorm, TensorHandle head)
    {
        int logitRows = Rows.LogitRows.Length;
        _samplesPlanned = false;
        foreach (RowSampling sampling in Rows.Samplings) _samplesPlanned |= sampling.IsPlanned;
        _deviceCommits = Rows.AcceptsSamples;
        if (logitRows > 0) _steps.Add(new PassStep(PassOperation.Logits, 0, null, finalNorm, head));
        if (_samplesPlanned) _steps.Add(new PassStep(PassOperation.Sample, 0, null, TensorHandle.None, TensorHandle.None));
        if (_deviceCommits) _steps.Add(new PassStep(PassOperation.Accept, 0, null, TensorHandle.None, TensorHandle.None));
        PassBucket bucket = PassBucket.Of(
            Rows.Count, logitRows, Pass.MaxPosition / CudaActivations.SplitPositions + 1, _samplesPlanned, _deviceCommits, Buffers);
        _graphs.Run(bucket, _steps, _enqueue);
        _logitRows = logitRows;
        _hasLogits = _hasSamples = false;
        TakeTaps();
        if (_deviceCommits) TakeSamples();
    }

    /// <inheritdoc/>
    public bool TryGetSample(int index, out int token, out float logProb)
    {
        (token, logProb) = (-1, 0f);
        if (!_samplesPlanned || (uint)index >= (uint)_logitRows || !Rows.Samplings[index].IsPlanned) return false;
        TakeSamples();
        ReadOnlySpan<int> sample = _samples!.Span<int>((Buffers.MaxRows + 4L * index) * sizeof(int), 4);
        token = sample[0];
        if (token >= 0 && Rows.Samplings[index].LogProb)
            logProb = (float)(BitConverter.Int32BitsToSingle(sample[1]) - Math.Log(((ulong)(uint)sample[3] << 32 | (uint)sample[2]) * MassUnit));
        return true;
    }

    /// <inheritdoc/>
    public Span<float> LogitsOf(int index)
    {
        if ((uint)index >= (uint)_logitRows) throw new ArgumentOutOfRangeException(nameof(index), index, $"The last pass gave logits for {_logitRows} rows.");
        if (!_hasLogits)
        {
            _stream.Download(Buffers.Logits, _logits!, 0, (long)_logitRows * Buffers.LogitStride * sizeof(float));
            _stream.Synchronize();
            _hasLogits = true;
        }

        return _logits!.Span<float>((long)index * Buffers.LogitStride * sizeof(float), Shape.VocabSize);
    }

    /// <inheritdoc/>
    public void Dispose() => _device.Dispose();

    /// <summary>Waits for the pass and takes what the device chose.</summary>
    private void TakeSamples()
    {
        if (_hasSamples) return;
        _stream.Download(Buffers.PathLengths, _samples!, 0, (Buffers.MaxRows + 4L * _logitRows) * sizeof(int));
        _stream.Synchronize();
        _hasSamples = true;
        if (!_deviceCommits) return;
        Span<int> lengths = _samples!.Span<int>(0, Buffers.MaxRows);
        for (int s = 0; s < Rows.Segments.Length; s++)
        {
            if (Pass.RootOf(s) != DevicePass.HostAccepts) _store!.Committed(Rows.Segments[s].Sequence, lengths[s]);
        }
    }

    private void Add(PassOperation operation, int layer, LayerWeights weights) =>
        _steps.Add(new PassStep(operation, layer, weights, TensorHandle.None, TensorHandle.None));

    private void CheckPass(RowBatch rows, KvView kv)
    {
        if (rows.Count > Buffers.MaxRows) throw new ArgumentException($"A pass has at most {Buffers.MaxRows} rows, not {rows.Count}.", nameof(rows));
        if (rows.LogitRows.Length > Buffers.MaxLogitRows)
            throw new ArgumentException($"A pass gives logits for at most {Buffers.MaxLogitRows} rows, not {rows.LogitRows.Length}.", nameof(rows));
        if (kv is not HostKvView view || !ReferenceEquals(view.Store, _store))
            throw new ArgumentException("The CUDA backend attends to a cache that keeps its keys and values in this backend's KvStore.", nameof(kv));
        if (view.Layout.HeadDim != Shape.HeadDim || view.Layout.KvHeadCount != Shape.KvHeadCount || view.Layout.LayerCount != Shape.LayerCount)
            throw new ArgumentException($"The cache is laid out for {view.Layout}, the model has {Shape.KvHeadCount} KV heads of {Shape.HeadDim} in {Shape.LayerCount} layers.", nameof(kv));
        foreach (int position in rows.Positions)
        {
            if ((uint)position >= (uint)Shape.MaxPositions)
                throw new ArgumentException($"Position {position} is outside the model's context of {Shape.MaxPositions} tokens.", nameof(rows));
        }
    }

    /// <summary>Gives the pinned memory back that weights were copied through.</summary>
    private void ReleaseLoader()
    {
        _stream.Synchronize(); // all of it has been read
        _loader!.Dispose();
        _loader = null;
    }

    /// <summary>Packs a few megabytes of strips at a time on all processors and sends them.</summary>
    private void Upload(FragmentPacker packer, CudaMatrix matrix)
    {
        int strips = matrix.Shape.Strips, chunk = Math.Clamp((16 << 20) / packer.StripBytes, 1, strips);
        var data = new byte[(long)chunk * packer.StripBytes];
        var scales = new ushort[(long)chunk * packer.StripScales];
        for (int first = 0; first < strips; first += chunk)
        {
            int count = Math.Min(chunk, strips - first), start = first;
            Parallel.For(0, count, i => packer.Pack(
                start + i, data.AsSpan(i * packer.StripBytes, packer.StripBytes), scales.AsSpan(i * packer.StripScales, packer.StripScales)));
            Loader.Upload<byte>(data.AsSpan(0, count * packer.StripBytes), matrix.Data + (long)first * packer.StripBytes);
            if (packer.StripScales > 0) Loader.Upload<ushort>(scales.AsSpan(0, count * packer.StripScales), matrix.Scales + (long)first * packer.StripScales);
        }
    }

    private CudaMatrix Matrix(TensorHandle handle) => (CudaMatrix)_weights[handle.Index];

    private DevicePointer<float> Vector(TensorHandle handle) => handle.Exists ? (DevicePointer<float>)_weights[handle.Index] : default;
}
