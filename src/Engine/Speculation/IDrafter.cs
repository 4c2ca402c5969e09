using Foretoken.Backends;
using Foretoken.Sampling;

namespace Foretoken.Speculation;

/// <summary>
/// Proposes continuations that the model then verifies in one pass. A drafter changes how fast tokens come, never which. One file per drafter. Called by
/// one thread; allocates nothing in <see cref="Propose"/>, <see cref="Observe"/> and <see cref="Release"/>.
/// <para>A drafter with keys and values of its own holds them in a cache of its own, planned from the target's sizes. It is told nothing of the target's cache: what
/// it has read is measured against <see cref="DraftRequest.Path"/>, whose beginning may come from a stored prefix and may be new to it, so that it shares prefixes by
/// itself: it offers what it has computed (<c>PublishPrefix</c>, at the latest on <see cref="Release"/>) and begins a sequence that it does not know with what is stored
/// (<c>TryAttachPrefix</c>). Preemption and prefix reuse of the target need no other call: both are a new index with a path. So are forks,
/// of which <see cref="Fork"/> tells beforehand.</para>
/// </summary>
public interface IDrafter : IDisposable
{
    /// <summary>The name that options and statistics use, for example <c>ngram</c>.</summary>
    string Name { get; }

    /// <summary>The drafters behind this one, by name, whose drafts are counted apart: itself, unless it is made of several.</summary>
    IReadOnlyList<string> Sources => [Name];

    /// <summary>Most drafted nodes of one tree; plans rows, logits and cache slots. 0 for a drafter that never proposes.</summary>
    int MaxNodes { get; }

    /// <summary>Most drafted nodes of one path.</summary>
    int MaxDepth => MaxNodes;

    /// <summary>Whether every depth of a draft costs a pass of a model, so that depth is worth deciding beforehand.</summary>
    bool RunsModel => false;

    /// <summary>Whether it draws drafts at random and says from which distribution (<see cref="TokenForest.TryMarkDrawn"/>): memory for that is planned only then.</summary>
    bool DrawsDrafts => false;

    /// <summary>Fills the trees of all <paramref name="requests"/>, at once so that draft models run batched. A tree may stay without drafts.</summary>
    void Propose(ReadOnlySpan<DraftRequest> requests, TokenForest forest);

    /// <summary>
    /// Tells which rows of the pass became part of a sequence, prompt rows included, whether or not it was drafted for: for drafters that read the target's hidden
    /// states, which the taps hold until the next pass (<see cref="DrafterContext.Taps"/>). Comes before <see cref="Observe"/>.
    /// </summary>
    /// <param name="sequence">The cache's index of the sequence.</param>
    /// <param name="path">Its tokens, the one behind every row included: after a row that chose none, that of the prompt.</param>
    /// <param name="rows">The pass.</param>
    /// <param name="accepted">Rows that were kept, in increasing position; may be none.</param>
    void Committed(int sequence, TokenHistory path, RowBatch rows, ReadOnlySpan<int> accepted)
    {
    }

    /// <summary>Tells what was accepted; the requests' paths now end with the accepted drafts and the bonus token.</summary>
    /// <param name="requests">The requests of the step's <see cref="Propose"/>, or some of them.</param>
    /// <param name="acceptances">One per request, in the same order.</param>
    /// <param name="forest">The verified trees.</param>
    void Observe(ReadOnlySpan<DraftRequest> requests, ReadOnlySpan<Acceptance> acceptances, TokenForest forest);

    /// <summary>Tells what a step took in which it was asked about all requests, after <see cref="Observe"/>.</summary>
    void Measured(in StepCost cost)
    {
    }

    /// <summary>
    /// Tells that a sequence begins as a fork: its path begins with the first <paramref name="tokens"/> tokens of the path of <paramref name="source"/>, whose index
    /// stays what it was. Comes before the first request of either that goes on from there, possibly before any. What a drafter holds for the source it may share.
    /// </summary>
    void Fork(int source, int sequence, int tokens)
    {
    }

    /// <summary>
    /// Forgets which path belongs to the index of a sequence that ended or was preempted, also of one that no request named yet; the index may come back as another
    /// sequence. What was computed may stay stored under its tokens, where later sequences find it.
    /// </summary>
    void Release(int sequence);
}
