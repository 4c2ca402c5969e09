using System.Runtime.Intrinsics;

namespace Foretoken.Training;

/// <summary>
/// What eviction adds to the scores of one sequence: queries more than <paramref name="lag"/> behind key k see its score plus
/// <paramref name="bias"/>[kvHead · <paramref name="stride"/> + k], at most 0; the others see the score alone. The backward pass adds the gradient of the bias to
/// <paramref name="gradient"/> (same layout, may be null). A null bias: nothing is evicted.
/// </summary>
public readonly unsafe struct EvictionBias(float* bias, float* gradient, long stride, int lag)
{
    /// <summary>Nearer to 0 than this a bias moves neither the score nor a gradient in f32.</summary>
    internal const float Negligible = -1e-8f;

    internal float* Bias => bias;
    internal float* Gradient => gradient;
    internal long Stride => stride;
    internal int Lag => lag;
}

/// <summary>
/// Causal grouped-query attention of one sequence, forward and backward, on register tiles. Scores live in transposed blocks [key, 96 queries]:
/// the softmax then runs down the keys with queries in the lanes (no horizontal operation), and the block is the left operand of P·V and of
/// dS·K without any packing. Probabilities are computed again in the backward pass from the saved log-sum-exp. One instance per thread.
/// </summary>
public sealed unsafe class CausalAttention : IDisposable
{
    private const int Block = TileKernel.ScoreBlockQueries;
    private readonly int _queryHeads, _keyValueHeads, _headDim;
    private readonly FloatBuffer _keys;          // [tiles of 12 keys][headDim][12]
    private readonly FloatBuffer _values;        // [tiles of 12 keys][headDim][12]
    private readonly FloatBuffer _queries;       // [3 panels][headDim][32], scaled queries of the block
    private readonly FloatBuffer _outputs;       // [3 panels][headDim][32], output gradients of the block
    private readonly FloatBuffer _scores;        // [keys + 12, 96]
    private readonly FloatBuffer _scoreGradients; // [keys + 12, 96]
    private readonly float _scale;

    /// <summary>Buffers for sequences of up to <paramref name="maxLength"/> tokens.</summary>
    public CausalAttention(int queryHeads, int keyValueHeads, int headDim, int maxLength)
    {
        (_queryHeads, _keyValueHeads, _headDim) = (queryHeads, keyValueHeads, headDim);
        _scale = 1f / MathF.Sqrt(headDim);
        int padded = (maxLength + Block - 1) / Block * Block + TileKernel.Rows;
        _keys = new FloatBuffer((long)padded * headDim);
        _values = new FloatBuffer((long)padded * headDim);
        _queries = new FloatBuffer(Block * headDim);
        _outputs = new FloatBuffer(Block * headDim);
        _scores = new FloatBuffer((long)padded * Block);
        _scoreGradients = new FloatBuffer((long)padded * Block);
    }

    /// <summary>
    /// output[length, queryHeads·headDim] from rotated q[length, …] and k (row stride <paramref name="qkStride"/>) and v (row stride
    /// <paramref name="vStride"/>); logSumExp[queryHeads, logStride] is kept for the backward pass. With <paramref name="firstQuery"/> only the queries from that
    /// position on are computed: q, output and logSumExp then begin there, k and v still at position 0.
    /// </summary>
    public void Forward(
        float* q, float* k, long qkStride, float* v, long vStride, float* output, long outputStride, float* logSumExp, long logStride, int length, int firstQuery = 0,
        EvictionBias eviction = default)
    {
        int group = _queryHeads / _keyValueHeads;
        for (int kvHead = 0; kvHead < _keyValueHeads; kvHead++)
        {
            PackRows(k + kvHead * _headDim, qkStride, length, _keys.Pointer);
            float* values = v + kvHead * _headDim;
            for (int head = kvHead * group; head < (kvHead + 1) * group; head++)
            {
                for (int start = firstQuery; start < length; start += Block)
                {
                    int queries = Math.Min(Block, length - start), index = start - firstQuery;
                    PackBlock(q + index * qkStride + head * _headDim, qkStride, queries, _scale, _queries.Pointer);
                    MultiplyKeys(_keys.Pointer, _queries.Pointer, start, queries, _scores.Pointer);
                    if (eviction.Bias != null) AddBias(start, queries, eviction.Bias + kvHead * eviction.Stride, eviction.Lag);
                    Softmax(start, queries, logSumExp + head * logStride + index);
                    for (int row = 0; row < queries; row += TileKernel.Rows)
                    {
                        int visible = Math.Min(start + row + TileKernel.Rows, length);
                        for (int column = 0; column < _headDim; column += TileKernel.Columns)
                        {
                            TileKernel.Run<AdjacentRows>(_scores.Pointer + row, Block, values + column, (nint)vStride, visible,
                                output + (index + row) * outputStride + head * _headDim + column, (nint)outputStride, queries - row, _headDim - column, accumulate: false);
                        }
                    }
                }
            }
        }
    }

    /// <summary>
    /// Given doutput and the forward's tensors: dq, dk (row stride <paramref name="dqkStride"/>) and dv (row stride <paramref name="dvStride"/>);
    /// dq is overwritten, dk and dv are added to. With <paramref name="firstQuery"/> q, output, doutput, logSumExp and dq begin at that position. Output and
    /// log-sum-exp may count keys beside these: the gradients are then this part's share.
    /// </summary>
    public void Backward(
        float* q, float* k, long qkStride, float* v, long vStride, float* output, float* doutput, long outputStride, float* logSumExp, long logStride,
        float* dq, float* dk, long dqkStride, float* dv, long dvStride, int length, int firstQuery = 0, EvictionBias eviction = default)
    {
        float* dots = stackalloc float[Block];
        int group = _queryHeads / _keyValueHeads;
        for (int kvHead = 0; kvHead < _keyValueHeads; kvHead++)
        {
            float* keys = k + kvHead * _headDim;
            PackRows(keys, qkStride, length, _keys.Pointer);
            PackRows(v + kvHead * _headDim, vStride, length, _values.Pointer);
            for (int head = kvHead * group; head < (kvHead + 1) * group; head++)
            {
                for (int start = firstQuery; start < length; start += Block)
                {
                    int queries = Math.Min(Block, length - start), index = start - firstQuery;
                    float* blockQ = q + index * qkStride + head * _headDim;
                    float* blockOutput = output + index * outputStride + head * _headDim;
                    float* blockGradient = doutput + index * outputStride + head * _headDim;
                    PackBlock(blockQ, qkStride, queries, _scale, _queries.Pointer);
                    PackBlock(blockGradient, outputStride, queries, 1f, _outputs.Pointer);
                    MultiplyKeys(_keys.Pointer, _queries.Pointer, start, queries, _scores.Pointer);
                    if (eviction.Bias != null) AddBias(start, queries, eviction.Bias + kvHead * eviction.Stride, eviction.Lag);
                    MultiplyKeys(_values.Pointer, _outputs.Pointer, start, queries, _scoreGradients.Pointer);
                    for (int i = 0; i < Block; i++)
                        dots[i] = i < queries ? RowMath.Dot(blockOutput + i * outputStride, blockGradient + i * outputStride, _headDim) : 0f;
                    SoftmaxBackward(start, queries, logSumExp + head * logStride + index, dots);
                    if (eviction.Gradient != null)
                        BiasBackward(start, queries, eviction.Bias + kvHead * eviction.Stride, eviction.Gradient + kvHead * eviction.Stride, eviction.Lag);
                    BlockGradients(keys, qkStride, blockQ, blockGradient, outputStride, dq + index * dqkStride + head * _headDim,
                        dk + kvHead * _headDim, dqkStride, dv + kvHead * _headDim, dvStride, start, queries);
                }
            }
        }
    }

    /// <summary>dQ = dS·K for the block's queries; dK += dSᵀ·Q and dV += Pᵀ·dO for all keys the block sees.</summary>
    private void BlockGradients(
        float* keys, long qkStride, float* blockQ, float* blockGradient, long outputStride, float* dq, float* dk, long dqkStride, float* dv, long dvStride,
        int start, int queries)
    {
        int visible = start + queries;
        for (int column = 0; column < _headDim; column += TileKernel.Columns)
        {
            int columns = _headDim - column;
            for (int row = 0; row < queries; row += TileKernel.Rows)
            {
                TileKernel.Run<AdjacentRows>(_scoreGradients.Pointer + row, Block, keys + column, (nint)qkStride, Math.Min(start + row + TileKernel.Rows, visible),
                    dq + row * dqkStride + column, (nint)dqkStride, queries - row, columns, accumulate: false);
            }
            for (int key = 0; key < visible; key += TileKernel.Rows)
            {
                // The first query that sees any key of this tile.
                int first = Math.Max(0, key - start);
                long offset = (long)key * Block + first;
                TileKernel.Run<ScoreBlockRows>(_scores.Pointer + offset, 1, blockGradient + first * outputStride + column, (nint)outputStride, queries - first,
                    dv + key * dvStride + column, (nint)dvStride, visible - key, columns, accumulate: true);
                TileKernel.Run<ScoreBlockRows>(_scoreGradients.Pointer + offset, 1, blockQ + first * qkStride + column, (nint)qkStride, queries - first,
                    dk + key * dqkStride + column, (nint)dqkStride, visible - key, columns, accumulate: true);
            }
        }
    }

    /// <summary>Rows [length, headDim] packed as left operands, [tiles][headDim][12].</summary>
    private void PackRows(float* rows, long stride, int length, float* target)
    {
        for (int row = 0; row < length; row += TileKernel.Rows, target += TileKernel.Rows * _headDim)
            Gemm.PackLeft(rows + row * stride, stride, 1, _headDim, Math.Min(TileKernel.Rows, length - row), target);
    }

    /// <summary>Up to 96 rows packed as right operands, [3][headDim][32], times <paramref name="scale"/>; missing rows are zero.</summary>
    private void PackBlock(float* rows, long stride, int count, float scale, float* target)
    {
        if (count < Block) new Span<float>(target, Block * _headDim).Clear();
        for (int row = 0; row < count; row += TileKernel.Columns)
            Gemm.Transpose(rows + row * stride, stride, Math.Min(TileKernel.Columns, count - row), _headDim, target + row * _headDim, TileKernel.Columns);
        if (scale != 1f) RowMath.Scale(target, scale, Block * _headDim);
    }

    /// <summary>scores[key, query] = left[key, ·] · right[query, ·] wherever a query of the 32-wide panel sees a key of the tile.</summary>
    private void MultiplyKeys(float* left, float* right, int start, int queries, float* scores)
    {
        for (int column = 0; column < queries; column += TileKernel.Columns)
        {
            int visible = Math.Min(start + column + TileKernel.Columns, start + queries);
            for (int key = 0; key < visible; key += TileKernel.Rows)
            {
                TileKernel.Run<AdjacentRows>(left + (long)key * _headDim, TileKernel.Rows, right + column * _headDim, TileKernel.Columns, _headDim,
                    scores + (long)key * Block + column, Block, TileKernel.Rows, TileKernel.Columns, accumulate: false);
            }
        }
    }

    /// <summary>scores[key, query] += bias[key] for queries more than <paramref name="lag"/> behind the key.</summary>
    private void AddBias(int start, int queries, float* bias, int lag)
    {
        Vector512<float> lanes = Vector512<float>.Indices;
        for (int key = 0; key + lag + 1 < start + queries; key++)
        {
            if (bias[key] > EvictionBias.Negligible) continue;
            Vector512<float> value = Vector512.Create(bias[key]);
            int first = Math.Max(0, key + lag + 1 - start), column = first & ~15;
            float* row = _scores.Pointer + (long)key * Block;
            Vector512<float> outside = Vector512.GreaterThanOrEqual(lanes, Vector512.Create((float)(first - column)));
            (Vector512.Load(row + column) + Vector512.ConditionalSelect(outside, value, default)).Store(row + column);
            for (column += 16; column < queries; column += 16) (Vector512.Load(row + column) + value).Store(row + column);
        }
    }

    /// <summary>gradient[key] += Σ dS over the queries that saw the bias; the score gradients carry the scale of the queries, which is taken out again.</summary>
    private void BiasBackward(int start, int queries, float* bias, float* gradient, int lag)
    {
        Vector512<float> lanes = Vector512<float>.Indices;
        for (int key = 0; key + lag + 1 < start + queries; key++)
        {
            if (bias[key] > EvictionBias.Negligible) continue;
            int first = Math.Max(0, key + lag + 1 - start), column = first & ~15;
            float* row = _scoreGradients.Pointer + (long)key * Block;
            Vector512<float> outside = Vector512.GreaterThanOrEqual(lanes, Vector512.Create((float)(first - column)));
            Vector512<float> sum = Vector512.ConditionalSelect(outside, Vector512.Load(row + column), default);
            for (column += 16; column < queries; column += 16) sum += Vector512.Load(row + column);
            gradient[key] += Vector512.Sum(sum) / _scale;
        }
    }

    /// <summary>Scores → probabilities in place, zero where the key lies after the query; writes the log-sum-exp of each query.</summary>
    private void Softmax(int start, int queries, float* logSumExp)
    {
        Vector512<float> lanes = Vector512<float>.Indices;
        int end = start + queries;
        float* logs = stackalloc float[16];
        for (int group = 0; group < queries; group += 16)
        {
            float* column = _scores.Pointer + group;
            int unmasked = start + group; // keys up to and including this one are visible to all 16 queries
            int visible = Math.Min(unmasked + 16, end);
            Vector512<float> maximum = Vector512.Create(float.NegativeInfinity);
            for (int key = 0; key <= unmasked; key++) maximum = Vector512.Max(maximum, Vector512.Load(column + (long)key * Block));
            for (int key = unmasked + 1; key < visible; key++)
            {
                Vector512<float> seen = Vector512.GreaterThanOrEqual(lanes, Vector512.Create((float)(key - unmasked)));
                maximum = Vector512.Max(maximum, Vector512.ConditionalSelect(seen, Vector512.Load(column + (long)key * Block), maximum));
            }
            Vector512<float> sum = default;
            for (int key = 0; key < visible; key++)
            {
                Vector512<float> probability = RowMath.Exp(Vector512.Load(column + (long)key * Block) - maximum);
                if (key > unmasked) probability = Vector512.ConditionalSelect(Vector512.GreaterThanOrEqual(lanes, Vector512.Create((float)(key - unmasked))), probability, default);
                probability.Store(column + (long)key * Block);
                sum += probability;
            }
            Vector512<float> inverse = Vector512<float>.One / sum;
            for (int key = 0; key < visible; key++) (Vector512.Load(column + (long)key * Block) * inverse).Store(column + (long)key * Block);
            // The tiles of P·V are 12 queries wide and may read up to 11 keys past the last one this group sees.
            for (int key = visible; key < visible + TileKernel.Rows; key++) Vector512<float>.Zero.Store(column + (long)key * Block);
            sum.Store(logs);
            for (int i = 0; i < 16 && group + i < queries; i++) logSumExp[group + i] = maximum[i] + MathF.Log(logs[i]);
        }
    }

    /// <summary>
    /// scores → P, scoreGradients (= dP on entry) → dS · scale: P = exp(s − lse), dS = P ∘ (dP − Σ dO·O); both zero where the key lies after the query.
    /// </summary>
    private void SoftmaxBackward(int start, int queries, float* logSumExp, float* dots)
    {
        Vector512<float> lanes = Vector512<float>.Indices, scale = Vector512.Create(_scale);
        int end = start + queries;
        for (int group = 0; group < Block; group += 16)
        {
            float* p = _scores.Pointer + group;
            float* d = _scoreGradients.Pointer + group;
            int count = Math.Clamp(queries - group, 0, 16), unmasked = start + group;
            int visible = count == 0 ? 0 : Math.Min(unmasked + 16, end);
            Vector512<float> log = RowMath.LoadPart(logSumExp + group, count), dot = Vector512.Load(dots + group);
            // Lanes past the last query of a partial block are outside: their packed queries are zero, their P must be too.
            Vector512<float> valid = Vector512.LessThan(lanes, Vector512.Create((float)count));
            for (int key = 0; key < visible; key++)
            {
                long offset = (long)key * Block;
                Vector512<float> probability = RowMath.Exp(Vector512.Load(p + offset) - log);
                Vector512<float> seen = valid;
                if (key > unmasked) seen &= Vector512.GreaterThanOrEqual(lanes, Vector512.Create((float)(key - unmasked)));
                probability = Vector512.ConditionalSelect(seen, probability, default);
                probability.Store(p + offset);
                (probability * (Vector512.Load(d + offset) - dot) * scale).Store(d + offset);
            }
            // Keys that other queries of the block see, and the rest of the last key tile, contribute nothing here.
            for (int key = visible; key < end + TileKernel.Rows; key++)
            {
                Vector512<float>.Zero.Store(p + (long)key * Block);
                Vector512<float>.Zero.Store(d + (long)key * Block);
            }
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (FloatBuffer buffer in new[] { _keys, _values, _queries, _outputs, _scores, _scoreGradients }) buffer.Dispose();
    }
}
