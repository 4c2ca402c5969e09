namespace Foretoken.Cli.Input;

/// <summary>Finds the prompt: the argument, a file, or stdin. One line end at the end of a file or of stdin is not part of it.</summary>
internal static class PromptReader
{
    private const char Replacement = '\uFFFD'; // what the runtime puts for bytes of the command line that are not UTF-8

    /// <exception cref="UsageException">There is no prompt, it is empty or not UTF-8, or there are two.</exception>
    /// <exception cref="RunException">The file cannot be read or is not UTF-8.</exception>
    public static string Read(string? argument, string? file, CliHost host)
    {
        if (argument is not null && file is not null) throw new UsageException("PROMPT and --file are two prompts: give one.");
        if (argument?.IndexOf(Replacement) is { } at and >= 0)
            throw new UsageException($"PROMPT is not UTF-8 (character {at}, or it holds U+FFFD itself): give the text in a UTF-8 file with --file.");
        bool fromFile = file is not null and not "-";
        string prompt = argument ?? (fromFile ? WithoutLineEnd(Utf8Input.ReadFile(file!, host.Interrupt)) : FromInput(host));
        if (prompt.Length > 0) return prompt;
        string empty = argument is not null ? "The prompt is empty" : fromFile ? $"The prompt is empty: {file} holds no text" : "The prompt is empty: stdin holds no text";
        throw new UsageException($"{empty}. Give it as an argument, with --file, or on stdin.");
    }

    private static string FromInput(CliHost host)
    {
        if (host.InputIsTerminal)
            throw new UsageException("The prompt is missing: give it as an argument, with --file, or on stdin ('foretoken chat' is interactive).");
        return WithoutLineEnd(Utf8Input.ReadAll(host.Input, "stdin", host.Interrupt));
    }

    private static string WithoutLineEnd(string text)
    {
        if (text.EndsWith("\r\n", StringComparison.Ordinal)) return text[..^2];
        return text.EndsWith('\n') ? text[..^1] : text;
    }
}
