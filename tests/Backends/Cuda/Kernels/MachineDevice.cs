using Foretoken.Backends.Cuda;
using Foretoken.Ptx;
using Foretoken.Ptx.Driver;

namespace Foretoken.Tests.Backends.Cuda.Kernels;

/// <summary>The PTX machine as a CUDA device: the engine's own driver table over it.</summary>
internal sealed class MachineDevice : IDisposable
{
    public MachineDevice(PtxMachineOptions? options = null)
    {
        Driver = new PtxDriver(options ?? new PtxMachineOptions { Threads = 2 });
        Platform = CudaPlatform.Over(new CudaDriver(PtxDriver.Fill<CudaDriverTable>()));
    }

    public PtxDriver Driver { get; }

    public PtxMachine Machine => Driver.Machine;

    public CudaPlatform Platform { get; }

    public void Dispose() => Driver.Dispose();
}
