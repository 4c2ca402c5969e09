// What the products of all weight types share: a block's strip of features, and the sum over its warps.
#pragma once
#include "foretoken.cuh"

constexpr int STRIP = 32;       // features of a block
constexpr int MAX_WARPS = 8;
constexpr int SUM_STRIDE = 36;  // floats from one column to the next in shared memory: no bank conflicts for writes of (t, g), nor for reads by feature

// Adds the warps' sums of one n-tile and writes them: column c is row first + c.
DEVICE void write_tile(float (&sums)[2][4], float (*shared)[8][SUM_STRIDE], float* out, int first, int rows, int stride) {
    int lane = thread_x() & 31, warp = thread_x() >> 5, warps = block_size_x() >> 5, g = lane >> 2, t = lane & 3;
    for (int m = 0; m < 2; m++)
        for (int i = 0; i < 4; i++) shared[warp][2 * t + (i & 1)][16 * m + g + 8 * (i >> 1)] = sums[m][i];
    barrier();
    for (int e = thread_x(); e < 8 * STRIP; e += block_size_x()) {
        int column = e >> 5, feature = e & 31;
        if (first + column >= rows) break;
        float sum = shared[0][column][feature];
        for (int w = 1; w < warps; w++) sum += shared[w][column][feature];
        out[(long long)(first + column) * stride + feature] = sum;
    }

    barrier();
}

// A unit of a strip: 2048 bytes of a warp.
struct Fragments { words4 of[2][2]; }; // [tile of 16 features, step]

DEVICE Fragments load_fragments(const words4* w) {
    Fragments a;
    a.of[0][0] = load_streamed(w);
    a.of[0][1] = load_streamed(w + 32);
    a.of[1][0] = load_streamed(w + 64);
    a.of[1][1] = load_streamed(w + 96);
    return a;
}
