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

    /// <inheritdoc/>
    public override IDrafter Create(DrafterContext context)
    {
        CheckNodes();
        ArgumentOutOfRangeException.ThrowIfLessThan(Width, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(MaxRows, 1);
        if (!(MinProbability >= 0 && MinProbability <= 1)) throw new ArgumentException($"MinProbability is {MinProbability}: it must be between 0 and 1.");
        if (context.CreateBackend is not { } createBackend) throw new DrafterException("A draft model needs a backend of its own, and there is none.");
        string directory = ModelDirectory.Resolve(Directory);
        using ModelSource source = ModelLoader.Open(directory);
        BpeTokenizer? tokenizer = context.Tokenizer is null ? null : BpeTokenizer.FromModel(directory);
        VocabularyMap map = VocabularyMap.Create(
            context.Tokenizer, context.Target.Shape.VocabSize, tokenizer, source.Config.Shape.VocabSize, source.Origin, MapVocabulary);
        IBackend backend = createBackend();
        try
        {
            return new DraftModelDrafter(this with { MaxRows = Math.Max(MaxRows, context.MaxSequences) }, context, source, backend, map);
        }
        catch
        {
            backend.Dispose();
            throw;
        }
    }
}
