namespace Foretoken.Training;

/// <summary>
/// Gradients of a batch for a language model: each of the <see cref="GradientShards"/> runs complete single-threaded forward and backward passes over its examples.
/// </summary>
public sealed unsafe class ShardedGradients : IDisposable
{
    private readonly GradientShards _shards;
    private readonly TransformerPass[] _passes; // one per worker
    private readonly RaggedBatch[] _batches;
    private readonly int _maxPositions;

    /// <summary>Shards of passes over chunks of at most <paramref name="chunkRows"/> rows (a longer sequence is a chunk of its own).</summary>
    public ShardedGradients(TransformerModel model, WorkerTeam team, int shards, int chunkRows)
    {
        _shards = new GradientShards(model.Parameters, team, shards);
        _maxPositions = model.Shape.MaxPositions;
        ChunkRows = Math.Max(chunkRows, model.Shape.MaxPositions);
        _passes = new TransformerPass[team.Workers];
        _batches = new RaggedBatch[team.Workers];
        for (int i = 0; i < team.Workers; i++)
            (_passes[i], _batches[i]) = (new TransformerPass(model, ChunkRows), new RaggedBatch());
    }

    /// <summary>Most rows of one pass.</summary>
    public int ChunkRows { get; }

    /// <summary>The summed gradients after <see cref="Compute"/>.</summary>
    public float* Gradients => _shards.Gradients;

    /// <summary>Global norm of the summed gradients.</summary>
    public double Norm => _shards.Norm;

    /// <summary>
    /// Computes the gradients of the weighted mean token loss, solution tokens with weight 1 and prompt tokens with
    /// <paramref name="promptWeight"/>; fills <paramref name="results"/> per example and returns the loss.
    /// </summary>
    public double Compute(IReadOnlyList<TrainingExample> examples, float promptWeight, ExampleResult[] results)
    {
        double totalWeight = 0;
        foreach (TrainingExample e in examples)
        {
            if (e.Tokens.Length > _maxPositions) throw new ArgumentException($"An example has {e.Tokens.Length} tokens; the model's longest is {_maxPositions}.");
            totalWeight += e.SolutionLength + promptWeight * (e.PromptLength - 1);
        }

        float scale = (float)(1 / totalWeight);
        return _shards.Compute([.. examples.Select(e => e.Tokens.Length)],
            (members, gradients, worker) => RunShard(members, gradients, worker, examples, promptWeight, scale, results));
    }

    private double RunShard(
        IReadOnlyList<int> members, float* gradients, int worker, IReadOnlyList<TrainingExample> examples, float promptWeight, float scale, ExampleResult[] results)
    {
        RaggedBatch batch = _batches[worker];
        double loss = 0;
        for (int first = 0; first < members.Count;)
        {
            batch.Clear();
            int next = first;
            while (next < members.Count && batch.TryAdd(examples[members[next]], promptWeight, scale, ChunkRows)) next++;
            loss += _passes[worker].LossAndBackward(batch, gradients);
            for (int i = first; i < next; i++)
                results[members[i]] = Measure(_passes[worker], batch.Sequence(i - first), examples[members[i]]);
            first = next;
        }

        return loss;
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

    /// <inheritdoc/>
    public void Dispose()
    {
        _shards.Dispose();
        foreach (TransformerPass pass in _passes) pass.Dispose();
    }
}
