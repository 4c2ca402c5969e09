using System.Runtime.Intrinsics.X86;
using Foretoken.Backends.Cpu.Lanes;

namespace Foretoken.Backends.Cpu.Kernels;

/// <summary>What happens to a panel's finished sums.</summary>
internal enum ProductEnd
{
    /// <summary>output = sums + bias.</summary>
    Store,

    /// <summary>output += sums + bias.</summary>
    AddTo,

    /// <summary>output = silu(gate) · up, for a paired matrix.</summary>
    SwiGlu,
}

/// <summary>One matrix product: output[r, n] = Σ over K of activation[r, k] · weight[n, k].</summary>
internal unsafe struct ProductArguments
{
    public PanelMatrix Matrix;

    /// <summary>f32 rows padded with zeros to whole steps, or blocks (<see cref="ActivationBlock"/>), as the matrix's type needs.</summary>
    public byte* Activations;

    /// <summary>Bytes from row to row.</summary>
    public long ActivationStride;

    public int Rows;

    /// <summary>Added to every row, or null. // [OutFeatures] padded to 16</summary>
    public float* Bias;

    public float* Output;

    /// <summary>Floats from row to row.</summary>
    public long OutputStride;

    public ProductEnd End;

    /// <summary>Per thread: sums of two panels. // [2, SecondSumsOffset bytes]</summary>
    public float* Scratch;

    public int Threads;
}

/// <summary>
/// Multiplies by panels. A chunk of work is a few neighbouring panels with all rows: every panel is read from memory once, while the next one is
/// being prefetched, and serves the row tiles one after the other. K is cut every <see cref="SegmentSteps"/> steps, so that a segment of weights
/// stays in the nearest cache over the tiles; the cuts are part of the accumulation contract of float types.
/// </summary>
internal unsafe struct PanelProduct<TLanes, TKernel> : IParallelJob
    where TLanes : struct, ILanes<TLanes>
    where TKernel : struct, IPanelKernel
{
    private const int BlockRows = PanelTile.BlockRows, SecondSums = PanelTile.SecondSumsOffset / sizeof(float);

    /// <summary>Steps of 32 along K between two cuts: 2048 elements.</summary>
    public const int SegmentSteps = 64;

    /// <summary>Two panels of integers at a time, whose sums do not depend on where K is cut, have segments of about this size, which fit the first-level cache.</summary>
    private const int PairSegmentBytes = 16 * 1024;

    /// <summary>Below this many multiply-adds a product runs on the calling thread: a fork-join would cost more.</summary>
    private const long InlineWork = 256 * 1024;

    /// <summary>Small, so that threads end together: a chunk of this size takes some two microseconds.</summary>
    private const long ChunkBytes = 64 * 1024;

    private ProductArguments _p;
    private int _panelsPerChunk;
    private int _chunks;
    private byte* _data;        // of the matrix
    private long _panelBytes;
    private int _panels;
    private int _steps;
    private int _stepBytes;
    private int _scaleBytes;
    private int _activationStep;

    public static void Run(in ProductArguments arguments, ThreadTeam team)
    {
        PanelMatrix matrix = arguments.Matrix;
        var job = new PanelProduct<TLanes, TKernel>
        {
            _p = arguments,
            _panelsPerChunk = PanelsPerChunk(matrix, arguments.Rows, team.Threads),
            _data = matrix.Data,
            _panelBytes = matrix.PanelBytes,
            _panels = matrix.Panels,
            _steps = matrix.Steps,
            _stepBytes = matrix.Format.StepBytes,
            _scaleBytes = matrix.Format.ScaleBytes,
            _activationStep = ActivationBlock.BytesOf(matrix.Type),
        };
        job._chunks = (matrix.Panels + job._panelsPerChunk - 1) / job._panelsPerChunk;
        if ((long)arguments.Rows * matrix.Panels * PanelMatrix.PanelRows * matrix.Steps * PanelMatrix.StepLength >= InlineWork)
        {
            team.Run(ref job, job._chunks);
            return;
        }

        for (int c = 0; c < job._chunks; c++) job.Execute(c, 0);
    }

    public readonly void Execute(int chunk, int thread)
    {
        int first = chunk * _panelsPerChunk, last = Math.Min(first + _panelsPerChunk, _panels);
        float* sums = _p.Scratch + (long)thread * 2 * SecondSums;
        for (int row = 0; row < _p.Rows; row += BlockRows)
        {
            int rows = Math.Min(BlockRows, _p.Rows - row);
            int panels = InPairs(_panels, rows) ? 2 : 1;
            for (int panel = first; panel < last; panel += panels)
            {
                panels = Math.Min(panels, last - panel);
                bool second = _p.End == ProductEnd.SwiGlu && (panel & 1) != 0;
                float* target = second ? sums + SecondSums : sums;
                Begin(panel, panels, row, rows, target);
                byte* next = row != 0 ? null : panel + panels < last ? Panel(panel + panels) : FirstPanelAfter(chunk, thread);
                MultiplyPanels(panel, panels, row, rows, target, next);
                End(panel, panels, row, rows, target, sums);
            }
        }
    }

    /// <summary>Clears the sums of one or two panels and asks for the lines of the output that they will end in, which other threads may have written.</summary>
    private readonly void Begin(int panel, int panels, int firstRow, int rows, float* sums)
    {
        float* output = _p.Output + firstRow * _p.OutputStride + (_p.End == ProductEnd.SwiGlu ? panel / 2 : panel) * PanelMatrix.PanelRows;
        for (int r = 0; r < rows; r++, sums += ILanes<TLanes>.Count, output += _p.OutputStride)
        {
            TLanes.Zero.Store(sums);
            if (panels == 2) TLanes.Zero.Store(sums + SecondSums);
            if (Sse.IsSupported) Sse.Prefetch0(output);
            if (Sse.IsSupported && panels == 2) Sse.Prefetch0(output + PanelMatrix.PanelRows);
        }
    }

    private readonly byte* Panel(int panel) => _data + panel * _panelBytes;

    /// <summary>What happens to the sums of one or two panels.</summary>
    private readonly void End(int panel, int panels, int row, int rows, float* target, float* sums)
    {
        if (_p.End == ProductEnd.SwiGlu)
        {
            if (panels == 2 || target != sums) FinishPair(panel / 2, row, rows, sums, sums + SecondSums);
            return;
        }

        for (int p = 0; p < panels; p++) Finish(panel + p, row, rows, target + p * SecondSums);
    }

    /// <summary>Whether two neighbouring panels are multiplied at a time: for several rows, where arithmetic counts.</summary>
    private static bool InPairs(int panels, int rows) => rows >= TKernel.LeastPairRows && panels > 1;

    private static int PanelsPerChunk(PanelMatrix matrix, int rows, int threads)
    {
        long wanted = Math.Max(1, ChunkBytes / matrix.PanelBytes), most = Math.Max(1, matrix.Panels / (8 * threads));
        int panels = (int)Math.Min(wanted, most);
        return matrix.Paired || InPairs(matrix.Panels, rows) ? (panels + 1) / 2 * 2 : panels;
    }

    /// <summary>
    /// The panel that this thread will probably read after a chunk: the next one of its share; behind it, the first one of its share of the matrix that
    /// follows. A chunk of another thread's share was taken from the back, so that the one before it follows.
    /// </summary>
    private readonly byte* FirstPanelAfter(int chunk, int thread)
    {
        int first = ThreadTeam.FirstOf(thread, _chunks, _p.Threads), end = ThreadTeam.FirstOf(thread + 1, _chunks, _p.Threads);
        bool own = chunk >= first && chunk < end;
        if (own && chunk + 1 < end) return Panel((chunk + 1) * _panelsPerChunk);
        if (!own && chunk > 0) return Panel((chunk - 1) * _panelsPerChunk);
        PanelMatrix? next = _p.Matrix.Next;
        if (next is null) return null;
        int panels = PanelsPerChunk(next, _p.Rows, _p.Threads), chunks = (next.Panels + panels - 1) / panels;
        int panel = ThreadTeam.FirstOf(thread, chunks, _p.Threads) * panels;
        return panel < next.Panels ? next.Panel(panel) : null;
    }

    private readonly void MultiplyPanels(int panel, int panels, int firstRow, int rows, float* sums, byte* next)
    {
        int most = panels == 1 ? TKernel.MaxRows : rows <= TKernel.MaxPairRows ? TKernel.MaxPairRows : TKernel.PairRows, tiles = (rows + most - 1) / most;
        long bytes = panels * _panelBytes, perStep = (bytes + (long)_steps * tiles - 1) / ((long)_steps * tiles);
        long prefetched = next is null ? bytes : 0;
        var tile = new PanelTile { ActivationStride = _p.ActivationStride, PanelStride = _panelBytes };
        int segment = panels == 1 ? SegmentSteps : tiles == 1 ? _steps : PairSegmentBytes / (2 * _stepBytes);
        byte* weights = Panel(panel), scales = weights + (long)_steps * _stepBytes, activations = _p.Activations + firstRow * _p.ActivationStride;
        for (int step = 0; step < _steps; step += segment)
        {
            tile.Steps = Math.Min(segment, _steps - step);
            tile.Weights = weights + (long)step * _stepBytes;
            tile.Scales = scales + (long)step * _scaleBytes;
            for (int row = 0; row < rows;)
            {
                tile.Activations = activations + row * _p.ActivationStride + (long)step * _activationStep;
                tile.Sums = sums + row * ILanes<TLanes>.Count;
                tile.Prefetch = next + prefetched;
                tile.PrefetchBytes = prefetched < bytes ? perStep : 0;
                prefetched += perStep * tile.Steps;
                row += panels == 2 ? TKernel.RunPair(tile, rows - row) : TKernel.Run(tile, rows - row);
            }
        }
    }

    private readonly void Finish(int panel, int firstRow, int rows, float* sums)
    {
        int feature = panel * PanelMatrix.PanelRows, count = Math.Min(PanelMatrix.PanelRows, _p.Matrix.OutFeatures - feature);
        TLanes bias = _p.Bias is null ? TLanes.Zero : TLanes.Load(_p.Bias + feature);
        float* edge = stackalloc float[ILanes<TLanes>.Count];
        for (int r = 0; r < rows; r++, sums += ILanes<TLanes>.Count)
        {
            float* output = _p.Output + (firstRow + r) * _p.OutputStride + feature;
            float* at = output;
            if (count < ILanes<TLanes>.Count) // the padding must not spill into the next row
            {
                new Span<float>(output, count).CopyTo(new Span<float>(edge, count));
                at = edge;
            }

            TLanes value = TLanes.Load(sums) + bias;
            if (_p.End == ProductEnd.AddTo) value = TLanes.Load(at) + value;
            value.Store(at);
            if (at == edge) new Span<float>(edge, count).CopyTo(new Span<float>(output, count));
        }
    }

    private readonly void FinishPair(int pair, int firstRow, int rows, float* gates, float* ups)
    {
        int feature = pair * PanelMatrix.PanelRows, count = Math.Min(PanelMatrix.PanelRows, _p.Matrix.OutFeatures / 2 - feature);
        float* edge = stackalloc float[ILanes<TLanes>.Count];
        TLanes one = TLanes.Broadcast(1f);
        for (int r = 0; r < rows; r++)
        {
            float* output = _p.Output + (firstRow + r) * _p.OutputStride + feature;
            TLanes gate = TLanes.Load(gates + r * ILanes<TLanes>.Count), up = TLanes.Load(ups + r * ILanes<TLanes>.Count);
            TLanes value = gate / (one + TLanes.Exp(TLanes.Zero - gate)) * up;
            if (count == ILanes<TLanes>.Count)
            {
                value.Store(output);
                continue;
            }

            value.Store(edge);
            new Span<float>(edge, count).CopyTo(new Span<float>(output, count));
        }
    }
}
