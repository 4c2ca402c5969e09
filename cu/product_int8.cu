// The weight-streaming product with 8-bit weights: blocks of 32 elements along K with one scale each, activations likewise.
//
// Built as the product of bfloat16 weights (product.cu): a block owns a strip of 32 features and a piece of K, its warps share the piece. One
// mma.m16n8k32 is one block of 32: its integer sums are exact, and are then scaled in f32 as the CPU does.
//
//   split    piece s of S, warp w of W: units [U·(s·W + w) / (S·W), U·(s·W + w + 1) / (S·W)) of 64 elements
//   order    per block of 32 in order: sum = fma(float(c), weight scale · activation scale, sum); then warps in order; then pieces, by the reader
//
// Reference:  c = Σ over the block's 32 elements of qw · qx (exact);  out = Σ over blocks of float(c) · (sw · sx)
#include "product.cuh"

// Adds one block of 32 elements. scales: f16 of features g (low half) and g + 8; left, right: scales of columns 2t and 2t + 1.
DEVICE void add_block(float (&sums)[4], const words4& a, u32 b0, u32 b1, u32 scales, float left, float right) {
    int c[4];
    mma_s8(c, a, b0, b1);
    float near = from_half((u16)scales), far = from_half((u16)(scales >> 16));
    sums[0] = fused((float)c[0], near * left, sums[0]);
    sums[1] = fused((float)c[1], near * right, sums[1]);
    sums[2] = fused((float)c[2], far * left, sums[2]);
    sums[3] = fused((float)c[3], far * right, sums[3]);
}

template <int Tiles>
DEVICE void product_int8(
    const words4* weights, const words2* weight_scales, int units, const u8* x, const float* x_scales, const int* rows, float* out, int stride,
    long long piece) {
    __shared__ float shared[MAX_WARPS][8][SUM_STRIDE];
    int count = rows[0], first = block_z() * (8 * Tiles);
    if (first >= count) return;
    int lane = thread_x() & 31, warps = block_size_x() >> 5, g = lane >> 2, t = lane & 3;
    int share = block_y() * warps + (thread_x() >> 5), shares = grid_size_y() * warps;
    int begin = units * share / shares, end = units * (share + 1) / shares;
    long long start = (long long)block_x() * units + begin;
    const words4* w = weights + start * 128 + lane;
    const words2* ws = weight_scales + start * 16 + g;
    const u8* b = x + (long long)(first + g) * (units * 64) + begin * 64 + 16 * t;
    const float* xs = x_scales + (long long)(first + 2 * t) * (units * 2) + begin * 2;
    float sums[Tiles][2][4];
#pragma unroll
    for (int n = 0; n < Tiles; n++)
#pragma unroll
        for (int i = 0; i < 8; i++) sums[n][i >> 2][i & 3] = 0.0f;
    Fragments a = {};
    words2 upper = {0, 0}, lower = {0, 0}; // scales of features (g, g + 8) of both tiles, two blocks each
    if (begin < end) {
        a = load_fragments(w);
        upper = load_streamed(ws);
        lower = load_streamed(ws + 8);
    }

    for (int u = begin; u < end; u++, b += 64, xs += 2) {
        Fragments next = a;
        words2 packed[2] = {upper, lower};
        w += 128;
        ws += 16;
        if (u + 1 < end) { // on its way while this unit is multiplied
            next = load_fragments(w);
            upper = load_streamed(ws);
            lower = load_streamed(ws + 8);
        }

#pragma unroll
        for (int n = 0; n < Tiles; n++) {
            words4 v = load_if(b + (long long)(8 * n) * (units * 64), first + 8 * n + g < count);
            floats2 left = load_pair_if(xs + (long long)(8 * n) * (units * 2), first + 8 * n + 2 * t < count); // columns 2t and 2t + 1, two blocks each
            floats2 right = load_pair_if(xs + (long long)(8 * n + 1) * (units * 2), first + 8 * n + 2 * t + 1 < count);
#pragma unroll
            for (int m = 0; m < 2; m++) {
#pragma unroll
                for (int s = 0; s < 2; s++)
                    add_block(
                        sums[n][m], a.of[m][s], s ? v.z : v.x, s ? v.w : v.y, s ? packed[m].y : packed[m].x, s ? left.y : left.x, s ? right.y : right.x);
            }
        }

        a = next;
    }

    out += block_y() * piece + block_x() * STRIP;
#pragma unroll
    for (int n = 0; n < Tiles; n++) {
        if (first + 8 * n >= count) break;
        write_tile(sums[n], shared, out, first + 8 * n, count, stride);
    }
}

// weights: fragment order [strips, units, 2048 bytes]; weight_scales: f16 [strips, units, 2, 8, 2, 2]; x: bytes [rows, units · 64]; x_scales:
// [rows, units · 2]; out: [pieces, rows, stride]. Grid: (strips, pieces, row tiles of 8·Tiles); threads: 32 W.
extern "C" __global__ __launch_bounds__(256) void product_int8_n8(
    const u8* weights, const u16* weight_scales, int units, const u8* x, const float* x_scales, const int* rows, float* out, int stride,
    long long piece) {
    product_int8<1>((const words4*)weights, (const words2*)weight_scales, units, x, x_scales, rows, out, stride, piece);
}

extern "C" __global__ __launch_bounds__(256) void product_int8_n16(
    const u8* weights, const u16* weight_scales, int units, const u8* x, const float* x_scales, const int* rows, float* out, int stride,
    long long piece) {
    product_int8<2>((const words4*)weights, (const words2*)weight_scales, units, x, x_scales, rows, out, stride, piece);
}

extern "C" __global__ __launch_bounds__(256) void product_int8_n32(
    const u8* weights, const u16* weight_scales, int units, const u8* x, const float* x_scales, const int* rows, float* out, int stride,
    long long piece) {
    product_int8<4>((const words4*)weights, (const words2*)weight_scales, units, x, x_scales, rows, out, stride, piece);
}

extern "C" __global__ __launch_bounds__(256) void product_int8_n64(
    const u8* weights, const u16* weight_scales, int units, const u8* x, const float* x_scales, const int* rows, float* out, int stride,
    long long piece) {
    product_int8<8>((const words4*)weights, (const words2*)weight_scales, units, x, x_scales, rows, out, stride, piece);
}
