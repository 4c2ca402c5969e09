// The weight-streaming product with bfloat16 weights: out[r][n] = Σ_k W[n][k] · x[r][k], for 1..64 rows per tile of the grid.
//
// Weights are the A operand of mma.m16n8k16, rows of the pass its columns: weights are read once for all rows of a tile, 16 bytes per lane, in
// fragment order, past L1. A block owns a strip of 32 features and a piece of K; its warps share that piece, and more rows add n-tiles of 8 columns
// to each warp. The split of K over grid and warps is fixed per weight, so a row's sums are added in the same order whatever other rows there are.
//
//   split    piece s of S, warp w of W: units [U·(s·W + w) / (S·W), U·(s·W + w + 1) / (S·W)) of 32 elements
//   order    a warp adds its units in order; the block adds its warps in order (through shared memory); the pieces go to out and are added by the
//            kernel that reads them
//
// Activations in f32 come as three bfloat16 parts whose sum they are: each part is a product of its own, added at the end as p0 + (p1 + p2).
// Products of bfloat16 are exact; mma.sync adds them with the device's rounding.
//
// Reference:  Σ over s of out[s][r][n] = Σ_k W[n][k] · x[r][k]
#include "product.cuh"

template <int Tiles, int Parts>
DEVICE void product_bf16(const words4* weights, int units, const u16* x, long long part, const int* rows, float* out, int stride, long long piece) {
    __shared__ float shared[MAX_WARPS][8][SUM_STRIDE];
    int count = rows[0], first = block_z() * (8 * Tiles);
    if (first >= count) return;
    int lane = thread_x() & 31, warps = block_size_x() >> 5, g = lane >> 2, t = lane & 3;
    int share = block_y() * warps + (thread_x() >> 5), shares = grid_size_y() * warps;
    int begin = units * share / shares, end = units * (share + 1) / shares;
    const words4* w = weights + ((long long)block_x() * units + begin) * 128 + lane;
    const u16* b = x + (long long)(first + g) * (units * 32) + begin * 32 + 8 * t;
    float sums[Parts][Tiles][2][4];
#pragma unroll
    for (int p = 0; p < Parts; p++)
#pragma unroll
        for (int n = 0; n < Tiles; n++)
#pragma unroll
            for (int i = 0; i < 8; i++) sums[p][n][i >> 2][i & 3] = 0.0f;
    Fragments a = {};
    if (begin < end) a = load_fragments(w);
    for (int u = begin; u < end; u++, b += 32) {
        Fragments next = a;
        w += 128;
        if (u + 1 < end) next = load_fragments(w); // on its way while this unit is multiplied
#pragma unroll
        for (int p = 0; p < Parts; p++) {
#pragma unroll
            for (int n = 0; n < Tiles; n++) {
                words4 v = load_if(b + p * part + (long long)(8 * n) * (units * 32), first + 8 * n + g < count);
#pragma unroll
                for (int m = 0; m < 2; m++) {
                    mma_bf16(sums[p][n][m], a.of[m][0], v.x, v.y);
                    mma_bf16(sums[p][n][m], a.of[m][1], v.z, v.w);
                }
            }
        }

        a = next;
    }

    out += block_y() * piece + block_x() * STRIP;
#pragma unroll
    for (int n = 0; n < Tiles; n++) {
        if (first + 8 * n >= count) break;
        if (Parts == 3) {
#pragma unroll
            for (int i = 0; i < 8; i++) {
                int m = i >> 2, j = i & 3;
                sums[0][n][m][j] += sums[Parts / 2][n][m][j] + sums[Parts - 1][n][m][j];
            }
        }

        write_tile(sums[0][n], shared, out, first + 8 * n, count, stride);
    }
}

// weights: fragment order [strips, units, 2048 bytes]; x: [parts, rows, units · 32], part = elements from one part to the next; rows: their number;
// out: [pieces, rows, stride ≥ strips · 32], piece = elements from one piece to the next. Grid: (strips, pieces, row tiles of 8·Tiles); threads: 32 W.
extern "C" __global__ __launch_bounds__(256) void product_bf16_n8(
    const u8* weights, int units, const u16* x, long long part, const int* rows, float* out, int stride, long long piece) {
    product_bf16<1, 1>((const words4*)weights, units, x, part, rows, out, stride, piece);
}

extern "C" __global__ __launch_bounds__(256) void product_bf16_n16(
    const u8* weights, int units, const u16* x, long long part, const int* rows, float* out, int stride, long long piece) {
    product_bf16<2, 1>((const words4*)weights, units, x, part, rows, out, stride, piece);
}

extern "C" __global__ __launch_bounds__(256) void product_bf16_n32(
    const u8* weights, int units, const u16* x, long long part, const int* rows, float* out, int stride, long long piece) {
    product_bf16<4, 1>((const words4*)weights, units, x, part, rows, out, stride, piece);
}

extern "C" __global__ __launch_bounds__(256) void product_bf16_n64(
    const u8* weights, int units, const u16* x, long long part, const int* rows, float* out, int stride, long long piece) {
    product_bf16<8, 1>((const words4*)weights, units, x, part, rows, out, stride, piece);
}

// Activations in f32.
extern "C" __global__ __launch_bounds__(256) void product_f32_n8(
    const u8* weights, int units, const u16* x, long long part, const int* rows, float* out, int stride, long long piece) {
    product_bf16<1, 3>((const words4*)weights, units, x, part, rows, out, stride, piece);
}

extern "C" __global__ __launch_bounds__(256) void product_f32_n16(
    const u8* weights, int units, const u16* x, long long part, const int* rows, float* out, int stride, long long piece) {
    product_bf16<2, 3>((const words4*)weights, units, x, part, rows, out, stride, piece);
}
