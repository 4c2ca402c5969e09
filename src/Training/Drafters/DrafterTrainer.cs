using System.Diagnostics;
using Foretoken.Numerics;

namespace Foretoken.Training.Drafters;

/// <summary>
/// The loop's state and its step: a batch of the target's answers, gradients, update; and the measurement of held-out acceptance. Two trainers with the same recipe and
/// text are bit-equal after the same steps, whatever their thread counts and wherever they were stopped and resumed.
/// </summary>
internal sealed unsafe class DrafterTrainer : IDisposable
{
    private readonly DrafterRecipe _recipe;
    private readonly TargetText _text;
    private readonly WorkerTeam _team;
    private readonly GradientShards _shards;
    private readonly DrafterPass[] _passes; // [workers]
    private readonly Optimizer _optimizer;
    private readonly List<TrainingExample> _batch = [];
    private readonly int[] _order; // [training answers] of the epoch at hand
    private long _epoch = -1;

    /// <summary>A new run of <paramref name="model"/>, which stays the caller's.</summary>
    public DrafterTrainer(DrafterRecipe recipe, DrafterModel model, TargetText text, int threads)
    {
        (_recipe, Model, _text) = (recipe, model, text);
        _team = new WorkerTeam(Math.Clamp(threads, 1, recipe.Parallel.Shards));
        _shards = new GradientShards(model.Parameters, _team, recipe.Parallel.Shards);
        int longest = text.Train.Concat(text.HeldOut).Max(e => e.Tokens.Length);
        _passes = [.. Enumerable.Range(0, _team.Workers).Select(_ => model.CreatePass(Math.Max(longest, recipe.Parallel.ChunkRows)))];
        _optimizer = new Optimizer(model, recipe.Optimizer, _team) { RateFactor = model.RateFactor };
        _order = [.. Enumerable.Range(0, text.Train.Count)];
        State = new RunState();
    }

    public DrafterModel Model { get; }

    /// <summary>Progress; part of a checkpoint.</summary>
    public RunState State { get; private set; }

    /// <summary>Goes on from the latest checkpoint of <paramref name="runDirectory"/>; false when there is none.</summary>
    public bool Resume(string runDirectory)
    {
        if (Checkpoint.ReadLatest(runDirectory, Identity, Model, _optimizer) is not { } state) return false;
        State = state;
        State.Finished = IsFinished();
        return true;
    }

    /// <summary>Writes a checkpoint into <paramref name="runDirectory"/>.</summary>
    public void Save(string runDirectory) => Checkpoint.Write(runDirectory, Identity, State, Model, _optimizer);

    private string Identity => Checkpoint.Identify(_recipe.Name, _recipe.Seed);

    /// <summary>One training step.</summary>
    public StepReport Step()
    {
        long started = Stopwatch.GetTimestamp();
        int tokens = FillBatch(), roots = _batch.Sum(RootRows.RootsOf);
        float scale = 1f / Math.Max(1, roots);
        double loss = _shards.Compute([.. _batch.Select(e => e.Tokens.Length)], (members, gradients, worker) =>
        {
            double sum = 0;
            foreach (List<TrainingExample> chunk in Chunks(members.Select(m => _batch[m]), worker)) sum += _passes[worker].Run(chunk, scale, gradients);
            return sum;
        });
        if (!double.IsFinite(loss) || !double.IsFinite(_shards.Norm))
            throw new RecipeException($"Step {State.Step + 1}: the loss is {loss} and the gradient norm {_shards.Norm}; resume from the last checkpoint with lower learning rates.");
        double factor = LearningRate.Cosine(_recipe.Schedule, State.Step);
        _optimizer.Step(_shards.Gradients, _shards.Norm, State.Step + 1, factor);
        State.Step++;
        State.Tokens += tokens;
        State.NextExample += _batch.Count;
        State.ElapsedSeconds += Stopwatch.GetElapsedTime(started).TotalSeconds;
        State.Finished = IsFinished();
        return new StepReport(State.Step, tokens, loss, _shards.Norm, factor, []);
    }

    /// <summary>Acceptance on the held-out answers with the present weights.</summary>
    public AcceptanceMeter Measure()
    {
        var meter = new AcceptanceMeter(_text.Buckets, _passes[0].Depth);
        Model.BeginMeasure();
        var chunks = Chunks(_text.HeldOut.OrderBy(e => e.Tokens.Length), 0).ToList();
        _team.Run(chunks.Count, (item, worker) =>
        {
            _passes[worker].Run(chunks[item], 0, null);
            for (int i = 0; i < chunks[item].Count; i++) meter.Add(chunks[item][i].Bucket, _passes[worker].HitsOf(i));
        });
        return meter;
    }

    /// <summary>Takes in a measurement; true when it is the best so far. The run ends when too many in sequence are not.</summary>
    public bool Observe(AcceptanceMeter meter)
    {
        double now = meter.All().TokensPerPass;
        bool best = now > State.BestTokensPerPass;
        (State.BestTokensPerPass, State.StaleChecks) = best ? (now, 0) : (State.BestTokensPerPass, State.StaleChecks + 1);
        State.Finished = IsFinished();
        return best;
    }

    private bool IsFinished() => State.Step >= _recipe.Schedule.TotalSteps || (_recipe.PatienceChecks > 0 && State.StaleChecks >= _recipe.PatienceChecks);

    /// <summary>Answers one after the other in an order that every epoch draws anew; returns their tokens.</summary>
    private int FillBatch()
    {
        _batch.Clear();
        int tokens = 0;
        for (long next = State.NextExample; tokens < _recipe.BatchTokens; next++)
        {
            Shuffle(next / _order.Length);
            TrainingExample example = _text.Train[_order[next % _order.Length]];
            _batch.Add(example);
            tokens += example.Tokens.Length;
        }

        return tokens;
    }

    private void Shuffle(long epoch)
    {
        if (epoch == _epoch) return;
        _epoch = epoch;
        for (int i = 0; i < _order.Length; i++) _order[i] = i;
        new SeededRandom(_recipe.Seed, (ulong)epoch + 1).Shuffle(_order.AsSpan());
    }

    private IEnumerable<List<TrainingExample>> Chunks(IEnumerable<TrainingExample> examples, int worker)
    {
        List<TrainingExample> chunk = [];
        int rows = 0;
        foreach (TrainingExample example in examples)
        {
            if (rows > 0 && rows + example.Tokens.Length > _passes[worker].MaxRows)
            {
                yield return chunk;
                (chunk, rows) = ([], 0);
            }

            chunk.Add(example);
            rows += example.Tokens.Length;
        }

        if (rows > 0) yield return chunk;
    }

    public void Dispose()
    {
        foreach (DrafterPass pass in _passes) pass.Dispose();
        _optimizer.Dispose();
        _shards.Dispose();
        _team.Dispose();
    }
}
