namespace Foretoken.Tokenization;

/// <summary>What a name in <c>tokenizer.ggml.pre</c> stands for.</summary>
/// <param name="Names">The names.</param>
/// <param name="Pattern">How text is cut into words.</param>
/// <param name="SplitsDigits">Every digit is cut off before the pattern is applied.</param>
/// <param name="IgnoreMerges">A word that is itself in the vocabulary becomes that token without merging.</param>
/// <param name="AddsBos">Texts begin with the BOS token unless the file says otherwise.</param>
internal sealed record GgufPreTokenizer(IReadOnlyList<string> Names, SplitPattern Pattern, bool SplitsDigits, bool IgnoreMerges, bool AddsBos)
{
    public PreTokenizer[] Stages() =>
        SplitsDigits ? [new DigitsPreTokenizer(individual: true), new PatternPreTokenizer(Pattern)] : [new PatternPreTokenizer(Pattern)];
}

/// <summary>The pre-tokenizers that are known. One more is one line here, and a scanner if its pattern is new.</summary>
internal static class GgufPreTokenizers
{
    private static readonly GgufPreTokenizer[] All =
    [
        new(["llama-bpe", "llama3", "llama-v3"], SplitPattern.Llama3, SplitsDigits: false, IgnoreMerges: true, AddsBos: true),
        new(["qwen2", "deepseek-r1-qwen"], SplitPattern.Qwen2, SplitsDigits: false, IgnoreMerges: false, AddsBos: false),
        new(["gpt-2", "phi-2"], SplitPattern.Gpt2, SplitsDigits: false, IgnoreMerges: false, AddsBos: false),
        new(["smollm"], SplitPattern.Gpt2, SplitsDigits: true, IgnoreMerges: false, AddsBos: false),
    ];

    /// <summary>The names that are known, for messages.</summary>
    public static string Names => string.Join(", ", All.SelectMany(p => p.Names));

    public static GgufPreTokenizer? Find(string name) => Array.Find(All, p => p.Names.Contains(name));

    /// <summary>The pre-tokenizer of a pattern, or null.</summary>
    public static GgufPreTokenizer? Find(SplitPattern pattern, bool splitsDigits) => Array.Find(All, p => p.Pattern == pattern && p.SplitsDigits == splitsDigits);
}
