namespace Foretoken.Training;

/// <summary>
/// Gradients of a batch by data parallelism: examples are dealt to a fixed number of shards by cost, each shard runs complete single-threaded
/// forward and backward passes into its own gradient buffer, then the buffers are summed in shard order. Shards are taken by whichever thread is
/// free, so the bits depend only on the number of shards.
/// </summary>
public sealed unsafe class ShardedGradients : IDisposable
{
    private const int SumBlock = 1 << 16;
    private readonly WorkerTeam _team;
    private readonly FloatBuffer[] _gradients; // [shards][parameters]
    private readonly TransformerPass[] _passes; // one per worker
    private readonly RaggedBatch[] _batches;
    private readonly List<int>[] _shards;
    private readonly double[] _blockNorms, _shardLosses;
    private readonly float[][] _weights;
    private readonly int _maxPositions;

    /// <summary>Shards of passes over chunks of at most <paramref name="chunkRows"/> rows (a longer sequence is a chunk of its own).</summary>
    public ShardedGradients(TransformerModel model, WorkerTeam team, int shards, int chunkRows)
    {
        _team = team;
        _maxPositions = model.Shape.MaxPositions;
        ChunkRows = Math.Max(chunkRows, model.Shape.MaxPositions);
        _gradients = new FloatBuffer[shards];
        _shards = new List<int>[shards];
        for (int i = 0; i < shards; i++) (_gradients[i], _shards[i]) = (new FloatBuffer(model.Parameters.Count), []);
        _passes = new TransformerPass[team.Workers];
        _batches = new RaggedBatch[team.Workers];
        _weights = new float[team.Workers][];
        for (int i = 0; i < team.Workers; i++)
            (_passes[i], _batches[i], _weights[i]) = (new TransformerPass(model, ChunkRows), new RaggedBatch(), new float[model.Shape.MaxPositions]);
        _blockNorms = new double[(model.Parameters.Count + SumBlock - 1) / SumBlock];
        _shardLosses = new double[shards];
    }

    /// <summary>Most rows of one pass.</summary>
    public int ChunkRows { get; }

    /// <summary>The summed gradients after <see cref="Compute"/>.</summary>
    public float* Gradients => _gradients[0].Pointer;

    /// <summary>Global norm of the summed gradients.</summary>
    public double Norm { get; private set; }

    /// <summary>
    /// Computes the gradients of the weighted mean token loss, solution tokens with weight 1 and prompt tokens with
    /// <paramref name="promptWeight"/>; fills <paramref name="results"/> per example and returns the loss.
    /// </summary>
    public double Compute(IReadOnlyList<TrainingExample> examples, float promptWeight, ExampleResult[] results)
    {
        Deal(examples);
        double totalWeight = 0;
        foreach (TrainingExample e in examples) totalWeight += e.SolutionLength + promptWeight * (e.PromptLength - 1);
        float scale = (float)(1 / totalWeight);
        _team.Run(_shards.Length, (shard, worker) => RunShard(shard, worker, examples, promptWeight, scale, results));
        SumShards();
        return _shardLosses.Sum();
    }

    /// <summary>Longest first, each to the shard with the least cost so far; attention's share grows with the square of the length.</summary>
    private void Deal(IReadOnlyList<TrainingExample> examples)
    {
        foreach (List<int> shard in _shards) shard.Clear();
        Span<double> costs = stackalloc double[_shards.Length];
        foreach (int index in Enumerable.Range(0, examples.Count).OrderByDescending(i => examples[i].Tokens.Length))
        {
            int length = examples[index].Tokens.Length, best = 0;
            if (length > _maxPositions) throw new ArgumentException($"An example has {length} tokens; the model's longest is {_maxPositions}.");
            for (int i = 1; i < costs.Length; i++)
                if (costs[i] < costs[best]) best = i;
            costs[best] += length + length * (double)length / 2000;
            _shards[best].Add(index);
        }
    }

    private void RunShard(int shard, int worker, IReadOnlyList<TrainingExample> examples, float promptWeight, float scale, ExampleResult[] results)
    {
        RaggedBatch batch = _batches[worker];
        float[] weights = _weights[worker];
        _gradients[shard].Clear();
        _shardLosses[shard] = 0;
        List<int> members = _shards[shard];
        for (int first = 0; first < members.Count;)
        {
            batch.Clear();
            int next = first;
            for (; next < members.Count; next++)
            {
                TrainingExample example = examples[members[next]];
                if (batch.Rows > 0 && batch.Rows + example.Tokens.Length > ChunkRows) break;
                Span<float> targets = weights.AsSpan(0, example.Tokens.Length);
                targets[..example.PromptLength].Fill(promptWeight);
                targets[example.PromptLength..].Fill(1f);
                batch.Add(example.Tokens, targets, scale);
            }
            _shardLosses[shard] += _passes[worker].LossAndBackward(batch, _gradients[shard].Pointer);
            for (int i = first; i < next; i++)
                results[members[i]] = Measure(_passes[worker], batch.Sequence(i - first), examples[members[i]]);
            first = next;
        }
    }

    private static ExampleResult Measure(TransformerPass pass, (int Start, int Length) rows, TrainingExample example)
    {
        double loss = 0;
        int correct = 0;
        for (int i = example.PromptLength - 1; i < rows.Length - 1; i++)
        {
            loss += pass.Losses[rows.Start + i];
            if (pass.Correct[rows.Start + i]) correct++;
        }
        return new ExampleResult(loss, correct, example.SolutionLength);
    }

    private void SumShards()
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

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (FloatBuffer gradient in _gradients) gradient.Dispose();
        foreach (TransformerPass pass in _passes) pass.Dispose();
    }
}
