using Foretoken.Backends;

namespace Foretoken.Speculation.Trained;

/// <summary>What drafters that read a target's hidden states have in common.</summary>
internal static class TrainedDrafters
{
    /// <summary>A backend for the drafter's own weights.</summary>
    /// <exception cref="DrafterException">The target gives no hidden states, or there is no backend.</exception>
    public static IFeatureBackend CreateBackend(string name, DrafterContext context)
    {
        if (context.Taps is null || !context.Target.Backend.GivesHidden)
        {
            throw new DrafterException(
                $"The drafter {name} reads hidden states of the model, and {context.Target.Backend.Name} does not give them to the host: run on the processor, or use another drafter.");
        }

        IBackend? backend = context.CreateBackend?.Invoke();
        if (backend is IFeatureBackend features) return features;
        backend?.Dispose();
        throw new DrafterException($"The drafter {name} needs a backend of its own that computes heads, and there is none.");
    }
}
