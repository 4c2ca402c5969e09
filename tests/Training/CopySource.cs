using Foretoken.Numerics;
using Foretoken.Training;

namespace Foretoken.Tests.Training;

/// <summary>A toy task of two buckets: repeat, or reverse, a few letters. Tokens: 0 end, 1 user, 2 assistant, 3.. letters.</summary>
internal sealed class CopySource(int letters) : IExampleSource
{
    public IReadOnlyList<string> Buckets => ["repeat", "reverse"];

    public int Levels => 3;

    public TrainingExample? Draw(SeededRandom random, int bucket, int level)
    {
        int length = 2 + level + random.Next(2);
        int[] word = [.. Enumerable.Range(0, length).Select(_ => 3 + random.Next(letters))];
        IEnumerable<int> answer = bucket == 0 ? word : word.Reverse();
        return new TrainingExample([1, 3 + letters + bucket, .. word, 2, .. answer, 0], length + 3, bucket, level);
    }

    public static TrainingRecipe Recipe(int steps) => new()
    {
        Name = "copy", Seed = 5,
        Model = new RecipeModel
        {
            HiddenSize = 32, NumHiddenLayers = 2, NumAttentionHeads = 2, NumKeyValueHeads = 1, HeadDim = 16, IntermediateSize = 48, VocabSize = 16, MaxPositionEmbeddings = 32,
        },
        Schedule = new RecipeSchedule { WarmupSteps = 5, DecayStartStep = steps * 3 / 4, DecaySteps = steps - steps * 3 / 4 },
        Batches = [new RecipeBatch { FromTokens = 0, Tokens = 300 }],
        Parallel = new RecipeParallel { Shards = 3, ChunkRows = 64 },
        Mixture = [new RecipeBucket { Bucket = "repeat" }, new RecipeBucket { Bucket = "reverse" }],
        Curriculum = new CurriculumSettings { MinimumExamples = 20, Window = 20, Threshold = 0.8 },
    };
}
