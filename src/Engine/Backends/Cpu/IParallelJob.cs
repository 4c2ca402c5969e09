namespace Foretoken.Backends.Cpu;

/// <summary>Work that a <see cref="ThreadTeam"/> runs in chunks. A struct, so that a fork-join allocates nothing.</summary>
public interface IParallelJob
{
    /// <summary>Runs one chunk. Chunks are handed out dynamically: the result must not depend on which thread runs which chunk.</summary>
    /// <param name="chunk">0..chunks−1.</param>
    /// <param name="thread">0..Threads−1, for per-thread scratch memory.</param>
    void Execute(int chunk, int thread);
}
