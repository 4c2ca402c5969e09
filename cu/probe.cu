// The self-test of a device: proves that the whole chain works (PTX, its compilation by the driver, arguments, launch, copies).
#include "foretoken.cuh"

// values[i] = f(seed[0], i): one round of a 32-bit integer mixer and one fused multiply-add, so that integer and float units answer.
// seed: [1], values: [count]. Any grid of one dimension.
extern "C" __global__ void __launch_bounds__(256) probe(const u32* __restrict__ seed, float scale, u32* __restrict__ values, int count) {
    for (int i = block_x() * block_size_x() + thread_x(); i < count; i += grid_size_x() * block_size_x()) {
        u32 x = seed[0] ^ (u32)i;
        x = (x ^ (x >> 16)) * 0x7feb352du;
        x = (x ^ (x >> 15)) * 0x846ca68bu;
        values[i] = x ^ (x >> 16) ^ (u32)(int)fused((float)i, scale, 0.5f);
    }
}
