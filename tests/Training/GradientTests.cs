using Foretoken.Numerics;
using Foretoken.Training;

namespace Foretoken.Tests.Training;

public class GradientTests
{
    internal static readonly TransformerShape Tiny = new()
    {
        VocabularySize = 37, HiddenSize = 24, Layers = 2, QueryHeads = 4, KeyValueHeads = 2, HeadDim = 8, IntermediateSize = 20, MaxPositions = 160,
    };

    public static TheoryData<string> Variants => ["qwen3", "qwen2", "llama", "wide heads", "one query head per KV head"];

    private static TransformerShape Variant(string name) => name switch
    {
        "qwen3" => Tiny,
        "qwen2" => Tiny with { QueryKeyNorm = false, QkvBias = true },
        "llama" => Tiny with { QueryKeyNorm = false, TiedEmbeddings = false, RopeTheta = 500 },
        "wide heads" => Tiny with { HeadDim = 64, QueryHeads = 2, KeyValueHeads = 1, HiddenSize = 40, IntermediateSize = 48 },
        _ => Tiny with { QueryHeads = 3, KeyValueHeads = 3, HeadDim = 32 },
    };

    [Theory]
    [MemberData(nameof(Variants))]
    public unsafe void Every_parameter_gradient_matches_central_differences_in_double_precision(string variant)
    {
        TransformerShape shape = Variant(variant);
        using var model = new TransformerModel(shape);
        model.Initialize(7, new Initialization { EmbeddingDeviation = 0.5, ResidualGain = 0.7 });
        Jitter(model, seed: 8);
        RaggedBatch batch = RandomBatch(shape, seed: 9, lengths: [5, 1, 13, 30, 2]);
        using var gradients = new FloatBuffer(model.Parameters.Count);
        using var pass = new TransformerPass(model, batch.Rows + 3);
        double loss = pass.LossAndBackward(batch, gradients.Pointer);

        double[] values = model.Values.Span.ToArray().Select(v => (double)v).ToArray();
        var reference = new ReferenceTransformer(shape, model.Parameters, values);
        Assert.Equal(reference.WeightedLoss(batch), loss, 1e-4 * Math.Abs(loss));
        var random = new SeededRandom(10);
        foreach (Parameter parameter in model.Parameters.Parameters)
        {
            double error = 0, norm = 0;
            for (int draw = 0; draw < 12; draw++)
            {
                int index = (int)parameter.Offset + random.Next((int)parameter.Count);
                double expected = CentralDifference(reference, values, index, batch);
                error += Math.Pow(gradients.Span[index] - expected, 2);
                norm += expected * expected;
            }
            Assert.True(Math.Sqrt(error) <= 1e-3 * Math.Sqrt(norm) + 1e-6,
                $"{parameter.Name}: difference {Math.Sqrt(error):g3} of norm {Math.Sqrt(norm):g3}");
        }
    }

    [Fact]
    public unsafe void Attention_gradients_match_over_several_score_blocks()
    {
        TransformerShape shape = Tiny with { Layers = 1, HeadDim = 32, QueryHeads = 2, KeyValueHeads = 1 };
        using var model = new TransformerModel(shape);
        model.Initialize(1, new Initialization { EmbeddingDeviation = 0.5, ResidualGain = 1, QueryKeyGain = 2 });
        RaggedBatch batch = RandomBatch(shape, seed: 2, lengths: [149, 97]);
        using var gradients = new FloatBuffer(model.Parameters.Count);
        using var pass = new TransformerPass(model, 300);
        pass.LossAndBackward(batch, gradients.Pointer);
        double[] values = model.Values.Span.ToArray().Select(v => (double)v).ToArray();
        var reference = new ReferenceTransformer(shape, model.Parameters, values);
        foreach (string name in new[] { "q_proj", "k_proj", "v_proj", "o_proj" })
        {
            Parameter parameter = model.Parameters[$"model.layers.0.self_attn.{name}.weight"];
            double error = 0, norm = 0;
            for (int draw = 0; draw < 5; draw++)
            {
                int index = (int)parameter.Offset + draw * 131;
                double expected = CentralDifference(reference, values, index, batch);
                error += Math.Pow(gradients.Span[index] - expected, 2);
                norm += expected * expected;
            }
            Assert.True(Math.Sqrt(error) <= 1e-3 * Math.Sqrt(norm), $"{name}: difference {Math.Sqrt(error):g3} of norm {Math.Sqrt(norm):g3}");
        }
    }

    internal static double CentralDifference(ReferenceTransformer reference, double[] values, int index, RaggedBatch batch)
    {
        const double Step = 1e-4;
        double saved = values[index];
        values[index] = saved + Step;
        double up = reference.WeightedLoss(batch);
        values[index] = saved - Step;
        double down = reference.WeightedLoss(batch);
        values[index] = saved;
        return (up - down) / (2 * Step);
    }

    /// <summary>Moves gains and biases off their initial values, so that their gradients are tested at a general point.</summary>
    internal static void Jitter(TransformerModel model, ulong seed)
    {
        var random = new SeededRandom(seed);
        foreach (ref float value in model.Values.Span) value += 0.1f * (float)random.NextGaussian();
    }

    internal static RaggedBatch RandomBatch(TransformerShape shape, ulong seed, int[] lengths)
    {
        var random = new SeededRandom(seed);
        var batch = new RaggedBatch();
        foreach (int length in lengths)
        {
            var tokens = new int[length];
            var weights = new float[length];
            for (int i = 0; i < length; i++) (tokens[i], weights[i]) = (random.Next(shape.VocabularySize), (float)random.NextDouble());
            batch.Add(tokens, weights, 0.5f);
        }
        return batch;
    }
}
