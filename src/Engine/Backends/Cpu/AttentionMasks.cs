using System.Numerics;
using System.Runtime.Intrinsics;

namespace Foretoken.Backends.Cpu;

/// <summary>
/// Which slots of a chunk each row of a tile sees, as bits: bit i is slot (first rounded down to a tile) + i. Rows of a chain see the slots up to
/// their own, rows of a tree their ancestors; the sliding window and the slots' expire cut further.
/// </summary>
internal readonly unsafe ref struct AttentionMasks
{
    private const int Words = AttentionScratch.MaskWords;
    private readonly RowBatch _rows;
    private readonly RowSegment _segment;
    private readonly AttentionTile _tile;
    private readonly HostKvView _kv;
    private readonly KvHeadSlots* _head;
    private readonly int _window;
    private readonly int _maxPosition; // of the tile's rows
    private readonly ulong* _masks; // [rows, Words]

    public AttentionMasks(RowBatch rows, RowSegment segment, AttentionTile tile, HostKvView kv, KvHeadSlots* head, int window, int maxPosition, ulong* masks)
    {
        _rows = rows;
        _segment = segment;
        _tile = tile;
        _kv = kv;
        _head = head;
        _window = window;
        _maxPosition = maxPosition;
        _masks = masks;
    }

    /// <summary>The mask of the tile's <paramref name="row"/>-th row. // [MaskWords]</summary>
    public ulong* Of(int row) => _masks + row * Words;

    /// <summary>Computes the masks of slots <paramref name="first"/>..<paramref name="end"/>−1; false when every row sees all of them.</summary>
    /// <param name="chunk">Number of the chunk of positions.</param>
    /// <param name="first">First slot.</param>
    /// <param name="end">Slot behind the last.</param>
    /// <param name="direct">Positions are contiguous over committed slots and rows.</param>
    public bool Build(int chunk, int first, int end, bool direct)
    {
        int committed = _head->Committed;
        int ownSlot = committed + _segment.Earlier + _tile.FirstRow - _segment.First; // of the tile's first row
        bool masked = end > _head->FirstMortal || end > ownSlot + 1 || (_segment.Branches && end > committed);
        if (!masked && _window > 0) masked = LowestPosition(first, direct) <= _maxPosition - _window;
        if (!masked) return false;
        int aligned = first & -KvPageFormat.TileSlots;
        for (int r = 0; r < _tile.RowCount; r++) BuildRow(chunk, r, first, end, aligned, direct);
        return true;
    }

    private int LowestPosition(int first, bool direct)
    {
        if (direct) return _segment.BasePosition - _head->Committed + first;
        return first < _head->Committed ? *_kv.PositionOf(_head, first) : _segment.BasePosition;
    }

    private void BuildRow(int chunk, int r, int first, int end, int aligned, bool direct)
    {
        ulong* mask = Of(r);
        new Span<ulong>(mask, Words).Clear();
        int row = _tile.FirstRow + r, committed = _head->Committed;
        int position = _rows.Positions[row];
        int oldest = _window > 0 ? position - _window + 1 : 0; // lowest visible position
        if (!_segment.Branches)
        {
            SetRange(mask, first - aligned, Math.Min(end, committed + _segment.Earlier + row - _segment.First + 1) - aligned);
        }
        else
        {
            SetRange(mask, first - aligned, Math.Min(end, committed) - aligned);
            SetAncestors(mask, chunk, row, first, end, aligned, oldest);
        }

        if (oldest > 0) ClearOlder(mask, oldest, first, end, aligned, direct);
        if (end <= _head->FirstMortal) return;
        ClearExpired(mask, position, end, aligned);
        if (_segment.Branches && _kv.DecisionWindow > 0) ClearEvictedOnPath(mask, row, first, end, aligned);
    }

    private void SetAncestors(ulong* mask, int chunk, int row, int first, int end, int aligned, int oldest)
    {
        ReadOnlySpan<ulong> ancestors = _rows.AncestorMask(row);
        int committed = _head->Committed, from = Math.Max(first - committed, 0), to = end - committed; // rows of the segment
        for (int word = from >> 6; word * 64 < to; word++)
        {
            for (ulong bits = ancestors[word] & Bits(from - word * 64, to - word * 64); bits != 0; bits &= bits - 1)
            {
                int slot = committed + word * 64 + BitOperations.TrailingZeroCount(bits), at = *_kv.PositionOf(_head, slot);
                if (at / CpuAttention.ChunkPositions == chunk && at >= oldest) Set(mask, slot - aligned);
            }
        }
    }

    /// <summary>Clears committed slots (and rows of a chain) below position <paramref name="oldest"/>; ancestors in a tree are cleared already.</summary>
    private void ClearOlder(ulong* mask, int oldest, int first, int end, int aligned, bool direct)
    {
        if (direct)
        {
            ClearRange(mask, first - aligned, Math.Min(end, oldest - (_segment.BasePosition - _head->Committed)) - aligned);
            return;
        }

        int last = _segment.Branches ? Math.Min(end, _head->Committed) : end;
        for (int slot = first; slot < last && *_kv.PositionOf(_head, slot) < oldest; slot++) Clear(mask, slot - aligned);
    }

    private void ClearExpired(ulong* mask, int position, int end, int aligned)
    {
        Vector512<int> at = Vector512.Create(position);
        int firstMortal = _head->FirstMortal & -KvPageFormat.TileSlots;
        for (int slot = Math.Max(aligned, firstMortal); slot < end; slot += KvPageFormat.TileSlots)
        {
            ulong alive = Vector512.GreaterThanOrEqual(Vector512.Load(_kv.ExpireOf(_head, slot)), at).ExtractMostSignificantBits();
            int bit = slot - aligned;
            mask[bit >> 6] &= ~((~alive & 0xFFFF) << (bit & 63)); // 16 divides 64: the bits lie in one word
        }
    }

    /// <summary>
    /// In a tree a token's fate depends on which rows follow it: each row of the path evicts the token that it decides about for rows beyond the window.
    /// For chains the decisions stand in the slots' expire already.
    /// </summary>
    private void ClearEvictedOnPath(ulong* mask, int row, int first, int end, int aligned)
    {
        int last = _rows.Positions[row] - _kv.DecisionWindow; // a token below this position is out of the window
        int shift = _kv.DecisionShift, committed = _head->Committed, token = row; // row that r decides about, or −1 − its slots before the committed end
        for (int i = 0; i < shift; i++) token = Before(token);
        for (int r = row; r >= 0; r = _rows.Parents[r], token = Before(token))
        {
            int slot = committed + (token < 0 ? token : token - _segment.First);
            bool evicts = _rows.Positions[r] - shift < last && *_kv.DecisionOf(_head, committed + r - _segment.First) != 0;
            if (evicts && slot >= first && slot < end) Clear(mask, slot - aligned);
        }
    }

    /// <summary>The parent of a row; behind the root −1 for the last committed slot, −2 for the one before it, and so on.</summary>
    private int Before(int row) => row < 0 ? row - 1 : _rows.Parents[row];

    private static void Set(ulong* mask, int bit) => mask[bit >> 6] |= 1UL << (bit & 63);

    private static void Clear(ulong* mask, int bit) => mask[bit >> 6] &= ~(1UL << (bit & 63));

    private static void SetRange(ulong* mask, int from, int to)
    {
        for (int word = from >> 6; word * 64 < to; word++) mask[word] |= Bits(from - word * 64, to - word * 64);
    }

    private static void ClearRange(ulong* mask, int from, int to)
    {
        for (int word = from >> 6; word * 64 < to; word++) mask[word] &= ~Bits(from - word * 64, to - word * 64);
    }

    /// <summary>Bits from..to−1 of one word, either end possibly outside of it.</summary>
    private static ulong Bits(int from, int to)
    {
        ulong below = to >= 64 ? ulong.MaxValue : (1UL << to) - 1;
        return from <= 0 ? below : below & ~((1UL << from) - 1);
    }
}
