using System.Diagnostics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using Foretoken.Memory;

namespace Foretoken.Backends.Cpu;

/// <summary>
/// The roofline of decoding: how fast a thread team reads memory. Probed beside a measurement, in the same run, because shared machines differ from
/// minute to minute; figures are then given as a share of it.
/// </summary>
public sealed unsafe class MemoryProbe : IDisposable
{
    /// <summary>Large enough that caches do not matter.</summary>
    public const long DefaultBytes = 512L << 20;

    private const long ChunkBytes = 1 << 20;
    private readonly ThreadTeam _team;
    private readonly NativeBuffer _buffer;
    private readonly ulong[] _sinks; // [threads, 8] keep the reads from being removed

    /// <summary>Allocates and touches the memory that is read.</summary>
    public MemoryProbe(ThreadTeam team, long bytes = DefaultBytes)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(bytes, ChunkBytes);
        _team = team;
        _buffer = NativeBuffer.Allocate(bytes / ChunkBytes * ChunkBytes, "memory probe");
        _sinks = new ulong[team.Threads * 8];
        for (long i = 0; i < _buffer.Bytes; i += 4096) _buffer.Pointer[i] = 1; // untouched pages all map to one page of zeros
    }

    /// <summary>Reads the buffer once with all threads.</summary>
    /// <returns>10^9 bytes per second.</returns>
    public double Run()
    {
        var job = new ReadJob { Memory = _buffer.Pointer, Sinks = _sinks };
        long start = Stopwatch.GetTimestamp();
        _team.Run(ref job, (int)(_buffer.Bytes / ChunkBytes));
        return _buffer.Bytes / Stopwatch.GetElapsedTime(start).TotalSeconds / 1e9;
    }

    /// <inheritdoc/>
    public void Dispose() => _buffer.Dispose();

    private struct ReadJob : IParallelJob
    {
        public byte* Memory;
        public ulong[] Sinks;

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        public readonly void Execute(int chunk, int thread)
        {
            byte* p = Memory + chunk * ChunkBytes;
            Vector256<ulong> a = Vector256<ulong>.Zero, b = a, c = a, d = a;
            for (byte* end = p + ChunkBytes; p < end; p += 128)
            {
                a ^= Vector256.Load((ulong*)p);
                b ^= Vector256.Load((ulong*)p + 4);
                c ^= Vector256.Load((ulong*)p + 8);
                d ^= Vector256.Load((ulong*)p + 12);
            }

            Sinks[thread * 8] ^= Vector256.Sum(a ^ b ^ c ^ d);
        }
    }
}
