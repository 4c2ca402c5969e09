using Foretoken.Backends;
using Foretoken.Models;
using Foretoken.Numerics;
using Foretoken.Tests.Fixtures;
using Foretoken.Training;
using TrainingShape = Foretoken.Training.TransformerShape;

namespace Foretoken.Tests.Models;

/// <summary>What the trainer writes is what the engine reads: two forward passes that share no code agree on the exported directory.</summary>
public sealed class TrainedModelTests : IDisposable
{
    private readonly TempDirectory _directory = new();

    public void Dispose() => _directory.Dispose();

    [Theory]
    [InlineData("qwen3", true, false, true)]
    [InlineData("qwen2", false, true, true)]
    [InlineData("llama", false, false, false)]
    public void An_exported_model_has_the_losses_that_the_trainer_saw(string family, bool qkNorm, bool bias, bool tied)
    {
        using var model = new TransformerModel(new TrainingShape
        {
            VocabularySize = 277, HiddenSize = 48, Layers = 3, QueryHeads = 6, KeyValueHeads = 2, HeadDim = 16, IntermediateSize = 84, MaxPositions = 128,
            QueryKeyNorm = qkNorm, QkvBias = bias, TiedEmbeddings = tied,
        });
        model.Initialize(7, new Initialization { EmbeddingDeviation = 0.3, ResidualGain = 0.7 });
        foreach (ref float value in model.Values.Span) value = (float)Logits.RoundToBFloat16(value * 1.1f); // the file's precision
        TinyTokenizer.Write(_directory.Path, 277);
        string exported = _directory.File("model");
        ModelExport.Write(model, _directory.Path, exported);

        var random = new SeededRandom(3);
        int[] ids = [.. Enumerable.Range(0, 100).Select(_ => random.Next(277))];
        var weights = new float[ids.Length];
        Array.Fill(weights, 1);
        var batch = new RaggedBatch();
        batch.Add(ids, weights, 1);
        using var pass = new TransformerPass(model, ids.Length);
        pass.Loss(batch);

        using var runner = new ModelRunner(exported);
        Assert.Equal((family, WeightType.BF16), (runner.Model.Config.Family, runner.Model.WeightType));
        Assert.Equal([TinyModel.EndToken], runner.Model.Config.EosTokenIds);
        Assert.Equal(model.Parameters.Count, runner.Model.Config.ParameterCount);
        float[] logits = runner.Run(ids, ids.Length);
        for (int i = 0; i < ids.Length - 1; i++) Assert.Equal(pass.Losses[i], NegativeLogLikelihood(logits.AsSpan(i * 277, 277), ids[i + 1]), 1e-4);
    }

    private static double NegativeLogLikelihood(ReadOnlySpan<float> logits, int target)
    {
        double sum = 0;
        foreach (float l in logits) sum += Math.Exp(l);
        return Math.Log(sum) - logits[target];
    }
}
