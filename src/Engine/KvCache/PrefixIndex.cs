using Foretoken.Memory;

namespace Foretoken.KvCache;

/// <summary>
/// Which prefixes are stored: their tokens, the chained hashes of their blocks, and when each was used last. The hash of a block covers all blocks
/// before it, so that two prefixes agree up to the last block whose hashes are equal; tokens are then compared, as equal hashes prove nothing.
/// </summary>
internal sealed unsafe class PrefixIndex : IDisposable
{
    private readonly int _block;     // tokens
    private readonly int _maxTokens; // of one prefix
    private readonly int _maxBlocks;
    private readonly NativeBuffer? _memory; // hashes, then tokens; many prefixes of a long context are more than an array holds
    private readonly ulong* _hashes; // [prefixes, maxBlocks]
    private readonly int* _tokens;   // [prefixes, maxTokens]
    private readonly Entry[] _entries; // [prefixes]
    private readonly ulong[] _asked; // [maxBlocks] hashes of the tokens that are looked up
    private readonly long[] _misses; // [PrefixMiss]
    private long _clock, _hits, _reusedTokens, _dropped;

    /// <param name="prefixes">Most prefixes; 0 = none are stored.</param>
    /// <param name="maxTokens">Longest prefix.</param>
    /// <param name="block">Tokens of a block.</param>
    /// <param name="plan">Receives the index's entry.</param>
    /// <exception cref="OutOfMemoryBudgetException">The system has no such memory.</exception>
    public PrefixIndex(int prefixes, int maxTokens, int block, MemoryPlan plan)
    {
        (_block, _maxTokens, _maxBlocks) = (block, maxTokens, maxTokens / block);
        _entries = new Entry[prefixes];
        _asked = new ulong[_maxBlocks];
        _misses = new long[Enum.GetValues<PrefixMiss>().Length];
        if (prefixes == 0) return;
        long hashes = (long)prefixes * _maxBlocks, tokens = (long)prefixes * maxTokens;
        _memory = plan.Allocate("kv", "prefix index", $"[prefixes {prefixes}, tokens {maxTokens}]", hashes * sizeof(ulong) + tokens * sizeof(int));
        _hashes = (ulong*)_memory.Pointer;
        _tokens = (int*)(_hashes + hashes);
    }

    /// <summary>The stored prefix that was used longest ago; −1 if there is none.</summary>
    public int Oldest
    {
        get
        {
            int oldest = -1;
            for (int p = 0; p < _entries.Length; p++)
            {
                if (_entries[p].Blocks > 0 && (oldest < 0 || _entries[p].Used < _entries[oldest].Used)) oldest = p;
            }

            return oldest;
        }
    }

    public PrefixStatistics Statistics
    {
        get
        {
            int stored = 0;
            foreach (Entry entry in _entries) stored += entry.Blocks > 0 ? 1 : 0;
            return new PrefixStatistics
            {
                Stored = stored,
                Dropped = _dropped,
                Hits = _hits,
                ReusedTokens = _reusedTokens,
                MissesEmpty = _misses[(int)PrefixMiss.Empty],
                MissesTooShort = _misses[(int)PrefixMiss.TooShort],
                MissesOtherTokens = _misses[(int)PrefixMiss.OtherTokens],
                MissesNoSnapshot = _misses[(int)PrefixMiss.NoSnapshot],
                MissesNoRoom = _misses[(int)PrefixMiss.NoRoom],
            };
        }
    }

    /// <summary>Shortest length that the prefix can be used at.</summary>
    public int LegalFrom(int prefix) => _entries[prefix].LegalFrom;

    /// <summary>The longest prefix of <paramref name="tokens"/> in whole blocks that leaves at least one token.</summary>
    public PrefixMatch Find(ReadOnlySpan<int> tokens)
    {
        int blocks = Math.Min((tokens.Length - 1) / _block, _maxBlocks);
        PrefixMiss miss = blocks < 1 ? PrefixMiss.TooShort : Oldest < 0 ? PrefixMiss.Empty : PrefixMiss.OtherTokens;
        Hash(tokens, blocks, _asked);
        int best = -1, length = 0;
        for (int p = 0; p < _entries.Length; p++)
        {
            int common = CommonBlocks(p, tokens, blocks) * _block;
            if (common == 0 || common <= length) continue;
            if (common < _entries[p].LegalFrom)
            {
                miss = PrefixMiss.NoSnapshot;
                continue;
            }

            (best, length) = (p, common);
        }

        return best < 0 ? new PrefixMatch(-1, 0, miss) : new PrefixMatch(best, length, PrefixMiss.None);
    }

    /// <summary>Counts what became of a look-up.</summary>
    public void Count(in PrefixMatch match, PrefixMiss miss)
    {
        if (miss != PrefixMiss.None)
        {
            _misses[(int)miss]++;
            return;
        }

        _hits++;
        _reusedTokens += match.Length;
        if (_entries[match.Prefix].Blocks > 0) _entries[match.Prefix].Used = ++_clock; // sharing it may have dropped it
    }

    /// <summary>Where to store <paramref name="tokens"/>, whole blocks; −1 if a stored prefix serves them already.</summary>
    /// <param name="tokens">Tokens of the new prefix.</param>
    /// <param name="legalFrom">Shortest length that the new prefix can be used at.</param>
    /// <param name="replaced">A stored prefix to drop first, or −1: one that the new prefix serves too, or else the oldest when all places are taken.</param>
    public int PlaceFor(ReadOnlySpan<int> tokens, int legalFrom, out int replaced)
    {
        int blocks = tokens.Length / _block, free = -1;
        Hash(tokens, blocks, _asked);
        replaced = -1;
        for (int p = 0; p < _entries.Length; p++)
        {
            ref Entry entry = ref _entries[p];
            if (entry.Blocks == 0)
            {
                free = p;
                continue;
            }

            int common = CommonBlocks(p, tokens, blocks);
            if (common == blocks && entry.LegalFrom <= tokens.Length)
            {
                entry.Used = ++_clock;
                replaced = -1;
                return -1;
            }

            if (common == entry.Blocks && legalFrom <= entry.LegalFrom) replaced = p;
        }

        if (replaced < 0 && free < 0) replaced = Oldest;
        return replaced >= 0 ? replaced : free;
    }

    public void Store(int prefix, ReadOnlySpan<int> tokens, int legalFrom)
    {
        tokens.CopyTo(TokensOf(prefix));
        int blocks = tokens.Length / _block;
        Hash(tokens, blocks, HashesOf(prefix));
        _entries[prefix] = new Entry { Blocks = blocks, LegalFrom = legalFrom, Used = ++_clock };
    }

    public void Remove(int prefix)
    {
        _entries[prefix] = default;
        _dropped++;
    }

    public void Dispose() => _memory?.Dispose();

    /// <summary>Blocks that a stored prefix has in common with the tokens whose hashes are in <see cref="_asked"/>.</summary>
    private int CommonBlocks(int prefix, ReadOnlySpan<int> tokens, int blocks)
    {
        ReadOnlySpan<ulong> hashes = HashesOf(prefix);
        int low = 0, high = Math.Min(blocks, _entries[prefix].Blocks); // hashes are equal up to some block and differ from there on
        while (low < high)
        {
            int middle = (low + high + 1) / 2;
            if (hashes[middle - 1] == _asked[middle - 1]) low = middle;
            else high = middle - 1;
        }

        int length = low * _block;
        return tokens[..length].SequenceEqual(TokensOf(prefix)[..length]) ? low : 0;
    }

    private Span<ulong> HashesOf(int prefix) => new(_hashes + (long)prefix * _maxBlocks, _maxBlocks);

    private Span<int> TokensOf(int prefix) => new(_tokens + (long)prefix * _maxTokens, _maxTokens);

    private void Hash(ReadOnlySpan<int> tokens, int blocks, Span<ulong> hashes)
    {
        ulong hash = 0x9E3779B97F4A7C15;
        for (int b = 0; b < blocks; b++)
        {
            foreach (int token in tokens.Slice(b * _block, _block))
            {
                hash = (hash ^ (uint)token) * 0xD6E8FEB86659FD93;
                hash ^= hash >> 32;
            }

            hashes[b] = hash;
        }
    }

    private struct Entry
    {
        public int Blocks;    // 0: the place is free
        public int LegalFrom; // shortest length in tokens that it can be used at
        public long Used;     // clock of the last use
    }
}

/// <summary>What a look-up found.</summary>
/// <param name="Prefix">The stored prefix, or −1.</param>
/// <param name="Length">Tokens that it serves.</param>
/// <param name="Miss">Why there is none.</param>
internal readonly record struct PrefixMatch(int Prefix, int Length, PrefixMiss Miss);

/// <summary>Why a request could not begin with a stored prefix.</summary>
internal enum PrefixMiss
{
    /// <summary>It could.</summary>
    None,

    /// <summary>Nothing is stored.</summary>
    Empty,

    /// <summary>The prompt is not longer than one block.</summary>
    TooShort,

    /// <summary>No stored prefix has the same first block.</summary>
    OtherTokens,

    /// <summary>Tokens agree, but not up to a place at which the evicting cache was stored.</summary>
    NoSnapshot,

    /// <summary>The pool has not enough unreserved pages.</summary>
    NoRoom,
}
