// From the stacked projections to queries, keys and values: adds the product's pieces and the bias, normalises heads (q/k norm), rotates (RoPE),
// scales the queries, and stores keys and values of the pass in their slots.
//
// One warp per (row, head): queries first, then keys, then values. A lane holds dims lane, lane + 32, …; squares are summed per lane in order, then
// over lanes in one fixed order. Pairs (i, i + half) meet in shared memory.
//
// Reference (head of a row, d = 0..head_dim - 1):
//   x[d] = Σ pieces + bias;  q and k: x[d] = x[d] / sqrt(Σ x² / head_dim + ε) · gain[d] where there is a gain;
//   y[i] = x[i] · cos[i] - x[i + half] · sin[i],  y[i + half] = x[i + half] · cos[i] + x[i] · sin[i];  queries are multiplied by scale
//   keys and values are rounded to the type in which the cache stores them (cu/cache.cuh)
#include "cache.cuh"

constexpr int WARPS = 4;
constexpr int MAX_HEAD_DIM = 128;

template <int Kind>
DEVICE void qkv_rope(
    const float* pieces, int count, long long piece, int stride, const float* bias, const float* query_gain, const float* key_gain, float epsilon,
    const float* angles, int heads, int kv_heads, int head_dim, float scale, const int* rows, const int* positions, const int* sequences,
    const int* offsets, const int* tables, int table_stride, int layer, int layers, int page_shift, long long page_bytes, u8* pool, float* queries) {
    __shared__ float shared[WARPS][MAX_HEAD_DIM];
    int warp = thread_x() >> 5, lane = thread_x() & 31, head = block_x() * WARPS + warp, row = block_y();
    if (row >= rows[0] || head >= heads + 2 * kv_heads) return;
    float* x = shared[warp];
    const float* from = pieces + (long long)row * stride + head * head_dim;
    float sum = 0.0f;
    for (int d = lane; d < head_dim; d += 32) {
        float v = from[d];
        for (int s = 1; s < count; s++) v += from[s * piece + d];
        if (bias) v += bias[head * head_dim + d];
        x[d] = v;
        sum = fused(v, v, sum);
    }

    bool is_query = head < heads, is_key = !is_query && head < heads + kv_heads;
    const float* gain = is_query ? query_gain : is_key ? key_gain : (const float*)0;
    if (gain) {
        float factor = 1.0f / root(warp_sum(sum) / (float)head_dim + epsilon);
        for (int d = lane; d < head_dim; d += 32) x[d] = x[d] * factor * gain[d];
    }

    warp_barrier();
    const int half = head_dim >> 1;
    const float* cosine = angles + (long long)row * head_dim;
    const float* sine = cosine + half;
    int kv_head = is_key ? head - heads : head - heads - kv_heads;
    Cache<Kind> cache = {pool, table_of(tables, table_stride, sequences[row], layer, layers, is_query ? 0 : kv_head, kv_heads), page_bytes, page_shift, head_dim};
    int slot = cache.table[TABLE_COMMITTED] + offsets[row];
    u8* to = is_query ? (u8*)(queries + ((long long)row * heads + head) * head_dim) : is_key ? cache.key(slot) : cache.value(slot);
    float y[MAX_HEAD_DIM / 32], largest = 0.0f; // dims lane, lane + 32, …
#pragma unroll
    for (int j = 0; j < MAX_HEAD_DIM / 32; j++) {
        int d = lane + 32 * j, i = d < half ? d : d - half;
        y[j] = 0.0f;
        if (d >= head_dim) continue;
        y[j] = x[d];
        if (is_query || is_key) {
            float turned = d < half ? -x[d + half] : x[i];
            y[j] = fused(y[j], cosine[i], turned * sine[i]);
        }

        largest = larger(largest, magnitude(y[j]));
    }

    float inverse = 0.0f;
    if (Kind == KV_INT8 && !is_query) {
        largest = warp_max(largest);
        inverse = largest < 1e-30f ? 0.0f : 127.0f / largest;
        if (lane == 0) *(is_key ? cache.key_scale(slot) : cache.value_scale(slot)) = largest / 127.0f;
    }

#pragma unroll
    for (int j = 0; j < MAX_HEAD_DIM / 32; j++) {
        int d = lane + 32 * j;
        if (d >= head_dim) continue;
        if (is_query) ((float*)to)[d] = y[j] * scale;
        else if (Kind == KV_F32) ((float*)to)[d] = y[j];
        else if (Kind == KV_BF16) ((u16*)to)[d] = to_bf16(y[j]);
        else if (Kind == KV_F16) ((u16*)to)[d] = to_half(y[j]);
        else to[d] = (u8)float_to_bits(y[j] * inverse + 12582912.0f); // the integer stands in the low mantissa bits
    }

    if (is_key && lane == 0) *cache.position(slot) = positions[row];
}

// pieces: [count, rows, stride ≥ (heads + 2·kv_heads)·head_dim]; bias, gains: null = none; angles: [rows, 2, head_dim / 2]; queries: [rows, heads,
// head_dim]; sequences, offsets: of each row, its sequence and its index in the segment. Grid: ((heads + 2·kv_heads) / 4, rows); threads: 128.
extern "C" __global__ __launch_bounds__(128) void qkv_rope_kv_bf16(
    const float* pieces, int count, long long piece, int stride, const float* bias, const float* query_gain, const float* key_gain, float epsilon,
    const float* angles, int heads, int kv_heads, int head_dim, float scale, const int* rows, const int* positions, const int* sequences,
    const int* offsets, const int* tables, int table_stride, int layer, int layers, int page_shift, long long page_bytes, u8* pool, float* queries) {
    qkv_rope<KV_BF16>(
        pieces, count, piece, stride, bias, query_gain, key_gain, epsilon, angles, heads, kv_heads, head_dim, scale, rows, positions, sequences, offsets,
        tables, table_stride, layer, layers, page_shift, page_bytes, pool, queries);
}

extern "C" __global__ __launch_bounds__(128) void qkv_rope_kv_f32(
    const float* pieces, int count, long long piece, int stride, const float* bias, const float* query_gain, const float* key_gain, float epsilon,
    const float* angles, int heads, int kv_heads, int head_dim, float scale, const int* rows, const int* positions, const int* sequences,
    const int* offsets, const int* tables, int table_stride, int layer, int layers, int page_shift, long long page_bytes, u8* pool, float* queries) {
    qkv_rope<KV_F32>(
        pieces, count, piece, stride, bias, query_gain, key_gain, epsilon, angles, heads, kv_heads, head_dim, scale, rows, positions, sequences, offsets,
        tables, table_stride, layer, layers, page_shift, page_bytes, pool, queries);
}

extern "C" __global__ __launch_bounds__(128) void qkv_rope_kv_f16(
    const float* pieces, int count, long long piece, int stride, const float* bias, const float* query_gain, const float* key_gain, float epsilon,
    const float* angles, int heads, int kv_heads, int head_dim, float scale, const int* rows, const int* positions, const int* sequences,
    const int* offsets, const int* tables, int table_stride, int layer, int layers, int page_shift, long long page_bytes, u8* pool, float* queries) {
    qkv_rope<KV_F16>(
        pieces, count, piece, stride, bias, query_gain, key_gain, epsilon, angles, heads, kv_heads, head_dim, scale, rows, positions, sequences, offsets,
        tables, table_stride, layer, layers, page_shift, page_bytes, pool, queries);
}

extern "C" __global__ __launch_bounds__(128) void qkv_rope_kv_int8(
    const float* pieces, int count, long long piece, int stride, const float* bias, const float* query_gain, const float* key_gain, float epsilon,
    const float* angles, int heads, int kv_heads, int head_dim, float scale, const int* rows, const int* positions, const int* sequences,
    const int* offsets, const int* tables, int table_stride, int layer, int layers, int page_shift, long long page_bytes, u8* pool, float* queries) {
    qkv_rope<KV_INT8>(
        pieces, count, piece, stride, bias, query_gain, key_gain, epsilon, angles, heads, kv_heads, head_dim, scale, rows, positions, sequences, offsets,
        tables, table_stride, layer, layers, page_shift, page_bytes, pool, queries);
}
