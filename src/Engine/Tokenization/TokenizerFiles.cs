namespace Foretoken.Tokenization;

/// <summary>The files of a Hugging Face directory that concern the tokenizer.</summary>
internal static class TokenizerFiles
{
    public const string TokenizerJson = "tokenizer.json";
    public const string ConfigJson = "tokenizer_config.json";
    public const string ChatTemplate = "chat_template.jinja";

    /// <summary>The bytes of a file that must be there.</summary>
    public static byte[] Read(string path) =>
        ReadOptional(path) ?? throw TokenizerException.For(path, "file", "does not exist", "Give a model directory that has it");

    /// <summary>The bytes of a file, or null if there is none.</summary>
    public static byte[]? ReadOptional(string path)
    {
        try
        {
            return File.ReadAllBytes(path);
        }
        catch (Exception error) when (error is FileNotFoundException or DirectoryNotFoundException)
        {
            return null;
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            throw TokenizerException.For(path, "file", "cannot be read: " + error.Message, "Check the path and its permissions", error);
        }
    }
}

/// <summary>What is used of a <c>tokenizer_config.json</c>. All of it is optional, as is the file.</summary>
internal sealed record TokenizerConfigFile(string File, string? BosToken, string? EosToken, string? PadToken, string? UnkToken,
    JsonField ChatTemplate)
{
    public static TokenizerConfigFile FromDirectory(string directory)
    {
        string file = Path.Combine(directory, TokenizerFiles.ConfigJson);
        byte[]? utf8 = TokenizerFiles.ReadOptional(file);
        if (utf8 is null)
            return new TokenizerConfigFile(file, null, null, null, null, new JsonField(default, file, "chat_template"));
        JsonField root = JsonField.Parse(utf8, file);
        return new TokenizerConfigFile(file, Token(root, "bos_token"), Token(root, "eos_token"), Token(root, "pad_token"), Token(root, "unk_token"),
            root.Optional("chat_template"));
    }

    /// <summary>A token is its text, or an object with the text in <c>content</c>.</summary>
    private static string? Token(JsonField root, string name)
    {
        JsonField field = root.Optional(name);
        return field.Element.ValueKind == System.Text.Json.JsonValueKind.Object ? field.Required("content").String() : field.OptionalString();
    }
}
