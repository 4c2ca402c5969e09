using Foretoken.Backends;
using Foretoken.KvCache;
using Foretoken.Memory;
using Foretoken.Models;
using Foretoken.Tokenization;

namespace Foretoken.Speculation;

/// <summary>
/// Which drafter a model is loaded with and how it is set up. Rows, logits and cache slots are planned from <see cref="MaxNodes"/>, so it is known before
/// the model is; the drafter is made when the model is loaded.
/// </summary>
public abstract record DrafterOptions
{
    /// <summary>The drafter's name, for example <c>ngram</c>.</summary>
    public abstract string Name { get; }

    /// <summary>Most drafted nodes of one tree.</summary>
    public abstract int MaxNodes { get; }

    /// <summary>Whether it reads hidden states of the target, which not every backend gives (<see cref="IBackend.GivesHidden"/>).</summary>
    public virtual bool ReadsFeatures => false;

    /// <summary>Whether it can be made without its weights (<see cref="IDeferredDrafter"/>).</summary>
    internal virtual bool HasWeights => false;

    /// <summary>Makes the drafter; its buffers go to the context's plan.</summary>
    /// <exception cref="ArgumentException">An option is out of range.</exception>
    /// <exception cref="DrafterException">The drafter does not fit the model.</exception>
    public abstract IDrafter Create(DrafterContext context);

    /// <exception cref="ArgumentException">More nodes than one pass verifies per sequence, or none.</exception>
    protected void CheckNodes()
    {
        if (MaxNodes is >= 1 and < RowBatch.MaxTreeRows) return;
        throw new ArgumentException($"{Name} drafts up to {MaxNodes} tokens per tree: it must be between 1 and {RowBatch.MaxTreeRows - 1}.");
    }
}

/// <summary>What a drafter is made for.</summary>
public sealed record DrafterContext
{
    /// <summary>The model that verifies.</summary>
    public required Transformer Target { get; init; }

    /// <summary>The cache of <see cref="Target"/>, whose sequence indices requests name.</summary>
    public required PagedKvCache TargetCache { get; init; }

    /// <summary>Receives the drafter's buffers.</summary>
    public required MemoryPlan Plan { get; init; }

    /// <summary>Most sequences that run at a time: indices are below it.</summary>
    public required int MaxSequences { get; init; }

    /// <summary>Longest prompt and answer together, in tokens.</summary>
    public required int ContextLength { get; init; }

    /// <summary>Tokenizer of <see cref="Target"/>, if it has one.</summary>
    public BpeTokenizer? Tokenizer { get; init; }

    /// <summary>The acceptance rule asks for drafts that are drawn at random, with their distributions.</summary>
    public bool DraftDistributions { get; init; }

    /// <summary>Where drafters ask for hidden states of the target; null = there are none to be had.</summary>
    public FeatureTaps? Taps { get; init; }

    /// <summary>
    /// Drafters with weights of their own are made without them: whoever asked for it has them read when the drafter is first wanted. The plan counts them all the same.
    /// </summary>
    internal bool DefersWeights { get; init; }

    /// <summary>Directory of the target, whose tokenizer <see cref="Tokenizer"/> is; null = it did not come from one.</summary>
    internal string? TargetDirectory { get; init; }

    /// <summary>Makes a backend for a model of the drafter's own, on the threads of the target's; null where there is none.</summary>
    public Func<IBackend>? CreateBackend { get; init; }
}

/// <summary>A drafter does not fit the model that it was asked to draft for.</summary>
public sealed class DrafterException(string message, Exception? inner = null) : Exception(message, inner);
