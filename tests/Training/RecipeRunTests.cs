using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;
using Foretoken.Training;

namespace Foretoken.Tests.Training;

/// <summary>A short form of the shipped recipes: the same model, data and optimizers, the first hundred thousand tokens.</summary>
public class RecipeRunTests
{
    [Theory, Trait("Category", "Slow")]
    [InlineData("reasoner")]
    [InlineData("reasoner-draft")]
    public void The_shipped_recipe_lowers_the_loss_and_resumes_bit_equal(string name)
    {
        string root = Directory.CreateTempSubdirectory("foretoken-recipe-").FullName;
        try
        {
            string recipe = Shorten(name, root, tokens: 100_000);
            string whole = Path.Combine(root, "whole"), broken = Path.Combine(root, "broken");
            Assert.Equal(0, TrainCommand.Run(recipe, whole, resume: false, TextWriter.Null, CancellationToken.None));
            Assert.Equal(TrainCommand.Interrupted, TrainCommand.Run(recipe, broken, resume: false, new CancelAtStep(20), CancelAtStep.Token, threads: 1));
            Assert.Equal(0, TrainCommand.Run(recipe, broken, resume: true, TextWriter.Null, CancellationToken.None));

            double[] losses = [.. File.ReadLines(Path.Combine(whole, "metrics.jsonl")).Select(line => JsonNode.Parse(line)!["loss"]!.GetValue<double>())];
            Assert.True(losses[^1] < 0.7 * losses[0], string.Create(CultureInfo.InvariantCulture, $"loss went from {losses[0]:F3} to {losses[^1]:F3}"));
            foreach (string file in (string[])["model/model.safetensors", "model/config.json"])
                Assert.Equal(File.ReadAllBytes(Path.Combine(whole, file)), File.ReadAllBytes(Path.Combine(broken, file)));
        }
        finally
        {
            Directory.Delete(root, recursive: true);
        }
    }

    private static string Shorten(string name, string directory, long tokens)
    {
        string models = RecipeTests.ModelsDirectory;
        JsonNode recipe = JsonNode.Parse(File.ReadAllText(Path.Combine(models, "recipes", name + ".json")))!;
        recipe["tokenizer"] = Path.Combine(models, "reasoner");
        recipe["log_every_steps"] = 5;
        recipe["schedule"]!["points"] = new JsonArray(
            new JsonObject { ["tokens"] = 0, ["factor"] = 1.0 }, new JsonObject { ["tokens"] = tokens, ["factor"] = 0.1 });
        string path = Path.Combine(directory, "recipe.json");
        File.WriteAllText(path, recipe.ToJsonString(new JsonSerializerOptions { WriteIndented = true }));
        return path;
    }
}
