using Foretoken.Generation;
using Foretoken.Models;
using Foretoken.Tokenization;

namespace Foretoken.Cli;

/// <summary>A loaded model with the chat template of its directory, if it has one.</summary>
internal sealed class ChatModel : IDisposable
{
    private readonly ChatTemplate? _template;

    private ChatModel(string directory, LanguageModel language, ChatTemplate? template) => (Directory, Language, _template) = (directory, language, template);

    public string Directory { get; }

    public LanguageModel Language { get; }

    public bool HasTemplate => _template is not null;

    /// <summary>Name of the model's folder.</summary>
    public string Name => Path.GetFileName(Path.TrimEndingDirectorySeparator(Path.GetFullPath(Directory)));

    public static ChatModel Load(string path, LanguageModelOptions options)
    {
        string directory = ModelDirectory.Resolve(path);
        ChatTemplate? template = ChatTemplate.FromDirectory(directory); // before the weights: a broken template should not cost the time to load them
        return new ChatModel(directory, LanguageModel.Load(directory, options), template);
    }

    /// <summary>Token ids of a single prompt: through the template unless <paramref name="raw"/> or there is none.</summary>
    public int[] Encode(string prompt, bool raw) => raw || _template is null ? Language.Encode(prompt) : Encode([new ChatMessage("user", prompt)]);

    /// <summary>Token ids of a conversation that the model is to continue.</summary>
    public int[] Encode(IReadOnlyList<ChatMessage> messages) => _template is { } template
        ? [.. template.Encode(Language.Tokenizer!, messages)]
        : Language.Encode(string.Concat(messages.Select(m => m.Content + "\n")));

    public void Dispose() => Language.Dispose();
}
