using Foretoken.Tokenization;

namespace Foretoken.Training.Tasks;

/// <summary>The tokenizer of the shipped models: a byte-level BPE of 1024 entries learned from the tasks' own text, reproducible by its seed.</summary>
public static class TokenizerRecipe
{
    /// <summary>Entries in all, with the 256 bytes and the special tokens.</summary>
    public const int VocabularySize = 1024;

    /// <summary>Ends a response; also the padding token. Id 0.</summary>
    public const string EndToken = "<|end|>";

    /// <summary>Begins the user's text. Id 1.</summary>
    public const string UserToken = "<|user|>";

    /// <summary>Begins the model's text. Id 2.</summary>
    public const string AssistantToken = "<|assistant|>";

    /// <summary>Renders <c>&lt;|user|>PROMPT&lt;|assistant|>RESPONSE&lt;|end|></c> without anything between the parts.</summary>
    public const string ChatTemplate =
        "{% for message in messages %}{% if message['role'] == 'user' %}<|user|>{{ message['content'] }}" +
        "{% elif message['role'] == 'assistant' %}<|assistant|>{{ message['content'] }}<|end|>{% endif %}{% endfor %}" +
        "{% if add_generation_prompt %}<|assistant|>{% endif %}";

    private const ulong Seed = 2;
    private const int CorpusCharacters = 3_000_000;
    private const int ContextTokens = 1024;

    /// <summary>Learns the tokenizer; the same bytes every time.</summary>
    public static TrainedBpe Train() =>
        new BpeTrainer(VocabularySize, SplitPattern.Qwen2, [EndToken, UserToken, AssistantToken]).Train(TaskCorpus.Build(Seed, CorpusCharacters));

    /// <summary>Writes tokenizer.json and tokenizer_config.json into <paramref name="outputDirectory"/>.</summary>
    public static void Run(string outputDirectory) =>
        TokenizerJsonWriter.Write(outputDirectory, Train(), new TokenizerConfig(EndToken, EndToken, ContextTokens, ChatTemplate));
}
