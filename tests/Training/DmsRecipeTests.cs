using System.Globalization;
using System.Text.Json.Nodes;
using Foretoken.Training;

namespace Foretoken.Tests.Training;

public class DmsRecipeTests
{
    private static string Shipped => Path.Combine(RecipeTests.ModelsDirectory, "recipes", "reasoner-dms.json");

    [Fact]
    public void Committed_recipes_are_read_strictly()
    {
        Assert.Equal((8.5, "reads"), (DmsRecipe.Read(Shipped).TargetCr, DmsRecipe.Read(Shipped).Budget));
        string folder = Path.Combine(RecipeTests.ModelsDirectory, "recipes", "dms");
        Assert.Equal(new EvictionRule(1, 16), DmsRecipe.Read(Path.Combine(folder, "retrofit.json")).Settings(16).Rule);
        Assert.True(TrainingRecipe.Read(Path.Combine(folder, "dms-base.json")).MaxExampleTokens > 0);
        ExperimentRecipe experiment = ExperimentRecipe.Read(Path.Combine(folder, "experiment.json"));
        Assert.Equal((1ul, 8.0), (experiment.Runs[0].Seed, experiment.Runs[0].TargetCr));
        Assert.Equal("dms", RecipeFile.KindOf(Shipped));
        Assert.Null(RecipeFile.KindOf(Path.Combine(folder, "dms-base.json")));
    }

    [Theory]
    [InlineData("widow", "widow", "3")]
    [InlineData("decision", "decision", "\"cell\"")]
    [InlineData("eviction", "eviction", "\"never\"")]
    [InlineData("divergence", "divergence", "\"both\"")]
    [InlineData("train_base", "decision", "\"neuron\"")]
    [InlineData("window", "window", "0")]
    [InlineData("alpha_scale", "tau", "0")]
    [InlineData("kl_weight", "kl_weight", "0")]
    [InlineData("target_cr", "target_cr", "0.5")]
    [InlineData("budget", "budget", "\"bytes\"")]
    [InlineData("schedule", "schedule", "{\"cr_per_step\": 0}")]
    [InlineData("schedule.ramp_steps", "schedule", "{\"ramp_steps\": 5}")]
    [InlineData("mixture", "mixture", "[]")]
    [InlineData("held_out_per_bucket", "held_out_per_bucket", "0")]
    [InlineData("optimizer", "optimizer", "{\"adam_learning_rate\": -1}")]
    public void Values_out_of_range_are_refused_naming_the_key(string named, string key, string value)
    {
        string path = Path.GetTempFileName();
        try
        {
            JsonNode recipe = JsonNode.Parse(File.ReadAllText(Shipped))!;
            (recipe["train_base"], recipe["loss_weight"]) = (false, 0);
            recipe[key] = JsonNode.Parse(value);
            File.WriteAllText(path, recipe.ToJsonString());
            Assert.StartsWith($"{path}: key {named}", Assert.Throws<RecipeException>(() => DmsRecipe.Read(path)).Message, StringComparison.Ordinal);
        }
        finally
        {
            File.Delete(path);
        }
    }

    [Fact]
    public void An_experiment_whose_scores_are_known_runs_nothing_and_writes_its_table()
    {
        string root = Directory.CreateTempSubdirectory("foretoken-dms-").FullName;
        try
        {
            const string Score = "\"group\": \"needle\", \"examples\": 100, \"token_accuracy\": 1, \"divergence\": 0.01, \"compression\": 8";
            string path = Path.Combine(root, "experiment.json"), output = Path.Combine(root, "run");
            File.WriteAllText(path, """
                {"kind": "dms-experiment", "retrofit": "missing.json", "results": "results.json", "compressions": [], "runs": [{"name": "delayed", "target_cr": 8, "seed": 1}, {"name": "more", "eviction": "dense"}]}
                """);
            string all = $"[{{\"variant\": \"dense\", \"target_cr\": 1, \"seed\": 0, \"exact_count\": 99, {Score}}}, {{\"variant\": \"delayed\", \"target_cr\": 8, \"seed\": 1, \"exact_count\": 80, {Score}}}";
            File.WriteAllText(Path.Combine(root, "results.json"), $"{all}]");
            // The dense run is not known, and its retrofit is missing.
            Assert.Contains("missing.json", Assert.Throws<RecipeException>(() => TrainCommand.Run(path, output, resume: false, TextWriter.Null, CancellationToken.None)).Message, StringComparison.Ordinal);
            File.WriteAllText(Path.Combine(root, "results.json"), $"{all}, {{\"variant\": \"more\", \"target_cr\": 1, \"seed\": 1, \"exact_count\": 98, {Score}}}]");
            Assert.Equal(0, TrainCommand.Run(path, output, resume: true, TextWriter.Null, CancellationToken.None));
            Assert.Contains("| delayed | 8 | 1 | 80.0 (71.1–86.7), 8.0× | 0.0100 |", File.ReadAllText(Path.Combine(output, "table.md")), StringComparison.Ordinal);
            Assert.Contains("80.0 % (71.1 to 86.7), 1 seed", File.ReadAllText(Path.Combine(output, "table.html")), StringComparison.Ordinal);
            // What it wrote may take the place of what was known.
            File.Copy(Path.Combine(output, "scores.json"), Path.Combine(root, "results.json"), overwrite: true);
            Assert.Equal(0, TrainCommand.Run(path, output, resume: true, TextWriter.Null, CancellationToken.None));
        }
        finally
        {
            Directory.Delete(root, recursive: true);
        }
    }

    [Fact]
    public void Intervals_are_Wilsons_for_one_seed_and_Students_for_several()
    {
        (double mean, double low, double high) = ExperimentTable.Wilson(90, 100);
        Assert.Equal((0.9, 0.8256, 0.9448), (mean, Math.Round(low, 4), Math.Round(high, 4)));
        ExperimentScore one = new("v", 8, 1, "g", 100, 80, 1, 0.01, 8);
        Assert.Equal("80.0 (71.1–86.7), 8.0×", ExperimentTable.Cell([one]));
        Assert.Equal("82.0 (77.0–87.0), 8.0×", ExperimentTable.Cell([one, one with { Seed = 2, ExactCount = 82 }, one with { Seed = 3, ExactCount = 84 }]));
        string table = ExperimentTable.Write([one, one with { Group = "h", ExactCount = 0 }]);
        Assert.Contains("| v | 8 | 1 | 80.0 (71.1–86.7), 8.0× | 0.0 (0.0–3.7), 8.0× | 0.0100 |", table, StringComparison.Ordinal);
    }

    /// <summary>A short form of the shipped retrofit: the same model, data and optimizers, a few small steps.</summary>
    [Fact, Trait("Category", "Slow")]
    public void The_shipped_retrofit_lowers_its_budget_loss_resumes_and_writes_the_published_layout()
    {
        string root = Directory.CreateTempSubdirectory("foretoken-dms-").FullName;
        try
        {
            JsonNode recipe = JsonNode.Parse(File.ReadAllText(Shipped))!;
            recipe["model"] = Path.Combine(RecipeTests.ModelsDirectory, "reasoner");
            recipe["train_base"] = false;
            (recipe["batch_tokens"], recipe["log_every_steps"], recipe["held_out_per_bucket"]) = (1500, 1, 1);
            recipe["schedule"] = JsonNode.Parse("{\"steps\": 30, \"cr_per_step\": 3, \"max_cr\": 4, \"settle_steps\": 0, \"warmup_steps\": 1, \"measure_every_steps\": 30}");
            string path = Path.Combine(root, "recipe.json"), output = Path.Combine(root, "run");
            File.WriteAllText(path, recipe.ToJsonString());
            Assert.Equal(0, TrainCommand.Run(path, output, resume: false, TextWriter.Null, CancellationToken.None));

            double[] budgets = [.. File.ReadLines(Path.Combine(output, "metrics.jsonl")).Select(line => JsonNode.Parse(line)!["budget_loss"]!.GetValue<double>())];
            double first = budgets[1]; // the price of reads follows from the step before
            Assert.True(first > 0.5 && budgets.TakeLast(5).Average() < 0.5 * first, string.Create(CultureInfo.InvariantCulture, $"budget loss went from {first:F3} to {budgets[^1]:F3}"));
            Assert.Throws<RecipeException>(() => TrainCommand.Run(path, output, resume: false, TextWriter.Null, CancellationToken.None));
            using var file = new Foretoken.Formats.SafetensorsFile(Path.Combine(output, "model", "adapter_model.safetensors"));
            Assert.Equal(16, file.Tensors.Count);
            Assert.Equal([2, 192], file.Tensors.Single(t => t.Name == "model.layers.3.self_attn.dms_proj_alpha.weight").Shape);
            Assert.Equal([192], file.Tensors.Single(t => t.Name == "model.layers.3.self_attn.dms_proj_alpha_norm.weight").Shape);
            JsonNode config = JsonNode.Parse(File.ReadAllText(Path.Combine(output, "model", "adapter_config.json")))!;
            Assert.Equal((8, true), (config["dms_window_size"]!.GetValue<int>(), config["dms_separate_alpha"]!.GetValue<bool>()));
        }
        finally
        {
            Directory.Delete(root, recursive: true);
        }
    }
}
