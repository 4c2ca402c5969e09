using Foretoken.Models;

namespace Foretoken.Cli;

/// <summary>
/// Finds the model of a command: the path given with --model, the name of a shipped model, or the default. Shipped models are the folders of
/// <c>models/</c> beside the executable, where the build copies them, so that they are found from any working directory.
/// </summary>
internal static class ModelLocator
{
    /// <summary>The model that answers when none is named.</summary>
    public const string DefaultModel = "reasoner";

    /// <summary>The folder or GGUF file of the model that <paramref name="model"/> names.</summary>
    /// <param name="model">A path, the name of a shipped model, an entry of the Hugging Face cache (OWNER/NAME), or null for the default.</param>
    /// <param name="host">Gives the folder of the executable.</param>
    /// <param name="source">The flag or argument that names the model, for messages.</param>
    /// <exception cref="RunException">There is no such shipped model.</exception>
    /// <exception cref="Formats.ModelFormatException">There is no such model.</exception>
    public static string Find(string? model, CliHost host, string source = "--model")
    {
        if (model is null) return Shipped(DefaultModel, host) ?? throw Missing($"the default model '{DefaultModel}' is not installed", host, source);
        bool isName = model.IndexOfAny(['/', '\\']) < 0;
        if (!isName || Directory.Exists(model) || File.Exists(model)) return ModelDirectory.Resolve(model);
        return Shipped(model, host) ?? throw Missing($"{model}: no such model", host, source);
    }

    /// <summary>The folders of the shipped models that answer: those with a tokenizer, which drafters trained on another's hidden states do without.</summary>
    public static IReadOnlyList<string> Installed(CliHost host) => [.. Folders(host).Where(d => File.Exists(Path.Combine(d, "tokenizer.json")))];

    private static IReadOnlyList<string> Folders(CliHost host)
    {
        string folder = Path.Combine(host.BaseDirectory, "models");
        return Directory.Exists(folder)
            ? [.. Directory.GetDirectories(folder).Where(d => File.Exists(Path.Combine(d, "config.json"))).Order(StringComparer.Ordinal)]
            : [];
    }

    private static string? Shipped(string name, CliHost host) => Folders(host).FirstOrDefault(d => Path.GetFileName(d) == name);

    private static RunException Missing(string problem, CliHost host, string source)
    {
        string[] names = [.. Installed(host).Select(d => Path.GetFileName(d))];
        return new RunException(
            $"{problem}: give {source} the path of a GGUF file or a Hugging Face directory (config.json, tokenizer.json, model.safetensors)" +
            (names.Length > 0
                ? $" or the name of a shipped model ({string.Join(", ", names)})."
                : $"; no model is shipped in {Path.Combine(host.BaseDirectory, "models")}."));
    }
}
