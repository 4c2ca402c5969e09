using Foretoken.Backends;

namespace Foretoken.Speculation;

/// <summary>
/// A <see cref="Governor"/> over several drafters, cheap ones first: equal drafts count as the first drafter's. Draft models and heads are tried in the order in which they stand.
/// </summary>
public sealed record GovernorOptions(params IReadOnlyList<DrafterOptions> Drafters) : DrafterOptions
{
    /// <inheritdoc/>
    public override string Name => "auto";

    /// <inheritdoc/>
    public override int MaxNodes => Math.Min(Nodes, Math.Max(1, Drafters.Sum(d => d.MaxNodes)));

    /// <inheritdoc/>
    public override bool ReadsFeatures => Drafters.Any(d => d.ReadsFeatures);

    /// <summary>Most drafted nodes of one tree.</summary>
    public int Nodes { get; init; } = 24;

    /// <summary>
    /// Share of the time that may go into asking drafters that do not pay, and into drafts that turn out wrong beyond what others gain: how soon a change of the text is
    /// noticed against what noticing costs. 1 asks whatever it costs.
    /// </summary>
    public double Curiosity { get; init; } = 0.01;

    /// <summary>
    /// Draft models and heads are loaded with the model. Otherwise their files are checked then and their memory is planned, but their weights are read when the Governor
    /// first wants to try them, beside the steps, so that neither the start nor short answers pay for them; while they are read, steps have fewer cores to themselves.
    /// Drafters inside a <see cref="CompositeOptions"/> are always loaded with the model: the composite is one drafter to the Governor, which cannot want a part of it later.
    /// </summary>
    public bool LoadsAtStart { get; init; }

    /// <inheritdoc/>
    public override IDrafter Create(DrafterContext context)
    {
        CheckNodes();
        if (Drafters.Count is < 1 or > 16) throw new ArgumentException($"The Governor chooses among 1 to 16 drafters, not {Drafters.Count}.");
        if (!(Curiosity > 0 && Curiosity <= 1)) throw new ArgumentException($"Curiosity is {Curiosity}: it must be above 0 and at most 1.");
        IBackend backend = context.Target.Backend;
        DrafterOptions[] used = [.. Drafters.Where(d => (backend.LogitsOnHost || d is not RecyclingOptions) // every logit would have to be fetched
            && ((backend.GivesHidden && backend.LogitsOnHost) || !d.ReadsFeatures))]; // heads compute on the processor
        if (used.Length == 0) used = [.. Drafters];
        IDrafter[] drafters = DrafterSet.Create(used, context, lazily: !LoadsAtStart);
        try
        {
            return new Governor(this, context, drafters, [.. used.Select(d => d.ReadsFeatures)]);
        }
        catch
        {
            foreach (IDrafter drafter in drafters) drafter.Dispose();
            throw;
        }
    }
}
