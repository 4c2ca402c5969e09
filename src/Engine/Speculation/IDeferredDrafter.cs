namespace Foretoken.Speculation;

/// <summary>
/// A drafter that is made in two parts: its options make it with all its buffers, its weights checked by the headers of their files and counted in the plan, and
/// <see cref="LoadWeights"/> reads them. Where <see cref="DrafterContext.DefersWeights"/> does not say otherwise both happen at once.
/// </summary>
internal interface IDeferredDrafter : IDrafter
{
    /// <summary>Reads the weights, once and before any other call. May run beside passes of the target.</summary>
    /// <param name="cancellation">Ends it between two weights.</param>
    /// <exception cref="Formats.ModelFormatException">A weight is damaged, or its file was changed since it was checked.</exception>
    /// <exception cref="OperationCanceledException">It was cancelled. What was read is freed with the drafter.</exception>
    void LoadWeights(CancellationToken cancellation);
}

/// <summary>What drafters with weights of their own have in common.</summary>
internal static class DeferredDrafters
{
    /// <summary>The drafter with its weights, or without them where they are read later.</summary>
    public static IDrafter Finish(this IDeferredDrafter drafter, DrafterContext context)
    {
        if (context.DefersWeights) return drafter;
        try
        {
            drafter.LoadWeights(CancellationToken.None);
            return drafter;
        }
        catch
        {
            drafter.Dispose();
            throw;
        }
    }
}
