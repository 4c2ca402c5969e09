using Foretoken.Backends.Cpu;
using Foretoken.Backends.Cuda;

namespace Foretoken.Backends;

/// <summary>Where a model runs.</summary>
public enum ComputeDevice
{
    /// <summary>The processor.</summary>
    Cpu,

    /// <summary>The first NVIDIA GPU.</summary>
    Cuda,
}

/// <summary>Makes the backend of a device.</summary>
internal static class BackendFactory
{
    /// <param name="device">Where the model is to run.</param>
    /// <param name="threads">Threads of the processor; 0 = one per processor.</param>
    /// <param name="platform">What to see of CUDA; null = what this process finds.</param>
    /// <param name="cuda">How a CUDA device computes; null = as usual.</param>
    /// <exception cref="CudaUnavailableException">CUDA is asked for and not to be had; the message says why and what to do.</exception>
    public static IBackend Create(ComputeDevice device, int threads, CudaPlatform? platform, CudaOptions? cuda = null)
    {
        return device == ComputeDevice.Cpu
            ? CpuBackend.Create(new CpuOptions { Threads = threads })
            : CudaBackend.Create(platform ?? CudaPlatform.Find(), cuda);
    }

    /// <summary>A backend of the processor for a draft model, which shares the threads of <paramref name="backend"/> where that runs there too.</summary>
    public static IBackend CreateBeside(IBackend backend, int threads) =>
        CpuBackend.Create(backend is CpuBackend cpu ? new CpuOptions { Team = cpu.Team } : new CpuOptions { Threads = threads });
}
