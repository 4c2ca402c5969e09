using System.Globalization;
using System.Text.Json.Nodes;
using Foretoken.Formats;
using Foretoken.Training;
using Foretoken.Training.Drafters;

namespace Foretoken.Tests.Training;

/// <summary>Whole runs of drafters' recipes on a tiny random target with the shipped tokenizer.</summary>
public sealed class DrafterRunTests : IDisposable
{
    private readonly string _root = Directory.CreateTempSubdirectory("foretoken-drafter-run-").FullName;

    public DrafterRunTests()
    {
        using var target = new TransformerModel(new TransformerShape
        {
            VocabularySize = 1024, HiddenSize = 32, Layers = 3, QueryHeads = 2, KeyValueHeads = 1, HeadDim = 16, IntermediateSize = 48, MaxPositions = 256,
        });
        target.Initialize(11, new Initialization { EmbeddingDeviation = 0.4, ResidualGain = 0.5 });
        ModelExport.Write(target, Path.Combine(RecipeTests.ModelsDirectory, "reasoner"), Path.Combine(_root, "target"));
    }

    public void Dispose() => Directory.Delete(_root, recursive: true);

    [Theory]
    [InlineData("medusa", "medusa_lm_head.safetensors")]
    [InlineData("eagle3", "model.safetensors")]
    [InlineData("distill", "model.safetensors")]
    [InlineData("distill-remembered", "model.safetensors")]
    public void The_loss_falls_and_a_resumed_run_is_bit_equal(string drafter, string weights)
    {
        string recipe = Recipe(drafter), whole = Path.Combine(_root, "whole"), broken = Path.Combine(_root, "broken");
        Assert.Equal(0, Train(recipe, whole));
        Assert.Equal(TrainCommand.Interrupted, TrainCommand.Run(recipe, broken, resume: false, new CancelAtStep(8), CancelAtStep.Token, threads: 1));
        Assert.Equal(0, TrainCommand.Run(recipe, broken, resume: true, TextWriter.Null, CancellationToken.None, threads: 2));
        foreach (string file in (string[])["model/config.json", "model/" + weights, "acceptance.json"])
            Assert.Equal(File.ReadAllBytes(Path.Combine(whole, file)), File.ReadAllBytes(Path.Combine(broken, file)));
        double[] losses = [.. File.ReadLines(Path.Combine(whole, "metrics.jsonl")).Select(line => JsonNode.Parse(line)!["loss"]?.GetValue<double>() ?? -1).Where(l => l >= 0)];
        Assert.True(losses[^1] < 0.9 * losses[0], string.Create(CultureInfo.InvariantCulture, $"loss went from {losses[0]:F3} to {losses[^1]:F3}"));
        string report = File.ReadAllText(Path.Combine(whole, "report.md"));
        Assert.Contains("| before | all |", report, StringComparison.Ordinal);
        Assert.Contains("| after | all |", report, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("reasoner-medusa")]
    [InlineData("reasoner-eagle3")]
    [InlineData("reasoner-draft-distilled")]
    public void The_shipped_recipes_are_whole_and_learn_from_the_same_text(string name)
    {
        string recipes = Path.Combine(RecipeTests.ModelsDirectory, "recipes");
        DrafterRecipe recipe = DrafterRecipe.Read(Path.Combine(recipes, name + ".json"));
        Assert.Equal(name, recipe.Name);
        Assert.True(File.Exists(Path.Combine(recipes, recipe.Target, "config.json")));
        JsonNode data = JsonNode.Parse(File.ReadAllText(Path.Combine(recipes, name + ".json")))!["data"]!;
        Assert.Equal(JsonNode.Parse(File.ReadAllText(Path.Combine(recipes, "reasoner-medusa.json")))!["data"]!.ToJsonString(), data.ToJsonString());
    }

    [Fact]
    public void Text_is_generated_once_and_shared_by_runs_with_the_same_data()
    {
        string recipe = Recipe("medusa"), first = Path.Combine(_root, "first"), second = Path.Combine(_root, "second");
        Assert.Equal(0, Train(recipe, first));
        string kept = Assert.Single(Directory.GetFiles(first, "text-*.jsonl"));
        Directory.CreateDirectory(second);
        string[] lines = File.ReadAllLines(kept);
        File.WriteAllLines(Path.Combine(second, Path.GetFileName(kept)), lines.Take(20));
        var progress = new StringWriter();
        Assert.Equal(0, TrainCommand.Run(recipe, second, resume: false, progress, CancellationToken.None, threads: 2));
        Assert.Contains("text: 20 answers of the target", progress.ToString(), StringComparison.Ordinal);
    }

    [Fact]
    public void A_run_ends_when_held_out_acceptance_no_longer_rises()
    {
        JsonNode recipe = JsonNode.Parse(File.ReadAllText(Recipe("medusa")))!;
        (recipe["patience_checks"], recipe["check_steps"]) = (2, 2);
        (recipe["optimizer"]!["muon_learning_rate"], recipe["optimizer"]!["adam_learning_rate"]) = (0, 0); // nothing is learned
        string path = Path.Combine(_root, "flat.json"), run = Path.Combine(_root, "flat");
        File.WriteAllText(path, recipe.ToJsonString());
        Assert.Equal(0, Train(path, run));
        string[] checks = [.. File.ReadLines(Path.Combine(run, "metrics.jsonl")).Where(line => line.Contains("acceptance", StringComparison.Ordinal))];
        Assert.Equal(3, checks.Length); // the best and two without a gain: 6 of 16 steps
        Assert.StartsWith("{\"step\":6,", checks[^1], StringComparison.Ordinal);
    }

    [Fact]
    public void A_start_that_is_a_recipe_is_trained_first_and_goes_on_where_it_stopped()
    {
        JsonNode recipe = JsonNode.Parse(File.ReadAllText(Recipe("distill")))!;
        recipe["distill"] = new JsonObject { ["teacher_tokens"] = 4 };
        recipe["start"] = "first.json";
        string path = Path.Combine(_root, "second.json"), run = Path.Combine(_root, "run");
        File.WriteAllText(path, recipe.ToJsonString());
        JsonNode first = JsonNode.Parse(File.ReadAllText(Path.Combine(RecipeTests.ModelsDirectory, "recipes", "drafts", "draft-53k.json")))!;
        (first["tokenizer"], first["schedule"]!["points"]) = ("target", JsonNode.Parse("""[{ "tokens": 0, "factor": 1 }, { "tokens": 9000, "factor": 0.1 }]"""));
        File.WriteAllText(Path.Combine(_root, "first.json"), first.ToJsonString());
        Assert.Equal(0, Train(path, run));
        byte[] weights = File.ReadAllBytes(Path.Combine(run, "model", "model.safetensors"));
        Assert.NotEqual(File.ReadAllBytes(Path.Combine(run, "start", "model", "model.safetensors")), weights);
        var progress = new StringWriter();
        Assert.Equal(0, TrainCommand.Run(path, run, resume: true, progress, CancellationToken.None, threads: 2));
        Assert.Contains("resumed at step 16", progress.ToString(), StringComparison.Ordinal);
        Assert.Equal(weights, File.ReadAllBytes(Path.Combine(run, "model", "model.safetensors")));
        Assert.True(File.Exists(Path.Combine(run, "acceptance-before.json")));
    }

    [Fact]
    public void Own_prompts_and_logs_tune_a_drafter_further()
    {
        string prompts = Path.Combine(_root, "log.jsonl"), first = Path.Combine(_root, "first"), tuned = Path.Combine(_root, "tuned");
        File.WriteAllLines(prompts, Enumerable.Range(0, 12).Select(i => i % 3 > 0
            ? $$"""{"prompt": "What is {{i}} + 3?"}"""
            : $$"""{"prompt": "Say it {{i}} times.", "response": "It is said again and again and again.", "bucket": "log"}"""));
        Assert.Equal(0, Train(Recipe("eagle3"), first));
        JsonNode recipe = JsonNode.Parse(File.ReadAllText(Recipe("eagle3")))!;
        recipe["start"] = Path.Combine(first, "model");
        recipe["data"] = new JsonObject { ["file"] = "log.jsonl", ["max_tokens"] = 20, ["held_out"] = 0.25 };
        string path = Path.Combine(_root, "tune.json");
        File.WriteAllText(path, recipe.ToJsonString());
        Assert.Equal(0, Train(path, tuned));
        Assert.Contains("| after | log |", File.ReadAllText(Path.Combine(tuned, "report.md")), StringComparison.Ordinal);
        using var before = new SafetensorsFile(Path.Combine(first, "model", "model.safetensors"));
        using var after = new SafetensorsFile(Path.Combine(tuned, "model", "model.safetensors"));
        Assert.Equal(before.Tensors.Select(t => (t.Name, t.ShapeText)), after.Tensors.Select(t => (t.Name, t.ShapeText)));
    }

    [Fact]
    public void The_draft_vocabulary_and_its_maps_are_those_of_the_published_layout()
    {
        string directory = Path.Combine(_root, "eagle");
        using var model = new EagleModel(Path.Combine(_root, "target"), new EagleSettings { Layers = [0, 1, 3] }, [2, 5, 9, 1000], seed: 1);
        model.Export(directory);
        string file = Path.Combine(directory, "model.safetensors");
        Assert.Equal([2, 5, 9, 1000], DrafterExport.ReadVocabulary(file, 1024));
        using var stored = new SafetensorsFile(file);
        string[] names = [.. stored.Tensors.Select(t => $"{t.Name} {t.ShapeText}")];
        Assert.Contains("d2t [4]", names);
        Assert.Contains("t2d [1024]", names);
        Assert.Contains("fc.weight [32, 96]", names);
        Assert.Contains("midlayer.self_attn.q_proj.weight [32, 64]", names);
        Assert.Contains("midlayer.hidden_norm.weight [32]", names);
        Assert.Contains("lm_head.weight [4, 32]", names);
        JsonNode config = JsonNode.Parse(File.ReadAllText(Path.Combine(directory, "config.json")))!;
        Assert.Equal(4, config["draft_vocab_size"]!.GetValue<int>());
        Assert.Equal("[0,1,3]", config["eagle_aux_hidden_state_layer_ids"]!.ToJsonString());
    }

    [Fact]
    public void Medusa_2_writes_a_new_model_with_its_heads()
    {
        JsonNode recipe = JsonNode.Parse(File.ReadAllText(Recipe("medusa")))!;
        recipe["medusa"] = new JsonObject { ["num_heads"] = 2, ["joint"] = true, ["heads_only_steps"] = 1 };
        string path = Path.Combine(_root, "joint.json"), run = Path.Combine(_root, "joint");
        File.WriteAllText(path, recipe.ToJsonString());
        Assert.Equal(0, Train(path, run));
        string model = Path.Combine(run, "model");
        using TransformerModel before = ModelImport.Read(Path.Combine(_root, "target")), after = ModelImport.Read(model);
        Assert.Equal(before.Parameters.Parameters.Select(p => p.Name), after.Parameters.Parameters.Select(p => p.Name));
        Assert.NotEqual(before.Values.Span.ToArray(), after.Values.Span.ToArray());
        Assert.True(File.Exists(Path.Combine(model, "medusa", "medusa_lm_head.safetensors")));
    }

    [Fact]
    public void Sizes_are_compared_in_one_table()
    {
        JsonNode wide = JsonNode.Parse(File.ReadAllText(Recipe("distill")))!;
        wide["name"] = "wide";
        wide["distill"]!["model"]!["hidden_size"] = 24;
        File.WriteAllText(Path.Combine(_root, "wide.json"), wide.ToJsonString());
        string path = Path.Combine(_root, "sizes.json"), run = Path.Combine(_root, "sizes");
        File.WriteAllText(path, """{ "name": "sizes", "compare": ["distill.json", "wide.json", "medusa.json"], "measure": { "questions": 1, "max_tokens": 8, "drafts": [2] } }""");
        Recipe("medusa");
        Assert.Equal(0, Train(path, run));
        string[] rows = File.ReadAllLines(Path.Combine(run, "report.md"));
        Assert.Single(rows, row => row.StartsWith("| tiny | distill | 18,", StringComparison.Ordinal));
        Assert.Single(rows, row => row.StartsWith("| wide | distill | 27,", StringComparison.Ordinal));
        Assert.Single(rows, row => row.StartsWith("| tiny | medusa | 67,", StringComparison.Ordinal));
        Assert.Single(Directory.GetFiles(run, "text-*.jsonl"));
        Assert.Equal(2, rows.Count(row => row.StartsWith("| wide, ", StringComparison.Ordinal))); // acceptance by depth, before and after
        Assert.Equal(8, Assert.Single(rows, row => row.StartsWith("| wide | 2 |", StringComparison.Ordinal)).Split('|').Length - 1); // measured
        Assert.Contains("<td>wide, before</td>", File.ReadAllText(Path.Combine(run, "report.html")), StringComparison.Ordinal);
        File.Delete(Path.Combine(run, "report.md"));
        Assert.Equal(0, TrainCommand.Run(path, run, resume: true, TextWriter.Null, CancellationToken.None, threads: 2));
        Assert.Equal(rows.Take(6), File.ReadLines(Path.Combine(run, "report.md")).Take(6));
    }

    [Theory]
    [InlineData("\"drafter\": \"medusa\"", "\"drafter\": \"hydra\"", "key drafter")]
    [InlineData("\"batch_tokens\": 512", "\"batch_tokens\": 0", "key batch_tokens")]
    [InlineData("\"bucket\": \"json\"", "\"bucket\": \"chess\"", "no bucket")]
    [InlineData("\"seed\": 3", "\"sead\": 3", "sead")]
    public void A_wrong_recipe_is_refused_with_the_key(string right, string wrong, string expected)
    {
        string path = Path.Combine(_root, "wrong.json"), text = File.ReadAllText(Recipe("medusa"));
        Assert.Contains(right, text, StringComparison.Ordinal);
        File.WriteAllText(path, text.Replace(right, wrong, StringComparison.Ordinal));
        string message = Assert.Throws<RecipeException>(() => Train(path, Path.Combine(_root, "out"))).Message;
        Assert.Contains(expected, message, StringComparison.Ordinal);
        Assert.Contains("wrong.json", message, StringComparison.Ordinal);
    }

    private static int Train(string recipe, string output) => TrainCommand.Run(recipe, output, resume: false, TextWriter.Null, CancellationToken.None, threads: 2);

    private string Recipe(string drafter)
    {
        string own = drafter switch
        {
            "medusa" => """ "medusa": { "num_heads": 2 }, """,
            "eagle3" => """ "eagle": { "steps": 3, "layers": [0, 2, 3], "draft_vocab_size": 200 }, """,
            "distill-remembered" => """ "distill": { "teacher_tokens": 8, "model": { "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 1, "num_key_value_heads": 1, "head_dim": 16, "intermediate_size": 24, "vocab_size": 1024, "max_position_embeddings": 256 } }, """,
            _ => """ "distill": { "model": { "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 1, "num_key_value_heads": 1, "head_dim": 16, "intermediate_size": 24, "vocab_size": 1024, "max_position_embeddings": 256 } }, """,
        };
        string path = Path.Combine(_root, drafter + ".json");
        File.WriteAllText(path, $$"""
            {
              "drafter": "{{drafter.Split('-')[0]}}",
              "name": "tiny",
              "seed": 3,
              "target": "target",
              {{own}}
              "data": { "examples": 40, "levels": [0, 0], "mixture": [{ "bucket": "json", "weight": 1 }, { "bucket": "mapping", "weight": 1 }], "max_tokens": 20, "held_out": 0.1 },
              "optimizer": { "muon_learning_rate": 0.02, "adam_learning_rate": 0.01, "muon_weight_decay": 0.0 },
              "schedule": { "kind": "cosine", "warmup_steps": 2, "total_steps": 16, "final_factor": 0.1 },
              "batch_tokens": 512,
              "parallel": { "shards": 3, "chunk_rows": 128 },
              "check_steps": 4,
              "log_every_steps": 4
            }
            """);
        return path;
    }
}
