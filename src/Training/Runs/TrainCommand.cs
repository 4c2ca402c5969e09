using System.Diagnostics;
using System.Globalization;
using Foretoken.Backends.Cpu;
using Foretoken.Tokenization;
using Foretoken.Training.Tasks;

namespace Foretoken.Training;

/// <summary>Runs a recipe from the command line: progress, checkpoints, export.</summary>
public static class TrainCommand
{
    /// <summary>Exit code of a run that was interrupted and left a checkpoint.</summary>
    public const int Interrupted = 130;

    /// <summary>
    /// Trains <paramref name="recipePath"/> into <paramref name="outDir"/>: checkpoints, metrics.jsonl and the exported model under <c>model/</c>.
    /// With <paramref name="resume"/> it goes on from the latest checkpoint. Returns 0, or 130 when cancelled (after writing a checkpoint).
    /// </summary>
    /// <exception cref="RecipeException">The recipe or the run directory cannot be used.</exception>
    public static int Run(string recipePath, string outDir, bool resume, TextWriter progress, CancellationToken cancellation, int? threads = null)
    {
        return RecipeFile.KindOf(recipePath) switch
        {
            "drafter" => Drafters.DrafterRun.Run(recipePath, outDir, resume, progress, cancellation, threads),
            "compare" => Drafters.DrafterComparison.Run(recipePath, outDir, resume, progress, cancellation, threads),
            DmsRecipe.KindName => DmsTrainCommand.Run(recipePath, outDir, resume, progress, cancellation, threads),
            ExperimentRecipe.KindName => ExperimentCommand.Run(recipePath, outDir, progress, cancellation, threads),
            _ => TrainModel(recipePath, outDir, resume, progress, cancellation, threads),
        };
    }

    private static int TrainModel(string recipePath, string outDir, bool resume, TextWriter progress, CancellationToken cancellation, int? threads)
    {
        TrainingRecipe recipe = TrainingRecipe.Read(recipePath);
        string tokenizerDirectory = Path.GetFullPath(Path.Combine(Path.GetDirectoryName(Path.GetFullPath(recipePath))!, recipe.Tokenizer));
        BpeTokenizer tokenizer = BpeTokenizer.FromDirectory(tokenizerDirectory);
        if (tokenizer.VocabularySize > recipe.Model.VocabSize)
            throw new RecipeException($"{recipePath}: key model.vocab_size is {recipe.Model.VocabSize}, but the tokenizer has {tokenizer.VocabularySize} tokens.");
        if (!resume && Checkpoint.Exists(outDir))
            throw new RecipeException($"{outDir}: the directory already has checkpoints; give --resume to go on or another --out.");
        using IDisposable held = RunDirectory.Enter(outDir);
        var source = new TaskExampleSource(tokenizer, ChooseTasks(recipe.Mixture, recipePath),
            recipe.MaxExampleTokens > 0 ? recipe.MaxExampleTokens : recipe.Model.MaxPositionEmbeddings, [.. recipe.Mixture.Select(m => m.TopLevel)]);
        using var trainer = new Trainer(recipe, source, threads ?? ProcessorLimits.Current.Threads);
        if (resume) progress.WriteLine(trainer.Resume(outDir) ? $"resumed at step {trainer.State.Step}" : $"no checkpoint in {outDir}: the run starts anew");
        using var report = new ProgressReport(recipe, source.Buckets, Path.Combine(outDir, "metrics.jsonl"), progress);
        progress.WriteLine($"{recipe.Name}: {trainer.Model.Parameters.ElementCount:N0} parameters, {recipe.Parallel.Shards} shards");
        return Loop(recipe, trainer, report, outDir, tokenizerDirectory, progress, cancellation);
    }

    private static int Loop(
        TrainingRecipe recipe, Trainer trainer, ProgressReport report, string outDir, string tokenizerDirectory, TextWriter progress, CancellationToken cancellation)
    {
        long lastSave = Stopwatch.GetTimestamp();
        while (!trainer.State.Finished)
        {
            if (cancellation.IsCancellationRequested)
            {
                trainer.Save(outDir);
                progress.WriteLine($"interrupted; checkpoint at step {trainer.State.Step} written, go on with --resume");
                return Interrupted;
            }
            WatchDecay(recipe, trainer, outDir, progress);
            report.Add(trainer.Step(), trainer.State);
            if (Stopwatch.GetElapsedTime(lastSave).TotalMinutes < recipe.CheckpointMinutes) continue;
            trainer.Save(outDir);
            ModelExport.Write(trainer.Model, tokenizerDirectory, Path.Combine(outDir, "model"));
            lastSave = Stopwatch.GetTimestamp();
        }
        trainer.Save(outDir);
        ModelExport.Write(trainer.Model, tokenizerDirectory, Path.Combine(outDir, "model"));
        progress.WriteLine($"finished at step {trainer.State.Step}, {trainer.State.Tokens:N0} tokens, {trainer.State.ElapsedSeconds / 60:F1} minutes; model in {Path.Combine(outDir, "model")}");
        return 0;
    }

    /// <summary>Starts the decay when the time budget asks for it or the decay file lies in the run directory; the log keeps the step counts.</summary>
    private static void WatchDecay(TrainingRecipe recipe, Trainer trainer, string outDir, TextWriter progress)
    {
        RunState state = trainer.State;
        if (state.DecayStartStep is not null || recipe.Schedule.DecayStartStep is not null || recipe.Schedule.Kind != "trapezoid" || state.Step == 0) return;
        double minutes = state.ElapsedSeconds / 60, fraction = recipe.Schedule.DecayFraction;
        string file = Path.Combine(outDir, Trainer.DecayFile);
        bool asked = File.Exists(file);
        if (!asked && (recipe.Schedule.TimeBudgetMinutes is not { } budget || minutes < budget * (1 - fraction))) return;
        // Batches grow during a run, so the length of the decay is reckoned in tokens.
        double tokensPerMinute = state.Tokens / Math.Max(minutes, 1e-3), decayMinutes = minutes * fraction / (1 - fraction);
        int steps = (int)(decayMinutes * tokensPerMinute / recipe.BatchTokens(state.Tokens));
        if (asked && int.TryParse(File.ReadAllText(file), CultureInfo.InvariantCulture, out int given)) steps = given;
        trainer.StartDecay(steps);
        progress.WriteLine($"decay starts at step {state.DecayStartStep} and lasts {state.DecaySteps} steps: to repeat this run, set decay_start_step and decay_steps to these");
    }

    internal static List<ITask> ChooseTasks(IReadOnlyList<RecipeBucket> mixture, string recipePath)
    {
        IReadOnlyList<ITask> known = TaskMixture.Known();
        return [.. mixture.Select(m => known.FirstOrDefault(task => task.Bucket == m.Bucket)
            ?? throw new RecipeException($"{recipePath}: key mixture: there is no bucket \"{m.Bucket}\"; known are {string.Join(", ", known.Select(t => t.Bucket))}."))];
    }
}
