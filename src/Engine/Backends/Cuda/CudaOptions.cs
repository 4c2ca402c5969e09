namespace Foretoken.Backends.Cuda;

/// <summary>How a <see cref="CudaBackend"/> computes.</summary>
public sealed record CudaOptions
{
    /// <summary>Number of the device, from 0.</summary>
    public int Device { get; init; }

    /// <summary>
    /// Inputs of products with bf16 weights keep 24 bits instead of being rounded to bf16: three products instead of one, for comparisons with the CPU.
    /// 8-bit weights take 8-bit activations either way.
    /// </summary>
    public bool FloatActivations { get; init; }

    /// <summary>Record each kind of pass once and then enqueue it with one call.</summary>
    public bool Graphs { get; init; } = true;
}
