using Foretoken.Backends;
using Foretoken.Tests.Fixtures;
using Foretoken.Training;
using TrainedShape = Foretoken.Training.TransformerShape;

namespace Foretoken.Tests.Training;

/// <summary>What the trainer measures with hard decisions is what the engine does with the exported model.</summary>
public sealed unsafe class DmsExportTests : IDisposable
{
    private const int Length = 120;
    private readonly TempDirectory _directory = new();

    public void Dispose() => _directory.Dispose();

    [Theory]
    [InlineData("adapter")]
    [InlineData("neuron")]
    public void An_exported_retrofit_evicts_in_the_engine_as_it_did_in_training(string decision)
    {
        var recipe = new DmsRecipe
        {
            Kind = DmsRecipe.KindName, Decision = decision, TrainBase = true, Window = 7, AlphaScale = 1, InitialAlphaOffset = 0, Mixture = [new RecipeBucket { Bucket = "json" }],
        };
        recipe.Check("test");
        var shape = new TrainedShape
        {
            VocabularySize = 1024, HiddenSize = 48, Layers = 3, QueryHeads = 4, KeyValueHeads = 2, HeadDim = 32, IntermediateSize = 40, MaxPositions = 256,
        };
        void More(ParameterSet parameters) => DecisionAdapter.Add(parameters, shape.Layers, shape.HiddenSize, shape.KeyValueHeads);
        bool adapter = decision == "adapter";
        using (var model = new TransformerModel(shape, adapter ? More : null))
        {
            model.Initialize(7, new Initialization { EmbeddingDeviation = 0.5, ResidualGain = 0.7 });
            GradientTests.Jitter(model, seed: 8);
            ModelExport.Write(model, Path.Combine(RecipeTests.ModelsDirectory, "reasoner"), _directory.Path, more: json => AdapterExport.WriteKeys(json, recipe));
        }

        using TransformerModel rounded = ModelImport.Read(_directory.Path, adapter ? More : null);
        RaggedBatch batch = GradientTests.RandomBatch(shape, seed: 3, lengths: [Length]);
        using var pass = new TransformerPass(rounded, shape.MaxPositions);
        using var eviction = new EvictionPass(rounded, recipe.Settings(recipe.Window), shape.MaxPositions);
        eviction.Begin(batch, DecisionMode.Hard, 0, [0], channelFactor: adapter ? 1 : 0);
        pass.Forward(batch, eviction);
        Assert.InRange(eviction.EvictedShare(batch, 0), 0.2, 0.8);
        using var gemm = new Gemm();
        var expected = new float[Length * shape.VocabularySize];
        fixed (float* logits = expected)
            gemm.Forward(pass.Normed, rounded.Values.Pointer + rounded.Parameters["model.embed_tokens.weight"].Offset, logits, Length, shape.HiddenSize, shape.VocabularySize);

        using var runner = new ModelRunner(_directory.Path, WeightType.F32, learnedEviction: true);
        float[] actual = runner.Run(batch.Tokens.ToArray(), 1);
        Assert.True(expected.Zip(actual, (a, b) => Math.Abs(a - b)).Max() < 2e-3 * expected.Max(Math.Abs), "logits differ");
        double measured = (double)Length * (Length + 1) / 2 * shape.Layers * shape.KeyValueHeads / eviction.VisibleKeys(batch, 0);
        // The engine counts at commits what the next row will see, the trainer what each row saw.
        Assert.InRange(runner.Statistics.EffectiveCompression, measured, 1.03 * measured);
    }
}
