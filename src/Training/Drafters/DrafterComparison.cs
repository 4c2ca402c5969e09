using System.Globalization;

namespace Foretoken.Training.Drafters;

/// <summary>Several drafters' recipes whose results stand in one table. The key "compare" makes it one.</summary>
public sealed class ComparisonRecipe
{
    public string Name { get; set; } = "";

    /// <summary>Recipes of drafters, relative to this file.</summary>
    public List<string> Compare { get; set; } = [];

    /// <summary>Times the drafters in the engine too; null: not.</summary>
    public MeasureSettings? Measure { get; set; }
}

/// <summary>
/// Trains several drafters one after the other, on text that they share, and compares them: held-out acceptance, the cost of a draft by its multiplications beside the
/// target's, and the best speed-up that the two promise.
/// </summary>
internal static class DrafterComparison
{
    private const int ShownDepths = 8;

    /// <summary>Trains every recipe into a folder of its own below <paramref name="outDir"/> and writes report.md and report.html. Returns 0, or 130 when cancelled.</summary>
    /// <exception cref="RecipeException">A recipe or the run directory cannot be used.</exception>
    public static int Run(string recipePath, string outDir, bool resume, TextWriter progress, CancellationToken cancellation, int? threads)
    {
        string folder = Path.GetDirectoryName(Path.GetFullPath(recipePath))!;
        ComparisonRecipe comparison = Read(recipePath);
        using IDisposable held = RunDirectory.Enter(outDir);
        var runs = new List<(DrafterRecipe Recipe, string Target, string Directory)>();
        for (int i = 0; i < comparison.Compare.Count; i++)
        {
            string path = Path.Combine(folder, comparison.Compare[i]), run = Path.Combine(outDir, string.Create(CultureInfo.InvariantCulture, $"{i + 1}-{Path.GetFileNameWithoutExtension(path)}"));
            DrafterRecipe recipe = DrafterRecipe.Read(path);
            int code = resume && DrafterRun.IsFinished(run) ? 0 : DrafterRun.Run(path, run, resume, progress, cancellation, threads, textDirectory: outDir);
            if (code != 0) return code;
            runs.Add((recipe, Path.GetFullPath(Path.Combine(Path.GetDirectoryName(Path.GetFullPath(path))!, recipe.Target)), run));
        }

        var page = new ReportPage(comparison.Name);
        WriteAcceptance(page, runs);
        if (comparison.Measure is { } measure) WriteSpeeds(page, runs, measure, threads ?? 0, cancellation);
        page.Write(outDir);
        progress.WriteLine(page.ToString());
        return 0;
    }

    private static ComparisonRecipe Read(string path)
    {
        ComparisonRecipe recipe = RecipeFile.Read(path, DrafterRecipeJson.Default.ComparisonRecipe, "models/recipes");
        return recipe.Compare.Count > 0 ? recipe : throw new RecipeException($"{path}: key compare must name at least one recipe.");
    }

    private static void WriteAcceptance(ReportPage page, List<(DrafterRecipe Recipe, string Target, string Directory)> runs)
    {
        page.Text("Held-out acceptance of greedy chain drafting. Cost: multiplications of a draft beside those of the target's token. "
            + "The best speed-up is the largest E(K) / (1 + K·cost) over K drafts a round (one pass for all drafts of Medusa), for passes that cost the same whatever their rows.");
        var rows = new List<string[]>();
        var depths = new List<string[]>();
        foreach ((DrafterRecipe recipe, string target, string run) in runs)
        {
            AcceptanceMeter before = AcceptanceMeter.Read(Path.Combine(run, DrafterRun.BeforeFile)), after = AcceptanceMeter.Read(Path.Combine(run, DrafterRun.AcceptanceFile));
            AcceptanceCounts all = after.All(), first = before.All();
            (long parameters, long perDraft) = Parameters(recipe, Path.Combine(run, "model"));
            using TransformerModel verifier = ModelImport.Read(target);
            double cost = perDraft / (double)Multiplications(verifier);
            (int Drafts, double SpeedUp) best = Enumerable.Range(1, after.Depth).Select(k => (k, after.Expected(k) / (1 + k * cost))).MaxBy(pair => pair.Item2);
            rows.Add([recipe.Name, recipe.Drafter, Text($"{parameters:N0}"), Text($"{cost:F3}"), Text($"{100 * first.Rate:F1} %"), Text($"{100 * all.Rate:F1} %"), Text($"{first.PerRejection:F1}"),
                Text($"{all.PerRejection:F1}"), Text($"{first.TokensPerPass:F2}"), Text($"{all.TokensPerPass:F2}"), Text($"{best.Drafts}"), Text($"{best.SpeedUp:F2}")]);
            depths.Add(Depths(recipe.Name + ", before", first));
            depths.Add(Depths(recipe.Name + ", after", all));
        }

        page.Table(["name", "kind", "parameters", "cost", "accepted before", "after", "per rejected before", "after", "tokens per pass before", "after", "best K", "best speed-up"], rows);
        page.Text("How often the draft of a depth was accepted where those before it were:");
        page.Table(["", .. Enumerable.Range(1, ShownDepths).Select(d => Text($"{d}"))], depths);
    }

    private static string[] Depths(string name, AcceptanceCounts counts) =>
        [name, .. Enumerable.Range(0, ShownDepths).Select(d => d < counts.Reached.Length && counts.Reached[d] > 0 ? Text($"{100.0 * counts.Accepted[d] / counts.Reached[d]:F1} %") : "")];

    /// <summary>In the engine: first the drafters as they were before, where those are models of their own, then as they are.</summary>
    private static void WriteSpeeds(
        ReportPage page, List<(DrafterRecipe Recipe, string Target, string Directory)> runs, MeasureSettings measure, int threads, CancellationToken cancellation)
    {
        var rows = new List<string[]>();
        foreach ((DrafterRecipe recipe, string target, string run) in runs)
        {
            string start = Path.Combine(run, DrafterRun.StartFolder, "model");
            (string Name, string Directory, string Acceptance)[] sides = [(recipe.Name + ", before", start, DrafterRun.BeforeFile), (recipe.Name, Path.Combine(run, "model"), DrafterRun.AcceptanceFile)];
            foreach ((string name, string directory, string acceptance) in sides.Where(s => Directory.Exists(s.Directory)))
            {
                AcceptanceMeter meter = AcceptanceMeter.Read(Path.Combine(run, acceptance));
                foreach (int drafts in measure.Drafts)
                {
                    cancellation.ThrowIfCancellationRequested();
                    DraftSpeed speed = DraftSpeed.Measure(target, directory, drafts, measure, threads);
                    double predicted = meter.Expected(drafts) / (speed.DraftCost + speed.VerifyCost);
                    rows.Add([name, Text($"{drafts}"), Text($"{speed.TokensPerPass:F2}"), Text($"{speed.DraftCost / drafts:F3}"), Text($"{speed.VerifyCost:F2}"), Text($"{predicted:F2}"), Text($"{speed.SpeedUp:F2}")]);
                }
            }
        }

        page.Text("In the engine, on questions of the evaluation, one request at a time, plainly and with the drafter in turn. c: time of a draft, v: time of the verifying pass, both in plain steps; "
            + "predicted: E(K) of the table above over K·c + v.");
        page.Table(["name", "most drafts K", "tokens per pass", "c", "v", "predicted speed-up", "measured"], rows);
    }

    private static string Text(FormattableString text) => FormattableString.Invariant(text);

    /// <summary>All parameters of an exported drafter, and the multiplications of one draft.</summary>
    private static (long All, long PerDraft) Parameters(DrafterRecipe recipe, string directory)
    {
        if (recipe.Drafter == "distill")
        {
            using TransformerModel draft = ModelImport.Read(directory);
            return (draft.Parameters.ElementCount, Multiplications(draft));
        }

        string file = Directory.GetFiles(Path.Combine(directory, recipe.Medusa.Joint ? "medusa" : ""), "*.safetensors").Single();
        using var stored = new Formats.SafetensorsFile(file);
        long count = stored.Tensors.Where(t => t.Name is not ("d2t" or "t2d")).Sum(t => t.Elements);
        long fused = recipe.Drafter == "eagle3" ? stored.Tensors.Single(t => t.Name == "fc.weight").Elements : 0; // once per accepted token, not per draft
        return (count, recipe.Drafter == "medusa" ? count / recipe.Medusa.NumHeads : count - fused);
    }

    /// <summary>A tied embedding multiplies as head; one of its own is only looked up.</summary>
    private static long Multiplications(TransformerModel model) =>
        model.Parameters.ElementCount - (model.Shape.TiedEmbeddings ? 0 : (long)model.Shape.VocabularySize * model.Shape.HiddenSize);
}
