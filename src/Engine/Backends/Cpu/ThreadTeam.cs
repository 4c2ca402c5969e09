using System.Runtime.CompilerServices;

namespace Foretoken.Backends.Cpu;

/// <summary>
/// Dedicated threads that run one <see cref="IParallelJob"/> at a time together with the caller. Chunks are drawn from a shared counter, so that a
/// thread that loses its core does not hold up the others' work; waiting spins briefly and then yields. Run allocates nothing.
/// </summary>
public sealed unsafe class ThreadTeam : IDisposable
{
    private const int SpinsBeforeYield = 2_000;
    private const int YieldsBeforeSleep = 2_000;
    private readonly Thread[] _threads;
    private readonly object _sleep = new();
    private volatile int _generation;
    private volatile int _pending;
    private volatile bool _stop;
    private int _next;
    private int _chunks;
    private void* _job;
    private delegate*<void*, int, int, void> _execute;
    private volatile Exception? _failure;
    private volatile int _sleepers;

    public ThreadTeam(int threads)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(threads, 1);
        Threads = threads;
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

    /// <summary>Runs chunks 0..<paramref name="chunks"/>−1 of <paramref name="job"/> and returns when all are done.</summary>
    /// <remarks>The job may hold references: it lives on the caller's stack, which the collector updates in place.</remarks>
    public void Run<TJob>(ref TJob job, int chunks)
        where TJob : struct, IParallelJob
    {
        if (_threads.Length == 0 || chunks <= 1)
        {
            for (int c = 0; c < chunks; c++) job.Execute(c, 0);
            return;
        }

        _job = Unsafe.AsPointer(ref job);
        _execute = &Invoke<TJob>;
        _chunks = chunks;
        Volatile.Write(ref _next, 0);
        _pending = _threads.Length;
        Interlocked.Increment(ref _generation); // a full fence: the workers see the job before the generation, and sleepers are counted after it
        if (_sleepers != 0) Wake();
        Drain(0);
        int spins = 0;
        while (_pending != 0) Pause(ref spins);
        if (_failure is { } failure)
        {
            _failure = null;
            throw new InvalidOperationException($"A worker thread failed: {failure.Message}", failure);
        }
    }

    public void Dispose()
    {
        if (_stop) return;
        _stop = true;
        Interlocked.Increment(ref _generation);
        Wake();
        foreach (Thread t in _threads) t.Join();
    }

    private static void Invoke<TJob>(void* job, int chunk, int thread)
        where TJob : struct, IParallelJob => Unsafe.AsRef<TJob>(job).Execute(chunk, thread);

    private void Drain(int thread)
    {
        try
        {
            for (int c; (c = Interlocked.Increment(ref _next) - 1) < _chunks;) _execute(_job, c, thread);
        }
        catch (Exception e)
        {
            _failure = e;
            Volatile.Write(ref _next, _chunks);
        }
    }

    private void Work(int thread)
    {
        int seen = 0;
        while (true)
        {
            seen = WaitForWork(seen);
            if (_stop) return;
            Drain(thread);
            Interlocked.Decrement(ref _pending);
        }
    }

    private int WaitForWork(int seen)
    {
        int spins = 0;
        while (_generation == seen)
        {
            if (spins < SpinsBeforeYield + YieldsBeforeSleep)
            {
                Pause(ref spins);
                continue;
            }

            lock (_sleep) // idle engines must not burn a core
            {
                Interlocked.Increment(ref _sleepers);
                while (_generation == seen) Monitor.Wait(_sleep);
                Interlocked.Decrement(ref _sleepers);
            }
        }

        return _generation;
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
}
