using Foretoken.Backends;
using Foretoken.Formats;

namespace Foretoken.Models;

/// <summary>
/// A model with the eviction decisions of an adapter that lies in a directory of its own: <c>adapter_config.json</c> with the <c>dms_*</c> keys, and
/// <c>adapter_model.safetensors</c> with <c>model.layers.{i}.self_attn.dms_proj_alpha.weight</c> [KV heads, hidden] and <c>dms_proj_alpha_norm.weight</c> [hidden].
/// </summary>
public sealed class DmsAdapterSource : ModelSource
{
    /// <summary>Name of the adapter's configuration.</summary>
    public const string ConfigName = "adapter_config.json";

    /// <summary>Name of the adapter's weights.</summary>
    public const string WeightsName = "adapter_model.safetensors";

    private readonly ModelSource _inner;
    private readonly SafetensorsFile _file;
    private readonly Dictionary<string, StoredTensor> _tensors;
    private readonly ThreadLocal<RowWindow> _windows = new(() => new RowWindow());

    /// <param name="inner">The model; stays the caller's. What it says of eviction itself is overridden.</param>
    /// <param name="directory">The adapter.</param>
    /// <exception cref="ModelFormatException">A file is missing, malformed, or made for another model.</exception>
    public DmsAdapterSource(ModelSource inner, string directory)
    {
        _inner = inner;
        string configPath = Path.Combine(directory, ConfigName), weights = Path.Combine(directory, WeightsName);
        if (!IsAdapter(directory))
        {
            throw new ModelFormatException(configPath, "file", "does not exist",
                $"A DMS adapter is a directory with {ConfigName} and {WeightsName}, as training writes it.");
        }

        JsonFields fields = JsonFields.Read(configPath);
        DmsConfig dms = DmsConfig.Read(fields) ?? throw fields.Missing("dms_window_size");
        if (inner.Config.Dms is { Adapter: false })
            throw new ModelFormatException(configPath, "adapter", $"is for a plain model, and {inner.Origin} borrows query channels for its own decisions", "Use the model as it is.");
        if (!dms.Adapter) throw fields.Broken("dms_separate_alpha", "must be true: an adapter brings a projection of its own");
        Config = inner.Config with { Dms = dms };
        if (!File.Exists(weights)) throw new ModelFormatException(weights, "file", "does not exist", "The adapter is incomplete: train or download it again.");
        _file = new SafetensorsFile(weights);
        _tensors = _file.Tensors.ToDictionary(t => t.Name, StringComparer.Ordinal);
        try
        {
            Check(weights);
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    /// <inheritdoc/>
    public override string Origin => _inner.Origin;

    /// <inheritdoc/>
    public override ModelConfig Config { get; }

    /// <inheritdoc/>
    public override WeightType DefaultWeightType => _inner.DefaultWeightType;

    /// <inheritdoc/>
    public override string? Note => _inner.Note;

    /// <summary>Whether a directory holds an adapter and not a whole model.</summary>
    public static bool IsAdapter(string directory) => File.Exists(Path.Combine(directory, ConfigName));

    /// <inheritdoc/>
    public override WeightType WeightTypeOf(WeightSpec spec) => spec.IsDecision ? WeightType.F32 : _inner.WeightTypeOf(spec);

    /// <inheritdoc/>
    public override IRowSource Matrix(WeightSpec spec) =>
        spec.IsDecision ? new TensorRows(_file, _tensors[HuggingFaceNames.Of(spec)], _windows) : _inner.Matrix(spec);

    /// <inheritdoc/>
    public override float[] Vector(WeightSpec spec) => spec.IsDecision ? TensorRows.ReadVector(_file, _tensors[HuggingFaceNames.Of(spec)]) : _inner.Vector(spec);

    /// <inheritdoc/>
    public override long StoredBytes(WeightSpec spec) => spec.IsDecision ? _tensors[HuggingFaceNames.Of(spec)].Bytes : _inner.StoredBytes(spec);

    /// <inheritdoc/>
    public override void VerifyUnchanged()
    {
        _inner.VerifyUnchanged();
        _file.VerifyUnchanged();
    }

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        if (!disposing) return;
        _file.Dispose();
        _windows.Dispose();
    }

    private void Check(string weights)
    {
        var expected = new HashSet<string>(StringComparer.Ordinal);
        foreach (WeightSpec spec in WeightSpec.Of(Config).Where(s => s.IsDecision))
        {
            string name = HuggingFaceNames.Of(spec);
            expected.Add(name);
            if (!_tensors.TryGetValue(name, out StoredTensor? tensor))
                throw new ModelFormatException(weights, $"\"{name}\"", "is missing", $"The adapter must be made for {_inner.Origin}, which has {Config.Shape.LayerCount} layers.");
            if (!tensor.Shape.SequenceEqual(spec.Shape))
            {
                throw new ModelFormatException(weights, $"\"{name}\"", $"has shape {tensor.ShapeText}, but {_inner.Origin} needs {StoredTensor.FormatShape(spec.Shape)}",
                    "The adapter was made for another model.");
            }

            HuggingFaceSource.CheckType(tensor);
        }

        if (_tensors.Keys.FirstOrDefault(name => !expected.Contains(name)) is { } extra)
            throw new ModelFormatException(weights, $"\"{extra}\"", $"is no weight of a DMS adapter for {_inner.Origin}", "The adapter was made for another model.");
    }
}
