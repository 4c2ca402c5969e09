using Foretoken.Backends;
using Foretoken.Models;

namespace Foretoken.Speculation.Trained;

/// <summary>
/// A drafter of a layer or so that goes on from the target's hidden states (EAGLE-1, -2 and -3, multi-token prediction), with the dynamic tree of EAGLE-2. What a
/// directory holds is found out by its tensors.
/// </summary>
public sealed record EagleOptions : DrafterOptions
{
    /// <inheritdoc/>
    public override string Name => "eagle";

    /// <inheritdoc/>
    public override int MaxNodes => Nodes;

    /// <inheritdoc/>
    public override bool ReadsFeatures => true;

    /// <summary>Directory of the drafter: config.json and safetensors.</summary>
    public required string Directory { get; init; }

    /// <summary>Most drafted nodes of a tree. The published trees have 59, for devices on which further rows cost little.</summary>
    public int Nodes { get; init; } = 20;

    /// <summary>Most drafts of one path: one pass of the drafter each.</summary>
    public int Depth { get; init; } = 6;

    /// <summary>Children of a node and nodes of a level that are expanded; 1 is a chain. 10 as published.</summary>
    public int Width { get; init; } = 4;

    /// <summary>Paths that the drafter thinks less likely than this are neither expanded nor drafted.</summary>
    public float MinProbability { get; init; } = 0.1f;

    /// <summary>
    /// Levels and nodes that do not pay by the costs measured so far are left out (<see cref="Nodes"/>, <see cref="Depth"/> and <see cref="MinProbability"/> are the
    /// widest that is looked at). For a drafter that is asked alone; the Governor chooses by itself.
    /// </summary>
    public bool FitsCosts { get; init; }

    /// <summary>Type in which matrices are held; null = the file's. What a drafter says decides no token, so that the faster type is the default.</summary>
    public WeightType? WeightType { get; init; } = Backends.WeightType.Int8;

    /// <summary>How the drafter's keys and values are stored.</summary>
    public KvType KvType { get; init; } = KvType.BF16;

    /// <summary>Deepest tree.</summary>
    public const int MaxDepth = 32;

    internal override bool HasWeights => true;

    /// <inheritdoc/>
    public override IDrafter Create(DrafterContext context)
    {
        CheckNodes();
        if (Depth is < 1 or > MaxDepth) throw new ArgumentException($"Depth is {Depth}: it must be between 1 and {MaxDepth}.");
        if (Width < 1 || Width * (Depth - 1) > RowBatch.MaxTreeRows)
            throw new ArgumentException($"A tree of width {Width} and depth {Depth} expands {Width * (Depth - 1)} nodes: at most {RowBatch.MaxTreeRows} are possible.");
        if (!(MinProbability >= 0 && MinProbability <= 1)) throw new ArgumentException($"MinProbability is {MinProbability}: it must be between 0 and 1.");
        IFeatureBackend backend = TrainedDrafters.CreateBackend(Name, context);
        DraftWeights? weights = null;
        EagleDrafter drafter;
        try
        {
            weights = new DraftWeights(ModelDirectory.Resolve(Directory));
            drafter = new EagleDrafter(this, context, weights, backend);
        }
        catch
        {
            weights?.Dispose();
            backend.Dispose();
            throw;
        }

        return drafter.Finish(context);
    }
}
