using System.Text.Json;
using System.Text.Json.Serialization;

namespace Foretoken.Training;

/// <summary>A run of the experiment: what differs from the common retrofit.</summary>
public sealed class ExperimentRun
{
    /// <summary>Name of the variant in tables; runs of one name and compression differ in their seed only.</summary>
    public string Name { get; set; } = "";
    public string Eviction { get; set; } = "delayed";
    public int Window { get; set; } = 16;
    public double TargetCr { get; set; } = 8;
    public ulong Seed { get; set; } = 1;

    /// <summary>What the budget counts, in place of the retrofit's own: "decisions" or "reads".</summary>
    public string Budget { get; set; } = "";

    /// <summary>Steps in place of the retrofit's own; 0: as it says.</summary>
    public int TotalSteps { get; set; }
}

/// <summary>Which problems the variants are tested on.</summary>
public sealed class ExperimentTest
{
    /// <summary>Problems per bucket, of the lengths that were trained on.</summary>
    public int PerBucket { get; set; } = 200;

    /// <summary>Problems per bucket of <see cref="LongBuckets"/>, longer than any that was trained on.</summary>
    public int LongPerBucket { get; set; } = 100;
    public List<string> LongBuckets { get; set; } = [];

    /// <summary>Levels of the longer problems, in turn.</summary>
    public List<int> LongLevels { get; set; } = [8, 9];
    public ulong Seed { get; set; } = 7;
}

/// <summary>A committed comparison of eviction policies: a common retrofit, the runs in the order of their importance, and the untrained policies.</summary>
public sealed class ExperimentRecipe
{
    /// <summary>What this kind of recipe says under "kind".</summary>
    public const string KindName = "dms-experiment";

    public string Kind { get; set; } = "";
    public string Name { get; set; } = "";

    /// <summary>The common retrofit recipe, relative to this one.</summary>
    public string Retrofit { get; set; } = "";

    /// <summary>Scores of runs that were finished elsewhere, relative to this file; they count as done. Empty: none.</summary>
    public string Results { get; set; } = "";
    public ExperimentTest Test { get; set; } = new();

    /// <summary>Compressions at which the untrained policies are held.</summary>
    public List<double> Compressions { get; set; } = [2, 4, 8];
    public List<ExperimentRun> Runs { get; set; } = [];

    /// <summary>Reads and checks a recipe file.</summary>
    /// <exception cref="RecipeException">The file is missing, not JSON, has an unknown key or an impossible value.</exception>
    public static ExperimentRecipe Read(string path)
    {
        ExperimentRecipe recipe = RecipeFile.Read(path, ExperimentJson.Default.ExperimentRecipe, "models/recipes/dms/experiment.json");
        Require(recipe.Runs.TrueForAll(r => r is { Name.Length: > 0 }), "runs", "must name every run");
        Require(recipe.Runs.DistinctBy(r => (r.Name, r.TargetCr, r.Seed)).Count() == recipe.Runs.Count, "runs", "must differ in name, target_cr or seed");
        Require(recipe.Compressions.TrueForAll(c => c > 1), "compressions", "must be above 1");
        Require(recipe.Test is { PerBucket: > 0, LongPerBucket: >= 0 } && recipe.Test.LongLevels.Count > 0, "test", "must have problems and long_levels");
        return recipe;

        void Require(bool holds, string key, string rule)
        {
            if (!holds) throw new RecipeException($"{path}: key {key} {rule}.");
        }
    }
}

/// <summary>What one variant scored on one group of problems.</summary>
public sealed record ExperimentScore(
    string Variant, double TargetCr, ulong Seed, string Group, int Examples, int ExactCount, double TokenAccuracy, double Divergence, double Compression);

[JsonSourceGenerationOptions(
    PropertyNamingPolicy = JsonKnownNamingPolicy.SnakeCaseLower, UnmappedMemberHandling = JsonUnmappedMemberHandling.Disallow,
    ReadCommentHandling = JsonCommentHandling.Skip, AllowTrailingCommas = true, RespectNullableAnnotations = true)]
[JsonSerializable(typeof(ExperimentRecipe))]
[JsonSerializable(typeof(List<ExperimentScore>))]
internal sealed partial class ExperimentJson : JsonSerializerContext;
