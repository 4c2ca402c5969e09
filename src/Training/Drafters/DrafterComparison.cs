using System.Globalization;
using System.Text;

namespace Foretoken.Training.Drafters;

/// <summary>Several drafters' recipes whose results stand in one table. The key "compare" makes it one.</summary>
public sealed class ComparisonRecipe
{
    public string Name { get; set; } = "";

    /// <summary>Recipes of drafters, relative to this file.</summary>
    public List<string> Compare { get; set; } = [];
}

/// <summary>
/// Trains several drafters one after the other, on text that they share, and compares them: held-out acceptance, the cost of a draft by its multiplications beside the
/// target's, and the best speed-up that the two promise.
/// </summary>
internal static class DrafterComparison
{
    /// <summary>Trains every recipe into a folder of its own below <paramref name="outDir"/> and writes report.md. Returns 0, or 130 when cancelled.</summary>
    /// <exception cref="RecipeException">A recipe or the run directory cannot be used.</exception>
    public static int Run(string recipePath, string outDir, bool resume, TextWriter progress, CancellationToken cancellation, int? threads)
    {
        string folder = Path.GetDirectoryName(Path.GetFullPath(recipePath))!;
        ComparisonRecipe comparison = Read(recipePath);
        TrainCommand.CreateDirectory(outDir);
        var text = new StringBuilder();
        text.Append(CultureInfo.InvariantCulture, $"# {comparison.Name}\n\nHeld-out acceptance of greedy chain drafting. Cost: multiplications of a draft beside those of the target's token. ")
            .Append("The best speed-up is the largest E(K) / (1 + K·cost) over K drafts a round (one pass for all drafts of Medusa), for passes that cost the same whatever their rows.\n\n")
            .Append("| name | kind | parameters | cost | accepted | accepted per rejected | tokens per pass | best K | best speed-up |\n|---|---|---:|---:|---:|---:|---:|---:|---:|\n");
        for (int i = 0; i < comparison.Compare.Count; i++)
        {
            string path = Path.Combine(folder, comparison.Compare[i]), run = Path.Combine(outDir, string.Create(CultureInfo.InvariantCulture, $"{i + 1}-{Path.GetFileNameWithoutExtension(path)}"));
            DrafterRecipe recipe = DrafterRecipe.Read(path);
            int code = DrafterRun.Run(path, run, resume, progress, cancellation, threads, textDirectory: outDir);
            if (code != 0) return code;
            AppendRow(text, recipe, Path.GetFullPath(Path.Combine(Path.GetDirectoryName(Path.GetFullPath(path))!, recipe.Target)), run);
        }

        File.WriteAllText(Path.Combine(outDir, "report.md"), text.ToString());
        progress.WriteLine(text.ToString());
        return 0;
    }

    private static ComparisonRecipe Read(string path)
    {
        ComparisonRecipe recipe = RecipeFile.Read(path, DrafterRecipeJson.Default.ComparisonRecipe, "models/recipes");
        return recipe.Compare.Count > 0 ? recipe : throw new RecipeException($"{path}: key compare must name at least one recipe.");
    }

    private static void AppendRow(StringBuilder text, DrafterRecipe recipe, string target, string run)
    {
        AcceptanceMeter meter = AcceptanceMeter.Read(Path.Combine(run, DrafterRun.AcceptanceFile));
        AcceptanceCounts all = meter.All();
        (long parameters, long perDraft) = Parameters(recipe, Path.Combine(run, "model"));
        using TransformerModel verifier = ModelImport.Read(target);
        double cost = perDraft / (double)Multiplications(verifier);
        (int Drafts, double SpeedUp) best = Enumerable.Range(1, meter.Depth).Select(k => (k, meter.Expected(k) / (1 + k * cost))).MaxBy(pair => pair.Item2);
        text.Append(CultureInfo.InvariantCulture, $"| {recipe.Name} | {recipe.Drafter} | {parameters:N0} | {cost:F3} | {100 * all.Rate:F1} % | {all.PerRejection:F1} | {all.TokensPerPass:F2} | {best.Drafts} | {best.SpeedUp:F2} |\n");
    }

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
