namespace Foretoken.Backends.Cpu;

/// <summary>How a <see cref="CpuBackend"/> uses the machine. Neither setting changes a bit of any result.</summary>
public sealed record CpuOptions
{
    /// <summary>Threads that compute, the caller included; 0 = one per processor that this process may use: its affinity and the CPU limit of its cgroup count.</summary>
    public int Threads { get; init; }

    /// <summary>Threads of another backend to compute on, instead of threads of its own; they stay the other's. The two never run a pass at the same time.</summary>
    public ThreadTeam? Team { get; init; }

    /// <summary>The kernels to run; null = the fastest that the machine supports.</summary>
    public IsaLevel? IsaLevel { get; init; }
}
