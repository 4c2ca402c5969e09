using System.Diagnostics;

namespace Foretoken.Training;

/// <summary>What one step did.</summary>
public readonly record struct StepReport(int Step, int BatchTokens, double Loss, double GradientNorm, double LearningRateFactor, IReadOnlyList<string> Raised);

/// <summary>
/// The training loop's state and its step: draw a batch, gradients, update, curriculum. Two trainers with the same recipe and source are
/// bit-equal after the same steps, whatever their thread counts and wherever they were stopped and resumed.
/// </summary>
public sealed unsafe class Trainer : IDisposable
{
    /// <summary>Dropped into a run directory, a file of this name starts the decay at the next step; it may hold the decay's number of steps.</summary>
    public const string DecayFile = "decay";

    private readonly TrainingRecipe _recipe;
    private readonly IExampleSource _source;
    private readonly WorkerTeam _team;
    private readonly ShardedGradients _gradients;
    private readonly BatchSampler _sampler;
    private readonly List<TrainingExample> _batch = [];
    private ExampleResult[] _results = new ExampleResult[64];
    private Curriculum _curriculum;

    /// <summary>A new run: initial weights by the recipe's seed.</summary>
    public Trainer(TrainingRecipe recipe, IExampleSource source, int threads)
    {
        (_recipe, _source) = (recipe, source);
        _team = new WorkerTeam(Math.Clamp(threads, 1, recipe.Parallel.Shards));
        Model = new TransformerModel(recipe.Shape());
        Model.Initialize(recipe.Seed, new Initialization
        {
            EmbeddingDeviation = recipe.Initialization.EmbeddingDeviation, MatrixGain = recipe.Initialization.MatrixGain,
            ResidualGain = recipe.Initialization.ResidualGain, QueryKeyGain = recipe.Initialization.QueryKeyGain,
        });
        Optimizer = new Optimizer(Model, recipe.Optimizer, _team);
        _gradients = new ShardedGradients(Model, _team, recipe.Parallel.Shards, recipe.Parallel.ChunkRows);
        _sampler = new BatchSampler(source, recipe.Seed, _team);
        State = new RunState { Buckets = [.. source.Buckets.Select(_ => new BucketProgress())] };
        _curriculum = MakeCurriculum();
    }

    /// <summary>The model in training.</summary>
    public TransformerModel Model { get; }

    /// <summary>Its optimizer.</summary>
    public Optimizer Optimizer { get; }

    /// <summary>Progress; part of a checkpoint.</summary>
    public RunState State { get; private set; }

    /// <summary>Goes on from the latest checkpoint of <paramref name="runDirectory"/>; false when there is none.</summary>
    public bool Resume(string runDirectory)
    {
        if (Checkpoint.ReadLatest(runDirectory, Identity, Model, Optimizer) is not { } state) return false;
        if (state.Buckets.Count != _source.Buckets.Count)
            throw new RecipeException($"{runDirectory}: the checkpoint has {state.Buckets.Count} buckets, the recipe's mixture {_source.Buckets.Count}; use another --out directory.");
        State = state;
        State.Finished = IsFinished(); // a recipe that was made longer goes on
        _sampler.NextExample = state.NextExample;
        _curriculum = MakeCurriculum();
        return true;
    }

    /// <summary>Writes a checkpoint into <paramref name="runDirectory"/>.</summary>
    public void Save(string runDirectory) => Checkpoint.Write(runDirectory, Identity, State, Model, Optimizer);

    private string Identity => Checkpoint.Identify(_recipe.Name, _recipe.Seed);

    /// <summary>Begins the decay at the next step, unless it has begun; it lasts <paramref name="steps"/> steps.</summary>
    public void StartDecay(int steps)
    {
        if (State.DecayStartStep is not null) return;
        (State.DecayStartStep, State.DecaySteps) = (State.Step, Math.Max(1, steps));
    }

    /// <summary>One training step.</summary>
    public StepReport Step()
    {
        long started = Stopwatch.GetTimestamp();
        RecipeSchedule schedule = _recipe.Schedule;
        WeighBuckets();
        int tokens = _sampler.Fill(_batch, _curriculum, _recipe.BatchTokens(State.Tokens));
        if (_results.Length < _batch.Count) _results = new ExampleResult[_batch.Count * 2];
        double loss = _gradients.Compute(_batch, (float)_recipe.PromptWeight, _results);
        if (!double.IsFinite(loss) || !double.IsFinite(_gradients.Norm))
            throw new RecipeException($"Step {State.Step + 1}: the loss is {loss} and the gradient norm {_gradients.Norm}; resume from the last checkpoint with lower learning rates.");
        double factor = schedule.Kind switch
        {
            "cosine" => LearningRate.Cosine(schedule, State.Step),
            "piecewise" => LearningRate.Piecewise(schedule, State.Step, State.Tokens),
            _ => LearningRate.Trapezoid(schedule, State.Step, State.DecayStartStep ?? schedule.DecayStartStep, State.DecaySteps ?? schedule.DecaySteps),
        };
        Optimizer.Step(_gradients.Gradients, _gradients.Norm, State.Step + 1, factor);

        var raised = new List<string>();
        for (int i = 0; i < _batch.Count; i++)
            if (_curriculum.Observe(_batch[i], _results[i])) raised.Add(_source.Buckets[_batch[i].Bucket]);
        State.Step++;
        State.Tokens += tokens;
        State.NextExample = _sampler.NextExample;
        State.ElapsedSeconds += Stopwatch.GetElapsedTime(started).TotalSeconds;
        State.Finished = IsFinished();
        return new StepReport(State.Step, tokens, loss, _gradients.Norm, factor, raised);
    }

    private bool IsFinished() => _recipe.Schedule.Kind == "piecewise" ? State.Tokens >= _recipe.Schedule.Points[^1].Tokens : State.Step >= LastStep();

    private int LastStep()
    {
        if (_recipe.Schedule.Kind == "cosine") return _recipe.Schedule.TotalSteps!.Value;
        int? start = State.DecayStartStep ?? _recipe.Schedule.DecayStartStep, steps = State.DecaySteps ?? _recipe.Schedule.DecaySteps;
        return start + steps ?? int.MaxValue;
    }

    private Curriculum MakeCurriculum() => new(_recipe.Curriculum, State.Buckets, _source.Levels);

    private void WeighBuckets()
    {
        for (int i = 0; i < State.Buckets.Count; i++)
        {
            string name = _source.Buckets[i];
            State.Buckets[i].Weight = _recipe.Mixture.Find(m => m.Bucket == name)?.WeightAt(State.Tokens) ?? 1;
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _gradients.Dispose();
        Optimizer.Dispose();
        Model.Dispose();
        _team.Dispose();
    }
}
