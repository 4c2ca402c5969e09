using System.Globalization;
using System.Text.Json;
using Foretoken.Training.Tasks;

namespace Foretoken.Training;

/// <summary>
/// Runs an experiment's comparison: the untrained policies first, then one retrofit after the other. Everything that is finished is kept in files, so that a
/// run that was interrupted goes on where it stopped, and the table holds whatever has been measured.
/// </summary>
public static class ExperimentCommand
{
    private const string ScoresFile = "scores.json";

    /// <summary>Runs <paramref name="recipePath"/> in <paramref name="outDir"/>, always resuming; writes <c>table.md</c> there. Returns 0, or 130 when cancelled.</summary>
    /// <exception cref="RecipeException">A recipe or the run directory cannot be used.</exception>
    public static int Run(string recipePath, string outDir, TextWriter progress, CancellationToken cancellation, int? threads = null)
    {
        ExperimentRecipe experiment = ExperimentRecipe.Read(recipePath);
        string retrofitPath = Path.GetFullPath(Path.Combine(Path.GetDirectoryName(Path.GetFullPath(recipePath))!, experiment.Retrofit));
        TrainCommand.CreateDirectory(outDir);
        string policies = Path.Combine(outDir, "policies");
        if (!Done(policies))
        {
            using DmsRun run = Open(retrofitPath, new ExperimentRun(), threads);
            Store(policies, MeasurePolicies(experiment, run, progress));
        }
        WriteTable(experiment, outDir);
        foreach (ExperimentRun variant in experiment.Runs)
        {
            string directory = Path.Combine(outDir, Folder(variant));
            if (Done(directory)) continue;
            TrainCommand.CreateDirectory(directory);
            progress.WriteLine($"== {Folder(variant)}");
            using DmsRun run = Open(retrofitPath, variant, threads);
            run.Trainer.Resume(directory);
            int code = DmsTrainCommand.Loop(run, directory, progress, cancellation);
            if (code != 0) return code;
            List<(string Group, List<TrainingExample> Examples)> groups = Groups(experiment, run);
            Store(directory, [.. groups.Select(g => Score(variant.Name, variant.Eviction == "dense" ? 1 : variant.TargetCr, variant.Seed, g.Group, run.Trainer.Measure(g.Examples)))]);
            WriteTable(experiment, outDir);
        }
        progress.WriteLine($"all runs are finished; table in {Path.Combine(outDir, "table.md")}");
        return 0;
    }

    private static string Folder(ExperimentRun run) => string.Create(CultureInfo.InvariantCulture, $"{Slug(run.Name)}-cr{run.TargetCr}-seed{run.Seed}");

    private static string Slug(string name) => string.Join('-', name.ToLowerInvariant().Split([' ', ',', '='], StringSplitOptions.RemoveEmptyEntries));

    private static DmsRun Open(string retrofitPath, ExperimentRun variant, int? threads)
    {
        DmsRecipe recipe = DmsRecipe.Read(retrofitPath);
        (recipe.Name, recipe.Eviction, recipe.Window, recipe.TargetCr, recipe.Seed) = (variant.Name, variant.Eviction, variant.Window, variant.TargetCr, variant.Seed);
        recipe.Check(retrofitPath);
        string model = Path.GetFullPath(Path.Combine(Path.GetDirectoryName(retrofitPath)!, recipe.Model));
        return new DmsRun(recipe, retrofitPath, model, threads ?? Environment.ProcessorCount);
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

    private static List<ExperimentScore> MeasurePolicies(ExperimentRecipe experiment, DmsRun run, TextWriter progress)
    {
        var scores = new List<ExperimentScore>();
        List<(string Group, List<TrainingExample> Examples)> groups = Groups(experiment, run);
        foreach ((string group, List<TrainingExample> examples) in groups)
            scores.Add(Score("dense", 1, 0, group, run.Trainer.Measure(examples, dense: true)));
        foreach (double compression in experiment.Compressions)
        {
            foreach (KeyPolicyKind policy in Enum.GetValues<KeyPolicyKind>())
            {
                progress.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{policy} at CR {compression}"));
                foreach ((string group, List<TrainingExample> examples) in groups)
                {
                    int budget = DmsTrainer.MatchedWindow(run.HeldOut, compression) + 1;
                    scores.Add(Score(Name(policy), compression, 0, group, run.Trainer.Measure(examples, policy, budget)));
                }
            }
        }
        return scores;
    }

    private static string Name(KeyPolicyKind policy) => policy switch
    {
        KeyPolicyKind.Window => "window",
        KeyPolicyKind.Sinks => "sinks and window",
        KeyPolicyKind.Tova => "TOVA",
        KeyPolicyKind.H2O => "H2O",
        _ => "random",
    };

    private static ExperimentScore Score(string variant, double compression, ulong seed, string group, EvictionResult[] results)
    {
        EvictionSummary s = EvictionSummary.Of(group, results);
        return new ExperimentScore(variant, compression, seed, group, s.Examples, results.Count(r => r.Exact), s.TokenAccuracy, s.Divergence, s.Compression);
    }

    private static bool Done(string directory) => File.Exists(Path.Combine(directory, ScoresFile));

    private static void Store(string directory, List<ExperimentScore> scores)
    {
        Directory.CreateDirectory(directory);
        string path = Path.Combine(directory, ScoresFile);
        File.WriteAllBytes(path + ".tmp", JsonSerializer.SerializeToUtf8Bytes(scores, ExperimentJson.Default.ListExperimentScore));
        File.Move(path + ".tmp", path, overwrite: true);
    }

    private static void WriteTable(ExperimentRecipe experiment, string outDir)
    {
        var scores = new List<ExperimentScore>();
        foreach (string directory in (string[])["policies", .. experiment.Runs.Select(Folder)])
        {
            string path = Path.Combine(outDir, directory, ScoresFile);
            if (File.Exists(path)) scores.AddRange(JsonSerializer.Deserialize(File.ReadAllBytes(path), ExperimentJson.Default.ListExperimentScore) ?? []);
        }
        File.WriteAllText(Path.Combine(outDir, "table.md"), ExperimentTable.Write([.. scores.OrderBy(s => s.TargetCr).ThenBy(s => s.Seed > 0)]));
    }
}
