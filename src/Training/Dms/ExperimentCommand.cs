using System.Globalization;
using System.Text.Json;
using Foretoken.Backends.Cpu;
using Foretoken.Training.Tasks;

namespace Foretoken.Training;

/// <summary>
/// Runs an experiment's comparison: the untrained policies first, then one retrofit after the other. Everything that is finished is kept in files, so that a
/// run that was interrupted goes on where it stopped, and the table holds whatever has been measured.
/// </summary>
public static class ExperimentCommand
{
    private const string ScoresFile = "scores.json";

    /// <summary>
    /// Runs <paramref name="recipePath"/> in <paramref name="outDir"/>, always resuming; writes <c>table.md</c>, <c>table.html</c> and all <c>scores.json</c> there, which may take the
    /// place of <see cref="ExperimentRecipe.Results"/>. Returns 0, or 130 when cancelled.
    /// </summary>
    /// <exception cref="RecipeException">A recipe or the run directory cannot be used.</exception>
    public static int Run(string recipePath, string outDir, TextWriter progress, CancellationToken cancellation, int? threads = null)
    {
        ExperimentRecipe experiment = ExperimentRecipe.Read(recipePath);
        string retrofitPath = Path.GetFullPath(Path.Combine(Path.GetDirectoryName(Path.GetFullPath(recipePath))!, experiment.Retrofit));
        using IDisposable held = RunDirectory.Enter(outDir);
        List<ExperimentScore> known = Known(experiment, recipePath);
        MeasurePolicies(experiment, known, Path.Combine(outDir, "policies"), () => Open(retrofitPath, new ExperimentRun(), threads), progress);
        WriteTable(experiment, known, outDir);
        foreach (ExperimentRun variant in experiment.Runs)
        {
            string directory = Path.Combine(outDir, Folder(variant));
            if (Done(directory) || known.Exists(s => Of(variant, s))) continue;
            using IDisposable variantHeld = RunDirectory.Enter(directory);
            progress.WriteLine($"== {Folder(variant)}");
            using DmsRun run = Open(retrofitPath, variant, threads);
            run.Trainer.Resume(directory);
            int code = DmsTrainCommand.Loop(run, directory, progress, cancellation);
            if (code != 0) return code;
            List<(string Group, List<TrainingExample> Examples)> groups = Groups(experiment, run);
            Store(directory, [.. groups.Select(g => Score(variant.Name, ScoredCr(variant), variant.Seed, g.Group, run.Trainer.Measure(g.Examples)))]);
            WriteTable(experiment, known, outDir);
        }
        progress.WriteLine($"all runs are finished; table in {Path.Combine(outDir, "table.md")}");
        return 0;
    }

    private static string Folder(ExperimentRun run) => string.Create(CultureInfo.InvariantCulture, $"{Slug(run.Name)}-cr{run.TargetCr}-seed{run.Seed}");

    private static double ScoredCr(ExperimentRun run) => run.Eviction == "dense" ? 1 : run.TargetCr;

    private static bool Of(ExperimentRun run, ExperimentScore score) => score.Variant == run.Name && score.TargetCr == ScoredCr(run) && score.Seed == run.Seed;

    private static List<ExperimentScore> Known(ExperimentRecipe experiment, string recipePath)
    {
        if (experiment.Results.Length == 0) return [];
        string path = Path.GetFullPath(Path.Combine(Path.GetDirectoryName(Path.GetFullPath(recipePath))!, experiment.Results));
        return File.Exists(path)
            ? Read(path)
            : throw new RecipeException($"{recipePath}: key results names {path}, which is not there; leave it empty to run everything.");
    }

    private static string Slug(string name) => string.Join('-', name.ToLowerInvariant().Split([' ', ',', '='], StringSplitOptions.RemoveEmptyEntries));

    private static DmsRun Open(string retrofitPath, ExperimentRun variant, int? threads)
    {
        DmsRecipe recipe = DmsRecipe.Read(retrofitPath);
        (recipe.Name, recipe.Eviction, recipe.Window, recipe.TargetCr, recipe.Seed) = (variant.Name, variant.Eviction, variant.Window, variant.TargetCr, variant.Seed);
        if (variant.Budget.Length > 0) recipe.Budget = variant.Budget;
        if (variant.TotalSteps > 0) recipe.Schedule.TotalSteps = variant.TotalSteps;
        recipe.Check(retrofitPath);
        string model = Path.GetFullPath(Path.Combine(Path.GetDirectoryName(retrofitPath)!, recipe.Model));
        return new DmsRun(recipe, retrofitPath, model, threads ?? ProcessorLimits.Current.Threads);
    }

    /// <summary>The test problems: every bucket at the lengths of the training, then the longer ones.</summary>
    private static List<(string Group, List<TrainingExample> Examples)> Groups(ExperimentRecipe experiment, DmsRun run)
    {
        ExperimentTest test = experiment.Test;
        var groups = new List<(string, List<TrainingExample>)>();
        var longSource = new TaskExampleSource(run.Tokenizer, run.Tasks, run.Trainer.Model.Shape.MaxPositions);
        for (int bucket = 0; bucket < run.Tasks.Count; bucket++)
        {
            ITask task = run.Tasks[bucket];
            int top = Math.Min(run.Recipe.Mixture[bucket].TopLevel, task.Levels - 1);
            int[] levels = [.. Evaluation.HeldOutSuite.Levels(task.Bucket).Where(level => level <= top).DefaultIfEmpty(top)];
            groups.Add((task.Bucket, [.. HeldOutExamples.OfLevels(run.Source, task, bucket, levels, test.PerBucket, test.Seed)]));
        }
        for (int bucket = 0; bucket < run.Tasks.Count; bucket++)
        {
            ITask task = run.Tasks[bucket];
            if (!test.LongBuckets.Contains(task.Bucket) || test.LongPerBucket == 0) continue;
            List<TrainingExample> examples = [.. HeldOutExamples.OfLevels(longSource, task, bucket, test.LongLevels, test.LongPerBucket, test.Seed)];
            examples.RemoveAll(e => run.Recipe.MaxExampleTokens > 0 && e.Tokens.Length <= run.Recipe.MaxExampleTokens);
            if (examples.Count > 0) groups.Add((task.Bucket + " (longer)", examples));
        }
        return groups;
    }

    /// <summary>Measures the dense model and every untrained policy that is not known yet; each is kept as soon as it is measured.</summary>
    private static void MeasurePolicies(ExperimentRecipe experiment, List<ExperimentScore> known, string directory, Func<DmsRun> open, TextWriter progress)
    {
        List<ExperimentScore> scores = Done(directory) ? Read(Path.Combine(directory, ScoresFile)) : [];
        (KeyPolicyKind? Policy, double Compression)[] missing =
        [
            .. ((KeyPolicyKind? Policy, double Compression)[])[(null, 1), .. experiment.Compressions.SelectMany(c => Enum.GetValues<KeyPolicyKind>().Select(p => ((KeyPolicyKind?)p, c)))],
        ];
        missing = [.. missing.Where(m => !known.Concat(scores).Any(s => s.Variant == Name(m.Policy) && s.TargetCr == m.Compression))];
        if (missing.Length == 0) return;
        using DmsRun run = open();
        List<(string Group, List<TrainingExample> Examples)> groups = Groups(experiment, run);
        foreach ((KeyPolicyKind? policy, double compression) in missing)
        {
            progress.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{Name(policy)} at compression {compression}"));
            foreach ((string group, List<TrainingExample> examples) in groups)
            {
                EvictionResult[] results = policy is { } kind
                    ? run.Trainer.Measure(examples, kind, DmsTrainer.MatchedWindow(run.HeldOut, compression) + 1)
                    : run.Trainer.Measure(examples, dense: true);
                scores.Add(Score(Name(policy), compression, 0, group, results));
            }
            Store(directory, scores);
        }
    }

    private static string Name(KeyPolicyKind? policy) => policy switch
    {
        null => "dense",
        KeyPolicyKind.Window => "window",
        KeyPolicyKind.Sinks => "sinks and window",
        KeyPolicyKind.Tova => "TOVA",
        KeyPolicyKind.H2O => "H2O",
        KeyPolicyKind.SnapKv => "SnapKV",
        _ => "random",
    };

    private static ExperimentScore Score(string variant, double compression, ulong seed, string group, EvictionResult[] results)
    {
        EvictionSummary s = EvictionSummary.Of(group, results);
        return new ExperimentScore(
            variant, compression, seed, group, s.Examples, results.Count(r => r.Exact), Math.Round(s.TokenAccuracy, 6), Math.Round(s.Divergence, 6), Math.Round(s.Compression, 4));
    }

    private static bool Done(string directory) => File.Exists(Path.Combine(directory, ScoresFile));

    private static void Store(string directory, List<ExperimentScore> scores)
    {
        Directory.CreateDirectory(directory);
        Write(Path.Combine(directory, ScoresFile), scores);
    }

    private static List<ExperimentScore> Read(string path) => RecipeFile.Read(path, ExperimentJson.Default.ListExperimentScore, "perf/results/dms-experiment.json");

    private static void Write(string path, List<ExperimentScore> scores)
    {
        IEnumerable<string> lines = scores.Select(s => JsonSerializer.Serialize(s, ExperimentJson.Default.ExperimentScore)); // one per line, for readable changes
        File.WriteAllText(path + ".tmp", $"[\n{string.Join(",\n", lines)}\n]\n");
        File.Move(path + ".tmp", path, overwrite: true);
    }

    private static void WriteTable(ExperimentRecipe experiment, List<ExperimentScore> known, string outDir)
    {
        var scores = new List<ExperimentScore>();
        foreach (string directory in (string[])["policies", .. experiment.Runs.Select(Folder)])
        {
            string path = Path.Combine(outDir, directory, ScoresFile);
            if (File.Exists(path)) scores.AddRange(Read(path));
        }
        var own = scores.Select(s => (s.Variant, s.TargetCr, s.Seed)).ToHashSet();
        scores.AddRange(known.Where(s => !own.Contains((s.Variant, s.TargetCr, s.Seed))));
        scores = [.. scores.OrderBy(s => s.TargetCr).ThenBy(s => s.Seed > 0).ThenBy(s => experiment.Runs.FindIndex(r => r.Name == s.Variant)).ThenBy(s => s.Seed)];
        Write(Path.Combine(outDir, ScoresFile), scores);
        File.WriteAllText(Path.Combine(outDir, "table.md"), ExperimentTable.Write(scores));
        File.WriteAllText(Path.Combine(outDir, "table.html"), ExperimentPage.Write(experiment.Name, scores));
    }
}
