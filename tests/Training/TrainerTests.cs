using Foretoken.Training;

namespace Foretoken.Tests.Training;

public class TrainerTests
{
    [Fact]
    public void Loss_falls_on_a_copy_task_and_levels_rise()
    {
        using var trainer = new Trainer(CopySource.Recipe(240), new CopySource(letters: 8), threads: 2);
        var losses = new List<double>();
        while (!trainer.State.Finished) losses.Add(trainer.Step().Loss);
        Assert.Equal(240, losses.Count);
        Assert.InRange(losses[0], 1.5, 4);
        double before = losses.Take(10).Average(), after = losses.TakeLast(10).Average();
        Assert.True(after < 0.4 * before, $"loss went from {before:F3} to {after:F3}");
        Assert.Contains(trainer.State.Buckets, bucket => bucket.Level > 0);
    }

    [Fact]
    public void Weights_do_not_depend_on_the_number_of_threads()
    {
        Assert.Equal(Weights(threads: 1, steps: 8), Weights(threads: 3, steps: 8));
    }

    [Fact]
    public void A_resumed_run_is_bit_equal_to_an_uninterrupted_one()
    {
        float[] whole = Weights(threads: 2, steps: 30);
        string directory = Directory.CreateTempSubdirectory("foretoken-resume-").FullName;
        try
        {
            using (var first = new Trainer(CopySource.Recipe(30), new CopySource(8), threads: 2))
            {
                for (int i = 0; i < 13; i++) first.Step();
                first.Save(directory);
                first.Step();
            }
            using var second = new Trainer(CopySource.Recipe(30), new CopySource(8), threads: 2);
            Assert.True(second.Resume(directory));
            Assert.Equal(13, second.State.Step);
            while (!second.State.Finished) second.Step();
            Assert.Equal(whole, second.Model.Values.Span.ToArray());
        }
        finally
        {
            Directory.Delete(directory, recursive: true);
        }
    }

    [Fact]
    public void A_finished_run_whose_recipe_is_made_longer_goes_on_as_if_it_had_always_been_so()
    {
        RecipePoint[] points = [new() { Tokens = 0, Factor = 1 }, new() { Tokens = 2000, Factor = 0.1 }, new() { Tokens = 4000, Factor = 0.5 }];
        string directory = Directory.CreateTempSubdirectory("foretoken-longer-").FullName;
        try
        {
            using var whole = new Trainer(Recipe(3), new CopySource(8), threads: 1);
            while (!whole.State.Finished) whole.Step();
            using (var first = new Trainer(Recipe(2), new CopySource(8), threads: 1))
            {
                while (!first.State.Finished) first.Step();
                first.Save(directory);
            }
            using var second = new Trainer(Recipe(3), new CopySource(8), threads: 1);
            Assert.True(second.Resume(directory));
            Assert.False(second.State.Finished);
            while (!second.State.Finished) second.Step();
            Assert.Equal(whole.Model.Values.Span.ToArray(), second.Model.Values.Span.ToArray());
        }
        finally
        {
            Directory.Delete(directory, recursive: true);
        }

        TrainingRecipe Recipe(int count)
        {
            TrainingRecipe recipe = CopySource.Recipe(1000);
            recipe.Schedule = new RecipeSchedule { Kind = "piecewise", WarmupSteps = 1, Points = [.. points.Take(count)] };
            recipe.Mixture[0].Later = [new RecipeWeight { FromTokens = 2000, Weight = 5 }];
            return recipe;
        }
    }

    [Fact]
    public void A_checkpoint_of_another_model_is_refused()
    {
        string directory = Directory.CreateTempSubdirectory("foretoken-layout-").FullName;
        try
        {
            using (var trainer = new Trainer(CopySource.Recipe(4), new CopySource(8), threads: 1)) trainer.Save(directory);
            TrainingRecipe other = CopySource.Recipe(4);
            other.Model.IntermediateSize = 64;
            using var wider = new Trainer(other, new CopySource(8), threads: 1);
            Assert.Contains("state.json", Assert.Throws<RecipeException>(() => wider.Resume(directory)).Message, StringComparison.Ordinal);
        }
        finally
        {
            Directory.Delete(directory, recursive: true);
        }
    }

    [Fact]
    public void Only_the_last_two_checkpoints_are_kept()
    {
        string directory = Directory.CreateTempSubdirectory("foretoken-kept-").FullName;
        try
        {
            using var trainer = new Trainer(CopySource.Recipe(8), new CopySource(8), threads: 1);
            for (int i = 0; i < 4; i++)
            {
                trainer.Step();
                trainer.Save(directory);
            }
            Assert.Equal(["checkpoint-3", "checkpoint-4"], Directory.GetDirectories(directory).Select(path => Path.GetFileName(path)).Order());
        }
        finally
        {
            Directory.Delete(directory, recursive: true);
        }
    }

    [Fact]
    public void Decay_can_be_started_early_and_ends_the_run()
    {
        TrainingRecipe recipe = CopySource.Recipe(1000);
        recipe.Schedule = new RecipeSchedule { WarmupSteps = 2, TimeBudgetMinutes = 1000, FinalFactor = 0.1 };
        using var trainer = new Trainer(recipe, new CopySource(8), threads: 1);
        for (int i = 0; i < 5; i++) Assert.InRange(trainer.Step().LearningRateFactor, 0.5, 1);
        trainer.StartDecay(4);
        double[] factors = [.. Enumerable.Range(0, 4).Select(_ => trainer.Step().LearningRateFactor)];
        Assert.Equal([0.775, 0.55, 0.325, 0.1], factors.Select(f => Math.Round(f, 6)));
        Assert.True(trainer.State.Finished);
    }

    [Fact]
    public void Piecewise_learning_rates_follow_trained_tokens_and_end_the_run()
    {
        TrainingRecipe recipe = CopySource.Recipe(1000);
        recipe.Schedule = new RecipeSchedule
        {
            Kind = "piecewise", WarmupSteps = 1,
            Points = [new() { Tokens = 0, Factor = 1 }, new() { Tokens = 3000, Factor = 1 }, new() { Tokens = 3001, Factor = 0.5 }, new() { Tokens = 6001, Factor = 0 }],
        };
        using var trainer = new Trainer(recipe, new CopySource(8), threads: 1);
        while (!trainer.State.Finished)
        {
            long tokens = trainer.State.Tokens;
            double expected = tokens <= 3000 ? 1 : 0.5 * (6001 - tokens) / 3000.0;
            Assert.Equal(expected, trainer.Step().LearningRateFactor, 9);
        }
        Assert.InRange(trainer.State.Tokens, 6001, 6400);
    }

    [Fact]
    public void Bucket_weights_change_at_the_trained_tokens_that_the_recipe_names()
    {
        TrainingRecipe recipe = CopySource.Recipe(1000);
        recipe.Mixture[1].Later = [new RecipeWeight { FromTokens = 1500, Weight = 1e9 }, new RecipeWeight { FromTokens = 3000, Weight = 1e-9 }];
        using var trainer = new Trainer(recipe, new CopySource(8), threads: 1);
        while (trainer.State.Tokens < 4500)
        {
            long tokens = trainer.State.Tokens;
            double[] before = [.. trainer.State.Buckets.Select(b => b.Loss)];
            trainer.Step();
            bool[] trained = [.. trainer.State.Buckets.Select((b, i) => b.Loss != before[i])];
            Assert.Equal(tokens < 1500 ? [true, true] : tokens < 3000 ? [false, true] : [true, false], trained);
        }
    }

    private static float[] Weights(int threads, int steps)
    {
        using var trainer = new Trainer(CopySource.Recipe(30), new CopySource(8), threads);
        for (int i = 0; i < steps; i++) trainer.Step();
        return trainer.Model.Values.Span.ToArray();
    }
}
