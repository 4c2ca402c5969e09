using Foretoken.Numerics;
using Foretoken.Training;
using Foretoken.Training.Drafters;

namespace Foretoken.Tests.Training;

/// <summary>Every parameter of every drafter against central differences of a double-precision reference.</summary>
public sealed unsafe class DrafterGradientTests : IDisposable
{
    private static readonly TransformerShape Target = new()
    {
        VocabularySize = 37, HiddenSize = 24, Layers = 3, QueryHeads = 4, KeyValueHeads = 2, HeadDim = 8, IntermediateSize = 20, MaxPositions = 160,
    };

    private readonly string _directory = Directory.CreateTempSubdirectory("foretoken-drafters-").FullName;

    public DrafterGradientTests()
    {
        using var target = new TransformerModel(Target);
        target.Initialize(3, new Initialization { EmbeddingDeviation = 0.6, ResidualGain = 0.8 });
        ModelExport.Write(target, Path.Combine(RecipeTests.ModelsDirectory, "reasoner"), _directory, end: 0);
    }

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    public void Medusa_gradients_match_central_differences(int layers)
    {
        var settings = new MedusaSettings { NumHeads = 3, NumLayers = layers, Decay = 0.7 };
        using var model = new MedusaModel(_directory, settings);
        TrainingExample[] examples = Examples();
        using TransformerModel target = ModelImport.Read(_directory);
        CheckGradients(model, examples, (values, example) => ReferenceDrafters.Medusa(model.Parameters, values, Rows(target, example, -1), example, settings));
    }

    [Theory]
    [InlineData(0)]
    [InlineData(20)]
    public void Eagle_gradients_flow_through_the_whole_chain_of_self_feedback(int draftVocabulary)
    {
        var settings = new EagleSettings { Steps = 4, Decay = 0.9, Layers = [0, 1, 3], IntermediateSize = 28 };
        int[] vocabulary = draftVocabulary == 0 ? [.. Enumerable.Range(0, 37)] : [.. Enumerable.Range(5, draftVocabulary)];
        using var model = new EagleModel(_directory, settings, vocabulary, seed: 4);
        TrainingExample[] examples = Examples();
        double[] head = [.. model.Target.Values.Span.Slice((int)model.Target.HeadOffset, 37 * 24).ToArray().Select(v => (double)v)];
        CheckGradients(model, examples, (values, example) =>
        {
            double[][][] taps = [.. settings.Layers.Select(layer => Rows(model.Target, example, layer))];
            double[][] joined = [.. Enumerable.Range(0, example.Tokens.Length).Select(row => (double[])[.. taps[0][row], .. taps[1][row], .. taps[2][row]])];
            return ReferenceDrafters.Eagle(model, values, joined, Rows(model.Target, example, -1), head, example);
        });
    }

    [Fact]
    public void Distillation_gradients_are_those_of_the_cross_entropy_to_the_target()
    {
        var sizes = new TransformerShape { VocabularySize = 37, HiddenSize = 16, Layers = 1, QueryHeads = 2, KeyValueHeads = 1, HeadDim = 8, IntermediateSize = 24, MaxPositions = 160 };
        using var model = new DistilledModel(_directory, null, sizes, new DistillSettings { MeasuredDepth = 2 }, seed: 5);
        TrainingExample[] examples = Examples();
        using TransformerModel target = ModelImport.Read(_directory);
        double[] head = [.. target.Values.Span.Slice((int)target.HeadOffset, 37 * 24).ToArray().Select(v => (double)v)];
        CheckGradients(model, examples, (values, example) =>
        {
            // The weights of a token's loss may be anything: one row for every token of the vocabulary, weighted by the target's probability.
            var reference = new ReferenceTransformer(sizes, model.Parameters, values);
            double[][] normed = Rows(target, example, -1);
            double loss = 0;
            for (int row = example.PromptLength; row < example.Tokens.Length - 1; row++)
            {
                double[] logits = [.. Enumerable.Range(0, 37).Select(v => Enumerable.Range(0, 24).Sum(i => head[v * 24 + i] * normed[row][i]))];
                double maximum = logits.Max(), sum = logits.Sum(l => Math.Exp(l - maximum));
                double[] logProbabilities = reference.LogProbabilities(example.Tokens[..(row + 1)]);
                for (int v = 0; v < 37; v++) loss -= Math.Exp(logits[v] - maximum) / sum * logProbabilities[v];
            }

            return loss;
        });
    }

    [Fact]
    public void Medusa_2_trains_the_target_by_its_own_loss_and_a_fifth_of_the_heads()
    {
        var settings = new MedusaSettings { NumHeads = 2, Joint = true, HeadsWeight = 0.2, Decay = 0.8 };
        using var model = new MedusaModel(_directory, settings);
        TrainingExample[] examples = Examples();
        CheckGradients(model, examples, (values, example) =>
        {
            var reference = new ReferenceTransformer(Target, model.Parameters, values);
            double own = 0;
            double[][] normed = reference.NormedRows(example.Tokens);
            for (int row = example.PromptLength - 1; row < example.Tokens.Length - 1; row++) own -= reference.LogProbabilities(normed[row])[example.Tokens[row + 1]];
            return own + 0.2 * ReferenceDrafters.Medusa(model.Parameters, values, normed, example, settings);
        }, draws: 6);
    }

    private void CheckGradients(DrafterModel model, TrainingExample[] examples, Func<double[], TrainingExample, double> reference, int draws = 8)
    {
        Jitter(model);
        using var gradients = new FloatBuffer(model.Parameters.Count);
        using DrafterPass pass = model.CreatePass(160);
        double loss = pass.Run(examples, 0.5f, gradients.Pointer);
        double[] values = [.. model.Values.Span.ToArray().Select(v => (double)v)];
        Assert.Equal(0.5 * examples.Sum(e => reference(values, e)), loss, 1e-3 * loss);
        var random = new SeededRandom(10);
        foreach (Parameter parameter in model.Parameters.Parameters)
        {
            double error = 0, norm = 0;
            for (int draw = 0; draw < draws; draw++)
            {
                int index = (int)parameter.Offset + random.Next((int)parameter.Count);
                const double Step = 1e-4;
                double saved = values[index];
                values[index] = saved + Step;
                double up = examples.Sum(e => reference(values, e));
                values[index] = saved - Step;
                double down = examples.Sum(e => reference(values, e));
                values[index] = saved;
                double expected = 0.5 * (up - down) / (2 * Step);
                error += Math.Pow(gradients.Span[index] - expected, 2);
                norm += expected * expected;
            }

            Assert.True(Math.Sqrt(error) <= 2e-3 * Math.Sqrt(norm) + 1e-5, $"{parameter.Name}: difference {Math.Sqrt(error):g3} of norm {Math.Sqrt(norm):g3}");
        }
    }

    /// <summary>Moves all values off their special first ones.</summary>
    private static void Jitter(DrafterModel model)
    {
        var random = new SeededRandom(8);
        foreach (ref float value in model.Values.Span) value += 0.1f * (float)random.NextGaussian();
    }

    private static TrainingExample[] Examples()
    {
        var random = new SeededRandom(6);
        return [Of(4, 5), Of(1, 3), Of(7, 6), Of(2, 1)];

        TrainingExample Of(int prompt, int answer) => new([.. Enumerable.Range(0, prompt + answer).Select(_ => random.Next(37))], prompt, 0, 0);
    }

    /// <summary>Rows of the target: entering a layer, or after the final norm (−1). // [tokens][hidden]</summary>
    private static double[][] Rows(TransformerModel target, TrainingExample example, int layer)
    {
        using var pass = new TransformerPass(target, example.Tokens.Length);
        var batch = new RaggedBatch();
        batch.Add(example.Tokens, new float[example.Tokens.Length], 0);
        pass.Forward(batch);
        float* rows = layer < 0 ? pass.Normed : pass.Hidden(layer);
        int hidden = target.Shape.HiddenSize;
        return [.. Enumerable.Range(0, example.Tokens.Length).Select(row => (double[])[.. new Span<float>(rows + row * hidden, hidden).ToArray().Select(v => (double)v)])];
    }
}
