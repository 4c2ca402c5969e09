using Foretoken.Backends;
using Foretoken.Formats;
using Foretoken.Numerics;

namespace Foretoken.Models;

/// <summary>A model in a Hugging Face directory: config.json and safetensors.</summary>
public sealed class HuggingFaceSource : ModelSource
{
    private readonly SafetensorsModel _model;
    private readonly ThreadLocal<RowWindow> _windows = new(() => new RowWindow());

    /// <summary>Opens a directory and checks that its weights are exactly those that its configuration asks for.</summary>
    /// <exception cref="ModelFormatException">Something is missing, malformed, of the wrong shape or type, or too much.</exception>
    public HuggingFaceSource(string directory)
    {
        Origin = directory;
        Config = ModelConfig.Read(directory);
        _model = new SafetensorsModel(directory);
        try
        {
            DefaultWeightType = CheckTensors();
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    /// <inheritdoc/>
    public override string Origin { get; }

    /// <inheritdoc/>
    public override ModelConfig Config { get; }

    /// <inheritdoc/>
    public override WeightType DefaultWeightType { get; }

    /// <inheritdoc/>
    public override WeightType WeightTypeOf(WeightSpec spec) => spec.IsDecision ? WeightType.F32 : DefaultWeightType;

    /// <summary>Every stored tensor by name.</summary>
    public IReadOnlyDictionary<string, StoredTensor> Tensors => _model.Tensors;

    /// <inheritdoc/>
    public override IRowSource Matrix(WeightSpec spec) => RowsOf(HuggingFaceNames.Of(spec));

    /// <inheritdoc/>
    public override float[] Vector(WeightSpec spec)
    {
        StoredTensor tensor = _model.Tensors[HuggingFaceNames.Of(spec)];
        return TensorRows.ReadVector(_model.FileOf(tensor.Name), tensor);
    }

    /// <inheritdoc/>
    public override long StoredBytes(WeightSpec spec) => _model.Tensors[HuggingFaceNames.Of(spec)].Bytes;

    /// <inheritdoc/>
    public override void VerifyUnchanged() => _model.VerifyUnchanged();

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        if (!disposing) return;
        _model.Dispose();
        _windows.Dispose();
    }

    private TensorRows RowsOf(string name) => new(_model.FileOf(name), _model.Tensors[name], _windows);

    private WeightType CheckTensors()
    {
        var expected = new HashSet<string>(StringComparer.Ordinal);
        bool bfloat16 = true;
        foreach (WeightSpec spec in WeightSpec.Of(Config))
        {
            string name = HuggingFaceNames.Of(spec);
            expected.Add(name);
            StoredTensor tensor = _model.Tensors.GetValueOrDefault(name) ?? throw MissingTensor(spec, name);
            if (!tensor.Shape.SequenceEqual(spec.Shape))
            {
                throw new ModelFormatException(tensor.File, $"\"{name}\"",
                    $"has shape {tensor.ShapeText}, but config.json asks for {StoredTensor.FormatShape(spec.Shape)}", "Weights and config.json must belong to the same model.");
            }

            CheckType(tensor);
            if (spec.IsMatrix && !spec.IsDecision) bfloat16 &= tensor.Type == DType.BF16;
        }

        foreach (StoredTensor tensor in _model.Tensors.Values)
        {
            if (!expected.Contains(tensor.Name) && !HuggingFaceNames.IsComputedBuffer(tensor.Name)) CheckExtra(tensor);
        }

        return bfloat16 ? WeightType.BF16 : WeightType.F32;
    }

    /// <exception cref="ModelFormatException">The tensor is not of a type that weights may have.</exception>
    internal static void CheckType(StoredTensor tensor)
    {
        if (tensor.Type is DType.F32 or DType.F16 or DType.BF16 or DType.F64) return;
        throw new ModelFormatException(tensor.File, $"\"{tensor.Name}\"", $"has type {tensor.Type.FileName()}, and only F32, F16, BF16 and F64 weights are supported",
            "Use the unquantised checkpoint; weights can be quantised when they are loaded.");
    }

    private ModelFormatException MissingTensor(WeightSpec spec, string name)
    {
        string file = _model.Files.Count == 1 ? _model.Files[0].FilePath : Path.Combine(Origin, SafetensorsModel.IndexName);
        return spec.Role == WeightRole.Head
            ? new ModelFormatException(file, $"\"{name}\"", "is missing, but tie_word_embeddings is not true in config.json",
                "If the model's head is its embedding table, set tie_word_embeddings to true; otherwise download the weights again.")
            : new ModelFormatException(file, $"\"{name}\"", $"is missing; {Config.Architecture} needs it with shape {StoredTensor.FormatShape(spec.Shape)}",
                "Weights and config.json must belong to the same complete model: download it again.");
    }

    /// <summary>
    /// A tensor that nobody reads would change the result if it were read. The one exception: a tied model whose file still contains the head, equal
    /// to the embedding bit for bit.
    /// </summary>
    private void CheckExtra(StoredTensor tensor)
    {
        if (tensor.Name != "lm_head.weight" || !Config.TiedEmbeddings)
        {
            throw new ModelFormatException(tensor.File, $"\"{tensor.Name}\"", $"is not a weight of {Config.Architecture} with this config.json",
                "Leaving it out would change the output: check config.json, or use a supported model.");
        }

        StoredTensor embedding = _model.Tensors["model.embed_tokens.weight"];
        bool equal = tensor.Type == embedding.Type && tensor.Shape.SequenceEqual(embedding.Shape);
        using var windows = new ThreadLocal<RowWindow>(() => new RowWindow());
        var head = new float[embedding.Shape[1]];
        var table = new float[embedding.Shape[1]];
        TensorRows embeddingRows = RowsOf(embedding.Name), headRows = new(_model.FileOf(tensor.Name), tensor, windows);
        for (int row = 0; equal && row < embeddingRows.OutFeatures; row++)
        {
            embeddingRows.ReadRow(row, table);
            headRows.ReadRow(row, head);
            equal = head.AsSpan().SequenceEqual(table);
        }

        if (!equal)
        {
            throw new ModelFormatException(tensor.File, $"\"{tensor.Name}\"", "differs from the embedding, but tie_word_embeddings is true in config.json",
                "Set tie_word_embeddings to false if the head was trained on its own.");
        }
    }
}
