namespace Foretoken.Tokenization;

/// <summary>A tokenizer, its files or a chat template is malformed or unsupported. The message names file, field, rule and remedy.</summary>
public class TokenizerException : Exception
{
    /// <summary>The message names the file, the field, the rule and the remedy.</summary>
    public TokenizerException(string message) : base(message) { }

    /// <summary>The same with the cause.</summary>
    public TokenizerException(string message, Exception inner) : base(message, inner) { }

    /// <summary>Builds the message "file: field: rule. remedy".</summary>
    internal static TokenizerException For(string file, string field, string rule, string remedy, Exception? inner = null)
    {
        string message = $"{file}: {field}: {rule}. {remedy}";
        return inner is null ? new TokenizerException(message) : new TokenizerException(message, inner);
    }
}
