// Residual and RMSNorm: adds what the last product left in pieces to the hidden state, normalises it and writes the next product's input.
//
// One block per row. A thread owns features tid, tid + threads, …, so that a warp always holds 32 consecutive ones. Squares are summed per
// thread in order, then over lanes and warps in one fixed order.
//
// Reference:  h[f] = hidden[r][f] + ((piece_0[f] + piece_1[f]) + … ) + bias[f]      written back unless rows are gathered
//             y[f] = h[f] / sqrt(Σ h² / width + ε) · gain[f]                         then rounded to the form of the activations
#include "foretoken.cuh"

// hidden: [rows, width]; pieces: [count, rows, stride], piece = elements from one to the next; bias, gather: null = none; form, values, scales, padded,
// part: see store_activation. Grid: rows; threads: a multiple of 32.
extern "C" __global__ void residual_norm(
    float* hidden, int width, const float* pieces, int count, long long piece, int stride, const float* bias, const float* gain, float epsilon,
    const int* gather, const int* rows, int form, u8* values, float* scales, int padded, long long part) {
    __shared__ float scratch[32];
    int row = block_x();
    if (row >= rows[0]) return;
    int source = gather ? gather[row] : row;
    float* h = hidden + (long long)source * width;
    float sum = 0.0f;
    for (int f = thread_x(); f < width; f += block_size_x()) {
        float x = h[f];
        if (count > 0) {
            float added = pieces[(long long)source * stride + f];
            for (int s = 1; s < count; s++) added += pieces[s * piece + (long long)source * stride + f];
            x += bias ? added + bias[f] : added;
            if (!gather) h[f] = x;
        }

        sum = fused(x, x, sum);
    }

    float factor = 1.0f / root(block_sum(sum, scratch) / (float)width + epsilon);
    for (int f = thread_x(); f < padded; f += block_size_x()) {
        float y = 0.0f;
        if (f < width) {
            float x = h[f];
            if (gather && count > 0) {
                float added = pieces[(long long)source * stride + f];
                for (int s = 1; s < count; s++) added += pieces[s * piece + (long long)source * stride + f];
                x += bias ? added + bias[f] : added;
            }

            y = x * factor * gain[f];
        }

        store_activation(form, values, scales, row, padded, part, f, y);
    }
}

// The hidden state as it is now, what is pending included, for drafters that read it: output[r][f] = h[f] as above, normalised where there is a gain.
// Changes nothing. output: [rows, width]. Grid: rows; threads: a multiple of 32.
extern "C" __global__ void read_hidden(
    const float* hidden, int width, const float* pieces, int count, long long piece, int stride, const float* bias, const float* gain, float epsilon,
    const int* rows, float* output) {
    __shared__ float scratch[32];
    int row = block_x();
    if (row >= rows[0]) return;
    float* to = output + (long long)row * width;
    float sum = 0.0f;
    for (int f = thread_x(); f < width; f += block_size_x()) {
        float x = hidden[(long long)row * width + f];
        if (count > 0) {
            float added = pieces[(long long)row * stride + f];
            for (int s = 1; s < count; s++) added += pieces[s * piece + (long long)row * stride + f];
            x += bias ? added + bias[f] : added;
        }

        to[f] = x;
        sum = fused(x, x, sum);
    }

    if (!gain) return;
    float factor = 1.0f / root(block_sum(sum, scratch) / (float)width + epsilon);
    for (int f = thread_x(); f < width; f += block_size_x()) to[f] = to[f] * factor * gain[f];
}
