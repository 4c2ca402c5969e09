using System.Text.Json;
using Foretoken.Cli.Options;
using Foretoken.Tokenization;

namespace Foretoken.Cli.Commands;

/// <summary>How <c>tokenize</c> and <c>detokenize</c> find their tokenizer.</summary>
internal static class TokenizerFlags
{
    public static Flag<string?> Tokenizer() =>
        new("--tokenizer", "DIR|FILE", "Folder of a model, or its tokenizer.json. Without it, the shipped model's.", Parse.NotEmpty, null);

    /// <summary>The file that <paramref name="tokenizer"/> names.</summary>
    public static string FindFile(string? tokenizer, CliHost host)
    {
        if (tokenizer is null) return Path.Combine(ModelLocator.Find(null, host), "tokenizer.json");
        if (File.Exists(tokenizer)) return tokenizer;
        string directory = ModelLocator.Find(tokenizer, host);
        string file = Path.Combine(directory, "tokenizer.json");
        return File.Exists(file) ? file : throw new RunException($"{file}: no such file: --tokenizer needs a folder with a tokenizer.json, or the file itself.");
    }

    /// <summary>The id of the beginning-of-sequence token that stands in <c>tokenizer_config.json</c> beside the tokenizer.</summary>
    /// <exception cref="RunException">The model has none.</exception>
    public static int BosId(string tokenizerFile, BpeTokenizer tokenizer)
    {
        string config = Path.Combine(Path.GetDirectoryName(Path.GetFullPath(tokenizerFile))!, "tokenizer_config.json");
        if (!File.Exists(config)) throw new RunException($"{config}: no such file: --add-bos reads \"bos_token\" there.");
        try
        {
            using var document = JsonDocument.Parse(File.ReadAllBytes(config));
            if (document.RootElement.ValueKind == JsonValueKind.Object && document.RootElement.TryGetProperty("bos_token", out JsonElement bos))
            {
                if (bos.ValueKind == JsonValueKind.Object && bos.TryGetProperty("content", out JsonElement content)) bos = content;
                if (bos.ValueKind == JsonValueKind.String)
                {
                    return tokenizer.TokenToId(bos.GetString()!) ?? throw new RunException(
                        $"{config}: \"bos_token\" is '{bos.GetString()}', which {tokenizerFile} does not know: the two files must belong together.");
                }
            }
        }
        catch (JsonException e)
        {
            throw new RunException($"{config} is not JSON: {e.Message}", e);
        }

        throw new RunException($"{config} names no \"bos_token\": this model has none, leave --add-bos out.");
    }
}
