// What every kernel starts from: the keywords and built-in coordinates, for clang without the CUDA SDK and for nvcc alike.
#pragma once

#if defined(__NVCC__)
__device__ __forceinline__ int thread_x() { return (int)threadIdx.x; }
__device__ __forceinline__ int block_x() { return (int)blockIdx.x; }
__device__ __forceinline__ int block_y() { return (int)blockIdx.y; }
__device__ __forceinline__ int block_z() { return (int)blockIdx.z; }
__device__ __forceinline__ int block_size_x() { return (int)blockDim.x; }
__device__ __forceinline__ int grid_size_x() { return (int)gridDim.x; }
__device__ __forceinline__ int grid_size_y() { return (int)gridDim.y; }
#else
#define __global__ __attribute__((global))
#define __device__ __attribute__((device))
#define __shared__ __attribute__((shared))
#define __constant__ __attribute__((constant))
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...) __attribute__((launch_bounds(__VA_ARGS__)))
__device__ __forceinline__ int thread_x() { return (int)__nvvm_read_ptx_sreg_tid_x(); }
__device__ __forceinline__ int block_x() { return (int)__nvvm_read_ptx_sreg_ctaid_x(); }
__device__ __forceinline__ int block_y() { return (int)__nvvm_read_ptx_sreg_ctaid_y(); }
__device__ __forceinline__ int block_z() { return (int)__nvvm_read_ptx_sreg_ctaid_z(); }
__device__ __forceinline__ int block_size_x() { return (int)__nvvm_read_ptx_sreg_ntid_x(); }
__device__ __forceinline__ int grid_size_x() { return (int)__nvvm_read_ptx_sreg_nctaid_x(); }
__device__ __forceinline__ int grid_size_y() { return (int)__nvvm_read_ptx_sreg_nctaid_y(); }
#endif
