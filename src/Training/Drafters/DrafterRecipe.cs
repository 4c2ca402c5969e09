using System.Text.Json;
using System.Text.Json.Serialization;

namespace Foretoken.Training.Drafters;

/// <summary>Medusa's heads.</summary>
public sealed class MedusaSettings
{
    public int NumHeads { get; set; } = 4;

    /// <summary>Residual blocks before each head's output matrix.</summary>
    public int NumLayers { get; set; } = 1;

    /// <summary>Head k's loss counts decayᵏ.</summary>
    public double Decay { get; set; } = 0.8;

    /// <summary>Medusa-2: the target learns along and is written as a new model.</summary>
    public bool Joint { get; set; }

    /// <summary>Joint: weight of the heads' losses beside the target's own.</summary>
    public double HeadsWeight { get; set; } = 0.2;

    /// <summary>Joint: steps at the beginning in which only the heads learn.</summary>
    public int HeadsOnlySteps { get; set; }

    /// <summary>Joint: factor on the target's learning rates beside the heads'.</summary>
    public double TargetRate { get; set; } = 0.25;
}

/// <summary>An EAGLE-3 head.</summary>
public sealed class EagleSettings
{
    /// <summary>Steps of the training-time test: drafts of a chain that are trained and measured.</summary>
    public int Steps { get; set; } = 7;

    /// <summary>Step s's loss counts decayˢ.</summary>
    public double Decay { get; set; } = 0.8;

    /// <summary>Three taps: the hidden state entering these layers (the number of layers: after the last). Empty: 2, half, and three before the end.</summary>
    public List<int> Layers { get; set; } = [];

    /// <summary>0: the target's.</summary>
    public int IntermediateSize { get; set; }

    /// <summary>Most frequent tokens of the text that can be drafted; 0: all.</summary>
    public int DraftVocabSize { get; set; }
}

/// <summary>A small model as drafter.</summary>
public sealed class DistillSettings
{
    /// <summary>Sizes of a new draft model; null with <see cref="DrafterRecipe.Start"/>.</summary>
    public RecipeModel? Model { get; set; }

    /// <summary>Share of the text's own token in the distribution that is learned.</summary>
    public double HardWeight { get; set; }

    /// <summary>
    /// Likeliest tokens of the target's distributions that teach; they are kept in memory, so that the target runs in the first epoch only. 0: all tokens, and the target
    /// runs every time.
    /// </summary>
    public int TeacherTokens { get; set; }

    /// <summary>Drafts of a round when acceptance is measured.</summary>
    public int MeasuredDepth { get; set; } = 8;
}

/// <summary>The text that drafters learn from: the target's own greedy answers.</summary>
public sealed class DrafterData
{
    /// <summary>Names the prompts that are drawn.</summary>
    public ulong Seed { get; set; }

    /// <summary>Buckets of the training tasks that give prompts.</summary>
    public List<RecipeBucket> Mixture { get; set; } = [];

    /// <summary>Lowest and highest level of the tasks' problems.</summary>
    public List<int> Levels { get; set; } = [0, 9];

    /// <summary>Prompts from the tasks.</summary>
    public int Examples { get; set; }

    /// <summary>A JSON Lines file of a user's own prompts or logs, relative to the recipe; see <see cref="PromptFile"/>.</summary>
    public string? File { get; set; }

    /// <summary>Most tokens of an answer; 0: the context.</summary>
    public int MaxTokens { get; set; }

    /// <summary>Share of the examples that only measure acceptance.</summary>
    public double HeldOut { get; set; } = 0.04;
}

/// <summary>A committed description of a drafter's training, read strictly. The key "drafter" makes it one.</summary>
public sealed class DrafterRecipe
{
    /// <summary>"medusa", "eagle3" or "distill".</summary>
    public string Drafter { get; set; } = "";
    public string Name { get; set; } = "";
    public ulong Seed { get; set; }

    /// <summary>The model that will verify, relative to the recipe.</summary>
    public string Target { get; set; } = "";

    /// <summary>A drafter to go on from, relative to the recipe: a directory, or a recipe (.json) that is trained first; null: new weights.</summary>
    public string? Start { get; set; }
    public MedusaSettings Medusa { get; set; } = new();
    public EagleSettings Eagle { get; set; } = new();
    public DistillSettings Distill { get; set; } = new();
    public DrafterData Data { get; set; } = new();
    public OptimizerSettings Optimizer { get; set; } = new();
    public RecipeSchedule Schedule { get; set; } = new() { Kind = "cosine" };
    public int BatchTokens { get; set; } = 8192;
    public RecipeParallel Parallel { get; set; } = new();

    /// <summary>Steps between two measurements of held-out acceptance; the best weights are kept.</summary>
    public int CheckSteps { get; set; } = 100;

    /// <summary>Measurements without a gain after which the run ends; 0: never early.</summary>
    public int PatienceChecks { get; set; }
    public double CheckpointMinutes { get; set; } = 3;
    public int LogEverySteps { get; set; } = 20;

    /// <summary>Reads and checks a recipe file.</summary>
    /// <exception cref="RecipeException">The file is missing, not JSON, has an unknown key or an impossible value.</exception>
    public static DrafterRecipe Read(string path)
    {
        DrafterRecipe recipe = RecipeFile.Read(path, DrafterRecipeJson.Default.DrafterRecipe, "models/recipes");

        recipe.Check(path);
        return recipe;
    }

    private void Check(string path)
    {
        Require(Drafter is "medusa" or "eagle3" or "distill", "drafter", "must be \"medusa\", \"eagle3\" or \"distill\"");
        Require(Target.Length > 0, "target", "must name the model that will verify");
        Require(Medusa.NumHeads is >= 1 and <= 16 && Medusa.NumLayers is >= 1 and <= 8, "medusa", "must have 1 to 16 heads of 1 to 8 layers");
        Require(Medusa.Decay is > 0 and <= 1 && Eagle.Decay is > 0 and <= 1, "decay", "must be above 0 and at most 1");
        Require(Medusa.HeadsWeight > 0 && Medusa.TargetRate is >= 0 and <= 1 && Medusa.HeadsOnlySteps >= 0, "medusa", "must have a positive heads_weight, a target_rate of 0 to 1 and heads_only_steps from 0");
        Require(Eagle.Steps is >= 1 and <= 16, "eagle.steps", "must be 1 to 16");
        Require(Eagle.Layers.Count is 0 or 3, "eagle.layers", "must name three layers, or none");
        Require(Eagle is { IntermediateSize: >= 0, DraftVocabSize: >= 0 }, "eagle", "must not have negative sizes");
        Require(Distill.HardWeight is >= 0 and <= 1, "distill.hard_weight", "must be between 0 and 1");
        Require(Distill.TeacherTokens is >= 0 and <= 1024, "distill.teacher_tokens", "must be 0 to 1024");
        Require(Distill.MeasuredDepth is >= 1 and <= 64, "distill.measured_depth", "must be 1 to 64");
        Require(Drafter != "distill" || Start is not null != Distill.Model is not null, "distill.model", "must be given unless start is, and not both");
        Require(Data.File is not null || (Data.Examples > 0 && Data.Mixture.Count > 0), "data", "needs a file, or examples and a mixture");
        Require(Data.Mixture.All(m => m is { Weight: > 0 }), "data.mixture", "must name buckets with positive weights");
        Require(Data.Levels is [>= 0, <= 9] && Data.Levels[0] <= Data.Levels[1], "data.levels", "must be two levels of 0 to 9, rising");
        Require(Data is { Examples: >= 0 and <= 10_000_000, MaxTokens: >= 0, HeldOut: > 0 and < 1 }, "data", "must have counts that are not negative and a held_out between 0 and 1");
        Require(BatchTokens is > 0 and <= 1 << 24, "batch_tokens", "must be 1 to 16777216");
        Require(Parallel.Shards is > 0 and <= 64 && Parallel.ChunkRows >= 0, "parallel", "must have 1 to 64 shards and a chunk_rows that is not negative");
        Require(CheckSteps > 0 && PatienceChecks >= 0, "check_steps", "must be positive, and patience_checks not negative");
        Require(LogEverySteps > 0 && CheckpointMinutes >= 0, "log_every_steps", "must be positive, and checkpoint_minutes not negative");
        Require(Schedule is { Kind: "cosine", TotalSteps: > 0, WarmupSteps: >= 0, FinalFactor: >= 0 and <= 1 }, "schedule", "must be a cosine with total_steps, warmup_steps and a final_factor of 0 to 1");
        OptimizerSettings o = Optimizer;
        Require(o.MuonLearningRate is >= 0 and <= 10 && o.AdamLearningRate is >= 0 and <= 10 && o.AdamEpsilon > 0 && o.ClipNorm >= 0 && o.MuonIterations is >= 1 and <= 100,
            "optimizer", "must have learning rates of 0 to 10, a positive adam_epsilon, a clip_norm from 0 and 1 to 100 muon_iterations");

        void Require(bool holds, string key, string rule)
        {
            if (!holds) throw new RecipeException($"{path}: key {key} {rule}.");
        }
    }
}

[JsonSourceGenerationOptions(
    PropertyNamingPolicy = JsonKnownNamingPolicy.SnakeCaseLower, UnmappedMemberHandling = JsonUnmappedMemberHandling.Disallow, WriteIndented = true,
    ReadCommentHandling = JsonCommentHandling.Skip, AllowTrailingCommas = true, RespectNullableAnnotations = true)]
[JsonSerializable(typeof(DrafterRecipe))]
[JsonSerializable(typeof(ComparisonRecipe))]
[JsonSerializable(typeof(AcceptanceRecord))]
internal sealed partial class DrafterRecipeJson : JsonSerializerContext;
