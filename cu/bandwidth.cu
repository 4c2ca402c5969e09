// How fast the device reads its memory: what the weight-streaming products are measured against.
//
// Every thread reads 16 bytes at a time, as the products do, past L1, and keeps a sum so that nothing is left out.
//
// Reference: sums[thread] = Σ of the words that it read, modulo 2^32
#include "foretoken.cuh"

// data: [count] of 16 bytes; sums: [grid · threads]. Any grid of one dimension.
extern "C" __global__ __launch_bounds__(256) void read_all(const u8* data, long long count, u32* sums) {
    long long index = (long long)block_x() * block_size_x() + thread_x(), step = (long long)grid_size_x() * block_size_x();
    const words4* from = (const words4*)data;
    u32 sum = 0;
    long long i = index;
    for (; i + 3 * step < count; i += 4 * step) {
        words4 a = load_streamed(from + i), b = load_streamed(from + i + step), c = load_streamed(from + i + 2 * step), d = load_streamed(from + i + 3 * step);
        sum += a.x + a.y + a.z + a.w + b.x + b.y + b.z + b.w + c.x + c.y + c.z + c.w + d.x + d.y + d.z + d.w;
    }

    for (; i < count; i += step) {
        words4 a = load_streamed(from + i);
        sum += a.x + a.y + a.z + a.w;
    }

    sums[index] = sum;
}
