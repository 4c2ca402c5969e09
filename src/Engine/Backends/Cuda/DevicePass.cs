using Foretoken.Memory;

namespace Foretoken.Backends.Cuda;

/// <summary>
/// What the kernels are told of a pass: a few integers per row, written in pinned memory and copied with one call.
/// <code>
/// counts     [8]               rows, rows with logits, attention tiles, segments
/// tokens, positions, sequences, offsets (index in the segment), logit rows, parents, logit indices     [maxRows] each
/// segments   [maxRows, 4]      first slot table of the sequence, first row, rows, root (−1: no row asks for logits, −2: the host accepts)
/// tiles      [maxRows, 8]      sequence, first row, rows, base position, branches, first row of the segment, lowest and highest position
/// sampling   [maxRows, 8]      temperature, top-k, top-p, min-p, seed (2), position of the token, flags
/// masks      [maxRows, 8]      ancestors-or-self; copied only when a segment branches
/// </code>
/// </summary>
internal sealed unsafe class DevicePass
{
    private const int CountInts = 8, RowArrays = 7, SegmentInts = 4, TileInts = 8, SamplingInts = 8, MaskInts = RowBatch.MaxTreeRows / 32;
    private const int SegmentArray = RowArrays, TileArray = SegmentArray + SegmentInts, SamplingArray = TileArray + TileInts, MaskArray = SamplingArray + SamplingInts;
    private const int Planned = 1, WithLogProb = 2;
    private readonly PinnedBuffer _host;
    private readonly int _maxRows, _rowsPerTile, _ints;
    private DevicePointer<int> _device;

    /// <param name="device">Reads the host's copy.</param>
    /// <param name="maxRows">Most rows of a pass.</param>
    /// <param name="queryGroup">Query heads per KV head: a tile holds as many rows as fit into the kernel's columns.</param>
    /// <param name="plan">Receives the buffers.</param>
    public DevicePass(CudaDevice device, int maxRows, int queryGroup, MemoryPlan plan)
    {
        (_maxRows, _rowsPerTile) = (maxRows, Math.Max(1, AttentionColumns / queryGroup));
        _ints = CountInts + (MaskArray + MaskInts) * maxRows;
        _host = PinnedBuffer.Allocate(device, "pass", "rows, host", $"[{_ints}] int32", _ints * sizeof(int), plan);
    }

    /// <summary>Bytes of an arena that the device's copy takes.</summary>
    public long Bytes => DeviceArena.Padded(_ints * sizeof(int));

    /// <summary>Cuts the device's copy from an arena.</summary>
    public void Take(DeviceArena arena) => _device = arena.Take<int>("pass", "rows", $"[{_ints}] int32", _ints);

    /// <summary>The root of a segment that the host accepts.</summary>
    public const int HostAccepts = -2;

    /// <summary>Columns (rows · query heads) of an attention block (cu/attention.cu).</summary>
    public const int AttentionColumns = 8;

    public DevicePointer<int> Rows => _device;

    public DevicePointer<int> LogitRowCount => _device + 1;

    public DevicePointer<int> Tokens => Array(0);

    public DevicePointer<int> Positions => Array(1);

    public DevicePointer<int> Sequences => Array(2);

    public DevicePointer<int> Offsets => Array(3);

    public DevicePointer<int> LogitRows => Array(4);

    public DevicePointer<int> Parents => Array(5);

    public DevicePointer<int> LogitIndices => Array(6);

    public DevicePointer<int> Segments => Array(SegmentArray);

    public DevicePointer<int> Tiles => Array(TileArray);

    public DevicePointer<int> Samplings => Array(SamplingArray);

    public DevicePointer<uint> Masks => Array(MaskArray).As<uint>();

    /// <summary>Highest position of the pass.</summary>
    public int MaxPosition { get; private set; }

    /// <summary>Writes a pass. The last one's copy must have run.</summary>
    /// <param name="rows">The pass.</param>
    /// <param name="headsPerSequence">Slot tables of a sequence.</param>
    /// <returns>Bytes to copy.</returns>
    public int Fill(RowBatch rows, int headsPerSequence)
    {
        Span<int> all = _host.Span<int>(0, (int)(_host.Bytes / sizeof(int)));
        rows.Tokens.CopyTo(all[At(0)..]);
        rows.Positions.CopyTo(all[At(1)..]);
        rows.Sequences.CopyTo(all[At(2)..]);
        rows.LogitRows.CopyTo(all[At(4)..]);
        rows.Parents.CopyTo(all[At(5)..]);
        Span<int> indices = all.Slice(At(6), rows.Count);
        indices.Fill(-1);
        for (int i = 0; i < rows.LogitRows.Length; i++)
        {
            indices[rows.LogitRows[i]] = i;
            FillSampling(rows.Samplings[i], all.Slice(At(SamplingArray) + SamplingInts * i, SamplingInts));
        }

        int tiles = 0, segments = 0;
        bool branches = false;
        MaxPosition = 0;
        foreach (RowSegment segment in rows.Segments)
        {
            branches |= segment.Branches;
            for (int i = 0; i < segment.Count; i++) all[At(3) + segment.First + i] = i;
            for (int first = 0; first < segment.Count; first += _rowsPerTile)
                FillTile(rows, segment, segment.First + first, Math.Min(_rowsPerTile, segment.Count - first), all.Slice(At(TileArray) + TileInts * tiles++, TileInts));
            Span<int> entry = all.Slice(At(SegmentArray) + SegmentInts * segments++, SegmentInts);
            (entry[0], entry[1], entry[2], entry[3]) = (segment.Sequence * headsPerSequence, segment.First, segment.Count, RootOf(rows, segment, indices));
        }

        (all[0], all[1], all[2], all[3]) = (rows.Count, rows.LogitRows.Length, tiles, segments);
        if (!branches) return At(MaskArray) * sizeof(int);
        for (int r = 0; r < rows.Count; r++)
            System.Runtime.InteropServices.MemoryMarshal.Cast<ulong, int>(rows.AncestorMask(r)).CopyTo(all[(At(MaskArray) + MaskInts * r)..]);
        return (At(MaskArray) + MaskInts * rows.Count) * sizeof(int);
    }

    /// <summary>The segment's first row with logits; −1: none has; −2: the host samples one of them, or the tree does not hang on that row alone.</summary>
    internal static int RootOf(RowBatch rows, in RowSegment segment, ReadOnlySpan<int> logitIndices)
    {
        int root = -1;
        for (int row = segment.First; row < segment.First + segment.Count; row++)
        {
            if (root < 0 && row > segment.First && rows.Parents[row] != row - 1) return HostAccepts; // what stands in front of the root is a chain
            if (logitIndices[row] < 0)
            {
                if (root >= 0) return HostAccepts;
                continue;
            }

            if (!rows.Samplings[logitIndices[row]].IsPlanned) return HostAccepts;
            if (root < 0) root = row;
        }

        return root;
    }

    private static void FillSampling(in RowSampling sampling, Span<int> to)
    {
        to[0] = BitConverter.SingleToInt32Bits(sampling.Temperature);
        to[1] = sampling.TopK;
        to[2] = BitConverter.SingleToInt32Bits(sampling.TopP);
        to[3] = BitConverter.SingleToInt32Bits(sampling.MinP);
        to[4] = (int)(uint)sampling.Seed;
        to[5] = (int)(uint)(sampling.Seed >> 32);
        to[6] = sampling.Position;
        to[7] = (sampling.IsPlanned ? Planned : 0) | (sampling.LogProb ? WithLogProb : 0);
    }

    /// <summary>The root of the <paramref name="segment"/>-th segment of the pass that was written last.</summary>
    public int RootOf(int segment) => _host.Span<int>(At(SegmentArray) * sizeof(int), SegmentInts * (segment + 1))[SegmentInts * segment + 3];

    public void Upload(CudaStream stream, int bytes) => stream.Upload(_host, 0, _device, bytes);

    private void FillTile(RowBatch rows, in RowSegment segment, int first, int count, Span<int> tile)
    {
        int lowest = int.MaxValue, highest = 0;
        foreach (int position in rows.Positions.Slice(first, count))
        {
            lowest = Math.Min(lowest, position);
            highest = Math.Max(highest, position);
        }

        MaxPosition = Math.Max(MaxPosition, highest);
        tile[0] = segment.Sequence;
        tile[1] = first;
        tile[2] = count;
        tile[3] = segment.BasePosition;
        tile[4] = segment.Branches ? 1 : 0;
        tile[5] = segment.First;
        tile[6] = lowest;
        tile[7] = highest;
    }

    /// <summary>Index of an array of one int per row; arrays of several ints per row count as so many.</summary>
    private int At(int array) => CountInts + array * _maxRows;

    private DevicePointer<int> Array(int array) => _device + At(array);
}
