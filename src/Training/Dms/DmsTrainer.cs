using System.Diagnostics;

namespace Foretoken.Training;

/// <summary>What one step of a retrofit did.</summary>
/// <param name="Step">Steps done.</param>
/// <param name="Tokens">Tokens of its batch.</param>
/// <param name="Loss">The whole loss.</param>
/// <param name="Divergence">Its distance from the teacher, nats per weighted token.</param>
/// <param name="Budget">Its budget part, weighted: max(0, target − evicted share), or with a budget on reads their price times what was read too much.</param>
/// <param name="EvictedShare">Mean share of evicting decisions.</param>
/// <param name="TargetShare">The share that the schedule asked for.</param>
/// <param name="GradientNorm">Global norm of the gradients.</param>
/// <param name="Factor">Factor on the learning rates.</param>
public readonly record struct DmsStepReport(
    int Step, int Tokens, double Loss, double Divergence, double Budget, double EvictedShare, double TargetShare, double GradientNorm, double Factor);

/// <summary>
/// Retrofits a model with Dynamic Memory Sparsification: distillation from the same weights without eviction, a budget on evictions that grows with the steps,
/// until hard decisions on held-out text reach the asked compression. Two trainers with the same recipe are bit-equal after the same steps, whatever their
/// thread counts and wherever they were stopped and resumed.
/// </summary>
public sealed unsafe class DmsTrainer : IDisposable
{
    private const ulong NoiseSeed = 0x444D53;   // decisions' noise and data must not share a random stream
    private const double ReadMemory = 0.9;      // of past batches, whose lengths differ, in the running share of reads
    private const double ReadTolerance = 0.05;  // relative excess of reads at which they have their full price
    private const double MostCorrection = 1.03; // of the nominal compression from one measurement to the next
    private readonly DmsRecipe _recipe;
    private readonly WorkerTeam _team;
    private readonly GradientShards _shards;
    private readonly DistillationWorker[] _workers;
    private readonly BatchSampler _sampler;
    private readonly Curriculum _curriculum;
    private readonly TransformerModel _teacher;
    private readonly IReadOnlyList<TrainingExample> _heldOut;
    private readonly List<TrainingExample> _batch = [];

    /// <summary>
    /// A new run on <paramref name="student"/>, whose parameters include the adapter where the recipe wants one, and its teacher (the student itself where
    /// its base is frozen). Both stay the caller's.
    /// </summary>
    public DmsTrainer(
        DmsRecipe recipe, TransformerModel student, TransformerModel teacher, IExampleSource source, IReadOnlyList<TrainingExample> heldOut, int threads)
    {
        (_recipe, Model, _teacher, _heldOut) = (recipe, student, teacher, heldOut);
        if (recipe.TrainBase && ReferenceEquals(student, teacher)) throw new ArgumentException("A base that is trained needs a teacher of its own.");
        _team = new WorkerTeam(Math.Clamp(threads, 1, recipe.Parallel.Shards));
        Optimizer = new Optimizer(student, recipe.Optimizer, _team);
        if (!recipe.TrainBase) Optimizer.Frozen.UnionWith(student.Parameters.Parameters.Where(p => !DecisionAdapter.Owns(p)).Select(p => p.Name));
        _shards = new GradientShards(student.Parameters, _team, recipe.Parallel.Shards);
        Window = recipe.Window > 0 ? recipe.Window : MatchedWindow(heldOut, recipe.TargetCr);
        _workers = new DistillationWorker[_team.Workers];
        for (int i = 0; i < _workers.Length; i++)
            _workers[i] = new DistillationWorker(student, teacher, recipe.Settings(Window), Math.Max(recipe.Parallel.ChunkRows, student.Shape.MaxPositions));
        _sampler = new BatchSampler(source, recipe.Seed, _team);
        // Levels stay at the top: the model has learned the tasks already.
        BucketProgress[] buckets = [.. recipe.Mixture.Select(m => new BucketProgress { Level = Math.Min(m.TopLevel, source.Levels - 1), Exact = 1, Weight = m.Weight })];
        _curriculum = new Curriculum(new CurriculumSettings { StretchShare = 0, ReviewShare = recipe.ReviewShare, LagBoost = 0 }, buckets, source.Levels);
        State = new RunState();
    }

    /// <summary>The model in training.</summary>
    public TransformerModel Model { get; }

    /// <summary>Its optimizer.</summary>
    public Optimizer Optimizer { get; }

    /// <summary>Window in tokens.</summary>
    public int Window { get; }

    /// <summary>Progress; part of a checkpoint.</summary>
    public RunState State { get; private set; }

    /// <summary>Goes on from the latest checkpoint of <paramref name="runDirectory"/>; false when there is none.</summary>
    public bool Resume(string runDirectory)
    {
        if (Checkpoint.ReadLatest(runDirectory, Identity, Model, Optimizer) is not { } state) return false;
        State = state;
        State.Finished = Ended(); // a recipe that was made longer goes on
        _sampler.NextExample = state.NextExample;
        return true;
    }

    /// <summary>Writes a checkpoint into <paramref name="runDirectory"/>.</summary>
    public void Save(string runDirectory) => Checkpoint.Write(runDirectory, Identity, State, Model, Optimizer);

    private string Identity => Checkpoint.Identify(_recipe.Name, _recipe.Seed);

    /// <summary>Nominal compression of step <paramref name="step"/> (from 0).</summary>
    public double NominalCr(int step)
    {
        if (ByReads && State.DecayStartStep is not null) return State.HeldCr ?? _recipe.TargetCr;
        int evicting = Math.Min(step, State.DecayStartStep ?? int.MaxValue) - _recipe.Schedule.RampSteps;
        return Math.Min(_recipe.Schedule.MaxCr, 1 + Math.Max(0, evicting + 1) * _recipe.Schedule.CrPerStep);
    }

    /// <summary>One training step; the run is finished when <see cref="RunState.Finished"/> says so.</summary>
    public DmsStepReport Step()
    {
        long started = Stopwatch.GetTimestamp();
        int number = State.Step;
        int tokens = _sampler.Fill(_batch, _curriculum, _recipe.BatchTokens);
        double target = 1 - 1 / NominalCr(number);
        double dense = _batch.Sum(e => (double)EvictionPass.DenseReads(Model.Shape, e.Tokens.Length));
        double? price = ByReads ? ReadPrice(number, dense) : null;
        float prompt = _recipe.PromptWeight;
        var step = new DistillationWorker.Step(
            _recipe.Loss(), Mode(number), ChannelFactor(number), target, price, _recipe.Seed ^ NoiseSeed, number,
            _batch.Sum(e => e.SolutionLength + (double)prompt * (e.PromptLength - 1)), _batch.Count, _recipe.TrainBase);
        var totals = new double[4]; // the order of these additions depends on the threads: only the last, a sum of integers, is exact and may go into the state
        double loss = _shards.Compute([.. _batch.Select(e => e.Tokens.Length)], (members, gradients, worker) =>
        {
            Span<double> own = stackalloc double[4];
            double value = _workers[worker].Gradients(_batch, members, step, gradients, own);
            lock (totals)
                for (int i = 0; i < own.Length; i++) totals[i] += own[i];
            return value;
        });
        double budget = price is { } each ? each * Math.Max(0, totals[3] - dense / NominalCr(number)) : totals[1];
        loss += budget;
        if (step.Mode == DecisionMode.Relaxed) (State.Reads, State.DenseReads) = (ReadMemory * State.Reads + totals[3], ReadMemory * State.DenseReads + dense);
        if (!double.IsFinite(loss) || !double.IsFinite(_shards.Norm))
            throw new RecipeException($"Step {number + 1}: the loss is {loss} and the gradient norm {_shards.Norm}; resume from the last checkpoint with lower learning rates.");
        double factor = Factor(number);
        Optimizer.Step(_shards.Gradients, _shards.Norm, number + 1, factor);
        FadeNeuron(number);
        State.Step++;
        State.Tokens += tokens;
        State.NextExample = _sampler.NextExample;
        Watch();
        State.ElapsedSeconds += Stopwatch.GetElapsedTime(started).TotalSeconds;
        return new DmsStepReport(State.Step, tokens, loss, totals[0], budget, totals[2] / _batch.Count, target, _shards.Norm, factor);
    }

    /// <summary>Results of hard decisions on the held-out examples, in their order; <paramref name="dense"/>: of the student without eviction.</summary>
    public EvictionResult[] Measure(bool dense = false) => Measure(_heldOut, dense);

    /// <summary>Results on other examples.</summary>
    public EvictionResult[] Measure(IReadOnlyList<TrainingExample> examples, bool dense = false)
    {
        var results = new EvictionResult[examples.Count];
        DecisionMode mode = dense || _recipe.Eviction == "dense" ? DecisionMode.Off : DecisionMode.Hard;
        float channel = ChannelFactor(State.Step);
        _team.Run(results.Length, (item, worker) => results[item] = _workers[worker].Measure(examples[item], mode, channel));
        return results;
    }

    /// <summary>Results of a policy on the teacher's weights as long as nothing was trained; every example gets a policy of its own.</summary>
    public EvictionResult[] Measure(IReadOnlyList<TrainingExample> examples, KeyPolicyKind policy, int budget)
    {
        var results = new EvictionResult[examples.Count];
        _team.Run(results.Length, (item, worker) =>
            results[item] = _workers[worker].Measure(examples[item], DecisionMode.Off, 1f, new KeyPolicy(policy, budget, Model.Shape)));
        return results;
    }

    /// <summary>Σ keys that dense attention sees / Σ keys that are seen.</summary>
    public static double Compression(IReadOnlyCollection<EvictionResult> results) => results.Sum(r => (double)r.DenseVisible) / results.Sum(r => (double)r.Visible);

    /// <summary>The window whose compression on these examples is the least that reaches <paramref name="target"/>.</summary>
    public static int MatchedWindow(IReadOnlyList<TrainingExample> examples, double target)
    {
        double dense = examples.Sum(e => e.Tokens.Length * (e.Tokens.Length + 1.0) / 2);
        for (int window = examples.Max(e => e.Tokens.Length); window > 1; window--)
        {
            double seen = examples.Sum(e => Enumerable.Range(1, e.Tokens.Length).Sum(rows => (double)Math.Min(rows, window + 1)));
            if (dense / seen >= target) return window;
        }
        return 1;
    }

    private DecisionMode Mode(int step) => _recipe.Eviction switch
    {
        "dense" => DecisionMode.Off,
        "window" => DecisionMode.Hard,
        _ => step < _recipe.Schedule.RampSteps ? DecisionMode.Off : DecisionMode.Relaxed,
    };

    private float ChannelFactor(int step) => Math.Max(0, 1 - (float)(step + 1) / Math.Max(1, _recipe.Schedule.RampSteps));

    private double Factor(int step)
    {
        double factor = Math.Min(1, (step + 1) / (double)Math.Max(1, _recipe.Schedule.WarmupSteps));
        int? start = _recipe.Schedule.TotalSteps > 0 ? _recipe.Schedule.TotalSteps - _recipe.Schedule.SettleSteps : State.DecayStartStep;
        if (start is null || step < start) return factor;
        return factor * (1 + (_recipe.Schedule.FinalFactor - 1) * Math.Min(1, (step - start.Value + 1) / (double)Math.Max(1, _recipe.Schedule.SettleSteps)));
    }

    /// <summary>
    /// Together with what attention sees of a borrowed channel its projection row falls to zero, so that the first decisions are those of the offset and
    /// nothing is evicted at first.
    /// </summary>
    private void FadeNeuron(int step)
    {
        if (_recipe.Decision != "neuron" || step >= _recipe.Schedule.RampSteps) return;
        TransformerShape shape = Model.Shape;
        float factor = ChannelFactor(step) / (step == 0 ? 1f : ChannelFactor(step - 1));
        for (int layer = 0; layer < shape.Layers; layer++)
        {
            Parameter q = Model.Parameters[string.Create(System.Globalization.CultureInfo.InvariantCulture, $"model.layers.{layer}.self_attn.q_proj.weight")];
            for (int head = 0; head < shape.KeyValueHeads; head++)
            {
                int row = head * (shape.QueryHeads / shape.KeyValueHeads) * shape.HeadDim + shape.HeadDim - 1;
                RowMath.Scale(Model.Values.Pointer + q.Offset + (long)row * q.Columns, factor, q.Columns);
            }
        }
    }

    private bool ByReads => _recipe.Budget == "reads";

    /// <summary>Slope of the loss per key read: nothing while the running share of reads is within the budget, at most the budget's weight for all reads of the batch.</summary>
    private double ReadPrice(int step, double dense)
    {
        double excess = State.DenseReads > 0 ? State.Reads / State.DenseReads * NominalCr(step) - 1 : 0;
        return _recipe.BudgetWeight * Math.Clamp(excess / ReadTolerance, 0, 1) / dense;
    }

    private bool Learned => _recipe.Eviction is not ("window" or "dense");

    private int LastStep => _recipe.Schedule.TotalSteps > 0 ? _recipe.Schedule.TotalSteps : _recipe.Schedule.Steps;

    private bool Ended() => Learned && _recipe.Schedule.TotalSteps == 0 ? State.Step >= State.DecayStartStep + _recipe.Schedule.SettleSteps : State.Step >= LastStep;

    /// <summary>Measures when it is due. From the asked compression on the nominal one stays; settling steps follow, unless the recipe sets the number of all steps.</summary>
    private void Watch()
    {
        DmsSchedule schedule = _recipe.Schedule;
        bool reached = State.DecayStartStep is not null;
        if (Learned && (!reached || ByReads) && ((!reached && State.Step >= LastStep) || State.Step % schedule.MeasureEverySteps == 0))
        {
            double measured = MeasuredCr();
            State.MeasuredCr = measured;
            if (reached) State.HeldCr = NominalCr(State.Step) * Math.Clamp(Math.Sqrt(_recipe.TargetCr / measured), 1 / MostCorrection, MostCorrection);
            else if (measured >= _recipe.TargetCr || State.Step >= LastStep) State.DecayStartStep = State.Step;
        }
        State.Finished = Ended();
        if (State.Finished) State.MeasuredCr = MeasuredCr();
    }

    /// <summary>Compression by hard decisions on the held-out examples, without what else <see cref="Measure(bool)"/> finds out.</summary>
    private double MeasuredCr()
    {
        if (_recipe.Eviction == "dense") return 1;
        var reads = new long[_heldOut.Count];
        float channel = ChannelFactor(State.Step);
        _team.Run(reads.Length, (item, worker) => reads[item] = _workers[worker].Reads(_heldOut[item], channel));
        return _heldOut.Sum(e => (double)EvictionPass.DenseReads(Model.Shape, e.Tokens.Length)) / reads.Sum();
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (DistillationWorker worker in _workers) worker.Dispose();
        _shards.Dispose();
        Optimizer.Dispose();
        _team.Dispose();
    }
}
