namespace Foretoken.Backends.Cuda;

/// <summary>The operations of a forward pass, as <see cref="IBackend"/> names them.</summary>
internal enum PassOperation
{
    Embed,
    NormQkvRope,
    Attend,
    OutResidual,
    Mlp,

    /// <summary>The residual stream for the host.</summary>
    Tap,
    Logits,

    /// <summary>A token for every asked row.</summary>
    Sample,

    /// <summary>The path of each tree, and its rows' slots.</summary>
    Accept,
}

/// <summary>An operation with its weights.</summary>
/// <param name="Operation">What is done.</param>
/// <param name="Layer">Its layer; of Tap, its number; −1 or 0 for operations of the whole model.</param>
/// <param name="Weights">The layer's weights, or null.</param>
/// <param name="First">The table of Embed, the norm of Logits or Tap.</param>
/// <param name="Second">The head of Logits.</param>
internal readonly record struct PassStep(PassOperation Operation, int Layer, LayerWeights? Weights, TensorHandle First, TensorHandle Second);

/// <summary>What a recorded pass is made for: it runs passes of up to these sizes, and its operations.</summary>
/// <param name="Rows">Rows.</param>
/// <param name="LogitRows">Rows with logits; 0 = none.</param>
/// <param name="Splits">Attention splits: 256 positions each.</param>
/// <param name="Samples">The device chooses tokens.</param>
/// <param name="Accepts">The device finds paths and commits them.</param>
internal readonly record struct PassBucket(int Rows, int LogitRows, int Splits, bool Samples, bool Accepts)
{
    /// <summary>The smallest powers of two that hold a pass, within what is planned.</summary>
    public static PassBucket Of(int rows, int logitRows, int splits, bool samples, bool accepts, CudaActivations buffers) => new(
        Up(rows, buffers.MaxRows), Up(logitRows, buffers.MaxLogitRows), Up(splits, buffers.Splits), samples, accepts);

    private static int Up(int value, int most) => value == 0 ? 0 : Math.Min(most, (int)System.Numerics.BitOperations.RoundUpToPowerOf2((uint)value));
}

/// <summary>
/// Runs passes as graphs: the first pass of a bucket is enqueued kernel by kernel, which also has the driver load whatever it loads late; the second is
/// recorded, and later ones are one call. The kernels read row counts, tokens and positions from device memory.
/// </summary>
internal sealed class PassGraphs(CudaStream stream, bool record) : IDisposable
{
    private readonly Dictionary<PassBucket, Recorded> _recorded = [];

    /// <summary>Graphs recorded so far.</summary>
    public int Captured => _recorded.Values.Count(r => r.Graph is not null);

    /// <summary>Enqueues a pass.</summary>
    /// <param name="bucket">Its sizes.</param>
    /// <param name="steps">Its operations.</param>
    /// <param name="enqueue">Enqueues the operations for a bucket.</param>
    public void Run(PassBucket bucket, List<PassStep> steps, Action<PassBucket> enqueue)
    {
        if (!record)
        {
            enqueue(bucket);
            return;
        }

        if (!_recorded.TryGetValue(bucket, out Recorded? recorded) || !recorded.Steps.AsSpan().SequenceEqual(System.Runtime.InteropServices.CollectionsMarshal.AsSpan(steps)))
        {
            recorded?.Graph?.Dispose();
            _recorded[bucket] = new Recorded([.. steps]);
            enqueue(bucket);
            return;
        }

        recorded.Graph ??= Capture(bucket, enqueue);
        recorded.Graph.Launch(stream);
    }

    public void Dispose()
    {
        foreach (Recorded recorded in _recorded.Values) recorded.Graph?.Dispose();
        _recorded.Clear();
    }

    // on its own, so that a replay makes no closure
    private CudaGraph Capture(PassBucket bucket, Action<PassBucket> enqueue) => CudaGraph.Capture(stream, _ => enqueue(bucket));

    private sealed class Recorded(PassStep[] steps)
    {
        public PassStep[] Steps => steps;

        public CudaGraph? Graph { get; set; }
    }
}
