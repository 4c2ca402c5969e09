namespace Foretoken.KvCache;

/// <content>Forks, cutting back, and prefixes that requests share.</content>
public sealed unsafe partial class PagedKvCache
{
    private readonly PrefixIndex _prefixes;

    /// <summary>
    /// A new sequence with the same tokens. Pages are shared and copied when one of the sequences writes them first; either may be released first.
    /// The new sequence has reserved nothing beyond its present length.
    /// </summary>
    /// <returns>−1 when all sequences are taken or the pool has not enough unreserved pages.</returns>
    public int TryFork(int sequence) => TryFork(sequence, StateAtRest(sequence).Length);

    /// <summary>A new sequence with the first <paramref name="length"/> tokens of another.</summary>
    /// <returns>−1 when all sequences are taken, the pool has not enough unreserved pages, or the length is below <see cref="ShortestLength"/>.</returns>
    public int TryFork(int sequence, int length)
    {
        ref SequenceState state = ref StateAtRest(sequence);
        if ((uint)length > (uint)state.Length)
            throw new ArgumentOutOfRangeException(nameof(length), length, $"Sequence {sequence} has {state.Length} tokens.");
        int fork = length < state.LegalFrom ? -1 : TryAcquire();
        if (fork < 0) return -1;
        Freeze(sequence);
        if (TryShare(sequence, fork, length)) return fork;
        Release(fork);
        return -1;
    }

    /// <summary>Shortest length that <see cref="TryTruncate"/> can cut the sequence back to: below it, reclaimed tokens would be visible again.</summary>
    public int ShortestLength(int sequence) => State(sequence).LegalFrom;

    /// <summary>Takes back committed tokens: the sequence is as it was when it had <paramref name="length"/> of them. The reservation stays what it was.</summary>
    /// <returns>
    /// False, and nothing has changed, when the policy has reclaimed tokens that would be visible again, or when pages that are shared now would have to
    /// become the sequence's own and the pool has not enough unreserved ones.
    /// </returns>
    public bool TryTruncate(int sequence, int length)
    {
        ref SequenceState state = ref StateAtRest(sequence);
        if ((uint)length > (uint)state.Length)
            throw new ArgumentOutOfRangeException(nameof(length), length, $"Sequence {sequence} has {state.Length} tokens.");
        if (length == state.Length) return true;
        if (length < state.LegalFrom) return false;
        int reserved = Math.Max(state.ReservedTokens, length);
        (int own, int unpinned) = _tables.CostOfTruncation(sequence, length, reserved - length);
        if ((long)_reservedPages - state.ReservedPages + own + _pool.Pinned - unpinned > _pool.Total) return false;
        SetReservation(ref state, own, reserved);
        state.Length = length;
        _tables.Truncate(sequence, length);
        return true;
    }

    /// <summary>
    /// Lets a new sequence begin with the longest stored prefix of <paramref name="tokens"/>, in whole blocks of <see cref="PrefixBlock"/> tokens. At least one
    /// token is left to compute. Comes before <see cref="TryReserve"/>.
    /// </summary>
    /// <returns>Tokens that the sequence has now; 0 if nothing fits, for the reason that the statistics count.</returns>
    public int TryAttachPrefix(int sequence, ReadOnlySpan<int> tokens)
    {
        ref SequenceState state = ref StateAtRest(sequence);
        if (state.Length != 0 || state.ReservedTokens != 0)
            throw new InvalidOperationException($"Sequence {sequence} has {state.Length} tokens and reserved {state.ReservedTokens}: attach a prefix first.");
        if (_options.MaxPrefixes == 0) return 0;
        PrefixMatch match = _prefixes.Find(tokens);
        PrefixMiss miss = match.Miss;
        if (miss == PrefixMiss.None && !TryShare(_options.MaxSequences + match.Prefix, sequence, match.Length)) miss = PrefixMiss.NoRoom;
        _prefixes.Count(match, miss);
        return miss == PrefixMiss.None ? match.Length : 0;
    }

    /// <summary>
    /// Stores what the sequence has computed, up to its last whole block, for sequences that begin with the same tokens. Under eviction only a
    /// sequence that stands at the end of a block can be stored. Costs no pages of its own: the sequence copies what it goes on to write.
    /// </summary>
    /// <param name="sequence">A sequence without running pass.</param>
    /// <param name="tokens">Its tokens; those that it has not committed are ignored, and it may have committed more.</param>
    /// <returns>Whether the prefix is stored now.</returns>
    public bool PublishPrefix(int sequence, ReadOnlySpan<int> tokens)
    {
        ref SequenceState state = ref StateAtRest(sequence);
        int known = Math.Min(state.Length, tokens.Length), length = known - known % PrefixBlock;
        if (_options.MaxPrefixes == 0 || length == 0 || (_options.Policy.Evicts && length != state.Length)) return false;
        tokens = tokens[..length];
        int prefix = _prefixes.PlaceFor(tokens, state.LegalFrom, out int replaced);
        if (replaced >= 0) DropPrefix(replaced);
        if (prefix < 0) return true;
        int table = _options.MaxSequences + prefix;
        Freeze(sequence);
        _tables.Share(sequence, table, length, live: false);
        _prefixes.Store(prefix, tokens, state.LegalFrom);
        return true;
    }

    /// <summary>Tokens of one block of a stored prefix: a page.</summary>
    public int PrefixBlock => _layout.SlotsPerPage;

    /// <summary>Forgets all stored prefixes.</summary>
    public void ClearPrefixes()
    {
        while (DropOldestPrefix())
        {
        }
    }

    /// <summary>
    /// After a pass that failed half-way, once all sequences are released: a store outside host memory may not have carried out what the books say, so that stored
    /// prefixes are forgotten too. Host memory holds what was committed in any case.
    /// </summary>
    public void Recover()
    {
        if (_options.Store is not { } store) return;
        ClearPrefixes();
        store.Reset();
    }

    private bool DropOldestPrefix()
    {
        int oldest = _prefixes.Oldest;
        if (oldest < 0) return false;
        DropPrefix(oldest);
        return true;
    }

    private void DropPrefix(int prefix)
    {
        _tables.Release(_options.MaxSequences + prefix, live: false);
        _prefixes.Remove(prefix);
    }

    /// <summary>Moves pages from the sequence's own account to the common one.</summary>
    private void Freeze(int sequence)
    {
        ref SequenceState state = ref _states[sequence];
        SetReservation(ref state, state.ReservedPages - _tables.Freeze(sequence), state.ReservedTokens);
    }

    private bool TryShare(int source, int target, int length)
    {
        (int own, int pinned) = _tables.CostOfSharing(source, length);
        if ((long)_reservedPages + own + _pool.Pinned + pinned > _pool.Total) return false;
        ref SequenceState state = ref _states[target];
        SetReservation(ref state, own, length);
        state.Length = length;
        state.LegalFrom = Math.Min(length, source < _options.MaxSequences ? _states[source].LegalFrom : _prefixes.LegalFrom(source - _options.MaxSequences));
        _tables.Share(source, target, length, live: true);
        return true;
    }
}
