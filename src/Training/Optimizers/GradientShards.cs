namespace Foretoken.Training;

/// <summary>
/// Gradients of a batch by data parallelism over anything trainable: examples are dealt to a fixed number of shards by cost, each shard is computed on one thread into
/// its own buffer, then the buffers are summed in shard order. The bits depend only on the number of shards, not on the threads.
/// </summary>
internal sealed unsafe class GradientShards : IDisposable
{
    private const int SumBlock = 1 << 16;
    private readonly WorkerTeam _team;
    private readonly FloatBuffer[] _gradients; // [shards][parameters]
    private readonly List<int>[] _members;     // [shards] indices of examples
    private readonly double[] _losses;         // [shards]
    private readonly double[] _blockNorms;

    public GradientShards(ParameterSet parameters, WorkerTeam team, int shards)
    {
        _team = team;
        _gradients = new FloatBuffer[shards];
        _members = new List<int>[shards];
        for (int i = 0; i < shards; i++) (_gradients[i], _members[i]) = (new FloatBuffer(parameters.Count), []);
        _losses = new double[shards];
        _blockNorms = new double[(parameters.Count + SumBlock - 1) / SumBlock];
    }

    /// <summary>Computes one shard into zeroed gradients on the given worker and returns its loss.</summary>
    public delegate double ShardWork(IReadOnlyList<int> members, float* gradients, int worker);

    /// <summary>The summed gradients after <see cref="Compute"/>.</summary>
    public float* Gradients => _gradients[0].Pointer;

    /// <summary>Global norm of the summed gradients.</summary>
    public double Norm { get; private set; }

    /// <summary>Deals examples of these lengths in tokens, computes every shard and sums; returns the summed loss.</summary>
    public double Compute(IReadOnlyList<int> lengths, ShardWork work)
    {
        Deal(lengths);
        _team.Run(_members.Length, (shard, worker) =>
        {
            _gradients[shard].Clear();
            _losses[shard] = work(_members[shard], _gradients[shard].Pointer, worker);
        });
        Sum();
        return _losses.Sum();
    }

    /// <summary>Longest first, each to the shard with the least cost so far; attention's share grows with the square of the length.</summary>
    private void Deal(IReadOnlyList<int> lengths)
    {
        foreach (List<int> shard in _members) shard.Clear();
        Span<double> costs = stackalloc double[_members.Length];
        foreach (int index in Enumerable.Range(0, lengths.Count).OrderByDescending(i => lengths[i]))
        {
            int length = lengths[index], best = 0;
            for (int i = 1; i < costs.Length; i++)
                if (costs[i] < costs[best]) best = i;
            costs[best] += length + length * (double)length / 2000;
            _members[best].Add(index);
        }
    }

    private void Sum()
    {
        long count = _gradients[0].Count;
        _team.Run(_blockNorms.Length, (block, _) =>
        {
            long start = (long)block * SumBlock;
            long length = Math.Min(SumBlock, count - start);
            float* target = _gradients[0].Pointer + start;
            for (int shard = 1; shard < _gradients.Length; shard++) RowMath.Add(target, _gradients[shard].Pointer + start, length);
            _blockNorms[block] = RowMath.SumOfSquares(target, length);
        });
        double squares = 0;
        foreach (double norm in _blockNorms) squares += norm;
        Norm = Math.Sqrt(squares);
    }

    public void Dispose()
    {
        foreach (FloatBuffer gradient in _gradients) gradient.Dispose();
    }
}
