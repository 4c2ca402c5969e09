using System.Diagnostics;
using System.Globalization;
using System.Text;
using System.Text.Json;
using Foretoken.Backends.Cpu;
using Foretoken.Formats;
using Foretoken.Models;

namespace Foretoken.Training.Drafters;

/// <summary>Runs a drafter's recipe: text of the target, training with checkpoints, held-out acceptance, export of the best weights, report.</summary>
internal static class DrafterRun
{
    /// <summary>Holds the held-out acceptance of the exported weights.</summary>
    public const string AcceptanceFile = "acceptance.json";

    /// <summary>Holds that of the first weights.</summary>
    public const string BeforeFile = "acceptance-before.json";

    /// <summary>Where a recipe that is named as start is trained, below the run's directory.</summary>
    public const string StartFolder = "start";

    /// <summary>Trains into <paramref name="outDir"/>: checkpoints, metrics.jsonl, text-*.jsonl, acceptance.json, report.md and the drafter under <c>model/</c>. Returns 0, or 130 when cancelled.</summary>
    /// <exception cref="RecipeException">The recipe or the run directory cannot be used.</exception>
    /// <param name="textDirectory">Where the target's text is kept; null: in <paramref name="outDir"/>.</param>
    public static int Run(
        string recipePath, string outDir, bool resume, TextWriter progress, CancellationToken cancellation, int? threads, string? textDirectory = null)
    {
        DrafterRecipe recipe = DrafterRecipe.Read(recipePath);
        string folder = Path.GetDirectoryName(Path.GetFullPath(recipePath))!, target = Path.GetFullPath(Path.Combine(folder, recipe.Target));
        string? start = recipe.Start is { } given ? Path.GetFullPath(Path.Combine(folder, given)) : null;
        if (!resume && Checkpoint.Exists(outDir)) throw new RecipeException($"{outDir}: the directory already has checkpoints; give --resume to go on or another --out.");
        using IDisposable held = RunDirectory.Enter(outDir);
        if (start is not null && IsRecipe(start))
        {
            string startDir = Path.Combine(outDir, StartFolder);
            int code = TrainCommand.Run(start, startDir, resume && Checkpoint.Exists(startDir), progress, cancellation, threads);
            if (code != 0) return code;
            start = Path.Combine(startDir, "model");
        }

        try
        {
            if (recipe.Drafter == "eagle3") CheckEagle(recipe.Eagle, recipePath, target);
            TargetText text = TargetText.Make(recipe, recipePath, target, textDirectory ?? outDir, threads ?? 0, progress, cancellation);
            using DrafterModel model = CreateModel(recipe, recipePath, target, start, text);
            using var trainer = new DrafterTrainer(recipe, model, text, threads ?? ProcessorLimits.Current.Threads);
            progress.WriteLine($"{recipe.Name}: {model.ElementCount:N0} parameters, {text.Train.Count} answers to learn from, {text.HeldOut.Count} to measure");
            return Train(recipe, trainer, outDir, resume, progress, cancellation);
        }
        catch (OperationCanceledException)
        {
            progress.WriteLine("interrupted before the first step");
            return TrainCommand.Interrupted;
        }
    }

    /// <summary>Whether a run came to its end.</summary>
    public static bool IsFinished(string outDir) => File.Exists(Path.Combine(outDir, "report.md"));

    private static bool IsRecipe(string path) => path.EndsWith(".json", StringComparison.Ordinal);

    /// <summary>The drafter that the recipe describes, with its first weights.</summary>
    internal static DrafterModel CreateModel(DrafterRecipe recipe, string recipePath, string target, string? start, TargetText text)
    {
        if (recipe.Drafter == "distill") return new DistilledModel(target, start, recipe.Distill.Model is { } sizes ? Shape(sizes) : null, recipe.Distill, recipe.Seed);
        DrafterModel model = recipe.Drafter == "medusa" ? new MedusaModel(target, recipe.Medusa) : CreateEagle(recipe, recipePath, target, start, text);
        if (start is not null) model.Load(start);
        return model;
    }

    /// <summary>Holds the taps to the target, before the hours in which that writes its text; returns the target's vocabulary.</summary>
    private static int CheckEagle(EagleSettings settings, string recipePath, string target)
    {
        int layers, vocabulary;
        using (ModelSource source = ModelLoader.Open(target)) (layers, vocabulary) = (source.Config.Shape.LayerCount, source.Config.Shape.VocabSize);
        if (settings.Layers.Count == 0) settings.Layers = [Math.Min(2, layers), layers / 2, Math.Max(0, layers - 3)];
        if (settings.Layers.Any(l => l < 0 || l > layers)) throw new RecipeException($"{recipePath}: key eagle.layers must name layers of 0 to {layers}.");
        return vocabulary;
    }

    private static EagleModel CreateEagle(DrafterRecipe recipe, string recipePath, string target, string? start, TargetText text)
    {
        EagleSettings settings = recipe.Eagle;
        int vocabulary = CheckEagle(settings, recipePath, target);
        int[] kept = start is null
            ? DraftVocabulary(text, vocabulary, settings.DraftVocabSize)
            : DrafterExport.ReadVocabulary(Path.Combine(start, SafetensorsModel.SingleName), vocabulary);
        return new EagleModel(target, settings, kept, recipe.Seed);
    }

    /// <summary>The tokens that the answers use most, rising; ties go to the lower id.</summary>
    internal static int[] DraftVocabulary(TargetText text, int vocabulary, int size)
    {
        if (size == 0 || size >= vocabulary) return [.. Enumerable.Range(0, vocabulary)];
        var counts = new long[vocabulary];
        foreach (TrainingExample example in text.Train)
            foreach (int token in example.Tokens.AsSpan(example.PromptLength)) counts[token]++;
        return [.. Enumerable.Range(0, vocabulary).OrderByDescending(t => counts[t]).Take(size).Order()];
    }

    private static TransformerShape Shape(RecipeModel m) => new TrainingRecipe { Model = m }.Shape();

    private static int Train(DrafterRecipe recipe, DrafterTrainer trainer, string outDir, bool resume, TextWriter progress, CancellationToken cancellation)
    {
        string modelDirectory = Path.Combine(outDir, "model");
        AcceptanceMeter before = trainer.Measure(); // of the first weights, also when a run goes on
        before.Write(Path.Combine(outDir, BeforeFile));
        if (resume) progress.WriteLine(trainer.Resume(outDir) ? $"resumed at step {trainer.State.Step}" : $"no checkpoint in {outDir}: the run starts anew");
        progress.WriteLine(string.Create(CultureInfo.InvariantCulture, $"before: {before.All().TokensPerPass:F3} tokens per pass with {before.Depth} drafts"));
        using var metrics = new StreamWriter(Path.Combine(outDir, "metrics.jsonl"), append: true) { AutoFlush = true };
        double loss = 0;
        int steps = 0;
        long lastSave = Stopwatch.GetTimestamp();
        while (!trainer.State.Finished)
        {
            if (cancellation.IsCancellationRequested)
            {
                trainer.Save(outDir);
                progress.WriteLine($"interrupted; checkpoint at step {trainer.State.Step} written, go on with --resume");
                return TrainCommand.Interrupted;
            }

            StepReport step = trainer.Step();
            (loss, steps) = (loss + step.Loss, steps + 1);
            if (step.Step % recipe.LogEverySteps == 0)
            {
                WriteStep(step, trainer.State, loss / steps, progress, metrics);
                (loss, steps) = (0, 0);
            }

            if (step.Step % recipe.CheckSteps == 0 || trainer.State.Finished) Check(trainer, modelDirectory, progress, metrics);
            if (Stopwatch.GetElapsedTime(lastSave).TotalMinutes < recipe.CheckpointMinutes) continue;
            trainer.Save(outDir);
            lastSave = Stopwatch.GetTimestamp();
        }

        trainer.Save(outDir);
        WriteReport(recipe, trainer, before, outDir);
        progress.WriteLine(string.Create(CultureInfo.InvariantCulture,
            $"finished at step {trainer.State.Step}, {trainer.State.Tokens:N0} tokens, {trainer.State.ElapsedSeconds / 60:F1} minutes; best {trainer.State.BestTokensPerPass:F3} tokens per pass; drafter in {modelDirectory}"));
        return 0;
    }

    private static void Check(DrafterTrainer trainer, string modelDirectory, TextWriter progress, StreamWriter metrics)
    {
        AcceptanceMeter meter = trainer.Measure();
        bool best = trainer.Observe(meter);
        if (best)
        {
            trainer.Model.Export(modelDirectory);
            meter.Write(Path.Combine(Path.GetDirectoryName(modelDirectory)!, AcceptanceFile));
        }

        AcceptanceCounts all = meter.All();
        progress.WriteLine(string.Create(CultureInfo.InvariantCulture,
            $"step {trainer.State.Step}: {all.TokensPerPass:F3} tokens per pass, {100 * all.Rate:F2} % of verified drafts accepted{(best ? ", the best so far" : "")}"));
        metrics.WriteLine(string.Create(CultureInfo.InvariantCulture, $$"""{"step":{{trainer.State.Step}},"tokens_per_pass":{{all.TokensPerPass:F4}},"acceptance":{{all.Rate:F5}}}"""));
    }

    private static void WriteStep(StepReport step, RunState state, double loss, TextWriter progress, StreamWriter metrics)
    {
        double rate = state.Tokens / Math.Max(1e-3, state.ElapsedSeconds);
        progress.WriteLine(string.Create(CultureInfo.InvariantCulture,
            $"step {step.Step} {state.Tokens / 1e6:F2}M loss {loss:F4} norm {step.GradientNorm:F2} lr {step.LearningRateFactor:F3} {rate:F0} tok/s {TimeSpan.FromSeconds(state.ElapsedSeconds):h\\:mm\\:ss}"));
        metrics.WriteLine(string.Create(CultureInfo.InvariantCulture,
            $$"""{"step":{{step.Step}},"tokens":{{state.Tokens}},"loss":{{loss:F6}},"gradient_norm":{{step.GradientNorm:F4}},"learning_rate_factor":{{step.LearningRateFactor:F5}}}"""));
    }

    /// <summary>report.md: what was trained, and acceptance by kind of text and depth before and after, on answers that were not trained on.</summary>
    private static void WriteReport(DrafterRecipe recipe, DrafterTrainer trainer, AcceptanceMeter before, string outDir)
    {
        RunState state = trainer.State;
        AcceptanceMeter after = AcceptanceMeter.Read(Path.Combine(outDir, AcceptanceFile));
        var text = new StringBuilder();
        text.Append(CultureInfo.InvariantCulture, $"# {recipe.Name}\n\n{recipe.Drafter}, {trainer.Model.ElementCount:N0} parameters, {state.Step} steps, {state.Tokens:N0} tokens, ")
            .Append(CultureInfo.InvariantCulture, $"{state.ElapsedSeconds / 60:F1} minutes. Greedy chain drafting on held-out answers of the target, {before.Depth} drafts a round; the columns say how often the ")
            .Append("draft of that depth was accepted where those before it were.\n\n").Append(AcceptanceMeter.Table(("before", before), ("after", after)));
        File.WriteAllText(Path.Combine(outDir, "report.md"), text.ToString());
        File.WriteAllBytes(Path.Combine(outDir, "recipe.json"), JsonSerializer.SerializeToUtf8Bytes(recipe, DrafterRecipeJson.Default.DrafterRecipe));
    }
}
