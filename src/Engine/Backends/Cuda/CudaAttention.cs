using Foretoken.Backends.Cuda.Kernels;

namespace Foretoken.Backends.Cuda;

/// <summary>The kernel from a product's pieces to queries, keys and values, the latter two in their slots (cu/qkv.cu). One per type of the cache.</summary>
internal readonly record struct QkvRope
{
    private const int HeadsPerBlock = 4;

    /// <summary>// [Count, Piece] rows of Stride elements</summary>
    public required DevicePointer<float> Pieces { get; init; }

    public required int Count { get; init; }

    public required long Piece { get; init; }

    public required int Stride { get; init; }

    /// <summary>Null = none. // [Stride]</summary>
    public DevicePointer<float> Bias { get; init; }

    /// <summary>Null = heads are not normalised. // [headDim]</summary>
    public DevicePointer<float> QueryGain { get; init; }

    /// <summary>Null = heads are not normalised. // [headDim]</summary>
    public DevicePointer<float> KeyGain { get; init; }

    public required float Epsilon { get; init; }

    /// <summary>cos, then sin. // [rows, 2, headDim / 2]</summary>
    public required DevicePointer<float> Angles { get; init; }

    public required int Heads { get; init; }

    /// <summary>What queries are multiplied with.</summary>
    public required float Scale { get; init; }

    public required DevicePass Pass { get; init; }

    public required int Layer { get; init; }

    /// <summary>// [rows, heads, headDim]</summary>
    public required DevicePointer<float> Queries { get; init; }

    /// <summary>Enqueues it for up to <paramref name="rows"/> rows.</summary>
    public void Launch(CudaStream stream, CudaKvStore cache, int rows)
    {
        KvLayout layout = cache.View.Layout;
        Dim3 grid = ((Heads + 2 * layout.KvHeadCount + HeadsPerBlock - 1) / HeadsPerBlock, rows);
        new QkvRopeKv
        {
            Kernel = layout.Type switch
            {
                KvType.F32 => QkvRopeKvKernel.F32,
                KvType.BF16 => QkvRopeKvKernel.Bf16,
                KvType.F16 => QkvRopeKvKernel.F16,
                _ => QkvRopeKvKernel.Int8,
            },
            Pieces = Pieces, Count = Count, Piece = Piece, Stride = Stride, Bias = Bias, QueryGain = QueryGain, KeyGain = KeyGain, Epsilon = Epsilon, Angles = Angles,
            Heads = Heads, KvHeads = layout.KvHeadCount, HeadDim = layout.HeadDim, Scale = Scale, Rows = Pass.Rows, Positions = Pass.Positions,
            Sequences = Pass.Sequences, Offsets = Pass.Offsets, Tables = cache.Tables, TableStride = cache.TableStride, Layer = Layer, Layers = layout.LayerCount,
            PageShift = cache.PageShift, PageBytes = cache.BytesPerPage, Pool = cache.Pool, Queries = Queries, Grid = grid, Block = 32 * HeadsPerBlock,
        }.Launch(stream);
    }
}

/// <summary>Attention of a pass over the cache, split by absolute positions (cu/attention.cu). One kernel per type of the cache.</summary>
internal readonly record struct Attention
{
    private const int Threads = 128, WeightStride = 516, MaxKeys = 512, TileKeys = 32;

    /// <summary>Rotated and scaled. // [rows, heads, headDim]</summary>
    public required DevicePointer<float> Queries { get; init; }

    public required int Heads { get; init; }

    public required DevicePass Pass { get; init; }

    /// <summary>Positions that a row looks back, itself included; 0 = all.</summary>
    public required int Window { get; init; }

    public required int Layer { get; init; }

    /// <summary>Rows from one split to the next.</summary>
    public required int RowStride { get; init; }

    /// <summary>Maximum and sum. // [splits, RowStride, heads, 2]</summary>
    public required DevicePointer<float> Sums { get; init; }

    /// <summary>// [splits, RowStride, heads, headDim]</summary>
    public required DevicePointer<float> Outputs { get; init; }

    /// <summary>Enqueues it for up to <paramref name="rows"/> rows and <paramref name="splits"/> splits.</summary>
    public void Launch(CudaStream stream, CudaKvStore cache, int rows, int splits)
    {
        KvLayout layout = cache.View.Layout;
        int headDim = layout.HeadDim, bytes = CudaKvStore.ElementBytes(layout.Type), stages = bytes == 4 ? 1 : 2;
        int group = Heads / layout.KvHeadCount, parts = (group + DevicePass.AttentionColumns - 1) / DevicePass.AttentionColumns;
        int floats = DevicePass.AttentionColumns * (headDim + WeightStride) + (layout.Type == KvType.Int8 ? MaxKeys : 0);
        uint shared = (uint)(floats * sizeof(float) + stages * TileKeys * (headDim * bytes + 16));
        Dim3 grid = (splits, layout.KvHeadCount * parts, rows);
        new AttendKv
        {
            Kernel = layout.Type switch
            {
                KvType.F32 => AttendKvKernel.F32,
                KvType.BF16 => AttendKvKernel.Bf16,
                KvType.F16 => AttendKvKernel.F16,
                _ => AttendKvKernel.Int8,
            },
            Queries = Queries, Heads = Heads, KvHeads = layout.KvHeadCount, HeadDim = headDim, Counts = Pass.Rows, Tiles = Pass.Tiles, Positions = Pass.Positions,
            Masks = Pass.Masks, Window = Window, Tables = cache.Tables, TableStride = cache.TableStride, Layer = Layer, Layers = layout.LayerCount,
            PageShift = cache.PageShift, PageBytes = cache.BytesPerPage, Pool = cache.Pool, RowStride = RowStride, Sums = Sums, Outputs = Outputs, Grid = grid,
            Block = Threads, SharedBytes = shared,
        }.Launch(stream);
    }
}
