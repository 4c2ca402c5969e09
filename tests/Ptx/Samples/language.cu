// What clang makes of ordinary C++: calls, local arrays, a switch, 128-bit integers, structures by value, constant tables, a block-wide sum. Compiled by
// clang-19 -x cuda --cuda-device-only -nocudainc -nocudalib -S -O3 -ffp-contract=off --cuda-gpu-arch=sm_80 --cuda-feature=+ptx80 language.cu -o language.ptx
#define GLOBAL __attribute__((global))
#define DEVICE __attribute__((device))
#define SHARED __attribute__((shared))
typedef unsigned u32;
typedef unsigned long long u64;

struct Parameters { float a[3]; int n; u64 k; };

__attribute__((constant)) float table[8] = {1, 2, 3, 4};
DEVICE int finished = 5;

DEVICE __attribute__((noinline)) float poly(const float* c, int n, float x)
{
    float r = 0;
    for (int i = n - 1; i >= 0; i--) r = __builtin_fmaf(r, x, c[i]);
    return n > 4 ? r : -r;
}

DEVICE __attribute__((noinline)) u64 mix(u64 a, u64 b) { return (u64)(((unsigned __int128)a * b) >> 64) ^ (a * b); }

extern "C" GLOBAL void language(float* out, u64* out2, struct Parameters p, short s)
{
    int t = __nvvm_read_ptx_sreg_tid_x();
    float c[8];
    for (int i = 0; i < 8; i++) c[(i + t) & 7] = p.a[i % 3] + i;
    float v = poly(c, (t & 7) + 1, 0.5f);
    switch (t % 7)
    {
        case 0: v += 1; break;
        case 1: v *= 2; break;
        case 2: v -= 3; break;
        case 3: v = v / 3; break;
        case 4: v = __builtin_sqrtf(v * v); break;
        case 5: v = v > 0 ? v : -v; break;
        default: v = p.n * s;
    }

    out[t] = v + table[t & 7];
    unsigned __int128 w = (unsigned __int128)p.k * t + ((unsigned __int128)t << 70) - p.k;
    out2[t] = mix(p.k + t, (u64)t * t + 1) ^ (u64)(w >> 64) ^ (u64)w;
}

extern "C" GLOBAL void block_sum(float* y, const float* x, int n)
{
    SHARED static float sums[32];
    float s = 0;
    for (int i = __nvvm_read_ptx_sreg_tid_x(); i < n; i += __nvvm_read_ptx_sreg_ntid_x()) s += x[i];
    for (int o = 16; o; o >>= 1) s += __nvvm_shfl_sync_bfly_f32(-1, s, o, 31);
    if ((__nvvm_read_ptx_sreg_tid_x() & 31) == 0) sums[__nvvm_read_ptx_sreg_tid_x() >> 5] = s;
    __nvvm_bar_sync(0);
    if (__nvvm_read_ptx_sreg_tid_x() == 0)
    {
        float t = 0;
        for (int i = 0; i < (int)(__nvvm_read_ptx_sreg_ntid_x() >> 5); i++) t += sums[i];
        y[0] = t;
        __nvvm_atom_add_gen_i(&finished, 1);
    }
}
