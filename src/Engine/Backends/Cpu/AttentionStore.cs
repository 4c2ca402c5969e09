using System.Runtime.Intrinsics;
using Foretoken.Backends.Cpu.Kernels;
using Foretoken.Numerics;

namespace Foretoken.Backends.Cpu;

/// <summary>Writes keys and values of the running pass into their slots, rounded to the cache's type and laid out as <see cref="KvPageFormat"/> says.</summary>
internal static unsafe class AttentionStore
{
    /// <summary>1.5 · 2^23: adding it rounds a small number to the nearest integer, ties to even, which then stands in the low mantissa bits.</summary>
    private const float Rounder = 12582912f;

    /// <summary>Elements of a key that are rounded at a time.</summary>
    private const int Run = 128;

    /// <summary>Stores rows <paramref name="from"/>..<paramref name="to"/>−1 (indices in the segment) of one KV head.</summary>
    public static void Rows(
        TransformerShape shape, in RowSegment segment, int from, int to, HostKvView kv, KvHeadSlots* head, int kvHead, float* qkv)
    {
        KvPageFormat format = kv.Format;
        int headDim = shape.HeadDim, firstSlot = head->Committed + segment.Earlier;
        long stride = (long)(shape.HeadCount + 2 * shape.KvHeadCount) * headDim;
        if (((firstSlot + to - 1) >> format.PageShift) >= head->PageCount)
            throw new InvalidOperationException("The cache has not begun this pass: a row has no slot.");
        for (int i = from; i < to; i++)
        {
            int slot = firstSlot + i;
            byte* page = kv.PageOf(head, slot);
            int inPage = slot & (format.SlotsPerPage - 1);
            float* key = qkv + (segment.First + i) * stride + (long)(shape.HeadCount + kvHead) * headDim;
            float* value = key + (long)shape.KvHeadCount * headDim;
            byte* tile = page + (long)inPage / KvPageFormat.TileSlots * format.KeyTileBytes;
            byte* valueRow = page + format.ValueOffset + (long)inPage * format.ValueRowBytes;
            int lane = inPage % KvPageFormat.TileSlots;
            switch (format.Type)
            {
                case KvType.F32:
                    WriteKey((float*)tile, lane, key, headDim);
                    new ReadOnlySpan<float>(value, headDim).CopyTo(new Span<float>(valueRow, format.ValueDim));
                    break;
                case KvType.BF16:
                    WriteKey<ToBFloat16>((uint*)tile, lane, key, headDim);
                    WriteValue<ToBFloat16>((uint*)valueRow, value, headDim, format.ValueDim);
                    break;
                case KvType.F16:
                    WriteKey<ToHalf>((uint*)tile, lane, key, headDim);
                    WriteValue<ToHalf>((uint*)valueRow, value, headDim, format.ValueDim);
                    break;
                case KvType.Int8:
                    ((float*)(page + format.KeyScaleOffset))[inPage] = WriteBytes((sbyte*)tile + 2 * lane, 2 * KvPageFormat.TileSlots, 1, key, headDim);
                    ((float*)(page + format.ValueScaleOffset))[inPage] = WriteBytes((sbyte*)page + format.ValueByteOffset(inPage), 4, 2, value, headDim);
                    break;
                default:
                    throw new InvalidOperationException($"Keys and values of type {format.Type} cannot be stored.");
            }
        }

        if (kv.DecisionWindow > 0 && !segment.Branches) ApplyDecisions(segment, from, to, kv, head);
    }

    /// <summary>
    /// In a chain each token has one row that decides about it, so that its decision is the token's expire for all later rows of the pass. The last W + 1
    /// tokens are all there, so that slots count as positions do.
    /// </summary>
    private static void ApplyDecisions(in RowSegment segment, int from, int to, HostKvView kv, KvHeadSlots* head)
    {
        for (int i = from; i < to; i++)
        {
            int slot = head->Committed + i, token = segment.BasePosition + i - kv.DecisionShift; // position of what the row decides about
            if (token < 0) continue;
            *kv.ExpireOf(head, slot - kv.DecisionShift) = *kv.DecisionOf(head, slot) != 0 ? token + kv.DecisionWindow : int.MaxValue;
        }
    }

    private static void WriteKey(float* tile, int lane, float* key, int headDim)
    {
        for (int d = 0; d < headDim; d++) tile[d * KvPageFormat.TileSlots + lane] = key[d];
    }

    private static void WriteKey<TRounding>(uint* tile, int lane, float* key, int headDim)
        where TRounding : struct, IRounding
    {
        uint* pairs = stackalloc uint[(Run + 1) / 2];
        for (int d = 0; d < headDim; d += Run)
        {
            int count = Math.Min(Run, headDim - d);
            TRounding.Round(new ReadOnlySpan<float>(key + d, count), new Span<ushort>(pairs, count));
            for (int i = 0; i < count / 2; i++) tile[(d / 2 + i) * KvPageFormat.TileSlots + lane] = pairs[i];
        }
    }

    private static void WriteValue<TRounding>(uint* row, float* value, int headDim, int valueDim)
        where TRounding : struct, IRounding
    {
        const int Half = KvPageFormat.ValueBlock / 2;
        ushort* bits = stackalloc ushort[KvPageFormat.ValueBlock];
        for (int block = 0; block < valueDim; block += KvPageFormat.ValueBlock)
        {
            int count = Math.Clamp(headDim - block, 0, KvPageFormat.ValueBlock);
            TRounding.Round(new ReadOnlySpan<float>(value + block, count), new Span<ushort>(bits, count));
            new Span<ushort>(bits + count, KvPageFormat.ValueBlock - count).Clear();
            Vector512<uint> low = Vector512.WidenLower(Vector512.Create(Vector256.Load(bits), default)), high = Vector512.WidenLower(Vector512.Create(Vector256.Load(bits + Half), default));
            (low | high << 16).Store(row + block / 2);
        }
    }

    /// <summary>
    /// Writes q = x · (127 / largest magnitude), rounded to nearest, ties to even; returns the scale. Values that are not numbers make it NaN.
    /// Pairs of bytes lie <paramref name="pairStep"/> bytes apart, the two of a pair <paramref name="step"/>.
    /// </summary>
    private static float WriteBytes(sbyte* to, int pairStep, int step, float* from, int count)
    {
        float largest = LargestMagnitude(from, count);
        float inverse = largest < Int8Quantizer.ZeroBelow ? 0f : 127f / largest;
        Vector256<float> inverses = Vector256.Create(inverse), rounder = Vector256.Create(Rounder);
        uint* rounded = stackalloc uint[Vector256<float>.Count];
        int d = 0;
        for (; d + Vector256<float>.Count <= count; d += Vector256<float>.Count)
        {
            (Vector256.Load(from + d) * inverses + rounder).AsUInt32().Store(rounded);
            for (int i = 0; i < Vector256<float>.Count; i += 2, to += pairStep)
            {
                to[0] = (sbyte)rounded[i];
                to[step] = (sbyte)rounded[i + 1];
            }
        }

        for (; d < count; d += 2, to += pairStep)
        {
            to[0] = (sbyte)BitConverter.SingleToUInt32Bits(from[d] * inverse + Rounder);
            to[step] = (sbyte)BitConverter.SingleToUInt32Bits(from[d + 1] * inverse + Rounder);
        }

        if (inverse == 0f) return 0f;
        return float.IsFinite(largest) ? largest / 127f : float.NaN;
    }

    /// <summary>The largest magnitude of <paramref name="count"/> numbers; NaN if one is.</summary>
    public static float LargestMagnitude(float* from, int count)
    {
        float largest = 0f;
        int d = 0;
        if (count >= Vector256<float>.Count)
        {
            Vector256<float> magnitudes = Vector256<float>.Zero;
            for (; d + Vector256<float>.Count <= count; d += Vector256<float>.Count) magnitudes = Vector256.Max(magnitudes, Vector256.Abs(Vector256.Load(from + d)));
            for (int i = 0; i < Vector256<float>.Count; i++) largest = MathF.Max(largest, magnitudes[i]);
        }

        for (; d < count; d++) largest = MathF.Max(largest, MathF.Abs(from[d])); // NaN propagates
        return largest;
    }

    /// <summary>Rounding of f32 to 16 bits.</summary>
    private interface IRounding
    {
        /// <summary>Rounds elementwise.</summary>
        static abstract void Round(ReadOnlySpan<float> source, Span<ushort> bits);
    }

    private readonly struct ToBFloat16 : IRounding
    {
        public static void Round(ReadOnlySpan<float> source, Span<ushort> bits) => BFloat16Bits.FromSingle(source, bits);
    }

    private readonly struct ToHalf : IRounding
    {
        public static void Round(ReadOnlySpan<float> source, Span<ushort> bits) => HalfBits.FromSingle(source, bits);
    }
}

/// <summary>Stores all rows of a pass in one layer; one chunk is up to 64 rows of one segment and KV head.</summary>
internal readonly unsafe struct AttentionStoreJob : IParallelJob
{
    private const int RowsPerChunk = 64;
    private readonly TransformerShape _shape;
    private readonly int _layer;
    private readonly RowBatch _rows;
    private readonly HostKvView _kv;
    private readonly float* _qkv;

    public AttentionStoreJob(TransformerShape shape, int layer, RowBatch rows, HostKvView kv, float* qkv)
    {
        _shape = shape;
        _layer = layer;
        _rows = rows;
        _kv = kv;
        _qkv = qkv;
        Chunks = (rows.Count + RowsPerChunk - 1) / RowsPerChunk * shape.KvHeadCount;
    }

    public int Chunks { get; }

    public void Execute(int chunk, int thread)
    {
        int kvHead = chunk % _shape.KvHeadCount;
        int from = chunk / _shape.KvHeadCount * RowsPerChunk;
        int to = Math.Min(from + RowsPerChunk, _rows.Count);
        foreach (RowSegment segment in _rows.Segments)
        {
            int first = Math.Max(from, segment.First), last = Math.Min(to, segment.First + segment.Count);
            if (first >= last) continue;
            AttentionStore.Rows(
                _shape, segment, first - segment.First, last - segment.First, _kv, _kv.Head(segment.Sequence, _layer, kvHead), kvHead, _qkv);
        }
    }
}
