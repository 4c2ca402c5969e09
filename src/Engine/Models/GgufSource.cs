using Foretoken.Backends;
using Foretoken.Formats;
using Foretoken.Models.Families;
using Foretoken.Numerics;

namespace Foretoken.Models;

/// <summary>A model in a GGUF file.</summary>
public sealed class GgufSource : ModelSource
{
    private readonly GgufFile _file;
    private readonly Dictionary<string, StoredTensor> _tensors;
    private readonly ModelFamily _family;
    private readonly ThreadLocal<RowWindow> _windows = new(() => new RowWindow());

    /// <summary>Opens a file and checks that its weights are exactly those that its metadata asks for.</summary>
    /// <exception cref="ModelFormatException">Something is missing, malformed, of the wrong shape or type, or too much.</exception>
    public GgufSource(string path)
    {
        Origin = path;
        _file = new GgufFile(path);
        try
        {
            _tensors = _file.Tensors.ToDictionary(t => t.Name, StringComparer.Ordinal);
            Config = GgufConfig.Parse(_file, _tensors);
            _family = ModelFamily.All.First(f => f.Name == Config.Family);
            CheckTensors();
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

    /// <summary>Everything that the file says beside its tensors, the tokenizer included.</summary>
    public GgufMetadata Metadata => _file.Metadata;

    /// <summary>The type of most weights; files often hold the embedding in a wider one.</summary>
    public override WeightType DefaultWeightType =>
        WeightSpec.Of(Config).Where(s => s.IsMatrix).GroupBy(WeightTypeOf).MaxBy(g => g.Sum(s => s.Elements))!.Key;

    /// <inheritdoc/>
    public override string? Note
    {
        get
        {
            string[] wide = [.. WeightSpec.Of(Config).Where(s => s.IsMatrix && WeightTypeOf(s) == WeightType.F32).Select(s => TensorOf(s).Type)
                .Where(t => t.IsBlock()).Distinct().Select(t => t.FileName())];
            return wide.Length == 0 ? null
                : $"{string.Join(" and ", wide)} weights are held as f32, which loses nothing and takes more memory than the file; --type int8 or bf16 takes less and rounds them";
        }
    }

    /// <inheritdoc/>
    public override WeightType WeightTypeOf(WeightSpec spec) => TensorOf(spec).Type switch
    {
        DType.BF16 => WeightType.BF16,
        DType.F16 => WeightType.F16,
        DType.Q8_0 => WeightType.Int8,
        DType.Q4_0 => WeightType.Int4,
        DType.Q4_K => WeightType.Q4K,
        DType.Q6_K => WeightType.Q6K,
        _ => WeightType.F32,
    };

    /// <inheritdoc/>
    public override IRowSource Matrix(WeightSpec spec) => new TensorRows(_file, TensorOf(spec), _windows, PairedHead(spec));

    /// <inheritdoc/>
    public override float[] Vector(WeightSpec spec)
    {
        StoredTensor tensor = TensorOf(spec);
        var bytes = new byte[tensor.Bytes];
        _file.Read(tensor, 0, bytes);
        var stored = new float[tensor.Elements];
        DTypeConverter.ToSingle(tensor.Type, bytes, stored);
        if (!FiniteCheck.AllFinite(stored)) throw TensorRows.NotFinite(tensor, "its elements");
        if (PairedHead(spec) is not (> 0 and var headDim)) return stored;
        var values = new float[stored.Length];
        for (int i = 0; i < values.Length; i++) values[i] = stored[RopePairs.InterleavedRow(i, headDim)];
        return values;
    }

    /// <inheritdoc/>
    public override long StoredBytes(WeightSpec spec) => TensorOf(spec).Bytes;

    /// <inheritdoc/>
    public override void VerifyUnchanged() => _file.VerifyUnchanged();

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        if (!disposing) return;
        _file.Dispose();
        _windows.Dispose();
    }

    private StoredTensor TensorOf(WeightSpec spec) => _tensors[GgufNames.Of(spec)];

    /// <summary>Length of the heads whose rows the file keeps as interleaved pairs, or 0 where rows stand as the engine wants them.</summary>
    private int PairedHead(WeightSpec spec) =>
        _family.GgufInterleavesPairs && RopePairs.Concerns(spec.Role) ? Config.Shape.HeadDim : 0;

    private void CheckTensors()
    {
        var expected = new HashSet<string>(StringComparer.Ordinal) { GgufNames.RopeDivisors };
        foreach (WeightSpec spec in WeightSpec.Of(Config))
        {
            string name = GgufNames.Of(spec);
            expected.Add(name);
            StoredTensor tensor = _tensors.GetValueOrDefault(name) ?? throw new ModelFormatException(Origin, $"\"{name}\"",
                $"is missing; {Config.Architecture} needs it with shape {StoredTensor.FormatShape(spec.Shape)}", "The file is no complete model: download or convert it again.");
            if (!tensor.Shape.SequenceEqual(spec.Shape))
            {
                throw new ModelFormatException(Origin, $"\"{name}\"", $"has shape {tensor.ShapeText}, but the metadata ask for {StoredTensor.FormatShape(spec.Shape)}",
                    "Metadata and weights do not belong together: download or convert the file again.");
            }

            bool weights = tensor.Type is DType.F32 or DType.F16 or DType.BF16 || spec.IsMatrix && tensor.Type.IsBlock();
            if (!weights)
            {
                throw new ModelFormatException(Origin, $"\"{name}\"", $"has type {tensor.Type.FileName()}, which {(spec.IsMatrix ? "no matrix" : "no vector")} of a model has",
                    "Convert the model again.");
            }
        }

        if (_tensors.Keys.FirstOrDefault(name => !expected.Contains(name)) is { } extra)
        {
            throw new ModelFormatException(Origin, $"\"{extra}\"", $"is not a weight of {Config.Architecture} with these metadata",
                "Leaving it out would change the output: use a supported model.");
        }
    }
}
