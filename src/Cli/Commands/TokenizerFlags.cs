using Foretoken.Cli.Options;
using Foretoken.Formats;
using Foretoken.Tokenization;

namespace Foretoken.Cli.Commands;

/// <summary>How <c>tokenize</c> and <c>detokenize</c> find their tokenizer.</summary>
internal static class TokenizerFlags
{
    public static Flag<string?> Tokenizer() =>
        new("--tokenizer", "DIR|FILE", "Folder of a model, its tokenizer.json, or a GGUF file. Without it, the shipped model's.", Parse.NotEmpty, null);

    /// <summary>The file that <paramref name="tokenizer"/> names.</summary>
    public static string FindFile(string? tokenizer, CliHost host)
    {
        if (tokenizer is null) return Path.Combine(ModelLocator.Find(null, host, "--tokenizer"), "tokenizer.json");
        if (File.Exists(tokenizer)) return tokenizer;
        string directory = ModelLocator.Find(tokenizer, host, "--tokenizer");
        if (File.Exists(directory)) return directory;
        string file = Path.Combine(directory, "tokenizer.json");
        return File.Exists(file) ? file : throw new RunException($"{file}: no such file: --tokenizer needs a folder with a tokenizer.json, or the file itself.");
    }

    /// <summary>Checks that there is something for <c>--add-bos</c> to add: the tokenizer's own template or <c>tokenizer_config.json</c> must name it.</summary>
    /// <exception cref="RunException">The model has none.</exception>
    public static void RequireBos(string tokenizerFile, BpeTokenizer tokenizer)
    {
        if (tokenizer.PrefixTokenIds.Count > 0) return;
        if (GgufFile.IsGguf(tokenizerFile)) throw new RunException($"{tokenizerFile} names no tokenizer.ggml.bos_token_id: this model has none, leave --add-bos out.");
        throw new RunException($"{tokenizerFile} has no post-processor with a beginning-of-sequence token, and no tokenizer_config.json beside it names a \"bos_token\": " +
            "this model has none, leave --add-bos out.");
    }
}
