using Foretoken.Backends;
using Foretoken.Models;
using Foretoken.Tokenization;

namespace Foretoken.Speculation;

/// <summary>A smaller model that drafts for a larger one.</summary>
public sealed record DraftModelOptions : DrafterOptions
{
    /// <inheritdoc/>
    public override string Name => "model";

    /// <inheritdoc/>
    public override int MaxNodes => Tokens * Width;

    /// <summary>Directory of the draft model.</summary>
    public required string Directory { get; init; }

    /// <summary>Most drafts of the main path.</summary>
    public int Tokens { get; init; } = 5;

    /// <summary>Drafts at each depth: 1 is a chain of the most likely tokens, more add the next likely ones as leaves beside it.</summary>
    public int Width { get; init; } = 1;

    /// <summary>Drafting of a request stops when the estimated probability of its path falls below this.</summary>
    public float MinProbability { get; init; } = 0.2f;

    /// <summary>Type in which matrices are held; null = the one that loses least at no more memory than the file.</summary>
    public WeightType? WeightType { get; init; }

    /// <summary>How the draft model's keys and values are stored.</summary>
    public KvType KvType { get; init; } = KvType.BF16;

    /// <summary>Maps tokens by their text where the vocabularies differ, instead of refusing the draft.</summary>
    public bool MapVocabulary { get; init; }

    /// <summary>Most rows of one of its passes; raised to the most sequences that run at a time.</summary>
    public int MaxRows { get; init; } = 64;

    internal override bool HasWeights => true;

    /// <inheritdoc/>
    public override IDrafter Create(DrafterContext context)
    {
        CheckNodes();
        ArgumentOutOfRangeException.ThrowIfLessThan(Width, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(MaxRows, 1);
        if (!(MinProbability >= 0 && MinProbability <= 1)) throw new ArgumentException($"MinProbability is {MinProbability}: it must be between 0 and 1.");
        if (context.CreateBackend is not { } createBackend) throw new DrafterException("A draft model needs a backend of its own, and there is none.");
        string directory = ModelDirectory.Resolve(Directory);
        ModelSource? source = null;
        IBackend? backend = null;
        DraftModelDrafter drafter;
        try
        {
            source = ModelLoader.Open(directory);
            BpeTokenizer? tokenizer = context.Tokenizer is null ? null : SharesTokenizer(directory, context) ? context.Tokenizer : BpeTokenizer.FromModel(directory);
            VocabularyMap map = VocabularyMap.Create(
                context.Tokenizer, context.Target.Shape.VocabSize, tokenizer, source.Config.Shape.VocabSize, source.Origin, MapVocabulary);
            backend = createBackend();
            if (context.DefersWeights) backend.LoadAlone();
            drafter = new DraftModelDrafter(this with { MaxRows = Math.Max(MaxRows, context.MaxSequences) }, context, source, backend, map);
        }
        catch
        {
            source?.Dispose();
            backend?.Dispose();
            throw;
        }

        return drafter.Finish(context);
    }

    /// <summary>Whether both models have the very same tokenizer file, which then need not be read again.</summary>
    /// <exception cref="TokenizerException">A file cannot be read. One that has vanished is none: what needs it says so.</exception>
    private static bool SharesTokenizer(string directory, DrafterContext context)
    {
        if (context.TargetDirectory is null) return false;
        string[] files = [Path.Combine(directory, TokenizerFiles.TokenizerJson), Path.Combine(context.TargetDirectory, TokenizerFiles.TokenizerJson)];
        if (!Array.TrueForAll(files, File.Exists)) return false; // GGUF files hold theirs
        return TokenizerFiles.ReadOptional(files[0]) is { } draft && TokenizerFiles.ReadOptional(files[1]) is { } target && draft.AsSpan().SequenceEqual(target);
    }
}
