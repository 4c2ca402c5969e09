using Foretoken.Backends;
using Foretoken.Numerics;

namespace Foretoken.Models.Export;

/// <summary>
/// Which type each matrix of a written model gets. Mixes of block types follow llama.cpp, so that files are comparable: the output head (or the embedding table
/// that serves as one) gets Q6_K beside smaller types; <c>q4_k_m</c> gives Q6_K also to half of the value and down projections; rows that are no multiple
/// of a type's block fall back to Q5_0, Q8_0 or F16. Vectors are always F32.
/// </summary>
public sealed class WeightMix
{
    private readonly DType _type;
    private readonly bool _moreBits;
    private readonly ModelSource? _asStored;

    private WeightMix(string name, DType type, uint fileType, bool moreBits = false, ModelSource? asStored = null) =>
        (Name, _type, FileType, _moreBits, _asStored) = (name, type, fileType, moreBits, asStored);

    /// <summary>Every named mix.</summary>
    public static IReadOnlyList<WeightMix> All { get; } =
    [
        new("f32", DType.F32, 0), new("f16", DType.F16, 1), new("bf16", DType.BF16, 32), new("q8_0", DType.Q8_0, 7), new("q4_0", DType.Q4_0, 2),
        new("q4_k_m", DType.Q4_K, 15, moreBits: true), new("q6_k", DType.Q6_K, 18),
    ];

    /// <summary>Name on the command line.</summary>
    public string Name { get; }

    /// <summary>Number of the mix in <c>general.file_type</c>.</summary>
    public uint FileType { get; }

    /// <summary>True for the mixes that a safetensors file can hold.</summary>
    public bool IsPlain => !_type.IsBlock() && _asStored is null;

    /// <summary>The named mix, or null.</summary>
    public static WeightMix? Find(string name) => All.FirstOrDefault(mix => mix.Name == name);

    /// <summary>Every matrix in the type in which the source stores it.</summary>
    public static WeightMix AsStored(ModelSource source)
    {
        DType main = WeightSpec.Of(source.Config).Where(s => s.IsMatrix).GroupBy(s => Stored(source, s)).MaxBy(g => g.Sum(s => s.Elements))!.Key;
        return new WeightMix("as stored", main, All.FirstOrDefault(mix => mix._type == main)?.FileType ?? 0, asStored: source);
    }

    /// <summary>The type of one weight.</summary>
    public DType TypeOf(WeightSpec spec, ModelConfig config)
    {
        if (!spec.IsMatrix) return DType.F32;
        if (_asStored is not null) return Stored(_asStored, spec);
        if (!_type.IsBlock()) return _type;
        bool head = spec.Role == WeightRole.Head || spec.Role == WeightRole.Embedding && config.TiedEmbeddings;
        bool raised = head && _type != DType.Q8_0
            || _moreBits && spec.Role is WeightRole.Value or WeightRole.Down && TakesMoreBits(spec.Layer, config.Shape.LayerCount);
        return Fitting(raised ? DType.Q6_K : _type, spec.InFeatures);
    }

    /// <summary>The first and the last eighth of the layers, and every third one between.</summary>
    private static bool TakesMoreBits(int layer, int layers) => layer < layers / 8 || layer >= 7 * layers / 8 || (layer - layers / 8) % 3 == 2;

    private static DType Fitting(DType type, int rowLength)
    {
        if (rowLength % type.BlockLength() == 0) return type;
        return rowLength % 32 != 0 ? DType.F16 : type == DType.Q4_K ? DType.Q5_0 : DType.Q8_0;
    }

    private static DType Stored(ModelSource source, WeightSpec spec) =>
        source.Matrix(spec) is IStoredRowSource { StoredType: var type } && type != DType.F64 ? type : DType.F32;
}
