namespace Foretoken.Backends.Cuda;

/// <summary>A kernel as its PTX declares it.</summary>
/// <param name="EntryPoint">Its name in the module.</param>
/// <param name="Module">Its module: <c>cu/ptx/MODULE.ptx</c>.</param>
/// <param name="MaxThreads">Most threads of a block that it was compiled for; 0 = no limit named.</param>
/// <param name="DynamicShared">Whether its module uses shared memory whose size the launch gives.</param>
internal sealed record CudaKernelInfo(string EntryPoint, string Module, int MaxThreads, bool DynamicShared);

/// <summary>What a kernel takes on a device after the driver has compiled it.</summary>
/// <param name="Kernel">The kernel.</param>
/// <param name="Registers">Registers per thread.</param>
/// <param name="StaticSharedBytes">Shared memory per block, what the launch adds not counted.</param>
/// <param name="LocalBytes">Bytes of local memory per thread. More than 0 means that registers spill or that an array is indexed dynamically: both are slow.</param>
/// <param name="MaxThreads">Most threads of a block that the registers allow.</param>
internal sealed record CudaKernelUse(CudaKernelInfo Kernel, int Registers, int StaticSharedBytes, int LocalBytes, int MaxThreads);
