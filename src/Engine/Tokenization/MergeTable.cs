using System.Numerics;

namespace Foretoken.Tokenization;

/// <summary>
/// An immutable open-addressing hash table from a pair of token ids to (rank, merged id): the one lookup on the encoder's hot path.
/// </summary>
internal sealed class MergeTable
{
    private const ulong Empty = ulong.MaxValue; // ids are non-negative, so no pair has this key

    private readonly Slot[] _slots; // a power of two, at most half full
    private readonly int _shift;

    public MergeTable(IReadOnlyDictionary<(int Left, int Right), (int Rank, int Merged)> merges)
    {
        int size = (int)BitOperations.RoundUpToPowerOf2((uint)Math.Max(4, merges.Count * 2));
        _shift = 64 - BitOperations.Log2((uint)size);
        _slots = new Slot[size];
        Array.Fill(_slots, new Slot(Empty, 0, 0));
        foreach (var (pair, merge) in merges)
        {
            int index = IndexOf(Key(pair.Left, pair.Right));
            _slots[index] = new Slot(Key(pair.Left, pair.Right), merge.Rank, merge.Merged);
        }
        Count = merges.Count;
    }

    public int Count { get; }

    /// <summary>
    /// The rank of merging <paramref name="left"/> and <paramref name="right"/> (lower merges first), or <see cref="int.MaxValue"/>.
    /// </summary>
    public int Rank(int left, int right)
    {
        ref readonly Slot slot = ref _slots[IndexOf(Key(left, right))];
        return slot.Key == Empty ? int.MaxValue : slot.Rank;
    }

    /// <summary>The token that a mergeable pair becomes.</summary>
    public int Merged(int left, int right) => _slots[IndexOf(Key(left, right))].Merged;

    private static ulong Key(int left, int right) => (ulong)(uint)left << 32 | (uint)right;

    private int IndexOf(ulong key)
    {
        int mask = _slots.Length - 1;
        int index = (int)(key * 0x9E3779B97F4A7C15 >> _shift);
        while (_slots[index].Key != key && _slots[index].Key != Empty)
            index = index + 1 & mask;
        return index;
    }

    private readonly record struct Slot(ulong Key, int Rank, int Merged);
}
