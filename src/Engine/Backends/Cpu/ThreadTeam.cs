using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Foretoken.Backends.Cpu;

/// <summary>
/// Dedicated threads that run one <see cref="IParallelJob"/> at a time together with the caller. Every thread begins with a contiguous share of the chunks,
/// taken front to back, so that it knows what comes next and can prefetch it; who has finished takes chunks from the back of the others' shares. The caller
/// waits for chunks, not for threads: a thread that has no core when a job begins holds up nothing, one that loses its core holds up one chunk.
/// Waiting spins briefly, then yields, then sleeps. Run allocates nothing.
/// </summary>
public sealed unsafe class ThreadTeam : IDisposable
{
    private const int MostUnits = ushort.MaxValue; // what a share can count; larger jobs are handed out in units of several chunks
    private const int Line = 16;                   // longs between two shares: 128 bytes, so that no two threads write the same cache lines
    private const int SpinsBeforeYield = 2_000;
    private const int YieldsBeforeSleep = 2_000;
    private readonly Thread[] _threads;
    private readonly long[] _shares; // per thread: number of the job << 32 | first free unit << 16 | end of the free units
    private readonly object _sleep = new();
    private Counters _counters;
    private volatile bool _stop;
    private Exception? _failure;
    private volatile int _sleepers;
    private void* _job;
    private delegate*<void*, int, int, void> _execute;
    private int _chunks;
    private int _unitChunks;

    /// <summary>Starts <paramref name="threads"/> − 1 threads; the caller of <see cref="Run"/> is the last one.</summary>
    public ThreadTeam(int threads)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(threads, 1);
        Threads = threads;
        _shares = new long[(threads + 1) * Line];
        _threads = new Thread[threads - 1];
        for (int i = 0; i < _threads.Length; i++)
        {
            int index = i + 1;
            _threads[i] = new Thread(() => Work(index)) { IsBackground = true, Name = $"foretoken-{index}" };
            _threads[i].Start();
        }
    }

    /// <summary>Threads that work on a job, the caller included.</summary>
    public int Threads { get; }

    /// <summary>Runs chunks 0..<paramref name="chunks"/>−1 of <paramref name="job"/> and returns when all are done. One caller at a time.</summary>
    /// <exception cref="InvalidOperationException">A chunk failed; the inner exception is a failure, the first one seen. Chunks after it may not have run.</exception>
    /// <remarks>The job may hold references: it lives on the caller's stack, which the collector updates in place.</remarks>
    public void Run<TJob>(ref TJob job, int chunks)
        where TJob : struct, IParallelJob
    {
        if (_threads.Length == 0 || chunks <= 1)
        {
            RunAlone(ref job, chunks);
            return;
        }

        _job = Unsafe.AsPointer(ref job);
        _execute = &Invoke<TJob>;
        _chunks = chunks;
        _unitChunks = (chunks + MostUnits - 1) / MostUnits;
        int units = (chunks + _unitChunks - 1) / _unitChunks;
        _counters.Done = 0;
        long generation = _counters.Generation + 1;
        for (int t = 0; t < Threads; t++)
            Volatile.Write(ref Share(t), generation << 32 | (long)FirstOf(t, units, Threads) << 16 | (long)FirstOf(t + 1, units, Threads));
        Interlocked.Exchange(ref _counters.Generation, generation); // a full fence: sleepers are counted after the job can be seen
        if (_sleepers != 0) Wake();
        Drain(0);
        int spins = 0;
        while (Volatile.Read(ref _counters.Done) != units) Pause(ref spins);
        if (_failure is { } failure)
        {
            _failure = null;
            throw Failed(failure);
        }
    }

    /// <summary>The first chunk of a thread's share; the share ends where the next thread's begins.</summary>
    public static int FirstOf(int thread, int chunks, int threads) => (int)((long)chunks * thread / threads);

    /// <inheritdoc/>
    public void Dispose()
    {
        if (_stop) return;
        _stop = true;
        Interlocked.Increment(ref _counters.Generation); // a job without chunks
        Wake();
        foreach (Thread t in _threads) t.Join();
    }

    private static void Invoke<TJob>(void* job, int chunk, int thread)
        where TJob : struct, IParallelJob => Unsafe.AsRef<TJob>(job).Execute(chunk, thread);

    /// <summary>The same without other threads.</summary>
    private static void RunAlone<TJob>(ref TJob job, int chunks)
        where TJob : struct, IParallelJob
    {
        try
        {
            for (int c = 0; c < chunks; c++) job.Execute(c, 0);
        }
        catch (Exception e)
        {
            throw Failed(e);
        }
    }

    private static InvalidOperationException Failed(Exception failure) => new($"A worker thread failed: {failure.Message}", failure);

    /// <summary>
    /// Takes units while there are any: from the front of the own share, then from the back of the others'. A successful exchange proves that the share's
    /// job still runs, as one of its units was free until then; so the job's fields, read before the exchange, belong to it, however late this thread comes.
    /// </summary>
    private void Drain(int thread)
    {
        int done = 0;
        for (int i = 0; i < Threads; i++)
        {
            int owner = thread + i < Threads ? thread + i : thread + i - Threads;
            ref long share = ref Share(owner);
            while (true)
            {
                long free = Volatile.Read(ref share);
                int first = (int)(free >> 16) & 0xFFFF, end = (int)free & 0xFFFF;
                if (first >= end) break;
                void* job = _job;
                delegate*<void*, int, int, void> execute = _execute;
                int chunks = _chunks, unitChunks = _unitChunks;
                if (Interlocked.CompareExchange(ref share, i == 0 ? free + 0x10000 : free - 1, free) != free) continue;
                int chunk = (i == 0 ? first : end - 1) * unitChunks, last = Math.Min(chunk + unitChunks, chunks);
                for (; chunk < last && _failure is null; chunk++) Execute(execute, job, chunk, thread);
                done++;
            }
        }

        if (done != 0) Interlocked.Add(ref _counters.Done, done);
    }

    private ref long Share(int thread) => ref _shares[(thread + 1) * Line];

    private void Execute(delegate*<void*, int, int, void> execute, void* job, int chunk, int thread)
    {
        try
        {
            execute(job, chunk, thread);
        }
        catch (Exception e)
        {
            Interlocked.CompareExchange(ref _failure, e, null);
        }
    }

    private void Work(int thread)
    {
        long seen = 0;
        while (true)
        {
            seen = WaitForWork(seen);
            if (_stop) return;
            Drain(thread);
        }
    }

    /// <summary>Returns the generation of a job that is not <paramref name="seen"/>.</summary>
    private long WaitForWork(long seen)
    {
        int spins = 0;
        long generation;
        while ((generation = Volatile.Read(ref _counters.Generation)) == seen)
        {
            if (spins < SpinsBeforeYield + YieldsBeforeSleep)
            {
                Pause(ref spins);
                continue;
            }

            lock (_sleep) // idle engines must not burn a core
            {
                Interlocked.Increment(ref _sleepers);
                while (Volatile.Read(ref _counters.Generation) == seen) Monitor.Wait(_sleep);
                Interlocked.Decrement(ref _sleepers);
            }
        }

        return generation;
    }

    private void Wake()
    {
        lock (_sleep) Monitor.PulseAll(_sleep);
    }

    private static void Pause(ref int spins)
    {
        if (++spins < SpinsBeforeYield) Thread.SpinWait(1);
        else Thread.Yield();
    }

    /// <summary>The words that all threads write, each on cache lines of its own.</summary>
    [StructLayout(LayoutKind.Explicit, Size = 384)]
    private struct Counters
    {
        /// <summary>Number of the last job.</summary>
        [FieldOffset(128)]
        public long Generation;

        /// <summary>Units that are finished.</summary>
        [FieldOffset(256)]
        public int Done;
    }
}
