using System.Diagnostics;
using System.Runtime.CompilerServices;
using Foretoken.Backends.Cpu.Emitter;
using Foretoken.Backends.Cpu.Lanes;

namespace Foretoken.Backends.Cpu;

/// <summary>
/// The other roofline, beside <see cref="MemoryProbe"/>: how fast a thread team multiplies and adds out of registers, with the instructions of attention.
/// Passes of several rows are bound by it.
/// </summary>
public sealed unsafe class ArithmeticProbe(ThreadTeam team)
{
    private const int Rounds = 40_000; // of twelve or sixteen instructions: about a tenth of a millisecond
    private const int ChunksPerThread = 16;
    private readonly float[] _sinks = new float[team.Threads * 16]; // keep the sums from being removed

    /// <summary>Multiplies as attention to keys and values of a type does: f32 by fma, int8 by pairs of 16-bit words with sums in 32 bits.</summary>
    /// <param name="type">Storage of keys and values.</param>
    /// <param name="level">Instruction set; null = the best of the machine.</param>
    /// <returns>10^9 operations per second; a multiplication and its addition are two.</returns>
    public double Run(KvType type, IsaLevel? level = null)
    {
        ProbeLoop loop = ProbeLoop.For(level ?? IsaLevels.Best, type == KvType.Int8);
        var job = new Job { Loop = loop, Sinks = _sinks };
        long start = Stopwatch.GetTimestamp();
        team.Run(ref job, ChunksPerThread * team.Threads);
        return ChunksPerThread * team.Threads * (double)Rounds * loop.OperationsPerRound / Stopwatch.GetElapsedTime(start).TotalSeconds / 1e9;
    }

    private struct Job : IParallelJob
    {
        public ProbeLoop Loop;
        public float[] Sinks;

        public readonly void Execute(int chunk, int thread)
        {
            float* sums = stackalloc float[16];
            Loop.Run(Rounds, sums);
            Sinks[thread * 16] += sums[0];
        }
    }
}

/// <summary>One loop of independent sums in registers.</summary>
internal abstract unsafe class ProbeLoop
{
    /// <summary>Operations of one round.</summary>
    public abstract int OperationsPerRound { get; }

    public static ProbeLoop For(IsaLevel level, bool words) => level switch
    {
        IsaLevel.Emitted when words => new EmittedProbe(EmittedAttention.Instance),
        IsaLevel.Emitted or IsaLevel.Avx512 => For<Lanes512, WordLanes512>(words),
        IsaLevel.Avx2 => For<Lanes256, WordLanes256>(words),
        _ => For<Lanes128, WordLanes128>(words),
    };

    /// <summary>Runs so many rounds.</summary>
    /// <param name="rounds">At least one.</param>
    /// <param name="sums">Receives a sum. // [16]</param>
    public abstract void Run(int rounds, float* sums);

    private static ProbeLoop For<TLanes, TWords>(bool words)
        where TLanes : struct, ILanes<TLanes>
        where TWords : struct, IWordLanes<TWords> => words ? new WordProbe<TWords>() : typeof(TLanes) == typeof(Lanes512) ? new WideProbe<TLanes>() : new NarrowProbe<TLanes>();

    /// <summary>Twelve sums of sixteen lanes, for 32 registers: two pipes that take four cycles are filled.</summary>
    private sealed class WideProbe<TLanes> : ProbeLoop
        where TLanes : struct, ILanes<TLanes>
    {
        public override int OperationsPerRound => 12 * 16 * 2;

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        public override void Run(int rounds, float* sums)
        {
            TLanes x = TLanes.Broadcast(0.5f), y = TLanes.Broadcast(0.25f);
            TLanes a = TLanes.Zero, b = a, c = a, d = a, e = a, f = a, g = a, h = a, i = a, j = a, k = a, l = a;
            for (; rounds > 0; rounds--)
            {
                a = TLanes.MultiplyAdd(x, y, a);
                b = TLanes.MultiplyAdd(x, y, b);
                c = TLanes.MultiplyAdd(x, y, c);
                d = TLanes.MultiplyAdd(x, y, d);
                e = TLanes.MultiplyAdd(x, y, e);
                f = TLanes.MultiplyAdd(x, y, f);
                g = TLanes.MultiplyAdd(x, y, g);
                h = TLanes.MultiplyAdd(x, y, h);
                i = TLanes.MultiplyAdd(x, y, i);
                j = TLanes.MultiplyAdd(x, y, j);
                k = TLanes.MultiplyAdd(x, y, k);
                l = TLanes.MultiplyAdd(x, y, l);
            }

            (a + b + c + d + e + f + (g + h + i + j + k + l)).Store(sums);
        }
    }

    /// <summary>The same for 16 registers, of which sixteen lanes take two or four.</summary>
    private sealed class NarrowProbe<TLanes> : ProbeLoop
        where TLanes : struct, ILanes<TLanes>
    {
        public override int OperationsPerRound => 3 * 16 * 2;

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        public override void Run(int rounds, float* sums)
        {
            TLanes x = TLanes.Broadcast(0.5f), a = TLanes.Zero, b = a, c = a;
            for (; rounds > 0; rounds--)
            {
                a = TLanes.MultiplyAdd(x, x, a);
                b = TLanes.MultiplyAdd(x, x, b);
                c = TLanes.MultiplyAdd(x, x, c);
            }

            (a + b + c).Store(sums);
        }
    }

    /// <summary>Pairs of words, multiplied and added as the kernels do.</summary>
    private sealed class WordProbe<TWords> : ProbeLoop
        where TWords : struct, IWordLanes<TWords>
    {
        public override int OperationsPerRound => 3 * 32 * 2;

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        public override void Run(int rounds, float* sums)
        {
            TWords x = TWords.Broadcast(0x00010001), a = TWords.Zero, b = a, c = a;
            for (; rounds > 0; rounds--)
            {
                a = TWords.MultiplyAdd(x, x, a);
                b = TWords.MultiplyAdd(x, x, b);
                c = TWords.MultiplyAdd(x, x, c);
            }

            a.StoreScaled(sums, 1f);
            float first = sums[0];
            b.StoreScaled(sums, 1f);
            first += sums[0];
            c.StoreScaled(sums, 1f);
            sums[0] += first;
        }
    }

    private sealed class EmittedProbe(EmittedAttention code) : ProbeLoop
    {
        public override int OperationsPerRound => AttentionCode.ProbeSums * 32 * 2;

        public override void Run(int rounds, float* sums) => code.Probe(rounds);
    }
}
