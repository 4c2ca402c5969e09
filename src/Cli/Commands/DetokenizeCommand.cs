using System.Text.Json;
using Foretoken.Cli.Input;
using Foretoken.Cli.Options;
using Foretoken.Cli.Output;
using Foretoken.Tokenization;

namespace Foretoken.Cli.Commands;

/// <summary>
/// Token ids to text. With --jsonl one <c>{"ids": […]}</c> per line becomes one <c>{"text": …}</c>; otherwise one such object, and the bare text
/// comes out.
/// </summary>
internal sealed class DetokenizeCommand : CliCommand
{
    private const string Expected = "{\"ids\": [1, 2, 3]}";
    private readonly Flag<string?> _tokenizer;
    private readonly Switch _jsonl;
    private readonly Switch _plain;

    public DetokenizeCommand()
        : base("detokenize", "Text of token ids that are given as JSON on stdin.")
    {
        _tokenizer = Add(TokenizerFlags.Tokenizer());
        _jsonl = Add(new Switch("--jsonl", "Lines {\"ids\": […]} on stdin, lines {\"text\": …} on stdout; lines end at \\n only, blank ones are skipped."));
        _plain = Add(new Switch("--plain", "Leave special tokens out of the text."));
    }

    public override int Run(CommandContext context)
    {
        CliHost host = context.Host;
        bool jsonl = _jsonl.Get(context), plain = _plain.Get(context);
        string file = TokenizerFlags.FindFile(_tokenizer.Get(context), host);
        var tokenizer = BpeTokenizer.FromFile(file);
        if (!jsonl)
        {
            string json = Utf8Input.ReadAll(host.Input, "stdin", host.Interrupt);
            if (string.IsNullOrWhiteSpace(json)) throw new RunException($"stdin is empty: give the token ids as one JSON object, for example echo '{Expected}' | foretoken detokenize.");
            using JsonDocument document = Utf8Input.ParseObject(System.Text.Encoding.UTF8.GetBytes(json), "stdin", 1, Expected);
            host.Output.Write(tokenizer.Decode(Ids(document.RootElement, tokenizer, 1), plain));
            return ExitCode.Success;
        }

        foreach ((int number, byte[] line) in Utf8Input.Records(host.Input, "stdin", host.Interrupt))
        {
            host.Interrupt.ThrowIfCancellationRequested();
            using JsonDocument document = Utf8Input.ParseObject(line, "stdin", number, Expected);
            string text = tokenizer.Decode(Ids(document.RootElement, tokenizer, number), plain);
            host.Output.WriteLine(JsonText.Object(w => w.WriteString("text", text)));
            host.Output.Flush(); // a program that writes a line and waits for its answer must get it
        }

        return ExitCode.Success;
    }

    private static int[] Ids(JsonElement element, BpeTokenizer tokenizer, int line)
    {
        if (!element.TryGetProperty("ids", out JsonElement ids) || ids.ValueKind != JsonValueKind.Array)
            throw new RunException($"stdin line {line} has no array \"ids\": write {Expected}.");
        int[] result = new int[ids.GetArrayLength()];
        for (int i = 0; i < result.Length; i++)
        {
            JsonElement value = ids[i];
            if (value.ValueKind != JsonValueKind.Number || !value.TryGetInt32(out result[i]) || (uint)result[i] >= (uint)tokenizer.VocabularySize)
            {
                throw new RunException(
                    $"stdin line {line}: ids[{i}] is {value.GetRawText()}, not an id from 0 to {tokenizer.VocabularySize - 1} of this tokenizer.");
            }
        }

        return result;
    }
}
