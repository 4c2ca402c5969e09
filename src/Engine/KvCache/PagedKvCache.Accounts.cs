namespace Foretoken.KvCache;

/// <content>What admission and preemption ask: who accounts for how many pages.</content>
public sealed unsafe partial class PagedKvCache
{
    /// <summary>Frozen pages that the sequence holds, alone or with others.</summary>
    public int FrozenPagesOf(int sequence)
    {
        _ = State(sequence);
        return _tables.FrozenPages(sequence, alone: false);
    }

    /// <summary>Pages that releasing the sequence would free: those reserved for it and the frozen ones that no other running sequence holds.</summary>
    public int PagesFreedBy(int sequence) => State(sequence).ReservedPages + _tables.FrozenPages(sequence, alone: true);

    /// <summary>Pages that a fork of the sequence's first <paramref name="length"/> tokens would share without ever writing them: counted once for both.</summary>
    public int PagesSharedByFork(int sequence, int length)
    {
        _ = State(sequence);
        return _tables.FreezablePages(sequence, length);
    }

    /// <summary>Frozen pages of running sequences that one which begins with these tokens would share, and so not need again.</summary>
    public int PagesSharedWith(ReadOnlySpan<int> tokens)
    {
        if (_options.MaxPrefixes == 0 || _prefixes.Find(tokens) is not { Prefix: >= 0 } match) return 0;
        int table = _options.MaxSequences + match.Prefix;
        return _tables.PinnedPages(table, match.Length);
    }
}
