// Attention of a pass over the paged cache: decode rows, prompt chunks and token trees through one kernel, then the sum over splits.
//
// A block owns a tile of rows of one segment, one KV head with its query group (together up to 8 columns), and one split: 256 absolute positions.
// Keys and values of the split are read once for all columns, in tiles of 32 slots, by asynchronous copies. Scores: a warp per two columns, a lane
// per key. Weights stand in shared memory. Values: a thread per pair of dims and up to 4 columns, keys in increasing position.
//
// Visible to a row at position p are the committed slots of its sequence, its ancestors in the pass and itself, as far as the sliding window (position
// > p - window) and the slot's expire (p ≤ expire) allow. Splits are by absolute position and keys are added in increasing position, so a row's result
// is a function of the keys that it sees: where they are stored, and what else the pass holds, changes no bit. A hidden key takes part with weight 0,
// which changes no sum.
//
// Reference, per row and query head:
//   s(k) = Σ_d q[d] · key_k[d] by fma in order of d (q is scaled already); of bytes, times the key's scale in the end
//   split:    m = max s;  w(k) = e^(s(k) - m);  l = Σ w(k);  o[d] = Σ fma(w(k), value_k[d])    over visible k in increasing position (of bytes: w(k) · scale)
//   combine, splits in order:  M' = max(M, m);  L = L·e^(M - M') + l·e^(m - M');  O likewise;   attention[d] = O[d] / L
#include "cache.cuh"

constexpr int SPLIT = 256;      // absolute positions
constexpr int COLUMNS = 8;
constexpr int MAX_KEYS = 512;   // of a split: 256 positions, or up to 255 committed slots and a tree of 256 rows
constexpr int WEIGHT_STRIDE = MAX_KEYS + 4; // columns that a warp reads together lie in different banks
constexpr int KEYS = 32;        // slots of a tile in shared memory
constexpr int THREADS = 128;
constexpr int TILE_INTS = 8;    // sequence, first row, rows, base position, branches, first row of the segment, lowest and highest position

// What a block attends to: committed slots [first, first + committed), then rows of the pass.
struct Keys {
    int first, committed, pass_first, pass; // slot, number; index in the segment, number
    int origin;                             // contiguous committed slots: position of slot 0
    bool contiguous;
};

// First committed slot at a position of at least `position`.
template <int Kind>
DEVICE int slot_at(const Cache<Kind>& cache, int position, bool contiguous, int origin, int committed) {
    if (contiguous) return greater(0, lesser(position - origin, committed));
    int low = 0, high = committed;
    while (low < high) {
        int middle = (low + high) >> 1;
        if (*cache.position(middle) < position) low = middle + 1;
        else high = middle;
    }

    return low;
}

template <int Kind>
DEVICE Keys find_keys(const Cache<Kind>& cache, const int* tile, int low, int oldest) {
    int committed = cache.table[TABLE_COMMITTED], base = tile[3], last = tile[1] + tile[2] - 1 - tile[5];
    Keys keys;
    keys.contiguous = cache.table[TABLE_CONTIGUOUS] != 0;
    keys.origin = base - committed;
    keys.first = slot_at(cache, greater(low, oldest), keys.contiguous, keys.origin, committed);
    keys.committed = slot_at(cache, low + SPLIT, keys.contiguous, keys.origin, committed) - keys.first;
    keys.pass_first = 0;
    int end = low + SPLIT > base ? last + 1 : 0;
    if (!tile[4]) { // a chain: its rows stand at base, base + 1, …
        keys.pass_first = greater(0, greater(low, oldest) - base);
        end = lesser(end, low + SPLIT - base);
    }

    keys.pass = greater(0, end - keys.pass_first);
    return keys;
}

DEVICE int slot_of(const Keys& keys, const int* table, int i) {
    return i < keys.committed ? keys.first + i : table[TABLE_COMMITTED] + keys.pass_first + i - keys.committed;
}

// Starts copying keys or values first, first + 1, … of the list to shared memory; zeros behind the last.
template <int Kind>
DEVICE void copy_tile(const Cache<Kind>& cache, const Keys& keys, bool values, int first, u8* to, int row_bytes) {
    int chunk_bytes = Kind == KV_INT8 && (cache.head_dim & 15) ? 8 : 16;
    int chunks = cache.head_dim * Cache<Kind>::Bytes / chunk_bytes, count = keys.committed + keys.pass;
    for (int i = thread_x(); i < KEYS * chunks; i += THREADS) {
        int key = i / chunks, chunk = i - key * chunks;
        bool valid = first + key < count;
        int slot = slot_of(keys, cache.table, valid ? first + key : 0);
        u8* target = to + key * row_bytes + chunk * chunk_bytes;
        const u8* source = (values ? cache.value(slot) : cache.key(slot)) + chunk * chunk_bytes;
        if (Kind == KV_INT8 && chunk_bytes == 8) copy_async_8(target, source, valid);
        else copy_async(target, source, valid);
    }
}

DEVICE float byte_of(u32 word, int i) { return (float)(signed char)(word >> (8 * i)); }

template <int Kind>
DEVICE void load_eight(const u8* at, float (&x)[8]) {
    if (Kind == KV_INT8) {
        words2 a = *(const words2*)at;
#pragma unroll
        for (int i = 0; i < 4; i++) x[i] = byte_of(a.x, i), x[4 + i] = byte_of(a.y, i);
        return;
    }

    words4 a = *(const words4*)at;
    if (Kind == KV_F32) {
        words4 b = *(const words4*)(at + 16);
        x[0] = bits_to_float(a.x), x[1] = bits_to_float(a.y), x[2] = bits_to_float(a.z), x[3] = bits_to_float(a.w);
        x[4] = bits_to_float(b.x), x[5] = bits_to_float(b.y), x[6] = bits_to_float(b.z), x[7] = bits_to_float(b.w);
    } else if (Kind == KV_BF16) {
        x[0] = low_bf16(a.x), x[1] = high_bf16(a.x), x[2] = low_bf16(a.y), x[3] = high_bf16(a.y);
        x[4] = low_bf16(a.z), x[5] = high_bf16(a.z), x[6] = low_bf16(a.w), x[7] = high_bf16(a.w);
    } else {
        x[0] = from_half((u16)a.x), x[1] = from_half((u16)(a.x >> 16)), x[2] = from_half((u16)a.y), x[3] = from_half((u16)(a.y >> 16));
        x[4] = from_half((u16)a.z), x[5] = from_half((u16)(a.z >> 16)), x[6] = from_half((u16)a.w), x[7] = from_half((u16)(a.w >> 16));
    }
}

// Two neighbouring values.
template <int Kind>
DEVICE floats2 load_two(const u8* at) {
    floats2 both;
    if (Kind == KV_F32) {
        both = *(const floats2*)at;
    } else if (Kind == KV_INT8) {
        u32 word = *(const u16*)at;
        both.x = byte_of(word, 0), both.y = byte_of(word, 1);
    } else {
        u32 word = *(const u32*)at;
        both.x = Kind == KV_BF16 ? low_bf16(word) : from_half((u16)word);
        both.y = Kind == KV_BF16 ? high_bf16(word) : from_half((u16)(word >> 16));
    }

    return both;
}

// Whether the row sees key i of the list.
template <int Kind>
DEVICE bool sees(
    const Cache<Kind>& cache, const Keys& keys, const int* tile, const int* positions, const u32* masks, int window, int low, int i, int row) {
    int slot = slot_of(keys, cache.table, i), query = positions[row], position;
    if (i < keys.committed) {
        position = keys.contiguous ? keys.origin + slot : *cache.position(slot);
    } else {
        int index = keys.pass_first + i - keys.committed;
        position = positions[tile[5] + index];
        if (tile[4] ? !(masks[row * 8 + (index >> 5)] >> (index & 31) & 1) : index > row - tile[5]) return false;
    }

    if (position < low || position >= low + SPLIT || (window > 0 && position <= query - window)) return false;
    return slot < cache.table[TABLE_FIRST_MORTAL] || query <= *cache.expire(slot);
}

template <int Kind>
DEVICE void attend(
    const float* queries, int heads, int kv_heads, int head_dim, const int* counts, const int* tiles, const int* positions, const u32* masks, int window,
    const int* tables, int table_stride, int layer, int layers, int page_shift, long long page_bytes, u8* pool, int row_stride, float* sums, float* outputs) {
    extern __shared__ __attribute__((aligned(16))) u8 dynamic[];
    constexpr int Bytes = Cache<Kind>::Bytes, Stages = Bytes == 4 ? 1 : 2;
    const int* tile = tiles + block_z() * TILE_INTS;
    if (block_z() >= counts[2]) return;
    int low = block_x() * SPLIT, oldest = window > 0 ? greater(0, tile[6] - window + 1) : 0;
    if (low > tile[7] || low + SPLIT <= oldest) return; // combine knows the same rule
    int kv_head = block_y() % kv_heads, part = block_y() / kv_heads; // more than 8 queries per KV head come in parts
    int group = heads / kv_heads, per_row = lesser(group - part * COLUMNS, COLUMNS), columns = tile[2] * per_row;
    int first_head = kv_head * group + part * COLUMNS;
    Cache<Kind> cache = {pool, table_of(tables, table_stride, tile[0], layer, layers, kv_head, kv_heads), page_bytes, page_shift, head_dim};
    Keys keys = find_keys(cache, tile, low, oldest);
    int count = keys.committed + keys.pass, row_bytes = head_dim * Bytes + 16, stage_bytes = KEYS * row_bytes;
    float* query = (float*)dynamic;                     // [COLUMNS, head_dim]
    float* weights = query + COLUMNS * head_dim;        // [COLUMNS, WEIGHT_STRIDE]
    float* value_scales = weights + COLUMNS * WEIGHT_STRIDE; // [MAX_KEYS] of bytes only
    u8* stage = (u8*)(value_scales + (Kind == KV_INT8 ? MAX_KEYS : 0)); // [Stages, KEYS, row_bytes]
    int thread = thread_x(), lane = thread & 31, warp = thread >> 5;
    for (int i = thread; i < columns * head_dim; i += THREADS) {
        int column = i / head_dim, row = tile[1] + column / per_row, head = first_head + column % per_row;
        query[i] = queries[((long long)row * heads + head) * head_dim + i - column * head_dim];
    }

    // scores
    if (Stages == 2 && count > 0) copy_tile(cache, keys, false, 0, stage, row_bytes);
    for (int first = 0, s = 0; first < count; first += KEYS, s ^= Stages - 1) {
        if (Stages == 1) copy_tile(cache, keys, false, first, stage, row_bytes);
        copies_commit();
        if (Stages == 2 && first + KEYS < count) copy_tile(cache, keys, false, first + KEYS, stage + (s ^ 1) * stage_bytes, row_bytes);
        if (Stages == 2) copies_commit();
        copies_wait<Stages - 1>();
        barrier();
        const u8* key = stage + s * stage_bytes + lane * row_bytes;
        if (Kind == KV_INT8 && warp == 0 && first + lane < count) value_scales[first + lane] = *cache.value_scale(slot_of(keys, cache.table, first + lane));
        for (int column = warp; column < columns; column += 4) {
            const float* q = query + column * head_dim;
            float score = 0.0f;
            for (int d = 0; d < head_dim; d += 8) {
                float k[8], x[8];
                load_eight<Kind>(key + d * Bytes, k);
                load_eight<KV_F32>((const u8*)(q + d), x);
#pragma unroll
                for (int j = 0; j < 8; j++) score = fused(x[j], k[j], score);
            }

            int i = first + lane;
            if (Kind == KV_INT8 && i < count) score *= *cache.key_scale(slot_of(keys, cache.table, i));
            if (i >= count || !sees(cache, keys, tile, positions, masks, window, low, i, tile[1] + column / per_row)) score = NEGATIVE_INFINITY;
            weights[column * WEIGHT_STRIDE + i] = score;
        }

        barrier();
    }

    // weights
    if (Stages == 2) copies_wait<0>();
    if (Stages == 2 && count > 0) copy_tile(cache, keys, true, 0, stage, row_bytes);
    long long split_rows = (long long)block_x() * row_stride;
    for (int column = warp; column < columns; column += 4) {
        float* w = weights + column * WEIGHT_STRIDE;
        float m = NEGATIVE_INFINITY;
        for (int i = lane; i < count; i += 32) m = larger(m, w[i]);
        m = warp_max(m);
        for (int i = lane; i < count; i += 32) w[i] = m == NEGATIVE_INFINITY ? 0.0f : exponential(w[i] - m);
        int row = tile[1] + column / per_row, head = first_head + column % per_row;
        if (lane == 0) sums[((split_rows + row) * heads + head) * 2] = m;
    }

    // values
    int pairs = head_dim >> 1, groups = THREADS / pairs, of = thread / pairs, pair = thread - of * pairs;
    float left[COLUMNS / 2], right[COLUMNS / 2], sum[COLUMNS / 2];
#pragma unroll
    for (int j = 0; j < COLUMNS / 2; j++) left[j] = right[j] = sum[j] = 0.0f;
    for (int first = 0, s = 0; first < count; first += KEYS, s ^= Stages - 1) {
        if (Stages == 1) barrier();
        if (Stages == 1) copy_tile(cache, keys, true, first, stage, row_bytes);
        copies_commit();
        if (Stages == 2 && first + KEYS < count) copy_tile(cache, keys, true, first + KEYS, stage + (s ^ 1) * stage_bytes, row_bytes);
        if (Stages == 2) copies_commit();
        copies_wait<Stages - 1>();
        barrier();
        int end = of < groups ? lesser(KEYS, count - first) : 0;
        for (int i = 0; i < end; i++) {
            floats2 value = load_two<Kind>(stage + s * stage_bytes + i * row_bytes + pair * 2 * Bytes);
            float unit = Kind == KV_INT8 ? value_scales[first + i] : 1.0f;
#pragma unroll
            for (int j = 0; j < COLUMNS / 2; j++) {
                int column = of + j * groups;
                if (column >= columns) continue;
                float w = weights[column * WEIGHT_STRIDE + first + i];
                float part = Kind == KV_INT8 ? w * unit : w;
                left[j] = fused(part, value.x, left[j]);
                right[j] = fused(part, value.y, right[j]);
                sum[j] += w;
            }
        }

        if (Stages == 2) barrier();
    }

    if (of >= groups) return;
#pragma unroll
    for (int j = 0; j < COLUMNS / 2; j++) {
        int column = of + j * groups;
        if (column >= columns) continue;
        long long at = (split_rows + tile[1] + column / per_row) * heads + first_head + column % per_row;
        floats2 both = {left[j], right[j]};
        *(floats2*)(outputs + at * head_dim + pair * 2) = both;
        if (pair == 0) sums[at * 2 + 1] = sum[j];
    }
}

// queries: [rows, heads, head_dim], scaled; counts[2]: number of tiles; tiles: [tiles, 8] ints; masks: [rows, 8] ancestors-or-self within a segment that
// branches; sums: [splits, row_stride, heads, 2] maximum and sum; outputs: [splits, row_stride, heads, head_dim].
// Grid: (splits, kv_heads · parts of the query group, tiles); threads: 128; shared bytes: 8·head_dim·4 + 8·516·4 + (int8: 512·4) + stages·32·(head_dim·bytes + 16),
// stages 1 for f32, else 2.
extern "C" __global__ __launch_bounds__(128) void attend_kv_bf16(
    const float* queries, int heads, int kv_heads, int head_dim, const int* counts, const int* tiles, const int* positions, const u32* masks, int window,
    const int* tables, int table_stride, int layer, int layers, int page_shift, long long page_bytes, u8* pool, int row_stride, float* sums, float* outputs) {
    attend<KV_BF16>(
        queries, heads, kv_heads, head_dim, counts, tiles, positions, masks, window, tables, table_stride, layer, layers, page_shift, page_bytes, pool,
        row_stride, sums, outputs);
}

extern "C" __global__ __launch_bounds__(128) void attend_kv_f32(
    const float* queries, int heads, int kv_heads, int head_dim, const int* counts, const int* tiles, const int* positions, const u32* masks, int window,
    const int* tables, int table_stride, int layer, int layers, int page_shift, long long page_bytes, u8* pool, int row_stride, float* sums, float* outputs) {
    attend<KV_F32>(
        queries, heads, kv_heads, head_dim, counts, tiles, positions, masks, window, tables, table_stride, layer, layers, page_shift, page_bytes, pool,
        row_stride, sums, outputs);
}

extern "C" __global__ __launch_bounds__(128) void attend_kv_f16(
    const float* queries, int heads, int kv_heads, int head_dim, const int* counts, const int* tiles, const int* positions, const u32* masks, int window,
    const int* tables, int table_stride, int layer, int layers, int page_shift, long long page_bytes, u8* pool, int row_stride, float* sums, float* outputs) {
    attend<KV_F16>(
        queries, heads, kv_heads, head_dim, counts, tiles, positions, masks, window, tables, table_stride, layer, layers, page_shift, page_bytes, pool,
        row_stride, sums, outputs);
}

extern "C" __global__ __launch_bounds__(128) void attend_kv_int8(
    const float* queries, int heads, int kv_heads, int head_dim, const int* counts, const int* tiles, const int* positions, const u32* masks, int window,
    const int* tables, int table_stride, int layer, int layers, int page_shift, long long page_bytes, u8* pool, int row_stride, float* sums, float* outputs) {
    attend<KV_INT8>(
        queries, heads, kv_heads, head_dim, counts, tiles, positions, masks, window, tables, table_stride, layer, layers, page_shift, page_bytes, pool,
        row_stride, sums, outputs);
}

// One thread per feature of the attention output, a warp per 32 consecutive ones. form, values, scales, padded, part: see store_activation, width
// heads·head_dim padded. Grid: (padded / threads, rows).
extern "C" __global__ void combine(
    const float* sums, const float* outputs, int row_stride, int heads, int head_dim, const int* rows, const int* positions, int window, int form,
    u8* values, float* scales, int padded, long long part) {
    int row = block_y(), f = block_x() * block_size_x() + thread_x();
    if (row >= rows[0] || (f & ~31) >= padded) return;
    float y = 0.0f;
    if (f < heads * head_dim) {
        int head = f / head_dim, position = positions[row];
        int begin = window > 0 ? greater(0, position - window + 1) / SPLIT : 0;
        float largest = NEGATIVE_INFINITY, sum = 0.0f, output = 0.0f;
        for (int split = begin; split <= position / SPLIT; split++) {
            long long at = ((long long)split * row_stride + row) * heads + head;
            float m = sums[at * 2];
            if (m == NEGATIVE_INFINITY) continue;
            float next = larger(largest, m), before = exponential(largest - next), here = exponential(m - next);
            sum = fused(sum, before, sums[at * 2 + 1] * here);
            output = fused(output, before, outputs[at * head_dim + f - head * head_dim] * here);
            largest = next;
        }

        y = output / sum;
    }

    store_activation(form, values, scales, row, padded, part, f, y);
}
