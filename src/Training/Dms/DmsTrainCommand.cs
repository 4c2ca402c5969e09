using System.Diagnostics;
using System.Globalization;
using Foretoken.Backends.Cpu;
using Foretoken.Formats;
using Foretoken.Tokenization;
using Foretoken.Training.Tasks;

namespace Foretoken.Training;

/// <summary>Runs a retrofit from the command line: progress, checkpoints, export.</summary>
public static class DmsTrainCommand
{
    /// <summary>Retrofits as <paramref name="recipePath"/> says into <paramref name="outDir"/>; see <see cref="TrainCommand.Run"/>.</summary>
    /// <exception cref="RecipeException">The recipe or the run directory cannot be used.</exception>
    public static int Run(string recipePath, string outDir, bool resume, TextWriter progress, CancellationToken cancellation, int? threads = null)
    {
        DmsRecipe recipe = DmsRecipe.Read(recipePath);
        string model = Path.GetFullPath(Path.Combine(Path.GetDirectoryName(Path.GetFullPath(recipePath))!, recipe.Model));
        if (!resume && Checkpoint.Exists(outDir))
            throw new RecipeException($"{outDir}: the directory already has checkpoints; give --resume to go on or another --out.");
        using IDisposable held = RunDirectory.Enter(outDir);
        using var run = new DmsRun(recipe, recipePath, model, threads ?? ProcessorLimits.Current.Threads);
        if (resume) progress.WriteLine(run.Trainer.Resume(outDir) ? $"resumed at step {run.Trainer.State.Step}" : $"no checkpoint in {outDir}: the run starts anew");
        return Loop(run, outDir, progress, cancellation);
    }

    /// <summary>Trains to the end, or to the interruption, from wherever the run stands.</summary>
    internal static int Loop(DmsRun run, string outDir, TextWriter progress, CancellationToken cancellation)
    {
        (DmsRecipe recipe, DmsTrainer trainer) = (run.Recipe, run.Trainer);
        long trained = trainer.Model.Parameters.Parameters.Where(p => recipe.TrainBase || DecisionAdapter.Owns(p)).Sum(p => p.Count);
        progress.WriteLine(string.Create(CultureInfo.InvariantCulture,
            $"{recipe.Name}: {recipe.Eviction}, window {trainer.Window}, {trained:N0} trained parameters, {recipe.Parallel.Shards} shards"));
        using var metrics = new DmsProgress(recipe, Path.Combine(outDir, "metrics.jsonl"), progress);
        long lastSave = Stopwatch.GetTimestamp();
        while (!trainer.State.Finished)
        {
            if (cancellation.IsCancellationRequested)
            {
                trainer.Save(outDir);
                progress.WriteLine($"interrupted; checkpoint at step {trainer.State.Step} written, go on with --resume");
                return TrainCommand.Interrupted;
            }
            metrics.Add(trainer.Step(), trainer);
            if (Stopwatch.GetElapsedTime(lastSave).TotalMinutes < recipe.CheckpointMinutes) continue;
            trainer.Save(outDir);
            lastSave = Stopwatch.GetTimestamp();
        }
        trainer.Save(outDir);
        Export(run, Path.Combine(outDir, "model"), progress);
        progress.WriteLine(string.Create(CultureInfo.InvariantCulture,
            $"finished at step {trainer.State.Step}, {trainer.State.Tokens:N0} tokens, {trainer.State.ElapsedSeconds / 60:F1} minutes; measured compression {trainer.State.MeasuredCr:F2}"));
        string[] buckets = [.. run.Tasks.Select(t => t.Bucket)];
        progress.Write("without eviction\n" + EvictionSummary.Table(EvictionSummary.PerBucket(buckets, run.HeldOut, trainer.Measure(dense: true))));
        progress.Write("with eviction\n" + EvictionSummary.Table(EvictionSummary.PerBucket(buckets, run.HeldOut, trainer.Measure())));
        if (recipe.Eviction is not ("window" or "dense") && trainer.State.MeasuredCr < recipe.TargetCr)
            progress.WriteLine(string.Create(CultureInfo.InvariantCulture, $"the asked compression of {recipe.TargetCr} was not reached: raise schedule.steps, schedule.max_cr or budget_weight, or lower window"));
        return 0;
    }

    private static void Export(DmsRun run, string directory, TextWriter progress)
    {
        DmsRecipe recipe = run.Recipe;
        if (recipe.Eviction is "immediate_past" or "immediate_self")
        {
            progress.WriteLine("no model is written: the engine follows delayed decisions only");
            return;
        }
        if (!recipe.TrainBase)
        {
            AdapterExport.Write(run.Trainer.Model, recipe, directory);
            return;
        }
        ModelExport.Write(run.Trainer.Model, run.ModelDirectory, directory, more: recipe.Eviction == "delayed" ? json => AdapterExport.WriteKeys(json, recipe) : null);
    }
}

/// <summary>A retrofit with everything that belongs to it: model, teacher, data.</summary>
internal sealed class DmsRun : IDisposable
{
    private readonly TransformerModel _student, _teacher;

    /// <summary>Opens the model at <paramref name="modelDirectory"/> for <paramref name="recipe"/>, whose path stands in messages.</summary>
    public DmsRun(DmsRecipe recipe, string recipePath, string modelDirectory, int threads)
    {
        (Recipe, ModelDirectory) = (recipe, modelDirectory);
        BpeTokenizer tokenizer;
        try
        {
            tokenizer = BpeTokenizer.FromDirectory(modelDirectory);
            _teacher = ModelImport.Read(modelDirectory);
        }
        catch (ModelFormatException exception)
        {
            throw new RecipeException($"{recipePath}: key model: {exception.Message}");
        }
        TransformerShape shape = _teacher.Shape;
        bool adapter = recipe.Settings(1).Source == DecisionSource.Adapter;
        _student = ModelImport.Read(modelDirectory, adapter ? p => DecisionAdapter.Add(p, shape.Layers, shape.HiddenSize, shape.KeyValueHeads) : null);
        DecisionAdapter.Initialize(_student);
        if (recipe.MaxExampleTokens > shape.MaxPositions)
            throw new RecipeException($"{recipePath}: key max_example_tokens is {recipe.MaxExampleTokens}, but the model's context is {shape.MaxPositions}.");
        Tasks = TrainCommand.ChooseTasks(recipe.Mixture, recipePath);
        int[] topLevels = [.. recipe.Mixture.Select(m => m.TopLevel)];
        Tokenizer = tokenizer;
        Source = new TaskExampleSource(tokenizer, Tasks, recipe.MaxExampleTokens > 0 ? recipe.MaxExampleTokens : shape.MaxPositions, topLevels);
        HeldOut = HeldOutExamples.Make(Source, Tasks, topLevels, recipe.HeldOutPerBucket);
        if (HeldOut.Count == 0) throw new RecipeException($"{recipePath}: no held-out example has at most {recipe.MaxExampleTokens} tokens; raise max_example_tokens.");
        Trainer = new DmsTrainer(recipe, _student, _teacher, Source, HeldOut, threads);
    }

    public DmsRecipe Recipe { get; }

    public string ModelDirectory { get; }

    public BpeTokenizer Tokenizer { get; }

    public IReadOnlyList<ITask> Tasks { get; }

    public TaskExampleSource Source { get; }

    public IReadOnlyList<TrainingExample> HeldOut { get; }

    public DmsTrainer Trainer { get; }

    public void Dispose()
    {
        Trainer.Dispose();
        _student.Dispose();
        _teacher.Dispose();
    }
}
