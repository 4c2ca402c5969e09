namespace Foretoken.Tokenization;

/// <summary>A vocabulary for models of random weights: two control tokens, the 256 bytes, pairs of small letters. Every text can be encoded.</summary>
public static class DummyVocabulary
{
    private const int Letters = 26;

    /// <summary>The tables; ids up to the model's vocabulary are left to whoever writes them.</summary>
    /// <param name="pattern">How text is cut into words.</param>
    public static TrainedBpe Create(SplitPattern pattern)
    {
        string[] special = ["<|begin|>", "<|end|>"];
        List<string> tokens = [.. special, .. Enumerable.Range(0, 256).Select(b => ByteAlphabet.ToChar((byte)b).ToString())];
        var merges = new List<(int, int)>();
        for (int pair = 0; pair < Letters * Letters; pair++)
        {
            int left = special.Length + 'a' + pair / Letters, right = special.Length + 'a' + pair % Letters;
            merges.Add((left, right));
            tokens.Add(tokens[left] + tokens[right]);
        }

        return new TrainedBpe(pattern, special, tokens, merges);
    }

    /// <summary>The same as tables of a GGUF file, with unused tokens up to the size of the model's vocabulary.</summary>
    public static GgufTokenizer ToGguf(TrainedBpe trained, int vocabulary)
    {
        GgufTokenType Kind(int id) => id >= trained.Tokens.Count ? GgufTokenType.Unused : id < trained.SpecialTokens.Count ? GgufTokenType.Control : GgufTokenType.Normal;
        return new GgufTokenizer
        {
            Model = "gpt2",
            Pre = GgufPreTokenizers.Find(trained.Pattern, splitsDigits: false)!.Names[0],
            Tokens = [.. Enumerable.Range(0, vocabulary).Select(id => id < trained.Tokens.Count ? trained.Tokens[id] : $"[PAD{id}]")],
            Types = [.. Enumerable.Range(0, vocabulary).Select(Kind)],
            Merges = [.. trained.Merges.Select(m => $"{trained.Tokens[m.Left]} {trained.Tokens[m.Right]}")],
            Bos = 0,
            Ends = [1],
        };
    }
}
