namespace Foretoken.Backends.Cuda;

/// <summary>
/// One graph per row bucket: a pass of n rows runs as the graph of the smallest bucket that holds n, whose kernels read the true row count from device memory.
/// The first pass of a bucket is enqueued kernel by kernel, which also has the driver load whatever it loads late; the second is recorded, and later ones
/// are one call.
/// </summary>
internal sealed class RowBucketGraphs : IDisposable
{
    private readonly CudaStream _stream;
    private readonly int[] _buckets; // ascending
    private readonly CudaGraph?[] _graphs;
    private readonly bool[] _warm;

    /// <param name="buckets">Row counts, ascending; the last is the most rows of a pass.</param>
    public RowBucketGraphs(CudaStream stream, params int[] buckets)
    {
        if (buckets.Length == 0 || buckets[0] < 1 || !buckets.Zip(buckets.Skip(1)).All(p => p.First < p.Second))
            throw new ArgumentException("Buckets must be at least one, positive and ascending.", nameof(buckets));
        (_stream, _buckets, _graphs, _warm) = (stream, buckets, new CudaGraph?[buckets.Length], new bool[buckets.Length]);
    }

    /// <summary>Graphs recorded so far.</summary>
    public int Captured => _graphs.Count(g => g is not null);

    /// <summary>Powers of two up to <paramref name="maxRows"/>, which is the last.</summary>
    public static int[] PowersOfTwo(int maxRows)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(maxRows, 1);
        return [.. Enumerable.Range(0, 31).Select(i => 1 << i).TakeWhile(rows => rows < maxRows), maxRows];
    }

    /// <summary>The rows that the graph for <paramref name="rows"/> rows is made for.</summary>
    public int BucketOf(int rows) => _buckets[IndexOf(rows)];

    /// <summary>Enqueues a pass.</summary>
    /// <param name="rows">Rows of the pass.</param>
    /// <param name="work">Enqueues the pass for the bucket's rows that it is given; the same work for the same bucket, whatever the pass.</param>
    public void Run(int rows, Action<CudaStream, int> work)
    {
        int i = IndexOf(rows), bucket = _buckets[i];
        if (!_warm[i])
        {
            work(_stream, bucket);
            _warm[i] = true;
            return;
        }

        CudaGraph graph = _graphs[i] ??= Capture(bucket, work);
        graph.Launch(_stream);
    }

    public void Dispose()
    {
        foreach (CudaGraph? graph in _graphs) graph?.Dispose();
        Array.Clear(_graphs);
    }

    // on its own, so that a replay allocates no closure
    private CudaGraph Capture(int bucket, Action<CudaStream, int> work) => CudaGraph.Capture(_stream, s => work(s, bucket));

    private int IndexOf(int rows)
    {
        for (int i = 0; i < _buckets.Length; i++)
        {
            if (rows <= _buckets[i]) return i;
        }

        throw new ArgumentOutOfRangeException(nameof(rows), rows, $"The largest bucket holds {_buckets[^1]} rows.");
    }
}
