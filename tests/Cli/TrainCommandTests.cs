using System.Text.Json.Nodes;
using Foretoken.Cli;
using Foretoken.Tests.Fixtures;
using Foretoken.Training;

namespace Foretoken.Tests.Cli;

public sealed class TrainCommandTests : IDisposable
{
    private readonly TempDirectory _directory = new();

    public void Dispose() => _directory.Dispose();

    [Fact]
    public void Trained_model_is_named_on_stdout_and_answers()
    {
        string recipe = Recipe(steps: 3), output = _directory.File("run");
        CliResult trained = Run("train", recipe, "--out", output, "--threads", "2");
        Assert.True(trained.Code == ExitCode.Success, trained.Error);
        string model = Path.Combine(output, "model");
        Assert.Equal(model + "\n", trained.Output);
        Assert.Contains("loss", trained.Error, StringComparison.Ordinal);
        Assert.Equal(ExitCode.Success, Run("run", "--model", model, "--max-tokens", "3", "What is 1 + 1?").Code);

        Run("train", recipe, "--out", output).FailsWith(ExitCode.RunError, output, "--resume");
        Assert.Equal(ExitCode.Success, Run("train", recipe, "--out", output, "--resume").Code);
    }

    [Fact]
    public void Interrupted_training_leaves_a_checkpoint_and_no_result()
    {
        string output = _directory.File("run");
        var host = new CliTestHost { Interrupt = new CancellationToken(canceled: true) };
        CliResult result = host.Run("train", Recipe(steps: 3), "--out", output);
        Assert.Equal((ExitCode.Interrupted, ""), (result.Code, result.Output));
        Assert.Contains("--resume", result.Error, StringComparison.Ordinal);
        Assert.Equal(ExitCode.Success, Run("train", Recipe(steps: 3), "--out", output, "--resume").Code);
    }

    [Fact]
    public void Bad_recipes_and_outputs_are_refused()
    {
        Run("train").FailsWith(ExitCode.Usage, "RECIPE is missing");
        Run("train", _directory.File("none.json")).FailsWith(ExitCode.RunError, "none.json");
        string broken = _directory.File("broken.json");
        File.WriteAllText(broken, "{\"model\": {\"hidden_sice\": 1}}");
        Run("train", broken, "--out", _directory.File("run")).FailsWith(ExitCode.RunError, broken, "hidden_sice");
        Run("train", Recipe(steps: 1), "--out", broken).FailsWith(ExitCode.RunError, broken, "--out names a file");
        Run("train", Recipe(steps: 1), "--out", broken + "/below").FailsWith(ExitCode.RunError, "broken.json");
    }

    [Fact]
    public void Two_runs_do_not_write_to_one_directory()
    {
        string output = _directory.File("run"), recipe = Recipe(steps: 1);
        using (IDisposable other = RunDirectory.Enter(output))
        {
            Run("train", recipe, "--out", output).FailsWith(ExitCode.RunError, output + ": another run writes to this directory", "another --out");
            Run("train", recipe, "--out", output, "--resume").FailsWith(ExitCode.RunError, output + ": another run writes to this directory");
        }

        Assert.Empty(Directory.GetFileSystemEntries(output));
        Assert.Equal(ExitCode.Success, Run("train", recipe, "--out", output).Code);
        Assert.False(File.Exists(Path.Combine(output, RunDirectory.LockFile)));
    }

    [Fact]
    public void A_checkpoint_that_cannot_be_written_leaves_nothing_and_names_the_way_on()
    {
        string output = _directory.File("run"), recipe = Recipe(steps: 2), blocked = Path.Combine(output, "checkpoint-2");
        Directory.CreateDirectory(output);
        File.WriteAllText(blocked, "a file where the checkpoint goes");
        CliResult result = Run("train", recipe, "--out", output);
        Assert.Equal((ExitCode.RunError, ""), (result.Code, result.Output));
        Assert.Contains($"error: {blocked}: the checkpoint cannot be written (", result.Error, StringComparison.Ordinal);
        Assert.Contains("go on from the one before with --resume", result.Error, StringComparison.Ordinal);
        Assert.Empty(Directory.GetDirectories(output));
        File.Delete(blocked);
        Assert.Equal(ExitCode.Success, Run("train", recipe, "--out", output, "--resume").Code);
    }

    [Fact]
    public void A_checkpoint_of_another_recipe_is_not_gone_on_with_and_a_longer_run_is()
    {
        string output = _directory.File("run"), recipe = Recipe(steps: 1);
        Assert.Equal(ExitCode.Success, Run("train", recipe, "--out", output).Code);
        string other = File.ReadAllText(recipe).Replace("\"seed\":20260", "\"seed\":5", StringComparison.Ordinal);
        Assert.NotEqual(other, File.ReadAllText(recipe));
        File.WriteAllText(recipe, other);
        Run("train", recipe, "--out", output, "--resume").FailsWith(ExitCode.RunError, "of the recipe reasoner, seed 20260, and not of reasoner, seed 5", "another --out");
        Assert.Contains("resumed at step 1", Run("train", Recipe(steps: 2), "--out", output, "--resume").Error, StringComparison.Ordinal);
    }

    [Fact]
    public void Resume_without_a_checkpoint_says_that_the_run_starts_anew()
    {
        string output = _directory.File("run");
        Assert.Contains($"no checkpoint in {output}", Run("train", Recipe(steps: 1), "--out", output, "--resume").Error, StringComparison.Ordinal);
        Assert.Contains("resumed at step 1", Run("train", Recipe(steps: 1), "--out", output, "--resume").Error, StringComparison.Ordinal);
    }

    private static CliResult Run(params string[] args) => new CliTestHost().Run(args);

    /// <summary>The shipped recipe, made small: one layer of 32, a few steps.</summary>
    private string Recipe(int steps)
    {
        JsonNode recipe = JsonNode.Parse(File.ReadAllText(Path.Combine(RepoFiles.Root, "models/recipes/reasoner.json")))!;
        recipe["tokenizer"] = Path.Combine(RepoFiles.Root, "models/reasoner");
        foreach ((string key, int value) in new[] { ("hidden_size", 32), ("num_hidden_layers", 1), ("num_attention_heads", 2), ("num_key_value_heads", 1), ("head_dim", 16), ("intermediate_size", 32) })
            recipe["model"]![key] = value;
        recipe["schedule"] = new JsonObject { ["kind"] = "cosine", ["warmup_steps"] = 1, ["total_steps"] = steps };
        recipe["log_every_steps"] = 1;
        string path = _directory.File("recipe.json");
        File.WriteAllText(path, recipe.ToJsonString());
        return path;
    }
}
