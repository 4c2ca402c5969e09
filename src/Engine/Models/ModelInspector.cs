using Foretoken.Formats;

namespace Foretoken.Models;

/// <summary>What <c>foretoken inspect</c> shows of a model.</summary>
/// <param name="Directory">The model's directory or GGUF file.</param>
/// <param name="Config">Its configuration, or null where it is not supported.</param>
/// <param name="Problem">Why the model cannot be loaded, or null.</param>
/// <param name="Tensors">Stored tensors by name.</param>
/// <param name="Files">Weight files with their lengths in bytes.</param>
/// <param name="HasTokenizer">tokenizer.json is there, or the file holds a tokenizer.</param>
/// <param name="HasTokenizerConfig">tokenizer_config.json is there.</param>
/// <param name="HasGenerationConfig">generation_config.json is there.</param>
public sealed record ModelInspection(
    string Directory, ModelConfig? Config, ModelFormatException? Problem, IReadOnlyList<StoredTensor> Tensors, IReadOnlyList<(string Path, long Bytes)> Files,
    bool HasTokenizer, bool HasTokenizerConfig, bool HasGenerationConfig)
{
    /// <summary>What a GGUF file says beside its tensors; null for a directory.</summary>
    public GgufMetadata? Metadata { get; init; }

    /// <summary>Elements of all stored tensors.</summary>
    public long StoredElements => Tensors.Sum(t => t.Elements);

    /// <summary>Bytes of all stored tensors.</summary>
    public long StoredBytes => Tensors.Sum(t => t.Bytes);
}

/// <summary>Looks into a model directory without loading weights.</summary>
public static class ModelInspector
{
    /// <summary>Reads configuration and tensor list. A model that cannot be loaded is shown as far as its weight files are sound.</summary>
    /// <exception cref="ModelFormatException">The directory or its weight files are missing or malformed.</exception>
    public static ModelInspection Inspect(string path)
    {
        string directory = ModelDirectory.Resolve(path);
        if (GgufFile.IsGguf(directory)) return InspectFile(directory);
        ModelConfig? config = null;
        ModelFormatException? problem = null;
        try
        {
            config = ModelConfig.Read(directory);
            new HuggingFaceSource(directory).Dispose();
        }
        catch (ModelFormatException e)
        {
            problem = e;
        }

        using SafetensorsModel weights = Weights(directory, config is null ? problem : null);
        return new ModelInspection(directory, config, problem,
            [.. weights.Tensors.Values.OrderBy(t => t.Name, StringComparer.Ordinal)],
            [.. weights.Files.Select(f => (f.FilePath, f.Length))],
            Has("tokenizer.json"), Has("tokenizer_config.json"), Has("generation_config.json"));

        bool Has(string name) => File.Exists(Path.Combine(directory, name));
    }

    /// <summary>The weight files; where there are none to show either, what is wrong with the configuration says more: it may be no model at all.</summary>
    private static SafetensorsModel Weights(string directory, ModelFormatException? problem)
    {
        try
        {
            return new SafetensorsModel(directory);
        }
        catch (ModelFormatException) when (problem is not null)
        {
            throw problem;
        }
    }

    private static ModelInspection InspectFile(string path)
    {
        using var file = new GgufFile(path);
        ModelConfig? config = null;
        ModelFormatException? problem = null;
        try
        {
            using var source = new GgufSource(path);
            config = source.Config;
        }
        catch (ModelFormatException e)
        {
            problem = e;
        }

        return new ModelInspection(path, config, problem, [.. file.Tensors.OrderBy(t => t.Name, StringComparer.Ordinal)], [(path, file.Length)],
            file.Metadata.Has("tokenizer.ggml.model"), false, false) { Metadata = file.Metadata };
    }
}
