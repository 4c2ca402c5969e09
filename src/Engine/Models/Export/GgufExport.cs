using System.Runtime.InteropServices;
using Foretoken.Backends;
using Foretoken.Formats;
using Foretoken.Models.Families;
using Foretoken.Numerics;
using Foretoken.Tokenization;

namespace Foretoken.Models.Export;

/// <summary>Writes any model that can be opened as a GGUF file, matrix by matrix.</summary>
public static class GgufExport
{
    /// <summary>Writes a model to an empty stream.</summary>
    /// <param name="stream">Receives the file.</param>
    /// <param name="source">The model; stays the caller's.</param>
    /// <param name="tokenizer">Its tokenizer; null = none.</param>
    /// <param name="options">Types, name, progress.</param>
    /// <exception cref="ModelFormatException">A weight is damaged or cannot be held in its type, or the format cannot hold the model.</exception>
    public static void Write(Stream stream, ModelSource source, GgufTokenizer? tokenizer, ExportOptions options)
    {
        ModelConfig config = source.Config;
        ModelFamily family = ModelFamily.All.First(f => f.Name == config.Family);
        var writer = new GgufWriter();
        AddConfig(writer, source, family, options);
        tokenizer?.AddTo(writer);
        if (config.Dms is not null)
            throw new ModelFormatException(source.Origin, "dms_window_size", "says that the model decides what its cache evicts, which GGUF files cannot hold", "Keep the Hugging Face directory.");
        WeightSpec[] specs = [.. WeightSpec.Of(config)];
        var encoder = new RowEncoder(options);
        long total = specs.Sum(source.StoredBytes), done = 0;
        if (RopeDivisors(config) is { } divisors)
            writer.Add(new StreamedTensor(GgufNames.RopeDivisors, DType.F32, [divisors.Length], s => s.Write(MemoryMarshal.AsBytes<float>(divisors))));
        foreach (WeightSpec spec in specs)
        {
            string name = GgufNames.Of(spec);
            DType type = options.Mix.TypeOf(spec, config);
            int pairedHead = family.GgufInterleavesPairs && RopePairs.Concerns(spec.Role) ? config.Shape.HeadDim : 0;
            writer.Add(new StreamedTensor(name, type, spec.Shape, s =>
            {
                options.Cancellation.ThrowIfCancellationRequested();
                if (spec.IsMatrix) encoder.Write(s, source.Origin, source.Matrix(spec), type, pairedHead == 0 ? null : row => RopePairs.HalfRotationRow(row, pairedHead));
                else WriteVector(s, source.Vector(spec), pairedHead);
                options.Progress?.Report(new LoadProgress(name, done += source.StoredBytes(spec), total));
            }));
        }

        writer.Write(stream);
        source.VerifyUnchanged();
    }

    private static void WriteVector(Stream stream, float[] values, int pairedHead)
    {
        float[] ordered = pairedHead == 0 ? values : [.. Enumerable.Range(0, values.Length).Select(i => values[RopePairs.HalfRotationRow(i, pairedHead)])];
        stream.Write(MemoryMarshal.AsBytes<float>(ordered));
    }

    private static void AddConfig(GgufWriter writer, ModelSource source, ModelFamily family, ExportOptions options)
    {
        ModelConfig config = source.Config;
        TransformerShape s = config.Shape;
        string name = family.GgufArchitecture;
        writer.Add(GgufConfig.ArchitectureKey, name)
            .Add("general.type", "model")
            .Add("general.name", options.Name)
            .Add("general.file_type", options.Mix.FileType)
            .Add("general.quantization_version", 2u)
            .Add($"{name}.block_count", (uint)s.LayerCount)
            .Add($"{name}.context_length", (uint)s.MaxPositions)
            .Add($"{name}.embedding_length", (uint)s.HiddenSize)
            .Add($"{name}.feed_forward_length", (uint)s.IntermediateSize)
            .Add($"{name}.attention.head_count", (uint)s.HeadCount)
            .Add($"{name}.attention.head_count_kv", (uint)s.KvHeadCount)
            .Add($"{name}.attention.key_length", (uint)s.HeadDim)
            .Add($"{name}.attention.value_length", (uint)s.HeadDim)
            .Add($"{name}.attention.layer_norm_rms_epsilon", s.RmsNormEpsilon)
            .Add($"{name}.rope.dimension_count", (uint)s.HeadDim)
            .Add($"{name}.rope.freq_base", (float)config.Rope.Theta)
            .Add($"{name}.vocab_size", (uint)s.VocabSize);
        if (config.Rope.Kind == RopeScalingKind.Linear)
            writer.Add($"{name}.rope.scaling.type", "linear").Add($"{name}.rope.scaling.factor", (float)config.Rope.Factor);
        AddWindow(writer, source, family, $"{name}.attention.sliding_window");
    }

    private static void AddWindow(GgufWriter writer, ModelSource source, ModelFamily family, string key)
    {
        int[] windows = [.. source.Config.SlidingWindows.Distinct()];
        if (windows is [0]) return;
        if (windows.Length > 1 || !family.GgufWindowsAllLayers)
        {
            throw new ModelFormatException(source.Origin, "sliding_window", "concerns some layers only, which a GGUF file of this architecture cannot say",
                "Keep the Hugging Face directory, which can be run as it is.");
        }

        writer.Add(key, (uint)windows[0]);
    }

    /// <summary>What divides the plain frequencies, where a scaling treats them differently. // [headDim/2]</summary>
    private static float[]? RopeDivisors(ModelConfig config)
    {
        if (config.Rope.Divisors is { } given) return [.. given];
        if (config.Rope.Kind != RopeScalingKind.Llama3) return null;
        double[] plain = new RopeScaling(config.Rope.Theta).InverseFrequencies(config.Shape.HeadDim), scaled = config.Rope.InverseFrequencies(config.Shape.HeadDim);
        return [.. plain.Zip(scaled, (p, s) => (float)(p / s))];
    }
}
