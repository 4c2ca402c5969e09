using Foretoken.Memory;

namespace Foretoken.Backends.Cpu;

/// <summary>Adjacent rows of one segment that are attended together.</summary>
/// <param name="Segment">Index of the segment.</param>
/// <param name="FirstRow">First row, in the batch.</param>
/// <param name="RowCount">Rows.</param>
/// <param name="Oldest">Lowest position that one of the rows may see.</param>
/// <param name="Newest">Highest position of the rows.</param>
internal readonly record struct AttentionTile(int Segment, int FirstRow, int RowCount, int Oldest, int Newest)
{
    public int FirstChunk => Oldest / CpuAttention.ChunkPositions;

    public int EndChunk => Newest / CpuAttention.ChunkPositions + 1;
}

/// <summary>Some chunks of positions of a tile: what one thread attends to at a time, for one KV head.</summary>
/// <param name="Tile">The rows.</param>
/// <param name="FirstChunk">First chunk.</param>
/// <param name="EndChunk">Chunk behind the last.</param>
/// <param name="Partials">Where the results per chunk go, in floats; −1 for a tile in one piece, which folds them itself.</param>
internal readonly record struct AttentionPiece(AttentionTile Tile, int FirstChunk, int EndChunk, long Partials)
{
    public bool IsWhole => Partials < 0;

    /// <summary>The piece with the rows' own keys.</summary>
    public bool IsLast => EndChunk == Tile.EndChunk;
}

/// <summary>
/// Cuts a pass into tiles of rows that read keys and values together, and long tiles into pieces of chunks, so that few rows and KV heads at a large
/// depth occupy all threads. As every chunk's result is computed by itself and all are folded in order, cutting changes no bit.
/// </summary>
internal sealed unsafe class AttentionPieces : IDisposable
{
    /// <summary>Shares of the work that each thread should find, so that none waits long for another at the end.</summary>
    private const int PerThread = 4;

    /// <summary>A piece has at least this many chunks; what rows of a pass span, so that the last piece holds all their keys.</summary>
    private const int MinChunks = 4;

    /// <summary>Rows of a tile, if it has so many, are made fewer down to this number where threads would find too little to do.</summary>
    private const int LeastRowsPerTile = 16;

    /// <summary>Room for partial results, in columns times chunks. What does not fit is not cut.</summary>
    private const int PartialColumns = 16 * 1024;

    private readonly TransformerShape _shape;
    private readonly int _threads;
    private readonly int _mostRowsPerTile;
    private readonly int _valueDim;
    private readonly long _partialFloats;
    private readonly NativeBuffer? _partials;
    private readonly AttentionTile[] _tiles;   // [maxRows]
    private readonly AttentionPiece[] _pieces; // [maxRows + threads · PerThread]
    private readonly AttentionPiece[] _splits; // [threads · PerThread] one per tile in several pieces, over all its chunks

    public AttentionPieces(TransformerShape shape, int maxRows, int rowsPerTile, int threads, MemoryPlan plan)
    {
        _shape = shape;
        _threads = threads;
        _mostRowsPerTile = rowsPerTile;
        _valueDim = AttentionScratch.Padded(shape.HeadDim);
        _tiles = new AttentionTile[maxRows];
        _pieces = new AttentionPiece[maxRows + threads * PerThread];
        _splits = new AttentionPiece[threads * PerThread];
        if (threads == 1) return;
        _partialFloats = AttentionPartial.Floats(PartialColumns, _valueDim);
        _partials = plan.Allocate("activations", "attention partials", $"[columns·chunks {PartialColumns}, {_valueDim} + 2] F32", _partialFloats * sizeof(float));
    }

    /// <summary>The pieces of the pass, the longest tiles first.</summary>
    public ReadOnlySpan<AttentionPiece> Pieces => _pieces.AsSpan(0, PieceCount);

    public int PieceCount { get; private set; }

    /// <summary>Tiles that are in several pieces.</summary>
    public ReadOnlySpan<AttentionPiece> Splits => _splits.AsSpan(0, SplitCount);

    public int SplitCount { get; private set; }

    /// <summary>Every segment is one tile.</summary>
    public bool SingleTiles { get; private set; }

    /// <summary>Multiply-adds of the pass, about.</summary>
    public long Work { get; private set; }

    public void Plan(RowBatch rows, int layer, HostKvView kv, int window)
    {
        int tiles = CutRows(rows, window, RowsPerTile(rows));
        long total = 0;
        for (int t = 0; t < tiles; t++) total += WorkOf(_tiles[t], rows, layer, kv);
        Work = 2 * total * _shape.HeadCount * _shape.HeadDim;
        PieceCount = SplitCount = 0;
        long used = 0;
        for (int t = 0; t < tiles; t++)
        {
            AttentionTile tile = _tiles[t];
            int chunks = tile.EndChunk - tile.FirstChunk;
            long work = WorkOf(tile, rows, layer, kv), share = total * _shape.KvHeadCount;
            int count = (int)Math.Min((work * PerThread * _threads + share / 2) / share, chunks / MinChunks);
            long needed = (long)_shape.KvHeadCount * chunks * FloatsPerChunk(tile);
            if (count < 2 || used + needed > _partialFloats)
            {
                _pieces[PieceCount++] = new AttentionPiece(tile, tile.FirstChunk, tile.EndChunk, -1);
                continue;
            }

            for (int i = count - 1; i >= 0; i--) // the piece that also stores keys first
            {
                int first = tile.FirstChunk + chunks * i / count, end = tile.FirstChunk + chunks * (i + 1) / count;
                _pieces[PieceCount++] = new AttentionPiece(tile, first, end, used);
            }

            _splits[SplitCount++] = new AttentionPiece(tile, tile.FirstChunk, tile.EndChunk, used);
            used += needed;
        }
    }

    /// <summary>Where the result of one chunk of a cut tile lies.</summary>
    public AttentionPartial PartialOf(in AttentionPiece piece, int kvHead, int chunk)
    {
        long index = (long)kvHead * (piece.Tile.EndChunk - piece.Tile.FirstChunk) + chunk - piece.Tile.FirstChunk;
        float* memory = (float*)_partials!.Pointer + piece.Partials + index * FloatsPerChunk(piece.Tile);
        return AttentionPartial.At(memory, PaddedColumns(piece.Tile), _valueDim);
    }

    public void Dispose() => _partials?.Dispose();

    private long FloatsPerChunk(in AttentionTile tile) => AttentionPartial.Floats(PaddedColumns(tile), _valueDim);

    private int PaddedColumns(in AttentionTile tile) =>
        (tile.RowCount * _shape.QueryGroup + AttentionScratch.Block - 1) / AttentionScratch.Block * AttentionScratch.Block;

    /// <summary>Keys times rows, by the first head.</summary>
    private static long WorkOf(in AttentionTile tile, RowBatch rows, int layer, HostKvView kv)
    {
        RowSegment segment = rows.Segments[tile.Segment];
        long keys = Math.Min(kv.Head(segment.Sequence, layer, 0)->Committed + segment.Earlier + segment.Count, tile.Newest - tile.Oldest + 1);
        return tile.RowCount * Math.Max(keys, 1);
    }

    /// <summary>As many as a tile may have, fewer where the KV heads do not give every thread its shares of work.</summary>
    private int RowsPerTile(RowBatch rows)
    {
        int most = _mostRowsPerTile, wanted = (PerThread * _threads + _shape.KvHeadCount - 1) / _shape.KvHeadCount;
        while (_threads > 1 && most > LeastRowsPerTile && TilesOf(rows, most) < wanted) most = Math.Max(LeastRowsPerTile, most / 2);
        return most;
    }

    private static int TilesOf(RowBatch rows, int rowsPerTile)
    {
        int tiles = 0;
        foreach (RowSegment segment in rows.Segments) tiles += (segment.Count + rowsPerTile - 1) / rowsPerTile;
        return tiles;
    }

    private int CutRows(RowBatch rows, int window, int rowsPerTile)
    {
        int count = 0;
        SingleTiles = true;
        ReadOnlySpan<RowSegment> segments = rows.Segments;
        for (int s = 0; s < segments.Length; s++)
        {
            RowSegment segment = segments[s];
            if (segment.Count > rowsPerTile) SingleTiles = false;
            for (int end = segment.Count; end > 0; end -= Math.Min(end, rowsPerTile)) // the longest tiles first, for balance
            {
                int first = Math.Max(0, end - rowsPerTile), lowest = int.MaxValue, newest = 0;
                foreach (int position in rows.Positions.Slice(segment.First + first, end - first))
                {
                    lowest = Math.Min(lowest, position);
                    newest = Math.Max(newest, position);
                }

                _tiles[count++] = new AttentionTile(s, segment.First + first, end - first, window > 0 ? Math.Max(0, lowest - window + 1) : 0, newest);
            }
        }

        return count;
    }
}
