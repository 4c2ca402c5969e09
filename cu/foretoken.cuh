// Shared by all kernels: what clang (without a CUDA toolkit) and nvcc spell differently, bfloat16, exponential, warp and block reductions,
// asynchronous copies, tensor-core products, and the layouts that several kernels agree on.
//
// Arithmetic. Compiled with -ffp-contract=off, and fused multiply-adds are written out: every operation rounds as the source says, so that two
// devices give the same bits, but for mma.sync, whose rounding is the device's own (one rule per device generation, the same for every row).
//
// Row invariance. No kernel lets the number of rows, or the place of a row among them, enter the order of a sum.
#pragma once

#include "device.cuh"

#define DEVICE __device__ __forceinline__

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

struct alignas(16) words4 { u32 x, y, z, w; };
struct alignas(8) words2 { u32 x, y; };

// ---- synchronisation -----------------------------------------------------------------------------------------------------------------

DEVICE void barrier() { asm volatile("bar.sync 0;" ::: "memory"); }
DEVICE void warp_barrier() { asm volatile("bar.warp.sync -1;" ::: "memory"); }

// ---- scalars -------------------------------------------------------------------------------------------------------------------------

#ifdef __NVCC__
DEVICE float fused(float a, float b, float c) { return __fmaf_rn(a, b, c); }
DEVICE double fused(double a, double b, double c) { return __fma_rn(a, b, c); }
DEVICE float larger(float a, float b) { return fmaxf(a, b); }
DEVICE float magnitude(float a) { return fabsf(a); }
DEVICE float root(float a) { return __fsqrt_rn(a); }
DEVICE float bits_to_float(u32 b) { return __uint_as_float(b); }
DEVICE u32 float_to_bits(float f) { return __float_as_uint(f); }
#else
DEVICE float fused(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
DEVICE double fused(double a, double b, double c) { return __builtin_fma(a, b, c); }
DEVICE float larger(float a, float b) { return __builtin_fmaxf(a, b); }
DEVICE float magnitude(float a) { return __builtin_fabsf(a); }
DEVICE float root(float a) { return __builtin_sqrtf(a); }
DEVICE float bits_to_float(u32 b) { return __builtin_bit_cast(float, b); }
DEVICE u32 float_to_bits(float f) { return __builtin_bit_cast(u32, f); }
#endif

DEVICE int lesser(int a, int b) { return a < b ? a : b; }
DEVICE int greater(int a, int b) { return a > b ? a : b; }

#define NEGATIVE_INFINITY bits_to_float(0xFF800000u)

// e^x, the same operations and so the same bits as VectorMath.Exp on the host: 2^n · (1 + r + r²·q(r)); exactly 0 below -87.33654.
DEVICE float exponential(float x) {
    float shifted = fused(x, 1.44269504f, 12582912.0f);
    float n = shifted - 12582912.0f;
    float r = fused(n, -0.693145752f, x);
    r = fused(n, -1.42860682e-6f, r);
    float q = fused(0.00138147825258f, r, 0.00836883835549f);
    q = fused(q, r, 0.0416683954148f);
    q = fused(q, r, 0.166665196395f);
    q = fused(q, r, 0.499999933728f);
    q = fused(q, r * r, r) + 1.0f;
    float result = bits_to_float(float_to_bits(q) + (float_to_bits(shifted) << 23));
    if (x < -87.33654f) result = 0.0f;
    if (x > 88.72283f) result = bits_to_float(0x7F800000u);
    return result;
}

// ---- bfloat16: the upper half of an f32 ----------------------------------------------------------------------------------------------

DEVICE u16 to_bf16(float x) { u16 b; asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(b) : "f"(x)); return b; }
DEVICE float from_bf16(u16 b) { return bits_to_float((u32)b << 16); }
DEVICE float low_bf16(u32 pair) { return bits_to_float(pair << 16); }
DEVICE float high_bf16(u32 pair) { return bits_to_float(pair & 0xFFFF0000u); }
DEVICE u16 to_half(float x) { // magnitudes beyond the largest half become the largest half
    u16 b;
    x = x > 65504.0f ? 65504.0f : x < -65504.0f ? -65504.0f : x;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(b) : "f"(x));
    return b;
}

DEVICE float from_half(u16 b) { float f; asm("cvt.f32.f16 %0, %1;" : "=f"(f) : "h"(b)); return f; }

// ---- warps and blocks ----------------------------------------------------------------------------------------------------------------

DEVICE float shuffle_xor(float v, int mask) {
    u32 r;
    asm volatile("shfl.sync.bfly.b32 %0, %1, %2, 31, -1;" : "=r"(r) : "r"(float_to_bits(v)), "r"(mask));
    return bits_to_float(r);
}

DEVICE int shuffle_xor(int v, int mask) {
    u32 r;
    asm volatile("shfl.sync.bfly.b32 %0, %1, %2, 31, -1;" : "=r"(r) : "r"((u32)v), "r"(mask));
    return (int)r;
}

// Sum over the warp in one fixed order, in every lane.
DEVICE float warp_sum(float v) {
    for (int m = 16; m > 0; m >>= 1) v += shuffle_xor(v, m);
    return v;
}

DEVICE float warp_max(float v) {
    for (int m = 16; m > 0; m >>= 1) v = larger(v, shuffle_xor(v, m));
    return v;
}

// Sum over the block in one fixed order, in every thread. scratch: [32].
DEVICE float block_sum(float v, float* scratch) {
    int warps = block_size_x() >> 5;
    v = warp_sum(v);
    if ((thread_x() & 31) == 0) scratch[thread_x() >> 5] = v;
    barrier();
    float sum = 0.0f;
    for (int w = 0; w < warps; w++) sum += scratch[w];
    barrier();
    return sum;
}

// ---- memory --------------------------------------------------------------------------------------------------------------------------

// 16 bytes of weights: read once per pass, so they leave no trace in L1. The memory is not written while the kernel runs.
DEVICE words4 load_streamed(const words4* p) {
    words4 v;
    asm("ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];" : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w) : "l"(p));
    return v;
}

DEVICE words2 load_streamed(const words2* p) {
    words2 v;
    asm("ld.global.nc.L1::no_allocate.v2.u32 {%0, %1}, [%2];" : "=r"(v.x), "=r"(v.y) : "l"(p));
    return v;
}

// 16 bytes, or zeros where valid is false; without a branch.
DEVICE words4 load_if(const void* p, bool valid) {
    words4 v;
    asm volatile(
        "{\n\t.reg .pred valid;\n\tsetp.ne.s32 valid, %5, 0;\n\tmov.u32 %0, 0;\n\tmov.u32 %1, 0;\n\tmov.u32 %2, 0;\n\tmov.u32 %3, 0;\n\t"
        "@valid ld.global.v4.u32 {%0, %1, %2, %3}, [%4];\n\t}"
        : "=&r"(v.x), "=&r"(v.y), "=&r"(v.z), "=&r"(v.w)
        : "l"(p), "r"((int)valid));
    return v;
}

struct alignas(8) floats2 { float x, y; };

// Two floats, or zeros where valid is false; without a branch.
DEVICE floats2 load_pair_if(const float* p, bool valid) {
    floats2 v;
    asm volatile(
        "{\n\t.reg .pred valid;\n\tsetp.ne.s32 valid, %3, 0;\n\tmov.f32 %0, 0f00000000;\n\tmov.f32 %1, 0f00000000;\n\t"
        "@valid ld.global.v2.f32 {%0, %1}, [%2];\n\t}"
        : "=&f"(v.x), "=&f"(v.y)
        : "l"(p), "r"((int)valid));
    return v;
}

DEVICE u32 shared_address(const void* p) {
    u64 a;
    asm("cvta.to.shared.u64 %0, %1;" : "=l"(a) : "l"(p));
    return (u32)a;
}

// Copies 16 bytes to shared memory behind the thread's back; zeros where valid is false.
DEVICE void copy_async(void* shared, const void* global, bool valid) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(shared)), "l"(global), "r"(valid ? 16 : 0) : "memory");
}

// The same with 8 bytes.
DEVICE void copy_async_8(void* shared, const void* global, bool valid) {
    asm volatile("cp.async.ca.shared.global [%0], [%1], 8, %2;" ::"r"(shared_address(shared)), "l"(global), "r"(valid ? 8 : 0) : "memory");
}

DEVICE void copies_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int Pending> DEVICE void copies_wait() { asm volatile("cp.async.wait_group %0;" ::"n"(Pending) : "memory"); }

// ---- tensor cores (fragment maps: PTX ISA 9.7.14.5; g = lane / 4, t = lane % 4) -------------------------------------------------------

// d[16 × 8] += a[16 × 16] · b[16 × 8], bfloat16 in, f32 out. d0, d1: row g, columns 2t, 2t+1; d2, d3: row g + 8.
DEVICE void mma_bf16(float (&d)[4], const words4& a, u32 b0, u32 b1) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a.x), "r"(a.y), "r"(a.z), "r"(a.w), "r"(b0), "r"(b1));
}

// d[16 × 8] = a[16 × 32] · b[32 × 8], signed bytes in, exact integers out.
DEVICE void mma_s8(int (&d)[4], const words4& a, u32 b0, u32 b1) {
    asm("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%10, %10, %10, %10};"
        : "=r"(d[0]), "=r"(d[1]), "=r"(d[2]), "=r"(d[3])
        : "r"(a.x), "r"(a.y), "r"(a.z), "r"(a.w), "r"(b0), "r"(b1), "r"(0));
}

// ---- activations: the inputs of products ---------------------------------------------------------------------------------------------
//
// Three forms, all of rows of the same width, written by the kernels that end a chain of element-wise work, 32 consecutive features per warp:
//   bf16   values [rows, width]                  rounded to nearest
//   f32    values [3, rows, width]               three bfloat16 whose sum is the f32: high, middle, low
//   int8   bytes [rows, width], scales [rows, width / 32]   q = x · (127 / largest) to nearest of each block of 32, scale = largest / 127
// width is the input features rounded up to 64, the padding zero. Bytes of int8 stand, within 64 features, in the order in which a lane of the
// product takes them: block s (0, 1), t (0..3), j (0..7) at t·16 + s·8 + j for feature s·32 + t·8 + j.

enum ActivationForm { FORM_BF16 = 0, FORM_F32 = 1, FORM_INT8 = 2 };

// Stores feature f of a row; the warp's lanes hold 32 consecutive features, the first a multiple of 32. part: elements of [rows, width].
DEVICE void store_activation(int form, u8* values, float* scales, int row, int width, long long part, int f, float x) {
    if (form == FORM_INT8) {
        float largest = warp_max(magnitude(x));
        float inverse = largest < 1e-30f ? 0.0f : 127.0f / largest;
        float rounded = x * inverse + 12582912.0f; // the integer stands in the low mantissa bits
        int place = (f & ~63) + ((f >> 3) & 3) * 16 + ((f >> 5) & 1) * 8 + (f & 7);
        values[(long long)row * width + place] = (u8)float_to_bits(rounded);
        if ((f & 31) == 0) scales[(long long)row * (width >> 5) + (f >> 5)] = largest < 1e-30f ? 0.0f : largest / 127.0f;
        return;
    }

    u16* to = (u16*)values + (long long)row * width + f;
    u16 high = to_bf16(x);
    to[0] = high;
    if (form == FORM_F32) {
        float rest = x - from_bf16(high);
        u16 middle = to_bf16(rest);
        to[part] = middle;
        to[2 * part] = to_bf16(rest - from_bf16(middle));
    }
}

// ---- weights in fragment order --------------------------------------------------------------------------------------------------------
//
// [features, width] in strips of 32 features, units along K, two tiles of 16 features, two steps, 32 lanes of 16 bytes. A unit is 32 elements of
// bfloat16 or 64 bytes of int8, so that it always takes 2048 bytes. Lane (g, t) of tile m, step s holds
//   bf16   features 16m+g and 16m+g+8, elements 8t+4s+{0,1} and 8t+4s+{2,3} of the unit, as the registers a0..a3 of m16n8k16
//   int8   the same features, elements 32s+8t+{0..3} and 32s+8t+{4..7}, as a0..a3 of m16n8k32; scales (f16) follow all units of all strips:
//          [strips, units, 2 tiles, 8 g, 2 steps, 2 (g, g+8)]
// A unit's elements are a fixed permutation of those that the fragment maps name; activations are taken in the same order.

DEVICE long long bf16_weight_index(int feature, int k, int units) {
    int strip = feature >> 5, m = (feature >> 4) & 1, high = (feature >> 3) & 1, g = feature & 7;
    int unit = k >> 5, t = (k >> 3) & 3, s = (k >> 2) & 1, j = k & 3;
    long long lane = ((((long long)strip * units + unit) * 2 + m) * 2 + s) * 32 + g * 4 + t;
    return lane * 8 + ((j >> 1) * 2 + high) * 2 + (j & 1);
}

DEVICE long long int8_weight_index(int feature, int k, int units) {
    int strip = feature >> 5, m = (feature >> 4) & 1, high = (feature >> 3) & 1, g = feature & 7;
    int unit = k >> 6, s = (k >> 5) & 1, t = (k >> 3) & 3, j = k & 7;
    long long lane = ((((long long)strip * units + unit) * 2 + m) * 2 + s) * 32 + g * 4 + t;
    return lane * 16 + ((j >> 2) * 2 + high) * 4 + (j & 3);
}

DEVICE long long int8_scale_index(int feature, int k, int units) {
    int strip = feature >> 5, m = (feature >> 4) & 1, high = (feature >> 3) & 1, g = feature & 7;
    return (((((long long)strip * units + (k >> 6)) * 2 + m) * 8 + g) * 2 + ((k >> 5) & 1)) * 2 + high;
}
