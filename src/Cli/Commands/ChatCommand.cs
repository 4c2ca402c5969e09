using Foretoken.Cli.Input;
using Foretoken.Cli.Options;
using Foretoken.Cli.Output;
using Foretoken.Generation;
using Foretoken.Sampling;
using Foretoken.Tokenization;

namespace Foretoken.Cli.Commands;

/// <summary>A conversation: one line of stdin is one message; <c>/reset</c> forgets, <c>/exit</c> or the end of input leaves.</summary>
internal sealed class ChatCommand : CliCommand
{
    private const string Reset = "/reset", Exit = "/exit";
    private readonly Switch _json;
    private readonly LanguageModelFlags _model = new();
    private readonly GenerationFlags _generation = new();

    public ChatCommand()
        : base("chat", $"A conversation: each line of stdin is a message; {Reset} forgets it all, {Exit} leaves.")
    {
        foreach (Flag flag in _model.All.Concat(_generation.All)) Add(flag);
        _json = Add(new Switch("--json", "One JSON object per answer."));
    }

    public override int Run(CommandContext context)
    {
        CliHost host = context.Host;
        LanguageModelOptions options = _model.Get(context, sequences: 1);
        GenerationOptions generation = _generation.Get(context);
        DraftChoice draft = _model.Draft(context);
        bool json = _json.Get(context);
        using ChatModel model = LanguageModelFlags.Load(ModelLocator.Find(_model.Model.Get(context), host), options, draft, _model.Kv(context), host);
        var messages = new List<ChatMessage>();
        if (!model.HasTemplate) host.Error.WriteLine($"[{model.Name} has no chat template: messages are joined line by line]");
        if (host.InputIsTerminal) host.Error.WriteLine($"{model.Name}: {Reset} forgets the conversation, {Exit} leaves.");
        bool left = false;
        Prompt(host);
        foreach ((int number, byte[] line) in Utf8Input.Lines(host.Input, "stdin", host.Interrupt))
        {
            string text = Utf8Input.Decode(line, $"stdin line {number}").TrimEnd('\r');
            left = text == Exit;
            if (left) break;
            if (text == Reset) messages.Clear();
            else if (host.InputIsTerminal && IsCommand(text)) host.Error.WriteLine($"[{text} is no command: {Reset} forgets the conversation, {Exit} leaves; a message that begins with a slash takes a space before it]");
            else if (text.Length > 0 && Answer(text, messages, model, generation, host, json) is var code && code != ExitCode.Success) return code;
            Prompt(host);
        }

        if (host.InputIsTerminal && !left) host.Error.WriteLine(); // the end of input leaves the cursor behind the prompt
        return ExitCode.Success;
    }

    /// <summary>Whether somebody at a terminal seems to want something of the program and not of the model.</summary>
    private static bool IsCommand(string text) => text.Length > 1 && text[0] == '/' && text.AsSpan(1).IndexOfAnyExceptInRange('a', 'z') < 0;

    private static int Answer(string text, List<ChatMessage> messages, ChatModel model, GenerationOptions generation, CliHost host, bool json)
    {
        messages.Add(new ChatMessage("user", text));
        GenerationSession started;
        try
        {
            started = Start(messages, model, generation, host);
        }
        catch (InvalidRequestException e) when (e.Field == "prompt" && host.InputIsTerminal)
        {
            messages.RemoveAt(messages.Count - 1); // whoever types can type something shorter: the conversation goes on
            host.Error.WriteLine($"error: {e.Message}");
            return ExitCode.Success;
        }

        using GenerationSession session = started;
        int code = AnswerWriter.Write(session, model, host, json);
        messages.Add(new ChatMessage("assistant", session.Text));
        return code;
    }

    /// <summary>Starts the answer; where the conversation no longer fits the context, its oldest turns are left out.</summary>
    private static GenerationSession Start(List<ChatMessage> messages, ChatModel model, GenerationOptions generation, CliHost host)
    {
        int[] alone = model.Encode([messages[^1]]);
        if (alone.Length >= model.Language.ContextLength) return model.Start(alone, generation, host); // is refused: no turn need be forgotten for it
        while (true)
        {
            try
            {
                return model.Start(model.Encode(messages), generation, host);
            }
            catch (InvalidRequestException e) when (e.Field == "prompt" && messages.Count > 2)
            {
                messages.RemoveRange(0, 2);
                host.Error.WriteLine("[the conversation no longer fits the context: its oldest turn is left out]");
            }
        }
    }

    private static void Prompt(CliHost host)
    {
        if (!host.InputIsTerminal) return;
        host.Error.Write("> ");
        host.Error.Flush();
    }
}
