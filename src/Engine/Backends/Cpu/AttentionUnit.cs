using System.Numerics;
using System.Runtime.Intrinsics;

namespace Foretoken.Backends.Cpu;

/// <summary>
/// One unit of work: the rows of a tile with one KV head and its query group, over the chunks of one piece. Walks the head's slots chunk by chunk of
/// absolute positions, reading keys and values from memory once for all columns.
/// </summary>
internal readonly unsafe ref struct AttentionUnit
{
    private const int Chunk = CpuAttention.ChunkPositions;
    private const int Block = AttentionScratch.Block;
    private readonly AttentionPass _pass;
    private readonly AttentionPiece _piece;
    private readonly AttentionTile _tile;
    private readonly RowSegment _segment;
    private readonly HostKvView _kv;
    private readonly KvPageFormat _format;
    private readonly KvHeadSlots* _head;
    private readonly int _kvHead;
    private readonly AttentionScratch _scratch;
    private readonly AttentionMasks _masks;
    private readonly int _end;          // slots that some row of the tile may see
    private readonly bool _direct;      // slot s stands at position _origin + s, rows of the pass included
    private readonly int _origin;

    public AttentionUnit(in AttentionPass pass, in AttentionPiece piece, int kvHead, AttentionScratch scratch)
    {
        _pass = pass;
        _piece = piece;
        _tile = piece.Tile;
        _segment = pass.Rows.Segments[_tile.Segment];
        _kv = pass.Kv;
        _format = _kv.Format;
        _head = _kv.Head(_segment.Sequence, pass.Layer, kvHead);
        _kvHead = kvHead;
        _scratch = scratch;
        _end = _head->Committed + _segment.Earlier + _tile.FirstRow - _segment.First + _tile.RowCount;
        _direct = _head->Contiguous && !_segment.Branches;
        _origin = _segment.BasePosition - _head->Committed;
        _masks = new AttentionMasks(pass.Rows, _segment, _tile, _kv, _head, pass.Window, _tile.Newest, scratch.Masks);
    }

    private int Group => _pass.Shape.QueryGroup;

    private int Columns => _tile.RowCount * Group;

    private int PaddedColumns => (Columns + Block - 1) / Block * Block;

    /// <summary>Attends to the piece's chunks; the keys that the tile's rows see there must be stored.</summary>
    /// <param name="nextPiece">Piece of the unit that this thread will most likely take next, whose first chunk is fetched at the end; null: none.</param>
    /// <param name="nextHead">Its KV head.</param>
    public void Run(AttentionPiece? nextPiece, int nextHead)
    {
        PackQueries();
        if (_piece.IsWhole) _scratch.Total.Clear(PaddedColumns, _format.ValueDim);
        int slot = FirstSlotAt(Math.Max(_tile.Oldest, _piece.FirstChunk * Chunk), 0); // first committed slot that is not yet done
        AttentionReach reach = ReachTo(nextPiece, nextHead, slot);
        for (int chunk = _piece.FirstChunk; chunk < _piece.EndChunk; chunk++)
        {
            int next = NextSlotAt((chunk + 1) * Chunk, slot);
            int first = slot, end = next;
            slot = next;
            if (next == _head->Committed) IncludePass(chunk, ref first, ref end);
            if (first < end) Attend(chunk, first, end, reach);
            else if (!_piece.IsWhole) _pass.Pieces.PartialOf(_piece, _kvHead, chunk).Clear(PaddedColumns, _format.ValueDim);
        }

        if (_piece.IsWhole) WriteOutput();
    }

    /// <summary>Folds the results of all chunks of a cut tile.</summary>
    public void Fold()
    {
        _scratch.Total.Clear(PaddedColumns, _format.ValueDim);
        for (int chunk = _tile.FirstChunk; chunk < _tile.EndChunk; chunk++)
            _scratch.Total.Fold(_pass.Pieces.PartialOf(_piece, _kvHead, chunk), Columns, _format.ValueDim);
        WriteOutput();
    }

    private AttentionReach ReachTo(AttentionPiece? next, int nextHead, int slot)
    {
        int end = _piece.IsLast ? _end : FirstSlotAt(_piece.EndChunk * Chunk, slot);
        if (next is not { } piece) return new AttentionReach(end, null, 0, 0);
        RowSegment segment = _pass.Rows.Segments[piece.Tile.Segment];
        KvHeadSlots* head = _kv.Head(segment.Sequence, _pass.Layer, nextHead);
        int first = Math.Max(piece.Tile.Oldest, piece.FirstChunk * Chunk) - (segment.BasePosition - head->Committed); // a guess where slots have gaps
        return new AttentionReach(end, head->Pages, Math.Clamp(first, 0, head->Committed), head->Committed);
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
            passFirst = committed + Math.Max(0, Math.Max(chunk * Chunk, _tile.Oldest) - basePosition);
            passEnd = Math.Min(_end, committed + (chunk + 1) * Chunk - basePosition);
        }

        if (first == committed) first = passFirst;
        end = Math.Max(end, passEnd);
    }

    private void Attend(int chunk, int first, int end, AttentionReach reach)
    {
        bool masked = _masks.Build(chunk, first, end, _direct);
        AttentionKernels kernels = _pass.Kernels;
        AttentionWeights weights = _scratch.Weights;
        int valueDim = _format.ValueDim;
        var slots = default(AttentionSlots);
        for (int column = 0, planned = -1; column < Columns; column += Block)
        {
            int columns = Math.Min(Block, Columns - column), seen = Seen(end, (column + columns - 1) / Group);
            AttentionPartial partial = _piece.IsWhole ? _scratch.Chunk : _pass.Pieces.PartialOf(_piece, _kvHead, chunk).From(column, valueDim);
            if (seen <= first)
            {
                if (!_piece.IsWhole) partial.Clear(Block, valueDim);
                continue;
            }

            if (seen != planned || slots.Prefetches) // the first block fetches all that comes next
            {
                slots = new AttentionSlots(_kv.Pool, _head->Pages, _format, first, seen, planned < 0 ? reach : default);
                kernels.Plan(slots, weights);
                planned = seen;
            }

            kernels.Scores(slots, columns, _scratch.Query + (long)column * _format.HeadDim, _scratch.QueryScale + column, weights);
            MaskEnds(first, seen);
            for (int c = 0; masked && c < columns; c++)
                AttentionKernels.Mask(weights.Floats + c * AttentionScratch.Slots, _masks.Of((column + c) / Group), slots.AlignedCount);
            kernels.Softmax(slots, columns, weights, partial);
            kernels.Values(slots, columns, weights, partial);
            if (_piece.IsWhole) _scratch.Total.From(column, valueDim).Fold(partial, columns, valueDim);
        }
    }

    /// <summary>Slot behind the last that some row up to the tile's <paramref name="row"/>-th may see: rows of a chain see none of later rows.</summary>
    private int Seen(int end, int row) =>
        _segment.Branches ? end : Math.Min(end, _head->Committed + _segment.Earlier + _tile.FirstRow - _segment.First + row + 1);

    /// <summary>Lanes of the first and last tile that lie outside the chunk hold other slots' scores or old ones.</summary>
    private void MaskEnds(int first, int end)
    {
        int before = first % KvPageFormat.TileSlots;
        int count = end - first + before, aligned = (count + KvPageFormat.TileSlots - 1) / KvPageFormat.TileSlots * KvPageFormat.TileSlots;
        for (int c = 0; c < Block; c++)
        {
            float* scores = _scratch.Weights.Floats + c * AttentionScratch.Slots;
            for (int i = 0; i < before; i++) scores[i] = float.NegativeInfinity;
            for (int i = count; i < aligned; i++) scores[i] = float.NegativeInfinity;
        }
    }

    /// <summary>Lays out the queries of the tile by blocks of four columns; those that fill up the last block are zero.</summary>
    private void PackQueries()
    {
        int headDim = _format.HeadDim;
        if (PaddedColumns > Columns) new Span<float>(_scratch.Query + (long)(PaddedColumns - Block) * headDim, Block * headDim).Clear();
        for (int column = 0; column < Columns; column++)
        {
            float* block = _scratch.Query + (long)(column / Block) * Block * headDim;
            _pass.Kernels.PackQuery(QueryOf(column), headDim, _pass.Shape.AttentionScale, block, column % Block, _scratch.QueryScale + column);
        }
    }

    private float* QueryOf(int column)
    {
        TransformerShape shape = _pass.Shape;
        long stride = (long)(shape.HeadCount + 2 * shape.KvHeadCount) * shape.HeadDim;
        return _pass.Qkv + (_tile.FirstRow + column / Group) * stride + (long)(_kvHead * Group + column % Group) * shape.HeadDim;
    }

    private void WriteOutput()
    {
        int headDim = _format.HeadDim, heads = _pass.Shape.HeadCount;
        for (int column = 0; column < Columns; column++)
        {
            float* from = _scratch.Total.Output + (long)column * _format.ValueDim;
            float* to = _pass.Output + ((_tile.FirstRow + column / Group) * (long)heads + _kvHead * Group + column % Group) * headDim;
            float sum = _scratch.Total.Sum[column];
            Vector512<float> sums = Vector512.Create(sum);
            int d = 0; // + 0: masked keys may turn −0 into +0
            for (; d + Vector512<float>.Count <= headDim; d += Vector512<float>.Count) (Vector512.Load(from + d) / sums + Vector512<float>.Zero).Store(to + d);
            for (; d < headDim; d++) to[d] = from[d] / sum + 0f;
        }
    }
}
