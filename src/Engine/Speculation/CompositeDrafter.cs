using Foretoken.Backends;
using Foretoken.Sampling;

namespace Foretoken.Speculation;

/// <summary>Several drafters at once: their trees are merged by path, the first drafter's nodes first in the budget (SpecInfer, Miao et al., 2023).</summary>
public sealed record CompositeOptions(params IReadOnlyList<DrafterOptions> Drafters) : DrafterOptions
{
    /// <inheritdoc/>
    public override string Name => string.Join("+", Drafters.Select(d => d.Name));

    /// <summary>What all drafters together may add, as far as one pass verifies it.</summary>
    public override int MaxNodes => Math.Min(Drafters.Sum(d => d.MaxNodes), RowBatch.MaxTreeRows / 4);

    /// <inheritdoc/>
    public override bool ReadsFeatures => Drafters.Any(d => d.ReadsFeatures);

    /// <inheritdoc/>
    public override IDrafter Create(DrafterContext context)
    {
        if (Drafters.Count == 0) throw new ArgumentException("A composite needs at least one drafter.");
        CheckNodes();
        return new CompositeDrafter(Name, MaxNodes, DrafterSet.Create(Drafters, context));
    }
}

/// <inheritdoc cref="CompositeOptions"/>
public sealed class CompositeDrafter(string name, int maxNodes, params IDrafter[] drafters) : IDrafter
{
    /// <inheritdoc/>
    public string Name => name;

    /// <inheritdoc/>
    public IReadOnlyList<string> Sources { get; } = [.. drafters.Select(d => d.Name)];

    /// <inheritdoc/>
    public int MaxNodes => maxNodes;

    /// <inheritdoc/>
    public bool RunsModel { get; } = drafters.Any(d => d.RunsModel);

    /// <inheritdoc/>
    public bool DrawsDrafts { get; } = drafters.Any(d => d.DrawsDrafts);

    /// <inheritdoc/>
    public void Propose(ReadOnlySpan<DraftRequest> requests, TokenForest forest)
    {
        for (int d = 0; d < drafters.Length; d++)
        {
            forest.AddingSource = d;
            drafters[d].Propose(requests, forest); // the forest merges equal paths and keeps the budget
        }
    }

    /// <inheritdoc/>
    public void Committed(int sequence, TokenHistory path, RowBatch rows, ReadOnlySpan<int> accepted)
    {
        foreach (IDrafter drafter in drafters) drafter.Committed(sequence, path, rows, accepted);
    }

    /// <inheritdoc/>
    public void Observe(ReadOnlySpan<DraftRequest> requests, ReadOnlySpan<Acceptance> acceptances, TokenForest forest)
    {
        foreach (IDrafter drafter in drafters) drafter.Observe(requests, acceptances, forest);
    }

    /// <inheritdoc/>
    public void Measured(in StepCost cost)
    {
        foreach (IDrafter drafter in drafters) drafter.Measured(cost);
    }

    /// <inheritdoc/>
    public void Fork(int source, int sequence, int tokens)
    {
        foreach (IDrafter drafter in drafters) drafter.Fork(source, sequence, tokens);
    }

    /// <inheritdoc/>
    public void Release(int sequence)
    {
        foreach (IDrafter drafter in drafters) drafter.Release(sequence);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (IDrafter drafter in drafters) drafter.Dispose();
    }
}

/// <summary>Makes the drafters of a set: all or none. Lazily, those with weights read them when they are first wanted.</summary>
internal static class DrafterSet
{
    public static IDrafter[] Create(IReadOnlyList<DrafterOptions> options, DrafterContext context, bool lazily = false)
    {
        var drafters = new IDrafter[options.Count];
        try
        {
            for (int i = 0; i < drafters.Length; i++)
            {
                drafters[i] = options[i].Create(context with { DefersWeights = lazily && options[i].HasWeights });
                if (lazily && drafters[i] is IDeferredDrafter deferred) drafters[i] = new LazyDrafter(deferred);
            }

            return drafters;
        }
        catch
        {
            foreach (IDrafter? drafter in drafters) drafter?.Dispose();
            throw;
        }
    }
}
