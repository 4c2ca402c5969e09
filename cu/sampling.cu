// From logits to tokens, and from tokens to the accepted path of each tree.
//
// sample_rows: one block per row of logits. Temperature, top-k, top-p and min-p in this order, as the host's sampler (src/Engine/Sampling). A warp owns
// a contiguous range of ids and reads it 32 at a time, so that ids increase with (warp, step, lane). Weights e^((x - max) / T) are counted in integers of
// 2^-40: sums are exact, whatever the order, and so are cuts and draws. The cuts of top-k and top-p are found by radix selection on the bits of the
// scaled logit: none is above 0, so magnitudes order candidates from best to worst; equals are kept from the lowest id on.
//
// accept_trees: one thread per segment walks its tree: the root's token, the child that proposed it, that child's token, …
//
// Reference (per row):  l = (x - max) / T;  w = floor(2^40 · e^l)
//   top-k: the k largest l;  top-p: the shortest list of largest l whose w sum to at least p · Σw;  min-p: e^l ≥ min-p
//   token = first id at which the running sum of kept w passes floor(u · Σ kept w),  u = 53 bits of Philox4x32-10(seed, position)
//   T = 0: the first id of the largest logit.  No token (-1) where a logit is NaN or +∞, or all are -∞.
#include "foretoken.cuh"

constexpr int WARPS = 16;
constexpr int BINS = 2048;
constexpr int FIRST_BITS = 11, LATER_BITS = 10; // 11 + 10 + 10 = the 31 bits of a magnitude
constexpr int OPTION_INTS = 8; // temperature, top-k, top-p, min-p, seed low, seed high, position, flags
constexpr int PLANNED = 1, WITH_SUM = 2;
constexpr int RESULT_INTS = 4; // token, its logit below the best, Σ 2^40 · e^(x - max) low and high

struct Row {
    const float* logits;
    int vocabulary, begin, end; // the warp's ids
    float best, temperature;
};

// Candidates better than `magnitude`, and the first `equals` of those that equal it.
struct Cut {
    u32 magnitude;
    int equals, all; // kept, and how many there are
};

DEVICE u64 mass_of(float l) { return (u64)(exponential(l) * 1099511627776.0f); }
DEVICE float scaled(const Row& row, int i) { return (row.logits[i] - row.best) / row.temperature; }
DEVICE u32 magnitude_of(float l) { return float_to_bits(l) & 0x7FFFFFFFu; }

DEVICE void add_shared(u64* at, u64 value) { asm volatile("red.shared.add.u64 [%0], %1;" ::"r"(shared_address(at)), "l"(value) : "memory"); }

DEVICE u32 ballot(bool p) {
    u32 r;
    asm volatile("{\n\t.reg .pred p;\n\tsetp.ne.s32 p, %1, 0;\n\tvote.sync.ballot.b32 %0, p, -1;\n\t}" : "=r"(r) : "r"((int)p));
    return r;
}

DEVICE int bits_of(u32 v) { int r; asm("popc.b32 %0, %1;" : "=r"(r) : "r"(v)); return r; }
DEVICE int first_bit(u32 v) { return bits_of((v & (0u - v)) - 1); }

DEVICE u64 shuffle_up(u64 v, int by) {
    u32 low = (u32)v, high = (u32)(v >> 32);
    asm volatile("shfl.sync.up.b32 %0, %0, %1, 0, -1;" : "+r"(low) : "r"(by));
    asm volatile("shfl.sync.up.b32 %0, %0, %1, 0, -1;" : "+r"(high) : "r"(by));
    return (u64)high << 32 | low;
}

// Sum over this lane and those below it.
DEVICE u64 running_sum(u64 v) {
    int lane = thread_x() & 31;
    for (int by = 1; by < 32; by <<= 1) {
        u64 other = shuffle_up(v, by);
        if (lane >= by) v += other;
    }

    return v;
}

DEVICE u64 last_lane(u64 v) {
    u32 low = (u32)v, high = (u32)(v >> 32);
    asm volatile("shfl.sync.idx.b32 %0, %0, 31, 31, -1;" : "+r"(low));
    asm volatile("shfl.sync.idx.b32 %0, %0, 31, 31, -1;" : "+r"(high));
    return (u64)high << 32 | low;
}

// Philox4x32-10 (Salmon et al., 2011), as CounterRandom on the host.
DEVICE u64 random_bits(u64 seed, u64 position) {
    u32 c0 = (u32)position, c1 = (u32)(position >> 32), c2 = 0, c3 = 0, k0 = (u32)seed, k1 = (u32)(seed >> 32);
    for (int round = 0; round < 10; round++) {
        u64 p0 = (u64)0xD2511F53u * c0, p1 = (u64)0xCD9E8D57u * c2;
        u32 n0 = (u32)(p1 >> 32) ^ c1 ^ k0, n2 = (u32)(p0 >> 32) ^ c3 ^ k1;
        c1 = (u32)p1, c3 = (u32)p0, c0 = n0, c2 = n2;
        k0 += 0x9E3779B9u, k1 += 0xBB67AE85u;
    }

    return c0 | (u64)c1 << 32;
}

DEVICE u64 high_product(u64 a, u64 b) { u64 r; asm("mul.hi.u64 %0, %1, %2;" : "=l"(r) : "l"(a), "l"(b)); return r; }

// The cut at which the candidates, best first, reach the target; by number, or by weight. bins: [BINS]; scratch: [4].
template <bool Weights>
DEVICE Cut cut_at(const Row& row, Cut cut, u64 target, u64* bins, u64* scratch) {
    u32 prefix = 0;
    u64 before = 0, found = 0, unit = Weights ? mass_of(bits_to_float(cut.magnitude | 0x80000000u)) : 1;
    for (int shift = 2 * LATER_BITS; shift >= 0; shift -= LATER_BITS) {
        int bits = shift == 2 * LATER_BITS ? FIRST_BITS : LATER_BITS, lane = thread_x() & 31;
        u32 digits = (1u << bits) - 1;
        for (int b = thread_x(); b <= (int)digits; b += WARPS * 32) bins[b] = 0;
        barrier();
        for (int i = row.begin + lane; i < row.end; i += 32) {
            float l = scaled(row, i);
            u32 m = magnitude_of(l);
            if (m > cut.magnitude || (u32)((u64)m >> (shift + bits)) != prefix) continue;
            u64 amount = Weights ? mass_of(l) : 1;
            if (amount > 0) add_shared(bins + (m >> shift & digits), amount);
        }

        barrier();
        if (thread_x() < 32) {
            int dropped = cut.all - cut.equals; // equals that an earlier cut left out
            if (lane == 0 && dropped > 0 && (u32)((u64)cut.magnitude >> (shift + bits)) == prefix) bins[cut.magnitude >> shift & digits] -= dropped * unit;
            warp_barrier();
            u64 sum = before;
            for (int b = lane;; b += 32) {
                u64 mass = bins[b], up_to = sum + running_sum(mass);
                u32 reached = ballot(up_to >= target);
                if (reached) {
                    if (lane == first_bit(reached)) scratch[0] = b, scratch[1] = up_to - mass, scratch[2] = mass;
                    break;
                }

                sum = last_lane(up_to);
            }
        }

        barrier();
        prefix = prefix << bits | (u32)scratch[0];
        before = scratch[1];
        found = scratch[2];
        barrier();
    }

    u64 weight = Weights ? mass_of(bits_to_float(prefix | 0x80000000u)) : 1;
    int all = (int)(found / weight); // the last bin holds one magnitude only
    int needed = (int)((target - before + weight - 1) / weight);
    return Cut{prefix, greater(1, lesser(needed, all)), all};
}

// Adds over the block; all threads get the sum. scratch: [WARPS].
DEVICE u64 block_total(u64 v, u64* scratch) {
    v = last_lane(running_sum(v));
    if ((thread_x() & 31) == 0) scratch[thread_x() >> 5] = v;
    barrier();
    u64 sum = 0;
    for (int w = 0; w < WARPS; w++) sum += scratch[w];
    barrier();
    return sum;
}

// The kept candidate at which the running sum of weights passes the random number.
DEVICE void draw(const Row& row, Cut cut, float min_weight, u64 random, u64* masses, int* counts, int* result) {
    int lane = thread_x() & 31, warp = thread_x() >> 5, count = 0;
    u64 better = 0;
    for (int i = row.begin + lane; i < row.end; i += 32) {
        float l = scaled(row, i);
        u32 m = magnitude_of(l);
        if (m < cut.magnitude && exponential(l) >= min_weight) better += mass_of(l);
        if (m == cut.magnitude) count++;
    }

    better = last_lane(running_sum(better));
    count = (int)last_lane(running_sum((u64)count));
    if (lane == 0) masses[warp] = better, counts[warp] = count;
    barrier();
    float last = bits_to_float(cut.magnitude | 0x80000000u);
    u64 unit = exponential(last) >= min_weight ? mass_of(last) : 0, total = 0, below = 0;
    int equals = cut.equals, rank = 0; // of equals that are left, and that this warp's predecessors have
    for (int w = 0; w < WARPS; w++) {
        int kept = greater(0, lesser(counts[w], equals));
        if (w == warp) below = total, rank = cut.equals - equals;
        total += masses[w] + kept * unit;
        equals -= kept;
    }

    u64 target = high_product(random & ~0x7FFull, total); // 53 bits
    for (int first = row.begin; first < row.end; first += 32) {
        int i = first + lane;
        float l = i < row.end ? scaled(row, i) : NEGATIVE_INFINITY;
        u32 m = magnitude_of(l);
        bool equal = i < row.end && m == cut.magnitude;
        u32 equal_lanes = ballot(equal);
        bool kept = i < row.end && (m < cut.magnitude || (equal && rank + bits_of(equal_lanes & ((1u << lane) - 1)) < cut.equals));
        rank += bits_of(equal_lanes);
        u64 mass = kept && exponential(l) >= min_weight ? mass_of(l) : 0, up_to = below + running_sum(mass);
        u32 passed = ballot(mass > 0 && up_to > target && up_to - mass <= target);
        if (passed && lane == first_bit(passed)) result[0] = i;
        below = last_lane(up_to);
    }
}

// logits: [rows, stride]; samplings: [rows, 8]; results: [rows, 4]. Grid: rows; threads: 512.
extern "C" __global__ __launch_bounds__(512) void sample_rows(
    const float* logits, int stride, int vocabulary, const int* rows, const int* samplings, int* results) {
    __shared__ u64 bins[BINS];
    __shared__ u64 scratch[WARPS];
    __shared__ float maxima[WARPS];
    __shared__ int ids[WARPS];
    int block_row = block_x(), lane = thread_x() & 31, warp = thread_x() >> 5;
    if (block_row >= rows[0]) return;
    const int* option = samplings + block_row * OPTION_INTS;
    int* result = results + block_row * RESULT_INTS;
    if (!(option[7] & PLANNED)) return;
    int share = ((vocabulary + WARPS * 32 - 1) / (WARPS * 32)) * 32;
    Row row = {logits + (long long)block_row * stride, vocabulary, lesser(vocabulary, warp * share), lesser(vocabulary, (warp + 1) * share), 0.0f, 0.0f};
    float best = NEGATIVE_INFINITY;
    int id = 0x7FFFFFFF;
    for (int i = row.begin + lane; i < row.end; i += 32) {
        float x = row.logits[i];
        if (x > best) best = x, id = i;
        if (!(x < bits_to_float(0x7F800000u))) best = bits_to_float(0x7F800000u); // NaN or +∞: no distribution
    }

    for (int m = 16; m > 0; m >>= 1) {
        float other = shuffle_xor(best, m);
        int other_id = shuffle_xor(id, m);
        if (other > best || (other == best && other_id < id)) best = other, id = other_id;
    }

    if (lane == 0) maxima[warp] = best, ids[warp] = id;
    barrier();
    for (int w = 0; w < WARPS; w++) {
        if (maxima[w] > best || (maxima[w] == best && ids[w] < id)) best = maxima[w], id = ids[w];
    }

    row.best = best;
    bool finite = magnitude(best) < bits_to_float(0x7F800000u);
    if (thread_x() == 0) result[0] = finite ? id : -1, result[1] = result[2] = result[3] = 0;
    if (!finite) return;
    if (option[7] & WITH_SUM) {
        u64 mass = 0;
        for (int i = row.begin + lane; i < row.end; i += 32) mass += mass_of(row.logits[i] - best);
        mass = block_total(mass, scratch);
        if (thread_x() == 0) result[2] = (int)(u32)mass, result[3] = (int)(u32)(mass >> 32);
    }

    row.temperature = bits_to_float((u32)option[0]);
    barrier(); // result[0] is written before it is replaced
    if (row.temperature > 0.0f) {
        int top_k = option[1];
        float top_p = bits_to_float((u32)option[2]), min_p = bits_to_float((u32)option[3]);
        Cut cut = {0x7FFFFFFFu, 0, 0};
        if (top_k > 0 && top_k < vocabulary) cut = cut_at<false>(row, cut, (u64)top_k, bins, scratch);
        if (top_p < 1.0f) {
            u64 mass = 0;
            for (int i = row.begin + lane; i < row.end; i += 32) {
                float l = scaled(row, i);
                if (magnitude_of(l) < cut.magnitude) mass += mass_of(l);
            }

            mass = block_total(mass, scratch);
            if (cut.equals > 0) mass += cut.equals * mass_of(bits_to_float(cut.magnitude | 0x80000000u));
            u64 target = (u64)((double)mass * (double)top_p);
            cut = cut_at<true>(row, cut, target > 0 ? target : 1, bins, scratch);
        }

        u64 seed = (u32)option[4] | (u64)(u32)option[5] << 32;
        draw(row, cut, min_p, random_bits(seed, (u64)(u32)option[6]), scratch, ids, result);
        barrier();
    }

    if (thread_x() == 0) result[1] = (int)float_to_bits(row.logits[result[0]] - best);
}

// segments: [count, 4] first table of the sequence, first row, rows, root row or -1 (a prompt chunk without logits); parents, tokens, logit_indices: of
// each row; results: [logit rows, 4]; counts[3]: number of segments; with a root of -2 the host decides about a segment. records: [segments, 2 + max_rows]
// as kv_commit takes them; starts, lengths: [segments]. Grid: segments / threads.
extern "C" __global__ void accept_trees(
    const int* counts, const int* segments, const int* parents, const int* tokens, const int* logit_indices, const int* results, int max_rows, int* starts,
    int* records, int* lengths) {
    int s = block_x() * block_size_x() + thread_x();
    if (s >= counts[3]) return;
    const int* segment = segments + 4 * s;
    int* record = records + (long long)s * (2 + max_rows);
    int first = segment[1], rows = segment[2], root = segment[3], length = 0;
    for (int prompt = root == -1 ? rows : root == -2 ? 0 : root - first; length < prompt; length++) record[2 + length] = length;
    for (int row = root; row >= 0;) {
        record[2 + length++] = row - first;
        int token = results[logit_indices[row] * RESULT_INTS], next = -1;
        for (int child = row + 1; child < first + rows; child++) {
            if (parents[child] == row && tokens[child] == token) {
                next = child;
                break;
            }
        }

        row = next;
    }

    record[0] = segment[0];
    record[1] = length;
    lengths[s] = length;
    starts[s] = s * (2 + max_rows);
}
