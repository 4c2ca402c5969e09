using Foretoken.Backends;
using Foretoken.Formats;
using Foretoken.Models;

namespace Foretoken.Speculation.Trained;

/// <summary>Finds out what the directory of a trained drafter holds; and what drafters that read a target's hidden states have in common.</summary>
public static class TrainedDrafters
{
    /// <summary>The drafter that a directory holds: Medusa's heads, EAGLE or MTP, else a draft model.</summary>
    /// <exception cref="ModelFormatException">There is no such directory, or no config.json, or its weights are malformed.</exception>
    public static DrafterOptions Recognise(string path)
    {
        string directory = ModelDirectory.Resolve(path);
        if (GgufFile.IsGguf(directory)) return new DraftModelOptions { Directory = directory };
        JsonFields config = JsonFields.Read(Path.Combine(directory, "config.json"));
        if (config.Has("medusa_num_heads") || config.Text("model_type") == "medusa") return new MedusaOptions { Directory = directory };
        bool pickled = !Directory.EnumerateFiles(directory, "*.safetensors").Any(), named = config.Texts("architectures")?.Any(a => a.Contains("Eagle", StringComparison.OrdinalIgnoreCase)) ?? false;
        if (config.Has("speculators_model_type") || (pickled && named)) return new EagleOptions { Directory = directory };
        if (pickled) return new DraftModelOptions { Directory = directory };
        using var weights = new DraftWeights(directory);
        return EagleConfig.IsKnown(weights) ? new EagleOptions { Directory = directory } : new DraftModelOptions { Directory = directory };
    }

    /// <summary>A backend for the drafter's own weights.</summary>
    /// <exception cref="DrafterException">The target gives no hidden states, or there is no backend.</exception>
    internal static IFeatureBackend CreateBackend(string name, DrafterContext context)
    {
        if (context.Taps is null || !context.Target.Backend.GivesHidden)
        {
            throw new DrafterException(
                $"The drafter {name} reads hidden states of the model, and {context.Target.Backend.Name} does not give them to the host: run on the processor, or use another drafter.");
        }

        IBackend? backend = context.CreateBackend?.Invoke();
        if (backend is IFeatureBackend features)
        {
            if (context.DefersWeights) features.LoadAlone();
            return features;
        }

        backend?.Dispose();
        throw new DrafterException($"The drafter {name} needs a backend of its own that computes heads, and there is none.");
    }
}
