// SwiGLU: the gate's SiLU times the up projection, as the input of the down projection; and the sum of a product's pieces, where nothing else
// sums them.
//
// One thread per feature, a warp per 32 consecutive ones.
//
// Reference:  gate = Σ pieces of feature f, up = Σ pieces of feature inner + f (in order of pieces);  y[f] = gate / (1 + e^-gate) · up
#include "foretoken.cuh"

DEVICE float sum_pieces(const float* at, int count, long long piece) {
    float sum = at[0];
    for (int s = 1; s < count; s++) sum += at[s * piece];
    return sum;
}

// pieces: [count, rows, stride ≥ 2·inner]; form, values, scales, padded, part: see store_activation. Grid: (padded / threads, rows).
extern "C" __global__ void swiglu(
    const float* pieces, int count, long long piece, int stride, int inner, const int* rows, int form, u8* values, float* scales, int padded,
    long long part) {
    int row = block_y(), f = block_x() * block_size_x() + thread_x();
    if (row >= rows[0] || (f & ~31) >= padded) return;
    float y = 0.0f;
    if (f < inner) {
        const float* at = pieces + (long long)row * stride + f;
        float gate = sum_pieces(at, count, piece), up = sum_pieces(at + inner, count, piece);
        y = gate / (1.0f + exponential(-gate)) * up;
    }

    store_activation(form, values, scales, row, padded, part, f, y);
}

// output[r][f] = Σ pieces. output: [rows, stride]. Grid: (width / threads, rows).
extern "C" __global__ void add_pieces(const float* pieces, int count, long long piece, int stride, int width, const int* rows, float* output) {
    int row = block_y(), f = block_x() * block_size_x() + thread_x();
    if (row >= rows[0] || f >= width) return;
    output[(long long)row * stride + f] = sum_pieces(pieces + (long long)row * stride + f, count, piece);
}
