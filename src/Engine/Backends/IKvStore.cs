namespace Foretoken.Backends;

/// <summary>
/// Keeps keys and values outside host memory, where the backend computes. The cache in host memory keeps the books: pages, slot tables, positions and
/// expires. It tells the store what happens to slots, in order; the store carries it out before the next pass reads them.
/// </summary>
public interface IKvStore
{
    /// <summary>Why a cache cannot be kept here, as a sentence; null when it can.</summary>
    /// <param name="layout">Its shape.</param>
    /// <param name="decisionWindow">See <see cref="HostKvView.DecisionWindow"/>.</param>
    string? Refusal(KvLayout layout, int decisionWindow);

    /// <summary>Bytes that a page takes in the store.</summary>
    int PageBytes(KvLayout layout);

    /// <summary>Allocates the pages. Called once, by the cache.</summary>
    /// <param name="view">Slot tables and marks of the cache.</param>
    /// <param name="tables">Sequences that have slot tables.</param>
    /// <param name="pagesPerHead">Most pages of one head.</param>
    /// <param name="pages">Pages of the pool.</param>
    /// <exception cref="Memory.OutOfMemoryBudgetException">The pages do not fit.</exception>
    void Attach(HostKvView view, int tables, int pagesPerHead, int pages);

    /// <summary>Pages may change hands from here on: what comes must not run beside what came before.</summary>
    void Fence();

    /// <summary>In every head of the sequence: slot Committed + offsets[i] moves to slot Committed + i, for i in order; then Committed grows by their number.</summary>
    /// <param name="sequence">The sequence.</param>
    /// <param name="path">Rows of the batch, ascending.</param>
    /// <param name="firstRow">First row of the segment: offsets are path[i] − firstRow.</param>
    void CommitPath(int sequence, ReadOnlySpan<int> path, int firstRow);

    /// <summary>Moves a slot of the head numbered <paramref name="head"/>.</summary>
    void MoveSlot(long head, int fromPage, int fromSlot, int toPage, int toSlot);

    /// <summary>Copies a page, marks included.</summary>
    void CopyPage(int from, int to);

    /// <summary>Sets the last position that sees a slot.</summary>
    void SetExpire(long head, int page, int slot, int expire);

    /// <summary>A pass failed half-way: drops what was not carried out. No slot holds anything from here on. Throws nothing.</summary>
    void Reset();
}
