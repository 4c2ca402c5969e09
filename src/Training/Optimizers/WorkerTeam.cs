namespace Foretoken.Training;

/// <summary>
/// A few dedicated threads that take independent items of work one after another. What an item computes must not depend on which thread runs it;
/// then results do not depend on the number of threads or on how busy the machine is.
/// </summary>
public sealed class WorkerTeam : IDisposable
{
    private readonly Thread[] _threads;
    private readonly SemaphoreSlim _start = new(0);
    private readonly CountdownEvent _done;
    private Action<int, int> _work = static (_, _) => { };
    private int _items, _next;
    private Exception? _failure;
    private volatile bool _stopping;

    /// <summary><paramref name="workers"/> threads in all, the caller's included.</summary>
    public WorkerTeam(int workers)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(workers, 1);
        Workers = workers;
        _done = new CountdownEvent(workers - 1);
        _threads = new Thread[workers - 1];
        for (int i = 0; i < _threads.Length; i++)
        {
            int worker = i + 1;
            _threads[i] = new Thread(() => Loop(worker)) { IsBackground = true, Name = $"trainer {worker}" };
            _threads[i].Start();
        }
    }

    /// <summary>Threads that work, the caller's included.</summary>
    public int Workers { get; }

    /// <summary>Runs <paramref name="work"/>(item, worker) for every item in [0, items) and returns when all are done; rethrows the first failure.</summary>
    public void Run(int items, Action<int, int> work)
    {
        (_work, _items, _next, _failure) = (work, items, 0, null);
        if (_threads.Length > 0)
        {
            _done.Reset();
            _start.Release(_threads.Length);
        }
        TakeItems(0);
        if (_threads.Length > 0) _done.Wait();
        if (_failure is not null) throw new InvalidOperationException(_failure.Message, _failure);
    }

    private void Loop(int worker)
    {
        while (true)
        {
            _start.Wait();
            if (_stopping) return;
            TakeItems(worker);
            _done.Signal();
        }
    }

    private void TakeItems(int worker)
    {
        try
        {
            for (int item = Interlocked.Increment(ref _next) - 1; item < _items; item = Interlocked.Increment(ref _next) - 1) _work(item, worker);
        }
        catch (Exception exception)
        {
            Interlocked.CompareExchange(ref _failure, exception, null);
            Interlocked.Exchange(ref _next, _items);
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _stopping = true;
        _start.Release(Math.Max(1, _threads.Length));
        foreach (Thread thread in _threads) thread.Join();
        _start.Dispose();
        _done.Dispose();
    }
}
