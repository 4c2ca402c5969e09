using Foretoken.Numerics;
using Foretoken.Training;

namespace Foretoken.Tests.Training;

public unsafe class DmsTrainerTests
{
    [Fact]
    public void The_budget_loss_falls_and_the_asked_compression_ends_the_run()
    {
        DmsRecipe recipe = Recipe();
        (recipe.Window, recipe.TargetCr, recipe.Schedule.MaxCr, recipe.BudgetWeight) = (1, 1.6, 4, 2);
        using Retrofit retrofit = new(recipe);
        var budgets = new List<double>();
        DmsStepReport last = default;
        while (!retrofit.Trainer.State.Finished) budgets.Add((last = retrofit.Trainer.Step()).Budget);
        Assert.True(budgets[0] > 1, $"the budget loss starts at {budgets[0]:F3}");
        Assert.True(budgets.TakeLast(4).Average() < 0.3 * budgets[0], $"the budget loss went from {budgets[0]:F3} to {budgets[^1]:F3}");
        Assert.InRange(last.EvictedShare, 0.5, 1);
        Assert.True(retrofit.Trainer.State.MeasuredCr >= 1.4);
        Assert.True(budgets.Count < recipe.Schedule.Steps, "the run went to its last step");
        Assert.Equal(retrofit.Trainer.State.DecayStartStep + recipe.Schedule.SettleSteps, budgets.Count);
    }

    [Fact]
    public void A_budget_on_reads_spares_short_examples_and_holds_the_measured_compression()
    {
        DmsRecipe recipe = Recipe();
        (recipe.Window, recipe.TargetCr, recipe.Schedule.CrPerStep, recipe.BudgetWeight, recipe.Budget) = (1, 1.6, 0.1, 2, "reads");
        (recipe.Schedule.TotalSteps, recipe.Schedule.SettleSteps) = (60, 10);
        using Retrofit retrofit = new(recipe);
        var measured = new List<double>();
        while (!retrofit.Trainer.State.Finished)
        {
            retrofit.Trainer.Step();
            if (retrofit.Trainer.State.HeldCr is not null) measured.Add(retrofit.Trainer.State.MeasuredCr!.Value);
        }
        Assert.True(measured.Count > 10, $"the compression was reached with {measured.Count} steps left");
        Assert.InRange(measured.TakeLast(10).Average(), 1.4, 1.8);
        Assert.NotEqual(recipe.TargetCr, retrofit.Trainer.State.HeldCr);
    }

    [Fact]
    public void A_frozen_base_keeps_its_bits_and_its_adapter_is_trained()
    {
        using Retrofit retrofit = new(Recipe());
        float[] before = retrofit.Student.Values.Span.ToArray();
        for (int i = 0; i < 4; i++) retrofit.Trainer.Step();
        foreach (Parameter p in retrofit.Student.Parameters.Parameters)
        {
            bool same = before.AsSpan((int)p.Offset, (int)p.Count).SequenceEqual(retrofit.Student.Values.Span.Slice((int)p.Offset, (int)p.Count));
            Assert.True(same != DecisionAdapter.Owns(p), p.Name);
        }
    }

    [Theory]
    [InlineData("adapter", false, "decisions")]
    [InlineData("adapter", true, "decisions")]
    [InlineData("adapter", true, "reads")]
    [InlineData("neuron", true, "decisions")]
    public void A_resumed_retrofit_on_other_threads_is_bit_equal(string decision, bool trainBase, string budget)
    {
        DmsRecipe recipe = Recipe();
        (recipe.Budget, recipe.Window, recipe.TargetCr) = (budget, budget == "reads" ? 1 : recipe.Window, budget == "reads" ? 1.01 : recipe.TargetCr);
        (recipe.Decision, recipe.TrainBase, recipe.Schedule.RampSteps) = (decision, trainBase, decision == "neuron" ? 3 : 0);
        string directory = Directory.CreateTempSubdirectory("foretoken-dms-").FullName;
        try
        {
            using Retrofit whole = new(recipe, threads: 2);
            for (int i = 0; i < 9; i++) whole.Trainer.Step();
            using (Retrofit first = new(recipe, threads: 1))
            {
                for (int i = 0; i < 5; i++) first.Trainer.Step();
                first.Trainer.Save(directory);
            }
            using Retrofit second = new(recipe, threads: 3);
            Assert.True(second.Trainer.Resume(directory));
            for (int i = 0; i < 4; i++) second.Trainer.Step();
            Assert.Equal(whole.Student.Values.Span.ToArray(), second.Student.Values.Span.ToArray());
            Assert.Equal(whole.Trainer.State.MeasuredCr, second.Trainer.State.MeasuredCr);
            Assert.Equal(whole.Trainer.State.HeldCr, second.Trainer.State.HeldCr);
        }
        finally
        {
            Directory.Delete(directory, recursive: true);
        }
    }

    [Fact]
    public void The_ramp_takes_the_borrowed_channel_out_of_attention_before_anything_is_evicted()
    {
        DmsRecipe recipe = Recipe();
        (recipe.Decision, recipe.TrainBase, recipe.Schedule.RampSteps) = ("neuron", true, 4);
        using Retrofit retrofit = new(recipe);
        Parameter q = retrofit.Student.Parameters["model.layers.1.self_attn.q_proj.weight"];
        double[] norms = new double[4];
        for (int i = 0; i < 4; i++)
        {
            DmsStepReport report = retrofit.Trainer.Step();
            Assert.Equal((0, 0), (report.Budget, report.EvictedShare));
            norms[i] = Norm(row: 15);
        }
        Assert.True(norms[0] > norms[1] && norms[1] > norms[2] && norms[2] > 0);
        Assert.Equal(0, norms[3]);
        Assert.True(Norm(row: 14) > 0.1 && Norm(row: 31) > 0.1);
        Assert.Equal(1, DmsTrainer.Compression(retrofit.Trainer.Measure())); // logits start at −offset
        Assert.True(retrofit.Trainer.Step().Budget > 0);

        double Norm(int row) => retrofit.Student.Values.Span.Slice((int)q.Offset + row * q.Columns, q.Columns).ToArray().Sum(v => (double)v * v);
    }

    [Theory]
    [InlineData("window")]
    [InlineData("dense")]
    public void Variants_without_decisions_train_all_weights_for_the_given_steps(string eviction)
    {
        DmsRecipe recipe = Recipe();
        (recipe.Eviction, recipe.TrainBase, recipe.LossWeight, recipe.Window, recipe.TargetCr) = (eviction, true, 1, eviction == "window" ? 0 : 4, 1.6);
        (recipe.Schedule.TotalSteps, recipe.Schedule.SettleSteps) = (8, 3);
        using Retrofit retrofit = new(recipe);
        double factor = 0;
        while (!retrofit.Trainer.State.Finished) factor = retrofit.Trainer.Step().Factor;
        Assert.Equal(8, retrofit.Trainer.State.Step);
        Assert.Equal(recipe.Schedule.FinalFactor, factor, 6);
        double measured = DmsTrainer.Compression(retrofit.Trainer.Measure());
        if (eviction == "dense") Assert.Equal(1, measured);
        else Assert.InRange(measured, 1.6, 2.2);
    }

    [Fact]
    public void Divergence_and_exactness_are_those_of_the_teacher_without_eviction()
    {
        using Retrofit retrofit = new(Recipe());
        EvictionResult[] results = retrofit.Trainer.Measure(dense: true);
        Assert.All(results, r => Assert.Equal(0, r.Divergence, 1e-5));
        Assert.All(results, r => Assert.Equal(r.DenseVisible, r.Visible));
        EvictionResult[] starved = retrofit.Trainer.Measure(retrofit.HeldOut, KeyPolicyKind.Random, budget: 3);
        Assert.True(starved.Sum(r => r.Divergence) > 0.1);
        Assert.True(DmsTrainer.Compression(starved) > 2);
    }

    private static DmsRecipe Recipe() => new()
    {
        Kind = DmsRecipe.KindName, Name = "short", Seed = 5, Model = "none", Window = 3, TargetCr = 100, BatchTokens = 300, ReviewShare = 0,
        Schedule = new DmsSchedule { Steps = 60, CrPerStep = 3, MaxCr = 12, SettleSteps = 4, MeasureEverySteps = 3, WarmupSteps = 1 },
        Optimizer = new OptimizerSettings { AdamOnly = true, AdamLearningRate = 0.002f },
        Parallel = new RecipeParallel { Shards = 3, ChunkRows = 64 }, Mixture = [new RecipeBucket { Bucket = "repeat" }, new RecipeBucket { Bucket = "reverse" }],
    };

    /// <summary>A retrofit of a random model on the copy task.</summary>
    private sealed class Retrofit : IDisposable
    {
        private readonly TransformerModel _teacher;

        public Retrofit(DmsRecipe recipe, int threads = 2)
        {
            recipe.Check("test");
            TransformerShape shape = CopySource.Recipe(1).Shape();
            var source = new CopySource(letters: 8);
            bool adapter = recipe.Settings(1).Source == DecisionSource.Adapter;
            _teacher = new TransformerModel(shape);
            Student = new TransformerModel(shape, adapter ? p => DecisionAdapter.Add(p, shape.Layers, shape.HiddenSize, shape.KeyValueHeads) : null);
            var start = new Initialization { EmbeddingDeviation = 0.5, ResidualGain = 0.7 };
            _teacher.Initialize(1, start);
            Student.Initialize(1, start);
            HeldOut = [.. Enumerable.Range(0, 12).Select(i => source.Draw(new SeededRandom(99, (ulong)i), i % 2, 2)!)];
            foreach (Parameter p in _teacher.Parameters.Parameters)
                _teacher.Values.Span.Slice((int)p.Offset, (int)p.Count).CopyTo(Student.Values.Span.Slice((int)Student.Parameters[p.Name].Offset, (int)p.Count));
            Trainer = new DmsTrainer(recipe, Student, _teacher, source, HeldOut, threads);
        }

        public TransformerModel Student { get; }

        public IReadOnlyList<TrainingExample> HeldOut { get; }

        public DmsTrainer Trainer { get; }

        public void Dispose()
        {
            Trainer.Dispose();
            Student.Dispose();
            _teacher.Dispose();
        }
    }
}
