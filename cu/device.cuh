// What every kernel starts from: the keywords and built-in coordinates, for clang without the CUDA SDK and for nvcc alike.
#pragma once

#if defined(__NVCC__)
__device__ __forceinline__ unsigned thread_x() { return threadIdx.x; }
__device__ __forceinline__ unsigned block_x() { return blockIdx.x; }
__device__ __forceinline__ unsigned block_size_x() { return blockDim.x; }
__device__ __forceinline__ unsigned grid_size_x() { return gridDim.x; }
#else
#define __global__ __attribute__((global))
#define __device__ __attribute__((device))
#define __shared__ __attribute__((shared))
#define __constant__ __attribute__((constant))
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...) __attribute__((launch_bounds(__VA_ARGS__)))
__device__ __forceinline__ unsigned thread_x() { return __nvvm_read_ptx_sreg_tid_x(); }
__device__ __forceinline__ unsigned block_x() { return __nvvm_read_ptx_sreg_ctaid_x(); }
__device__ __forceinline__ unsigned block_size_x() { return __nvvm_read_ptx_sreg_ntid_x(); }
__device__ __forceinline__ unsigned grid_size_x() { return __nvvm_read_ptx_sreg_nctaid_x(); }
#endif
