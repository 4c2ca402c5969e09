using System.Diagnostics;
using Foretoken.Backends;
using Foretoken.Sampling;

namespace Foretoken.Speculation;

/// <summary>How far a drafter of a <see cref="Governor"/> is.</summary>
public enum DrafterState
{
    /// <summary>It drafts when it is asked.</summary>
    Ready,

    /// <summary>Its weights were not wanted yet.</summary>
    Waiting,

    /// <summary>Its weights are being read.</summary>
    Loading,

    /// <summary>Its weights could not be read: it never drafts.</summary>
    Retired,
}

/// <summary>
/// A drafter whose weights are read when somebody first wants it, on a thread of its own beside the steps. Until they are there it hears of nothing, and a drafter
/// that comes to a running sequence begins with what comes then. Weights that cannot be read retire it: requests go on without.
/// </summary>
/// <remarks>All but <see cref="Wait"/> is for the thread that steps; a step sees the weights from its <see cref="Poll"/> on.</remarks>
internal sealed class LazyDrafter(IDeferredDrafter inner) : IDrafter
{
    private readonly CancellationTokenSource _cancellation = new();
    private Thread? _thread;
    private volatile DrafterState _state = DrafterState.Waiting;
    private bool _ready, _disposed;

    public string Name => inner.Name;

    public int MaxNodes => inner.MaxNodes;

    public int MaxDepth => inner.MaxDepth;

    public bool RunsModel => inner.RunsModel;

    public DrafterState State => _state;

    /// <summary>Its weights are there, and <see cref="Poll"/> has seen them.</summary>
    public bool IsReady => _ready;

    /// <summary>Why its weights could not be read.</summary>
    public string? Problem { get; private set; }

    /// <summary>What reading them took.</summary>
    public double LoadMilliseconds { get; private set; }

    /// <summary>For tests: called by the thread that reads before it begins.</summary>
    internal Action? Loading { get; set; }

    /// <summary>For tests: starts the thread that reads.</summary>
    internal Action<Thread> Start { get; set; } = thread => thread.Start();

    /// <summary>Begins to read the weights.</summary>
    public void Load()
    {
        if (_state != DrafterState.Waiting) return;
        _state = DrafterState.Loading;
        var thread = new Thread(Read) { IsBackground = true, Name = $"foretoken-load-{Name}", Priority = ThreadPriority.BelowNormal };
        try
        {
            Start(thread);
            _thread = thread;
        }
        catch (Exception e) when (e is OutOfMemoryException or ThreadStartException)
        {
            Retire($"the system starts no thread to read its weights: {e.Message}");
        }
    }

    /// <summary>Looks, once in a step, whether the weights are there.</summary>
    public void Poll() => _ready |= _state == DrafterState.Ready;

    /// <summary>Waits for a load that has begun.</summary>
    public void Wait() => _thread?.Join();

    public void Propose(ReadOnlySpan<DraftRequest> requests, TokenForest forest)
    {
        if (_ready) inner.Propose(requests, forest);
    }

    public void Committed(int sequence, TokenHistory path, RowBatch rows, ReadOnlySpan<int> accepted)
    {
        if (_ready) inner.Committed(sequence, path, rows, accepted);
    }

    public void Observe(ReadOnlySpan<DraftRequest> requests, ReadOnlySpan<Acceptance> acceptances, TokenForest forest)
    {
        if (_ready) inner.Observe(requests, acceptances, forest);
    }

    public void Measured(in StepCost cost)
    {
        if (_ready) inner.Measured(cost);
    }

    public void Fork(int source, int sequence, int tokens)
    {
        if (_ready) inner.Fork(source, sequence, tokens);
    }

    public void Release(int sequence)
    {
        if (_ready) inner.Release(sequence);
    }

    public void Dispose()
    {
        if (_disposed) return;
        _disposed = true;
        _cancellation.Cancel();
        Wait();
        _cancellation.Dispose();
        if (_state != DrafterState.Retired) inner.Dispose();
    }

    private void Read()
    {
        long start = Stopwatch.GetTimestamp();
        try
        {
            Loading?.Invoke();
            inner.LoadWeights(_cancellation.Token);
            LoadMilliseconds = Stopwatch.GetElapsedTime(start).TotalMilliseconds;
            _state = DrafterState.Ready;
        }
        catch (OperationCanceledException) when (_cancellation.IsCancellationRequested)
        {
            // it is being disposed
        }
        catch (Exception e) // nobody else would hear of it, and the process would end
        {
            Retire(e.Message);
        }
    }

    private void Retire(string problem)
    {
        inner.Dispose(); // its memory is of no use any more
        Problem = problem;
        Telemetry.ForetokenTelemetry.Retired();
        _state = DrafterState.Retired;
    }
}
