// Declares what nvcc knows by itself, so that clang can check the branches of the sources that are nvcc's, where no CUDA toolkit is installed:
// clang-19 -x cuda -fsyntax-only -D__NVCC__ -include cu/check/nvcc_names.h …   (dotnet cake --target=PtxCheck). Nothing is compiled from it.
#pragma once

#define __global__ __attribute__((global))
#define __device__ __attribute__((device))
#define __shared__ __attribute__((shared))
#define __constant__ __attribute__((constant))
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...) __attribute__((launch_bounds(__VA_ARGS__)))

struct Coordinates { unsigned x, y, z; };
extern __device__ const Coordinates threadIdx, blockIdx, blockDim, gridDim;

__device__ float __fmaf_rn(float, float, float);
__device__ double __fma_rn(double, double, double);
__device__ float fmaxf(float, float);
__device__ float fabsf(float);
__device__ float __fsqrt_rn(float);
__device__ float __uint_as_float(unsigned);
__device__ unsigned __float_as_uint(float);
