using System.CommandLine;
using System.Text.Json;
using Foretoken.Cli.Input;
using Foretoken.Cli.Options;
using Foretoken.Cli.Output;
using Foretoken.Tokenization;

namespace Foretoken.Cli.Commands;

/// <summary>Text to token ids. With --jsonl one <c>{"text": …}</c> per line becomes one <c>{"ids": […]}</c>; otherwise one text, taken verbatim.</summary>
internal sealed class TokenizeCommand : CliCommand
{
    private readonly Argument<string> _text;
    private readonly Flag<string?> _tokenizer;
    private readonly Switch _jsonl;
    private readonly Switch _plain;
    private readonly Switch _addBos;

    public TokenizeCommand()
        : base("tokenize", "Token ids of a text as JSON.")
    {
        _text = AddArgument("TEXT", "The text; without it, all of stdin, verbatim.");
        _tokenizer = Add(TokenizerFlags.Tokenizer());
        _jsonl = Add(new Switch("--jsonl", "Lines {\"text\": …} on stdin, lines {\"ids\": […]} on stdout; lines end at \\n only, blank ones are skipped."));
        _plain = Add(new Switch("--plain", "Take special tokens in the text for ordinary text."));
        _addBos = Add(new Switch("--add-bos", "Begin with the model's beginning-of-sequence token."));
    }

    public override int Run(CommandContext context)
    {
        CliHost host = context.Host;
        string? text = Value(context, _text);
        bool jsonl = _jsonl.Get(context), plain = _plain.Get(context), addBos = _addBos.Get(context);
        if (jsonl && text is not null) throw new UsageException("--jsonl reads lines from stdin: leave TEXT out.");
        string file = TokenizerFlags.FindFile(_tokenizer.Get(context), host);
        var tokenizer = BpeTokenizer.FromFile(file);
        if (addBos) TokenizerFlags.RequireBos(file, tokenizer);

        var ids = new List<int>();
        if (!jsonl)
        {
            Encode(text ?? Utf8Input.ReadAll(host.Input, "stdin", host.Interrupt, keepMark: true));
            return ExitCode.Success;
        }

        foreach ((int number, byte[] line) in Utf8Input.Records(host.Input, "stdin", host.Interrupt))
        {
            host.Interrupt.ThrowIfCancellationRequested();
            using JsonDocument document = Utf8Input.ParseObject(line, "stdin", number, "{\"text\": \"…\"}");
            Encode(Utf8Input.Text(document.RootElement, "text", "stdin", number));
            host.Output.Flush(); // a program that writes a line and waits for its answer must get it
        }

        return ExitCode.Success;

        void Encode(string s)
        {
            ids.Clear();
            tokenizer.EncodeToIds(s, ids, recognizeSpecialTokens: !plain, addBos);
            host.Output.WriteLine(JsonText.Object(w =>
            {
                w.WriteStartArray("ids");
                foreach (int i in ids) w.WriteNumberValue(i);
                w.WriteEndArray();
            }));
        }
    }
}
