using System.Numerics;
using System.Runtime.Intrinsics;

namespace Foretoken.Backends.Cpu;

/// <summary>
/// One unit of work: the rows of a tile with one KV head and its query group. Walks the head's slots chunk by chunk of absolute positions, reading
/// keys and values from memory once for all columns.
/// </summary>
internal readonly unsafe ref struct AttentionUnit
{
    private const int Chunk = CpuAttention.ChunkPositions;
    private const int Block = AttentionScratch.Block;
    private readonly TransformerShape _shape;
    private readonly RowSegment _segment;
    private readonly AttentionTile _tile;
    private readonly HostKvView _kv;
    private readonly KvPageFormat _format;
    private readonly KvHeadSlots* _head;
    private readonly int _kvHead;
    private readonly AttentionScratch _scratch;
    private readonly AttentionKernels _kernels;
    private readonly AttentionMasks _masks;
    private readonly int _firstIndex;   // of the tile in its segment
    private readonly int _end;          // slots that some row of the tile may see
    private readonly bool _direct;      // slot s stands at position _origin + s, rows of the pass included
    private readonly int _origin;
    private readonly int _maxPosition;
    private readonly int _oldest;       // lowest position that some row of the tile sees

    public AttentionUnit(
        TransformerShape shape, RowBatch rows, RowSegment segment, AttentionTile tile, HostKvView kv, KvHeadSlots* head, int kvHead, int slidingWindow,
        AttentionScratch scratch, AttentionKernels kernels)
    {
        _kernels = kernels;
        _shape = shape;
        _segment = segment;
        _tile = tile;
        _kv = kv;
        _format = kv.Format;
        _head = head;
        _kvHead = kvHead;
        _scratch = scratch;
        _firstIndex = tile.FirstRow - segment.First;
        _end = head->Committed + _firstIndex + tile.RowCount;
        _direct = head->Contiguous && !segment.Branches;
        _origin = segment.BasePosition - head->Committed;
        ReadOnlySpan<int> positions = rows.Positions.Slice(tile.FirstRow, tile.RowCount);
        int minPosition = positions[0];
        _maxPosition = positions[0];
        foreach (int p in positions)
        {
            minPosition = Math.Min(minPosition, p);
            _maxPosition = Math.Max(_maxPosition, p);
        }

        _oldest = slidingWindow > 0 ? Math.Max(0, minPosition - slidingWindow + 1) : 0;
        _masks = new AttentionMasks(rows, segment, tile, kv, head, slidingWindow, _maxPosition, scratch.Masks);
    }

    private int Columns => _tile.RowCount * _shape.QueryGroup;

    /// <summary>Attends; the keys of the tile's rows and of their ancestors must be stored.</summary>
    public void Run(float* qkv, float* output)
    {
        int blocks = (Columns + Block - 1) / Block;
        PackQueries(qkv, blocks);
        new Span<float>(_scratch.Output, blocks * Block * _format.ValueDim).Clear();
        new Span<float>(_scratch.Maximum, blocks * Block).Fill(float.NegativeInfinity);
        new Span<float>(_scratch.Sum, blocks * Block).Clear();
        int slot = FirstSlotAt(_oldest, 0); // first committed slot that is not yet done
        for (int chunk = _oldest / Chunk; chunk <= _maxPosition / Chunk; chunk++)
        {
            int next = NextSlotAt((chunk + 1) * Chunk, slot);
            int first = slot, end = next;
            slot = next;
            if (next == _head->Committed) IncludePass(chunk, ref first, ref end);
            if (first < end) Attend(chunk, first, end, blocks);
        }

        WriteOutput(output);
    }

    /// <summary>First committed slot from <paramref name="from"/> on whose position is at least <paramref name="position"/>.</summary>
    private int FirstSlotAt(int position, int from)
    {
        int low = from, high = _head->Committed;
        if (_head->Contiguous) return Math.Clamp(position - _origin, low, high);
        while (low < high)
        {
            int middle = (low + high) / 2;
            if (*_kv.PositionOf(_head, middle) < position) low = middle + 1;
            else high = middle;
        }

        return low;
    }

    /// <summary>The same from a slot that is not far: positions are read in order, a tile at a time.</summary>
    private int NextSlotAt(int position, int from)
    {
        if (_head->Contiguous) return FirstSlotAt(position, from);
        for (int tile = from & -KvPageFormat.TileSlots; tile < _head->Committed; tile += KvPageFormat.TileSlots)
        {
            ulong below = Vector512.LessThan(Vector512.Load(_kv.PositionOf(_head, tile)), Vector512.Create(position)).ExtractMostSignificantBits();
            int count = BitOperations.TrailingZeroCount(~below); // positions rise; slots behind the last one may hold anything
            if (count < KvPageFormat.TileSlots) return Math.Clamp(tile + count, from, _head->Committed);
        }

        return _head->Committed;
    }

    /// <summary>Extends the chunk's committed slots by the slots of the pass: those of the chunk for a chain, all for a tree (the masks choose).</summary>
    private void IncludePass(int chunk, ref int first, ref int end)
    {
        int committed = _head->Committed, basePosition = _segment.BasePosition;
        if ((chunk + 1) * Chunk <= basePosition) return;
        int passFirst = committed, passEnd = _end;
        if (!_segment.Branches)
        {
            passFirst = committed + Math.Max(0, Math.Max(chunk * Chunk, _oldest) - basePosition);
            passEnd = Math.Min(_end, committed + (chunk + 1) * Chunk - basePosition);
        }

        if (first == committed) first = passFirst;
        end = Math.Max(end, passEnd);
    }

    private void Attend(int chunk, int first, int end, int blocks)
    {
        bool masked = _masks.Build(chunk, first, end, _direct);
        for (int b = 0; b < blocks; b++)
        {
            var slots = new AttentionSlots(_kv.Pool, _head->Pages, _format, first, end, prefetchEnd: b == 0 ? _end : 0);
            int column = b * Block, columns = Math.Min(Block, Columns - column);
            float* output = _scratch.Output + (long)column * _format.ValueDim;
            _kernels.Scores(slots, columns, _scratch.Query + (long)column * _format.HeadDim, _scratch.Scores);
            MaskEnds(first, end);
            for (int c = 0; masked && c < columns; c++)
                AttentionKernels.Mask(_scratch.Scores + c * AttentionScratch.Slots, _masks.Of((column + c) / _shape.QueryGroup), slots.AlignedCount);
            _kernels.Softmax(slots, columns, _scratch.Scores, _scratch.Maximum + column, _scratch.Sum + column, output);
            _kernels.Values(slots, columns, _scratch.Scores, _scratch.Sum + column, output);
        }
    }

    /// <summary>Lanes of the first and last tile that lie outside the chunk hold other slots' scores or old ones.</summary>
    private void MaskEnds(int first, int end)
    {
        int before = first % KvPageFormat.TileSlots;
        int count = end - first + before, aligned = (count + KvPageFormat.TileSlots - 1) / KvPageFormat.TileSlots * KvPageFormat.TileSlots;
        for (int c = 0; c < Block; c++)
        {
            float* scores = _scratch.Scores + c * AttentionScratch.Slots;
            for (int i = 0; i < before; i++) scores[i] = float.NegativeInfinity;
            for (int i = count; i < aligned; i++) scores[i] = float.NegativeInfinity;
        }
    }

    /// <summary>Scales the queries of the tile and lays them out by blocks of four columns. // [blocks, headDim/2, 4, 2]</summary>
    private void PackQueries(float* qkv, int blocks)
    {
        int headDim = _shape.HeadDim, group = _shape.QueryGroup;
        long stride = (long)(_shape.HeadCount + 2 * _shape.KvHeadCount) * headDim;
        float scale = _shape.AttentionScale;
        for (int column = 0; column < blocks * Block; column++)
        {
            float* to = _scratch.Query + (long)(column / Block) * Block * headDim + column % Block * 2;
            if (column >= Columns)
            {
                for (int d = 0; d < headDim; d += 2) to[d * Block] = to[d * Block + 1] = 0f;
                continue;
            }

            float* from = qkv + (_tile.FirstRow + column / group) * stride + (long)(_kvHead * group + column % group) * headDim;
            for (int d = 0; d < headDim; d += 2)
            {
                to[d * Block] = from[d] * scale;
                to[d * Block + 1] = from[d + 1] * scale;
            }
        }
    }

    private void WriteOutput(float* output)
    {
        int headDim = _shape.HeadDim, group = _shape.QueryGroup;
        for (int column = 0; column < Columns; column++)
        {
            float* from = _scratch.Output + (long)column * _format.ValueDim;
            float* to = output + ((_tile.FirstRow + column / group) * (long)_shape.HeadCount + _kvHead * group + column % group) * headDim;
            float sum = _scratch.Sum[column];
            for (int d = 0; d < headDim; d++) to[d] = from[d] / sum + 0f; // + 0: masked keys may turn −0 into +0
        }
    }
}
