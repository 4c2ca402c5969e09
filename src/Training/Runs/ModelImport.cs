using Foretoken.Formats;
using Foretoken.Models;
using EngineShape = Foretoken.Backends.TransformerShape;

namespace Foretoken.Training;

/// <summary>Reads any model that the engine opens, Hugging Face directory or GGUF file, into a trainable one.</summary>
public static unsafe class ModelImport
{
    /// <summary>The model's weights as f32; <paramref name="more"/> may add parameters, which stay zero.</summary>
    /// <exception cref="ModelFormatException">The files are damaged, or the model has something that the trainer cannot compute.</exception>
    public static TransformerModel Read(string path, Action<ParameterSet>? more = null)
    {
        using ModelSource source = ModelLoader.Open(path);
        var model = new TransformerModel(Shape(source), more);
        try
        {
            foreach (WeightSpec spec in WeightSpec.Of(source.Config))
            {
                Parameter p = model.Parameters[HuggingFaceNames.Of(spec)];
                var target = new Span<float>(model.Values.Pointer + p.Offset, checked((int)p.Count));
                if (!spec.IsMatrix) source.Vector(spec).CopyTo(target);
                else ReadRows(source.Matrix(spec), target);
            }

            source.VerifyUnchanged();
            return model;
        }
        catch
        {
            model.Dispose();
            throw;
        }
    }

    private static void ReadRows(Backends.IRowSource rows, Span<float> target)
    {
        for (int row = 0; row < rows.OutFeatures; row++) rows.ReadRow(row, target.Slice(row * rows.InFeatures, rows.InFeatures));
    }

    private static TransformerShape Shape(ModelSource source)
    {
        ModelConfig config = source.Config;
        EngineShape s = config.Shape;
        if (config.Rope.Kind != RopeScalingKind.None || s.RopeAttentionFactor != 1) throw Refused("rope_scaling", "stretches positions");
        if (config.OutputBias) throw Refused("o_proj.bias", "adds a bias to the attention's output");
        if (config.SlidingWindows.Any(window => window > 0)) throw Refused("sliding_window", "hides keys behind a window");
        return new TransformerShape
        {
            VocabularySize = s.VocabSize, HiddenSize = s.HiddenSize, Layers = s.LayerCount, QueryHeads = s.HeadCount, KeyValueHeads = s.KvHeadCount, HeadDim = s.HeadDim,
            IntermediateSize = s.IntermediateSize, MaxPositions = s.MaxPositions, RopeTheta = config.Rope.Theta, RmsNormEpsilon = s.RmsNormEpsilon,
            QueryKeyNorm = config.QkNorm, QkvBias = config.QkvBias, TiedEmbeddings = config.TiedEmbeddings,
        };

        ModelFormatException Refused(string field, string does) => new(source.Origin, field, $"{does}, which the trainer does not compute", "Train with a model without it.");
    }
}
