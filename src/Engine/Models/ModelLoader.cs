using System.Runtime.ExceptionServices;
using System.Runtime.InteropServices;
using Foretoken.Backends;
using Foretoken.Formats;
using Foretoken.Memory;

namespace Foretoken.Models;

/// <summary>How a model is loaded.</summary>
public sealed record LoadOptions
{
    /// <summary>The backend that will hold the weights. Stays the caller's.</summary>
    public required IBackend Backend { get; init; }

    /// <summary>Receives one entry per buffer.</summary>
    public required MemoryPlan Plan { get; init; }

    /// <summary>Most rows of one pass.</summary>
    public required int MaxRows { get; init; }

    /// <summary>Most rows of one pass that ask for logits.</summary>
    public required int MaxLogitRows { get; init; }

    /// <summary>Type in which matrices are held; null = for each the smallest that holds it exactly (<see cref="ModelSource.WeightTypeOf"/>).</summary>
    public WeightType? WeightType { get; init; }

    /// <summary>Longest sequence in tokens, at most the model's; null = the model's.</summary>
    public int? ContextLength { get; init; }

    /// <summary>
    /// Called with the configuration once every weight is announced to the backend and none is loaded: whoever makes the KV cache here gets it into the
    /// backend's one allocation, and what does not fit is refused before anything is read.
    /// </summary>
    public Action<ModelConfig>? Announced { get; init; }

    /// <summary>Receives the weights as they are announced, for those that are loaded later; null = <see cref="Plan"/> does, once they are loaded.</summary>
    internal MemoryPlan? LaterWeights { get; init; }

    /// <summary>Hears of the weights as they are loaded; null = nobody.</summary>
    public IProgress<LoadProgress>? Progress { get; init; }

    /// <summary>Ends loading with an <see cref="OperationCanceledException"/>.</summary>
    public CancellationToken Cancellation { get; init; }
}

/// <summary>How far loading is.</summary>
/// <param name="Weight">The weight that was packed last; empty at the beginning.</param>
/// <param name="BytesRead">Bytes read from the model's files.</param>
/// <param name="TotalBytes">Bytes that will be read.</param>
public readonly record struct LoadProgress(string Weight, long BytesRead, long TotalBytes);

/// <summary>A model whose weights are in its backend. Disposing the backend frees it.</summary>
/// <param name="Origin">Directory, file or name that it came from.</param>
/// <param name="Config">Its configuration.</param>
/// <param name="WeightType">Type in which matrices are held; where they differ, the widest.</param>
/// <param name="Transformer">The forward pass.</param>
/// <param name="Note">What a user should know about how the weights are held, as a clause without a full stop; usually null.</param>
public sealed record LoadedModel(string Origin, ModelConfig Config, WeightType WeightType, Transformer Transformer, string? Note = null);

/// <summary>A model whose backend is prepared for weights that were not read yet.</summary>
/// <param name="Config">Its configuration.</param>
/// <param name="Load">Reads the weights, once; the source must still be open.</param>
internal sealed record AnnouncedModel(ModelConfig Config, Func<CancellationToken, LoadedModel> Load);

/// <summary>Checks a model's files, then reads them once into the backend's packed weights.</summary>
public static class ModelLoader
{
    /// <summary>Loads a model directory or GGUF file (see <see cref="ModelDirectory.Resolve"/>).</summary>
    /// <exception cref="ModelFormatException">The files are missing, malformed or not supported.</exception>
    /// <exception cref="OutOfMemoryBudgetException">The weights do not fit into memory.</exception>
    public static LoadedModel Load(string path, LoadOptions options)
    {
        using ModelSource source = Open(path);
        return Load(source, options);
    }

    /// <summary>Opens and checks a model without loading its weights.</summary>
    public static ModelSource Open(string path)
    {
        string found = ModelDirectory.Resolve(path);
        return GgufFile.IsGguf(found) ? new GgufSource(found) : new HuggingFaceSource(found);
    }

    /// <summary>Loads from a source that the caller opened.</summary>
    /// <exception cref="ModelFormatException">A weight is damaged or cannot be packed in the asked type.</exception>
    /// <exception cref="OperationCanceledException">Cancelled between two weights.</exception>
    public static LoadedModel Load(ModelSource source, LoadOptions options) => Announce(source, options).Load(options.Cancellation);

    /// <summary>Checks a model, prepares the backend for it and announces its weights; none is read yet.</summary>
    internal static AnnouncedModel Announce(ModelSource source, LoadOptions options)
    {
        ModelConfig config = source.Config;
        if (options.ContextLength is { } context)
        {
            ArgumentOutOfRangeException.ThrowIfLessThan(context, 1, nameof(options));
            config = config with { Shape = config.Shape with { MaxPositions = Math.Min(context, config.Shape.MaxPositions) } };
        }

        if (config.Dms is not null && !options.Backend.MakesDecisions)
        {
            if (!config.Dms.Adapter)
            {
                throw new ModelFormatException(source.Origin, "dms_window_size", $"says that queries lend a channel to eviction decisions, which {options.Backend.Name} does not leave out",
                    "Run this model on the CPU.");
            }

            config = config with { Dms = null }; // without its adapter it is the plain model
        }

        WeightType type = options.WeightType ?? options.Backend.Holds(source.DefaultWeightType);
        MemoryBudget.Require(
            $"{source.Origin}: as {type} the weights need", BytesOf(source, config, options), options.Backend.MemoryBytes,
            type == WeightType.Int8 ? "Use a smaller model." : "Use a smaller model or the weight type int8.");
        options.Backend.Prepare(config.Shape, options.MaxRows, options.MaxLogitRows, options.Plan);
        var packer = new WeightPacker(source, config, options);
        packer.Plan();
        options.Announced?.Invoke(config);
        return new AnnouncedModel(config, c => Pack(source, config, type, packer, options, c));
    }

    private static LoadedModel Pack(ModelSource source, ModelConfig config, WeightType type, WeightPacker packer, LoadOptions options, CancellationToken cancellation)
    {
        try
        {
            TransformerWeights weights = packer.Pack(cancellation);
            source.VerifyUnchanged();
            return new LoadedModel(source.Origin, config, type, new Transformer(options.Backend, config.Shape, weights),
                options.WeightType is null ? source.Note : null);
        }
        catch (InvalidOperationException e) when (e.InnerException is ModelFormatException cause)
        {
            ExceptionDispatchInfo.Throw(cause); // a packing thread met it
            throw;
        }
        catch (Exception e) when ((e as ArgumentException ?? e.InnerException as ArgumentException) is { } refused)
        {
            throw new ModelFormatException(source.Origin, "weights", $"cannot be packed as {type}: {refused.Message}", "Load the model with another weight type.", e);
        }
    }

    /// <summary>Bytes of all weights in memory, but for padding.</summary>
    private static long BytesOf(ModelSource source, ModelConfig config, LoadOptions options) =>
        WeightSpec.Of(config).Sum(w => w.IsMatrix ? (long)(w.Elements * TypeOf(source, w, options).BitsPerWeight() / 8) : w.Elements * sizeof(float));

    /// <summary>The asked type, else the one in which the backend holds the weight; decisions are thresholds and stay f32.</summary>
    private static WeightType TypeOf(ModelSource source, WeightSpec spec, LoadOptions options) =>
        spec.IsDecision ? WeightType.F32 : options.WeightType ?? options.Backend.Holds(source.WeightTypeOf(spec));

    /// <summary>Hands each weight to the backend in the order of use: embedding, layers, final norm, head.</summary>
    private sealed class WeightPacker(ModelSource source, ModelConfig config, LoadOptions options)
    {
        private readonly Dictionary<(WeightRole, int), WeightSpec> _specs = WeightSpec.Of(config).ToDictionary(s => (s.Role, s.Layer));
        private long _bytesRead;
        private long _totalBytes;
        private bool _planning; // weights are announced, not read
        private CancellationToken _cancellation;

        /// <summary>Announces every weight to the backend.</summary>
        public void Plan()
        {
            _planning = true;
            Pack(options.Cancellation);
            _planning = false;
        }

        public TransformerWeights Pack(CancellationToken cancellation)
        {
            _cancellation = cancellation;
            _totalBytes = _specs.Values.Sum(source.StoredBytes);
            if (!_planning) options.Progress?.Report(new LoadProgress("", 0, _totalBytes)); // the first weight is often the largest
            TensorHandle embedding = Matrix("embedding", -1, WeightRole.Embedding);
            var layers = new LayerWeights[config.Shape.LayerCount];
            for (int i = 0; i < layers.Length; i++) layers[i] = Layer(i);
            TensorHandle norm = Vector("final-norm", -1, WeightRole.FinalNorm);
            TensorHandle head = config.TiedEmbeddings ? embedding : Matrix("head", -1, WeightRole.Head);
            return new TransformerWeights(embedding, layers, norm, head);
        }

        private LayerWeights Layer(int i) => new()
        {
            InputNorm = Vector("input-norm", i, WeightRole.InputNorm),
            Qkv = Matrix("qkv", i, WeightRole.Query, WeightRole.Key, WeightRole.Value),
            QkvBias = Vector("qkv-bias", i, WeightRole.QueryBias, WeightRole.KeyBias, WeightRole.ValueBias),
            QueryNorm = Vector("query-norm", i, WeightRole.QueryNorm),
            KeyNorm = Vector("key-norm", i, WeightRole.KeyNorm),
            Output = Matrix("output", i, WeightRole.Output),
            OutputBias = Vector("output-bias", i, WeightRole.OutputBias),
            PostAttentionNorm = Vector("post-attention-norm", i, WeightRole.PostAttentionNorm),
            GateUp = Matrix("gate-up", i, WeightRole.Gate, WeightRole.Up),
            Down = Matrix("down", i, WeightRole.Down),
            SlidingWindow = config.SlidingWindows[i],
            Decision = config.Dms is { } dms ? Decision(i, dms) : null,
        };

        private DecisionWeights Decision(int i, DmsConfig dms) => new()
        {
            Scale = dms.Scale,
            Offset = dms.Offset,
            PerLayer = dms.PerLayer,
            ZeroAfterRope = dms.ZeroAfterRope,
            Norm = dms.Adapter ? Vector("decision-norm", i, WeightRole.DecisionNorm) : TensorHandle.None,
            Projection = dms.Adapter ? Matrix("decision", i, WeightRole.Decision) : TensorHandle.None,
            Bias = Vector("decision-bias", i, WeightRole.DecisionBias),
        };

        /// <summary>
        /// Parts of different types (q, k and v of mixed files) keep each its own where the backend can stack them; gate and up, which meet in one panel, and
        /// all parts elsewhere share the type that holds both.
        /// </summary>
        private TensorHandle Matrix(string name, int layer, params ReadOnlySpan<WeightRole> roles)
        {
            var handles = new List<TensorHandle>();
            bool mixed = SameType(layer, roles) < roles.Length;
            if (mixed && options.Backend.StacksTypes && roles.Length != 2)
            {
                for (int first = 0, count; first < roles.Length; first += count)
                {
                    count = SameType(layer, roles[first..]);
                    handles.Add(Matrix(name, layer, roles.Slice(first, count), TypeOf(layer, roles[first])));
                }
            }
            else
            {
                handles.Add(Matrix(name, layer, roles, mixed ? options.Backend.Holds(WeightType.F32) : TypeOf(layer, roles[0])));
            }

            if (_planning) return TensorHandle.None;
            Report(name, layer, roles);
            return handles.Count == 1 ? handles[0] : options.Backend.Stack(NameOf(name, layer), CollectionsMarshal.AsSpan(handles));
        }

        private TensorHandle Matrix(string name, int layer, ReadOnlySpan<WeightRole> roles, WeightType type)
        {
            _cancellation.ThrowIfCancellationRequested();
            if (_planning)
            {
                int[] rows = [.. roles.ToArray().Select(role => _specs[(role, layer)].OutFeatures)];
                int inFeatures = _specs[(roles[0], layer)].InFeatures;
                options.Backend.PlanMatrix(type, rows.Sum(), inFeatures);
                options.LaterWeights?.AddMatrix(NameOf(name, layer), type, rows, inFeatures);
                return TensorHandle.None;
            }

            var parts = new IRowSource[roles.Length];
            for (int p = 0; p < parts.Length; p++) parts[p] = source.Matrix(_specs[(roles[p], layer)]);
            return options.Backend.LoadMatrix(NameOf(name, layer), type, parts);
        }

        /// <summary>How many of the first <paramref name="roles"/> have one type.</summary>
        private int SameType(int layer, ReadOnlySpan<WeightRole> roles)
        {
            int count = 1;
            while (count < roles.Length && TypeOf(layer, roles[count]) == TypeOf(layer, roles[0])) count++;
            return count;
        }

        private WeightType TypeOf(int layer, WeightRole role) => ModelLoader.TypeOf(source, _specs[(role, layer)], options);

        /// <summary>None where the model has no such vector.</summary>
        private TensorHandle Vector(string name, int layer, params ReadOnlySpan<WeightRole> roles)
        {
            if (!_specs.ContainsKey((roles[0], layer))) return TensorHandle.None;
            if (_planning)
            {
                int elements = 0;
                foreach (WeightRole role in roles) elements += _specs[(role, layer)].OutFeatures;
                options.Backend.PlanVector(elements);
                options.LaterWeights?.AddVector(NameOf(name, layer), elements);
                return TensorHandle.None;
            }

            var values = new List<float>();
            foreach (WeightRole role in roles) values.AddRange(source.Vector(_specs[(role, layer)]));
            TensorHandle handle = options.Backend.LoadVector(NameOf(name, layer), values.ToArray());
            Report(name, layer, roles);
            return handle;
        }

        private void Report(string name, int layer, ReadOnlySpan<WeightRole> roles)
        {
            foreach (WeightRole role in roles) _bytesRead += source.StoredBytes(_specs[(role, layer)]);
            options.Progress?.Report(new LoadProgress(NameOf(name, layer), _bytesRead, _totalBytes));
        }

        private static string NameOf(string name, int layer) => layer < 0 ? name : $"layer {layer} {name}";
    }
}
