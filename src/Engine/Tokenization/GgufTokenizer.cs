using Foretoken.Formats;

namespace Foretoken.Tokenization;

/// <summary>The tables of a tokenizer as the metadata of a GGUF file hold them, to be written or taken over; <see cref="BpeTokenizer"/> does the encoding.</summary>
public sealed record GgufTokenizer
{
    /// <summary>gpt2 (byte-level) or llama (SentencePiece-style).</summary>
    public required string Model { get; init; }

    /// <summary>How text is cut into words; <c>default</c> for SentencePiece-style.</summary>
    public required string Pre { get; init; }

    /// <summary>All tokens. // [ids]</summary>
    public required IReadOnlyList<string> Tokens { get; init; }

    /// <summary>Their kinds. // [ids]</summary>
    public required IReadOnlyList<GgufTokenType> Types { get; init; }

    /// <summary>Merges by rank, "left right"; null for SentencePiece-style.</summary>
    public IReadOnlyList<string>? Merges { get; init; }

    /// <summary>The token of highest score is merged first; null for byte-level. // [ids]</summary>
    public IReadOnlyList<float>? Scores { get; init; }

    /// <summary>Token that begins a text, or null.</summary>
    public int? Bos { get; init; }

    /// <summary>Tokens that end an answer; the file has room for three: end of text, of a turn, of a message.</summary>
    public IReadOnlyList<int> Ends { get; init; } = [];

    /// <summary>Token for what cannot be encoded, or null.</summary>
    public int? Unknown { get; init; }

    /// <summary>Token that fills batches, or null; not used here.</summary>
    public int? Padding { get; init; }

    /// <summary>Texts begin with the BOS token.</summary>
    public bool AddBos { get; init; }

    /// <summary>SentencePiece-style: texts begin with a space.</summary>
    public bool AddSpacePrefix { get; init; }

    /// <summary>Jinja source, or null.</summary>
    public string? ChatTemplate { get; init; }

    /// <summary>Takes over the tokenizer of a GGUF file; null if it has none.</summary>
    public static GgufTokenizer? FromGguf(GgufMetadata metadata)
    {
        if (!metadata.Has(GgufTokenizerReader.ModelKey)) return null;
        BpeTokenizer read = BpeTokenizer.FromGguf(metadata); // refuses what is malformed
        string[] tokens = metadata.Texts(GgufTokenizerReader.TokensKey)!;
        int? Id(string kind) => (int?)metadata.Integer($"tokenizer.ggml.{kind}_token_id", 0, tokens.Length - 1);
        return new GgufTokenizer
        {
            Model = metadata.Text(GgufTokenizerReader.ModelKey)!,
            Pre = metadata.Text(GgufTokenizerReader.PreKey) ?? "default",
            Tokens = tokens,
            Types = metadata.Integers(GgufTokenizerReader.TypesKey) is { } types ? [.. types.Select(t => (GgufTokenType)t)]
                : [.. tokens.Select((_, id) => read.IsSpecial(id) ? GgufTokenType.Control : GgufTokenType.Normal)],
            Merges = metadata.Texts(GgufTokenizerReader.MergesKey),
            Scores = metadata.Numbers(GgufTokenizerReader.ScoresKey),
            Bos = read.BosTokenId,
            Ends = [.. ((string[])["eos", "eot", "eom"]).Select(Id).OfType<int>()],
            Unknown = Id("unknown"),
            Padding = Id("padding"),
            AddBos = read.AddsPrefix && read.BosTokenId is not null,
            AddSpacePrefix = metadata.Boolean("tokenizer.ggml.add_space_prefix") ?? metadata.Text(GgufTokenizerReader.ModelKey) == "llama",
            ChatTemplate = metadata.Text(GgufTokenizerReader.TemplateKey),
        };
    }

    /// <summary>Adds the keys to a file.</summary>
    public void AddTo(GgufWriter writer)
    {
        writer.Add(GgufTokenizerReader.ModelKey, Model).Add(GgufTokenizerReader.PreKey, Pre).Add(GgufTokenizerReader.TokensKey, Tokens)
            .Add(GgufTokenizerReader.TypesKey, [.. Types.Select(t => (int)t)]);
        if (Scores is not null) writer.Add(GgufTokenizerReader.ScoresKey, Scores);
        if (Merges is not null) writer.Add(GgufTokenizerReader.MergesKey, Merges);
        AddId("bos", Bos);
        string[] kinds = ["eos", "eot", "eom"];
        for (int i = 0; i < kinds.Length; i++) AddId(kinds[i], i < Ends.Count ? Ends[i] : null);
        AddId("unknown", Unknown);
        AddId("padding", Padding);
        writer.Add("tokenizer.ggml.add_bos_token", AddBos).Add("tokenizer.ggml.add_space_prefix", AddSpacePrefix);
        if (ChatTemplate is not null) writer.Add(GgufTokenizerReader.TemplateKey, ChatTemplate);

        void AddId(string kind, int? id)
        {
            if (id is { } value) writer.Add($"tokenizer.ggml.{kind}_token_id", (uint)value);
        }
    }
}
