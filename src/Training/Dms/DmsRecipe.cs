using System.Text.Json;
using System.Text.Json.Serialization;

namespace Foretoken.Training;

/// <summary>How the nominal compression grows and when a retrofit ends.</summary>
public sealed class DmsSchedule
{
    /// <summary>Most steps of the run, the settling ones not counted.</summary>
    public int Steps { get; set; } = 400;

    /// <summary>
    /// Not 0: the run has exactly so many steps, the last <see cref="SettleSteps"/> of which settle; the nominal compression grows until the asked one was
    /// measured and stays then. For comparisons at equal steps.
    /// </summary>
    public int TotalSteps { get; set; }

    /// <summary>Steps in which a borrowed neuron is phased out, before anything is evicted.</summary>
    public int RampSteps { get; set; }

    /// <summary>Growth of the nominal compression per step; the budget asks for an evicted share of 1 − 1/CR.</summary>
    public double CrPerStep { get; set; } = 0.05;

    /// <summary>Largest nominal compression. The measured one is smaller, because tokens inside the window live whatever is decided.</summary>
    public double MaxCr { get; set; } = 100;

    /// <summary>Steps after the asked compression was measured, in which the learning rate falls to <see cref="FinalFactor"/> and the nominal compression stays.</summary>
    public int SettleSteps { get; set; }

    /// <summary>Learning rate at the end of the settling steps, relative to before.</summary>
    public double FinalFactor { get; set; } = 0.05;

    /// <summary>Steps in which the learning rate rises to its plateau.</summary>
    public int WarmupSteps { get; set; } = 10;

    /// <summary>The compression is measured on held-out text every so many steps.</summary>
    public int MeasureEverySteps { get; set; } = 20;
}

/// <summary>A committed description of a retrofit with Dynamic Memory Sparsification, read strictly: an unknown key is an error.</summary>
public sealed class DmsRecipe
{
    /// <summary>What this kind of recipe says under "kind".</summary>
    public const string KindName = "dms";

    public string Kind { get; set; } = "";
    public string Name { get; set; } = "";
    public ulong Seed { get; set; }

    /// <summary>The model to retrofit, which is also the teacher: a directory or file, relative to the recipe.</summary>
    public string Model { get; set; } = "";

    /// <summary>"adapter" or "neuron"; without meaning where nobody decides.</summary>
    public string Decision { get; set; } = "adapter";

    /// <summary>"delayed", or for comparison "immediate_past", "immediate_self", "window" (everything outside it is evicted) and "dense".</summary>
    public string Eviction { get; set; } = "delayed";

    /// <summary>Window in tokens; 0 with the eviction "window": the one that brings <see cref="TargetCr"/> on the held-out text.</summary>
    public int Window { get; set; } = 16;
    public float AlphaScale { get; set; } = 100f;
    public float InitialAlphaOffset { get; set; } = 5f;
    public float Tau { get; set; } = 0.1f;

    /// <summary>All weights are trained, not only the decisions.</summary>
    public bool TrainBase { get; set; }

    /// <summary>"student_teacher" for KL(student ‖ teacher), "teacher_student" for the forward KL.</summary>
    public string Divergence { get; set; } = "teacher_student";
    public float KlWeight { get; set; } = 1f;

    /// <summary>Weight of the cross-entropy of the text itself.</summary>
    public float LossWeight { get; set; }
    public float BudgetWeight { get; set; } = 1f;

    /// <summary>
    /// What the budget counts. "decisions": the share of evicting decisions in every example, long or short, as published. "reads": the keys that all examples
    /// read together, which is what the compression is measured by, so that long examples may give more than short ones; once the asked compression was
    /// measured, the nominal one is corrected so that the measured one stays there.
    /// </summary>
    public string Budget { get; set; } = "decisions";

    /// <summary>Loss weight of prompt tokens; solution tokens have 1.</summary>
    public float PromptWeight { get; set; } = 0.1f;

    /// <summary>The run ends when held-out text shows this compression: Σ keys that dense attention sees / Σ keys that are seen.</summary>
    public double TargetCr { get; set; } = 8;
    public DmsSchedule Schedule { get; set; } = new();
    public OptimizerSettings Optimizer { get; set; } = new() { AdamOnly = true, AdamLearningRate = 1e-4f };
    public int BatchTokens { get; set; } = 8192;
    public RecipeParallel Parallel { get; set; } = new();

    /// <summary>Longest example in tokens; 0: the model's context.</summary>
    public int MaxExampleTokens { get; set; }
    public List<RecipeBucket> Mixture { get; set; } = [];

    /// <summary>Share of examples below the top level.</summary>
    public double ReviewShare { get; set; } = 0.5;

    /// <summary>Held-out examples per bucket on which the compression is measured.</summary>
    public int HeldOutPerBucket { get; set; } = 16;
    public double CheckpointMinutes { get; set; } = 2;
    public int LogEverySteps { get; set; } = 10;

    /// <summary>Reads and checks a recipe file.</summary>
    /// <exception cref="RecipeException">The file is missing, not JSON, has an unknown key or an impossible value.</exception>
    public static DmsRecipe Read(string path)
    {
        DmsRecipe recipe = RecipeFile.Read(path, DmsJson.Default.DmsRecipe, "models/recipes/reasoner-dms.json");
        recipe.Check(path);
        return recipe;
    }

    /// <summary>The constants of the decisions; <paramref name="window"/> replaces <see cref="Window"/>.</summary>
    public EvictionSettings Settings(int window) => new()
    {
        Source = Eviction is "window" or "dense" ? DecisionSource.None : Decision == "neuron" ? DecisionSource.Neuron : DecisionSource.Adapter,
        Rule = Eviction switch
        {
            "immediate_past" => EvictionRule.ImmediatePast(window),
            "immediate_self" => EvictionRule.ImmediateSelf,
            "window" or "dense" => EvictionRule.Window(window),
            _ => EvictionRule.Delayed(window),
        },
        Scale = AlphaScale, Offset = InitialAlphaOffset, Temperature = Tau,
    };

    /// <summary>The weights of the loss.</summary>
    public DistillationLoss Loss() =>
        new(Divergence == "student_teacher" ? Training.Divergence.StudentTeacher : Training.Divergence.TeacherStudent, KlWeight, LossWeight, BudgetWeight, PromptWeight);

    /// <summary>Checks all values; <paramref name="path"/> stands in messages.</summary>
    internal void Check(string path)
    {
        Require(Kind == KindName, "kind", $"must be \"{KindName}\"");
        Require(Decision is "adapter" or "neuron", "decision", "must be \"adapter\" or \"neuron\"");
        Require(Eviction is "delayed" or "immediate_past" or "immediate_self" or "window" or "dense", "eviction",
            "must be \"delayed\", \"immediate_past\", \"immediate_self\", \"window\" or \"dense\"");
        Require(Divergence is "student_teacher" or "teacher_student", "divergence", "must be \"student_teacher\" or \"teacher_student\"");
        Require(TrainBase || (Decision == "adapter" && Eviction is not ("window" or "dense")), "train_base",
            "must be true where there is no adapter: nothing else could be trained");
        Require(Window >= 1 || (Window == 0 && Eviction == "window"), "window", "must be positive (0 chooses it, with the eviction \"window\" only)");
        Require(AlphaScale > 0 && Tau > 0, "alpha_scale", "and tau must be positive");
        Require(KlWeight >= 0 && LossWeight >= 0 && BudgetWeight >= 0 && KlWeight + LossWeight > 0, "kl_weight", "and the other weights must not be negative, nor kl_weight and loss_weight both 0");
        Require(PromptWeight is >= 0 and <= 1, "prompt_weight", "must be between 0 and 1");
        Require(Budget is "decisions" or "reads", "budget", "must be \"decisions\" or \"reads\"");
        Require(TargetCr >= 1, "target_cr", "must be at least 1");
        Require(Schedule is { Steps: > 0, RampSteps: >= 0, SettleSteps: >= 0, WarmupSteps: >= 0, MeasureEverySteps: > 0 }, "schedule", "must have steps and measure_every_steps above 0 and no negative count");
        Require(Schedule.TotalSteps == 0 || Schedule.TotalSteps >= Schedule.SettleSteps, "schedule.total_steps", "must be 0 or at least settle_steps");
        Require(Schedule.CrPerStep > 0 && Schedule.MaxCr >= 1, "schedule", "must have a positive cr_per_step and a max_cr of at least 1");
        Require(Schedule.FinalFactor is >= 0 and <= 1, "schedule.final_factor", "must be between 0 and 1");
        Require(Decision == "neuron" || Schedule.RampSteps == 0, "schedule.ramp_steps", "belongs to the decision \"neuron\"");
        Require(BatchTokens is > 0 and <= 1 << 24, "batch_tokens", "must be 1 to 16777216");
        Require(Parallel.Shards is > 0 and <= 64 && Parallel.ChunkRows >= 0, "parallel", "must have 1 to 64 shards and no negative chunk_rows");
        Require(Mixture.Count > 0 && Mixture.All(m => m is { Weight: > 0, TopLevel: >= 0 }), "mixture", "must name buckets with positive weights and levels that are not negative");
        Require(ReviewShare is >= 0 and <= 1, "review_share", "must be between 0 and 1");
        Require(HeldOutPerBucket > 0, "held_out_per_bucket", "must be positive");
        Require(MaxExampleTokens >= 0, "max_example_tokens", "must not be negative");
        Require(LogEverySteps > 0 && CheckpointMinutes >= 0, "log_every_steps", "must be positive, and checkpoint_minutes not negative");
        OptimizerSettings o = Optimizer;
        Require(o.MuonLearningRate is >= 0 and <= 10 && o.AdamLearningRate is >= 0 and <= 10 && o.ClipNorm >= 0, "optimizer", "must have learning rates of 0 to 10 and no negative clip_norm");
        Require(o.MuonMomentum is >= 0 and < 1 && o.AdamBeta1 is >= 0 and < 1 && o.AdamBeta2 is >= 0 and < 1 && o.MuonIterations is >= 1 and <= 100 && o.AdamEpsilon > 0,
            "optimizer", "must have momenta and betas from 0 to below 1, 1 to 100 muon_iterations and a positive adam_epsilon");

        void Require(bool holds, string key, string rule)
        {
            if (!holds) throw new RecipeException($"{path}: key {key} {rule}.");
        }
    }
}

[JsonSourceGenerationOptions(
    PropertyNamingPolicy = JsonKnownNamingPolicy.SnakeCaseLower, UnmappedMemberHandling = JsonUnmappedMemberHandling.Disallow, WriteIndented = true,
    ReadCommentHandling = JsonCommentHandling.Skip, AllowTrailingCommas = true, RespectNullableAnnotations = true)]
[JsonSerializable(typeof(DmsRecipe))]
internal sealed partial class DmsJson : JsonSerializerContext;
