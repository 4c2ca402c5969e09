using Foretoken.Backends;
using Foretoken.Models;

namespace Foretoken.Speculation.Trained;

/// <summary>Heads on the target's last hidden state that name several coming tokens at once (Medusa-1 and Medusa-2; Cai et al., 2024).</summary>
public sealed record MedusaOptions : DrafterOptions
{
    /// <inheritdoc/>
    public override string Name => "medusa";

    /// <inheritdoc/>
    public override int MaxNodes => Nodes;

    /// <inheritdoc/>
    public override bool ReadsFeatures => true;

    /// <summary>Directory of the heads: config.json and safetensors.</summary>
    public required string Directory { get; init; }

    /// <summary>Most drafted nodes of a tree.</summary>
    public int Nodes { get; init; } = MedusaTree.Default.Count;

    /// <summary>
    /// The tree; null = built from the rank accuracies that the heads' config.json tells (<c>medusa_rank_accuracies</c>), else the published one of 63 nodes. Where
    /// fewer nodes are asked for than it has, those go in whose paths the heads think likeliest.
    /// </summary>
    public MedusaTree? Tree { get; init; }

    /// <summary>A draft is proposed if the estimated probability of its whole path is at least this.</summary>
    public float MinProbability { get; init; }

    /// <summary>
    /// Nodes that do not pay by the costs measured so far are left out, if the heads' config.json tells rank accuracies: without them the published tree is verified
    /// whole. For a drafter that is asked alone; the Governor chooses by itself.
    /// </summary>
    public bool FitsCosts { get; init; }

    /// <summary>Type in which matrices are held; null = the file's. What a drafter says decides no token, so that the faster type is the default.</summary>
    public WeightType? WeightType { get; init; } = Backends.WeightType.Int8;

    internal override bool HasWeights => true;

    /// <inheritdoc/>
    public override IDrafter Create(DrafterContext context)
    {
        CheckNodes();
        if (!(MinProbability >= 0 && MinProbability <= 1)) throw new ArgumentException($"MinProbability is {MinProbability}: it must be between 0 and 1.");
        IFeatureBackend backend = TrainedDrafters.CreateBackend(Name, context);
        MedusaDrafter drafter;
        try
        {
            drafter = new MedusaDrafter(this, context, ModelDirectory.Resolve(Directory), backend);
        }
        catch
        {
            backend.Dispose();
            throw;
        }

        return drafter.Finish(context);
    }
}
