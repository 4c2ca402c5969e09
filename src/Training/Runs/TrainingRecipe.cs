using System.Text.Json;
using System.Text.Json.Serialization;

namespace Foretoken.Training;

/// <summary>Sizes of the model to train; see <see cref="TransformerShape"/>.</summary>
public sealed class RecipeModel
{
    public int HiddenSize { get; set; }
    public int NumHiddenLayers { get; set; }
    public int NumAttentionHeads { get; set; }
    public int NumKeyValueHeads { get; set; }
    public int HeadDim { get; set; }
    public int IntermediateSize { get; set; }
    public int VocabSize { get; set; }
    public int MaxPositionEmbeddings { get; set; }
    public double RopeTheta { get; set; } = 10000;
    public bool TieWordEmbeddings { get; set; } = true;
}

/// <summary>Initial weights; see <see cref="Initialization"/>.</summary>
public sealed class RecipeInitialization
{
    public double EmbeddingDeviation { get; set; } = 0.02;
    public double MatrixGain { get; set; } = 1.0;
    public double ResidualGain { get; set; }
    public double QueryKeyGain { get; set; } = 1.25;
}

/// <summary>Batch size from a number of trained tokens on.</summary>
public sealed class RecipeBatch
{
    public long FromTokens { get; set; }
    public int Tokens { get; set; }
}

/// <summary>The learning rates' factor after a number of trained tokens.</summary>
public sealed class RecipePoint
{
    public long Tokens { get; set; }
    public double Factor { get; set; }
}

/// <summary>
/// Learning-rate schedule: linear warm-up, then a cosine over all steps, a plateau with a linear decay at the end (trapezoid), or straight lines
/// between points given in trained tokens (piecewise). The end of a trapezoid is given in steps, or found from a time budget, which makes the run depend on the machine's speed; the log then names the steps.
/// </summary>
public sealed class RecipeSchedule
{
    /// <summary>"trapezoid", "cosine" or "piecewise".</summary>
    public string Kind { get; set; } = "trapezoid";
    public int WarmupSteps { get; set; } = 60;

    /// <summary>piecewise: from 0 tokens to the end of the run.</summary>
    public List<RecipePoint> Points { get; set; } = [];

    /// <summary>cosine: all steps of the run.</summary>
    public int? TotalSteps { get; set; }

    /// <summary>trapezoid: first step of the decay.</summary>
    public int? DecayStartStep { get; set; }

    /// <summary>trapezoid: steps of the decay.</summary>
    public int? DecaySteps { get; set; }

    /// <summary>trapezoid without <see cref="DecayStartStep"/>: minutes of the whole run, of which the last <see cref="DecayFraction"/> decays.</summary>
    public double? TimeBudgetMinutes { get; set; }
    public double DecayFraction { get; set; } = 0.2;

    /// <summary>Learning rate at the end, relative to the plateau.</summary>
    public double FinalFactor { get; set; } = 0.02;
}

/// <summary>Data-parallel layout; the number of shards decides the bits of the result, the number of threads does not.</summary>
public sealed class RecipeParallel
{
    public int Shards { get; set; } = 4;
    public int ChunkRows { get; set; } = 1024;
}

/// <summary>Weight of a bucket in the mixture, and what it becomes later in the run.</summary>
public sealed class RecipeBucket
{
    public string Bucket { get; set; } = "";
    public double Weight { get; set; } = 1;

    /// <summary>Highest level that is drawn.</summary>
    public int TopLevel { get; set; } = 9;

    /// <summary>Other weights, each from a number of trained tokens on.</summary>
    public List<RecipeWeight> Later { get; set; } = [];

    /// <summary>The weight after <paramref name="trained"/> tokens.</summary>
    public double WeightAt(long trained) => Later.LastOrDefault(change => change.FromTokens <= trained)?.Weight ?? Weight;
}

/// <summary>Weight of a bucket from a number of trained tokens on.</summary>
public sealed class RecipeWeight
{
    public long FromTokens { get; set; }
    public double Weight { get; set; }
}

/// <summary>A committed description of a training run, read strictly: an unknown key is an error.</summary>
public sealed class TrainingRecipe
{
    public string Name { get; set; } = "";
    public ulong Seed { get; set; }

    /// <summary>Directory with tokenizer.json and tokenizer_config.json, relative to the recipe.</summary>
    public string Tokenizer { get; set; } = "";
    public RecipeModel Model { get; set; } = new();
    public RecipeInitialization Initialization { get; set; } = new();
    public OptimizerSettings Optimizer { get; set; } = new();
    public RecipeSchedule Schedule { get; set; } = new();
    public List<RecipeBatch> Batches { get; set; } = [];
    public RecipeParallel Parallel { get; set; } = new();
    public double PromptWeight { get; set; } = 0.1;

    /// <summary>Longest example in tokens; 0: the model's context.</summary>
    public int MaxExampleTokens { get; set; }
    public List<RecipeBucket> Mixture { get; set; } = [];
    public CurriculumSettings Curriculum { get; set; } = new();
    public double CheckpointMinutes { get; set; } = 3;
    public int LogEverySteps { get; set; } = 20;

    /// <summary>More would not fit into memory.</summary>
    private const int MostBatchTokens = 1 << 24;

    /// <summary>Reads and checks a recipe file.</summary>
    /// <exception cref="RecipeException">The file is missing, not JSON, has an unknown key or an impossible value.</exception>
    public static TrainingRecipe Read(string path)
    {
        TrainingRecipe recipe = RecipeFile.Read(path, RecipeJson.Default.TrainingRecipe, "models/recipes");
        recipe.Check(path);
        return recipe;
    }

    /// <summary>The model's shape.</summary>
    public TransformerShape Shape() => new()
    {
        VocabularySize = Model.VocabSize, HiddenSize = Model.HiddenSize, Layers = Model.NumHiddenLayers, QueryHeads = Model.NumAttentionHeads,
        KeyValueHeads = Model.NumKeyValueHeads, HeadDim = Model.HeadDim, IntermediateSize = Model.IntermediateSize,
        MaxPositions = Model.MaxPositionEmbeddings, RopeTheta = Model.RopeTheta, TiedEmbeddings = Model.TieWordEmbeddings,
    };

    /// <summary>Tokens of a batch after <paramref name="trained"/> tokens.</summary>
    public int BatchTokens(long trained) => Batches.Last(batch => batch.FromTokens <= trained).Tokens;

    private void Check(string path)
    {
        try
        {
            Shape().Validate();
        }
        catch (ArgumentException exception)
        {
            throw new RecipeException($"{path}: key model: {exception.Message}");
        }
        Require(double.IsFinite(Model.RopeTheta) && Model.RopeTheta >= 1, "model.rope_theta", "must be at least 1");
        Require(Batches.Count > 0 && !Batches.Contains(null!) && Batches[0].FromTokens == 0, "batches", "must start at from_tokens 0");
        Require(Batches.All(b => b.Tokens is > 0 and <= MostBatchTokens), "batches", $"must have 1 to {MostBatchTokens} tokens each");
        Require(Batches.Zip(Batches.Skip(1)).All(pair => pair.First.FromTokens < pair.Second.FromTokens), "batches", "must have rising from_tokens");
        Require(Parallel.Shards is > 0 and <= 64, "parallel.shards", "must be 1 to 64");
        Require(Parallel.ChunkRows >= 0, "parallel.chunk_rows", "must not be negative");
        Require(Mixture.Count > 0 && Mixture.All(m => m is { Weight: >= 0 }) && Mixture.Any(m => m.Weight > 0), "mixture", "must name buckets with weights that are not negative, at least one positive from the start");
        Require(Mixture.DistinctBy(m => m.Bucket).Count() == Mixture.Count, "mixture", "must name each bucket once");
        Require(Mixture.All(m => m.TopLevel >= 0), "mixture.top_level", "must not be negative");
        Require(MaxExampleTokens >= 0 && MaxExampleTokens <= Model.MaxPositionEmbeddings, "max_example_tokens", "must not be negative or exceed model.max_position_embeddings");
        Require(Mixture.All(m => m.Later is not null && !m.Later.Contains(null!) && m.Later.All(l => l is { FromTokens: > 0, Weight: > 0 })
            && m.Later.Zip(m.Later.Skip(1)).All(pair => pair.First.FromTokens < pair.Second.FromTokens)), "mixture.later", "must have rising, positive from_tokens and positive weights");
        Require(LogEverySteps > 0, "log_every_steps", "must be positive");
        Require(CheckpointMinutes >= 0, "checkpoint_minutes", "must not be negative");
        Require(Schedule.WarmupSteps >= 0, "schedule.warmup_steps", "must not be negative");
        Require(Schedule.DecayFraction is > 0 and < 1, "schedule.decay_fraction", "must be between 0 and 1");
        Require(Schedule.FinalFactor is >= 0 and <= 1, "schedule.final_factor", "must be between 0 and 1");
        Require(!Schedule.Points.Contains(null!), "schedule.points", "must not hold null");
        CheckOptimizer();
        CheckCurriculum();
        Require(PromptWeight is >= 0 and <= 1, "prompt_weight", "must be between 0 and 1");
        (bool complete, string needs) = Schedule.Kind switch
        {
            "cosine" => (Schedule.TotalSteps > 0, "needs total_steps"),
            "trapezoid" => (Schedule.TimeBudgetMinutes > 0 || (Schedule.DecayStartStep > 0 && Schedule.DecaySteps > 0), "needs decay_start_step and decay_steps, or time_budget_minutes"),
            "piecewise" => (Schedule.Points.Count > 1 && Schedule.Points[0].Tokens == 0 && Schedule.Points.All(p => p.Factor is >= 0 and <= 10)
                && Schedule.Points.Zip(Schedule.Points.Skip(1)).All(pair => pair.First.Tokens < pair.Second.Tokens), "needs at least two points of rising tokens from 0, with factors of 0 to 10"),
            _ => (false, "must have the kind \"trapezoid\", \"cosine\" or \"piecewise\""),
        };
        Require(complete, "schedule", needs);

        void CheckOptimizer()
        {
            OptimizerSettings o = Optimizer;
            Require(o.MuonLearningRate is >= 0 and <= 10 && o.AdamLearningRate is >= 0 and <= 10, "optimizer", "must have learning rates of 0 to 10");
            Require(
                o.MuonMomentum is >= 0 and < 1 && o.AdamBeta1 is >= 0 and < 1 && o.AdamBeta2 is >= 0 and < 1, "optimizer", "must have momenta and betas from 0 to below 1");
            Require(o.MuonIterations is >= 1 and <= 100, "optimizer.muon_iterations", "must be 1 to 100");
            Require(o.MuonWeightDecay >= 0 && o.AdamWeightDecay >= 0, "optimizer", "must have weight decays that are not negative");
            Require(o.AdamEpsilon > 0, "optimizer.adam_epsilon", "must be positive");
            Require(o.ClipNorm >= 0, "optimizer.clip_norm", "must not be negative");
        }

        void CheckCurriculum()
        {
            CurriculumSettings c = Curriculum;
            Require(c.Window >= 1, "curriculum.window", "must be positive");
            Require(c.MinimumExamples >= 0 && c.PatienceExamples >= 0, "curriculum", "must have counts of examples that are not negative");
            Require(c.Threshold >= 0 && c.PatienceThreshold >= 0, "curriculum", "must have thresholds that are not negative");
            Require(c.StretchShare >= 0 && c.ReviewShare >= 0 && c.StretchShare + c.ReviewShare <= 1, "curriculum", "must have shares of at most 1 together");
            Require(c.LagBoost >= 0, "curriculum.lag_boost", "must not be negative");
        }

        void Require(bool holds, string key, string rule)
        {
            if (!holds) throw new RecipeException($"{path}: key {key} {rule}.");
        }
    }
}

[JsonSourceGenerationOptions(
    PropertyNamingPolicy = JsonKnownNamingPolicy.SnakeCaseLower, UnmappedMemberHandling = JsonUnmappedMemberHandling.Disallow, WriteIndented = true,
    ReadCommentHandling = JsonCommentHandling.Skip, AllowTrailingCommas = true, RespectNullableAnnotations = true)]
[JsonSerializable(typeof(TrainingRecipe))]
[JsonSerializable(typeof(RunState))]
internal sealed partial class RecipeJson : JsonSerializerContext;
