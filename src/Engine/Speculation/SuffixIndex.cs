using System.Numerics;
using Foretoken.Memory;

namespace Foretoken.Speculation;

/// <summary>
/// A text that grows at its end and forgets at its beginning, with the places of every pair of tokens chained from the newest to the oldest: following the
/// chain of the last pair visits the occurrences of all longer suffixes too. It answers what a trie of all suffixes would, for 8 bytes per token. The
/// text is a ring: what is overwritten is evicted, first in, first out.
/// </summary>
internal sealed class SuffixIndex
{
    /// <summary>Tokens that a chain is keyed by.</summary>
    public const int KeyTokens = 2;

    private readonly int[] _tokens;    // [ring] token of text position i at i & mask
    private readonly int[] _previous;  // [ring] position before which the same key stood last, or -1
    private readonly int[] _heads;     // [buckets] newest position of a key, or -1

    /// <param name="capacity">Tokens that are remembered; rounded up to a power of two.</param>
    /// <param name="name">Name in the plan.</param>
    /// <param name="plan">Receives the index's entry.</param>
    public SuffixIndex(int capacity, string name, MemoryPlan plan)
    {
        int size = (int)BitOperations.RoundUpToPowerOf2((uint)Math.Max(capacity, 16));
        (_tokens, _previous, _heads) = (new int[size], new int[size], new int[size]);
        plan.Add("speculation", name, $"[tokens {size}] token, chain, head i32", size * 12L);
        Clear();
    }

    /// <summary>Tokens that are remembered.</summary>
    public int Capacity => _tokens.Length;

    /// <summary>Tokens ever added.</summary>
    public int Count { get; private set; }

    /// <summary>The oldest position that is still known.</summary>
    public int First => Math.Max(0, Count - _tokens.Length);

    public int this[int position] => _tokens[position & (_tokens.Length - 1)];

    /// <summary>Forgets everything; costs a pass over the heads.</summary>
    public void Clear()
    {
        _heads.AsSpan().Fill(-1);
        Count = 0;
    }

    /// <summary>Appends a token.</summary>
    public void Add(int token)
    {
        if (Count == int.MaxValue - 1) Clear();
        int mask = _tokens.Length - 1, at = Count++;
        _tokens[at & mask] = token;
        _previous[at & mask] = -1;
        if (at - 1 < First) return;
        ref int head = ref _heads[Bucket(this[at - 1], token)];
        _previous[at & mask] = head;
        head = at;
    }

    /// <summary>The newest position that may end with the last two tokens of <paramref name="path"/>, or −1. Keys that collide share a chain.</summary>
    public int NewestEnd(ReadOnlySpan<int> path) => path.Length < KeyTokens ? -1 : Known(_heads[Bucket(path[^2], path[^1])]);

    /// <summary>The next older position of the chain, or −1.</summary>
    public int OlderEnd(int position) => Known(_previous[position & (_tokens.Length - 1)]);

    /// <summary>Tokens before and at <paramref name="end"/> that equal the last ones of <paramref name="path"/>, at most <paramref name="limit"/>.</summary>
    public int MatchLength(ReadOnlySpan<int> path, int end, int limit)
    {
        int length = 0, most = Math.Min(limit, Math.Min(path.Length, end - First + 1));
        while (length < most && this[end - length] == path[^(1 + length)]) length++;
        return length;
    }

    private int Known(int position) => position >= First ? position : -1;

    private int Bucket(int a, int b) =>
        (int)((((uint)a * 0x9E3779B1u ^ (uint)b * 0x85EBCA77u) * 0xC2B2AE3Du) >> (32 - BitOperations.Log2((uint)_heads.Length)));
}
