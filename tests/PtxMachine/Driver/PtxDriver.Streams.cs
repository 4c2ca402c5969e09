namespace Foretoken.Ptx.Driver;

/// <summary>Streams, events, capture and graphs. Work is a list of actions; waiting runs it.</summary>
public sealed unsafe partial class PtxDriver
{
    private readonly Stream _legacy = new();
    private Capture? _capture;

    private sealed class Stream
    {
        public Queue<Action> Work { get; } = [];
        public Capture? Capturing { get; set; }
        public bool Asked { get; set; } // a query found it busy
    }

    private sealed class Event
    {
        /// <summary>Null: never recorded, or it happened.</summary>
        public Stream? Pending { get; set; }
        public long Happened { get; set; } // ticks of the host's clock
        public int Version { get; set; }
        public Capture? Captured { get; set; }
        public bool Timing { get; init; }
    }

    private sealed class Capture
    {
        public List<Action> Nodes { get; } = [];
        public List<string> Kinds { get; } = [];
        public required Stream Origin { get; init; }
        public int Mode { get; init; }
        public int Thread { get; init; }
        public bool Invalid { get; set; }
        public HashSet<Stream> Forked { get; } = [];
    }

    private sealed record Graph(List<Action> Nodes, List<string> Kinds);

    private sealed class GraphExec
    {
        public required List<Action> Nodes { get; set; }
        public required List<string> Kinds { get; init; }
    }

    /// <summary>The stream of a handle; 0, 1 and 2 are the default stream. Null: no such stream.</summary>
    private Stream? StreamOf(nint handle) => handle is 0 or 1 or 2 ? _legacy : Find<Stream>(handle);

    /// <summary>Queues work, or records it while the stream is captured.</summary>
    private int Enqueue(nint stream, string kind, Action work)
    {
        if (StreamOf(stream) is not { } target)
            return CuResult.InvalidHandle;
        if (target.Capturing is { } capture)
        {
            capture.Nodes.Add(work);
            capture.Kinds.Add(kind);
            return CuResult.Success;
        }

        if (target == _legacy && _capture is { Mode: not 2 } open)
        {
            open.Invalid = true;
            return CuResult.CaptureImplicit;
        }

        target.Work.Enqueue(work);
        if (target == _legacy) // the default stream waits for the others and they for it
            DrainAll();
        return _sticky;
    }

    private void Drain(Stream stream)
    {
        while (stream.Work.TryDequeue(out Action? work))
        {
            if (_sticky == 0)
                work();
        }

        stream.Asked = false;
    }

    private void DrainAll()
    {
        foreach (Stream stream in _objects.Values.OfType<Stream>().ToArray())
            Drain(stream);
        Drain(_legacy);
    }

    /// <summary>A call that a capture does not allow (synchronous, allocating): it fails and spoils the capture.</summary>
    private bool IsForbidden(out int result)
    {
        result = CuResult.Success;
        if (_capture is not { Mode: not 2 } capture || (capture.Mode == 1 && capture.Thread != Environment.CurrentManagedThreadId))
            return false;
        capture.Invalid = true;
        result = CuResult.CaptureUnsupported;
        return true;
    }

    private int WaitFor(Stream stream)
    {
        if (stream.Capturing is { } capture)
        {
            capture.Invalid = true;
            return CuResult.CaptureUnsupported;
        }

        Drain(stream);
        return _sticky;
    }

    private int BeginCapture(nint handle, int mode)
    {
        if (StreamOf(handle) is not { } stream)
            return CuResult.InvalidHandle;
        if (stream == _legacy)
            return CuResult.CaptureImplicit;
        if (stream.Capturing is not null || _capture is not null)
            return CuResult.NotPermitted;
        stream.Capturing = _capture = new Capture { Origin = stream, Mode = mode, Thread = Environment.CurrentManagedThreadId };
        return CuResult.Success;
    }

    /// <summary>Ends the capture even when the call fails; then there is no graph.</summary>
    private int EndCapture(nint handle, nint* graph, int error)
    {
        *graph = 0;
        if (StreamOf(handle) is not { Capturing: { } capture } stream || capture.Origin != stream)
            return CuResult.InvalidValue;
        if (capture.Mode != 2 && capture.Thread != Environment.CurrentManagedThreadId)
            return CuResult.CaptureWrongThread;
        foreach (Stream forked in _objects.Values.OfType<Stream>().Where(s => s.Capturing == capture))
            forked.Capturing = null;
        stream.Capturing = _capture = null;
        if (error != CuResult.Success)
            return error;
        if (capture.Invalid)
            return CuResult.CaptureInvalidated;
        if (capture.Forked.Count > 0)
            return CuResult.CaptureUnjoined;
        *graph = Add(new Graph(capture.Nodes, capture.Kinds));
        return CuResult.Success;
    }

    private int RecordEvent(nint handle, nint streamHandle)
    {
        if (Find<Event>(handle) is not { } recorded || StreamOf(streamHandle) is not { } stream)
            return CuResult.InvalidHandle;
        if (stream.Capturing is { } capture)
        {
            recorded.Captured = capture;
            capture.Forked.Remove(stream); // joined when the origin waits for it; recording is the forked stream's last word
            return CuResult.Success;
        }

        recorded.Captured = null;
        recorded.Pending = stream;
        int version = ++recorded.Version;
        return Enqueue(streamHandle, "event", () =>
        {
            if (recorded.Version != version)
                return;
            recorded.Pending = null;
            recorded.Happened = System.Diagnostics.Stopwatch.GetTimestamp();
        });
    }

    private int WaitEvent(nint streamHandle, nint handle)
    {
        if (Find<Event>(handle) is not { } awaited || StreamOf(streamHandle) is not { } stream)
            return CuResult.InvalidHandle;
        if (awaited.Captured is { } capture && capture == _capture)
        {
            if (stream.Capturing is null)
            {
                stream.Capturing = capture; // a captured event draws the waiting stream into the capture
                capture.Forked.Add(stream);
            }

            return CuResult.Success;
        }

        Stream? source = awaited.Pending;
        int version = awaited.Version;
        return Enqueue(streamHandle, "wait", () =>
        {
            while (awaited.Version == version && awaited.Pending is not null && source is not null && source.Work.TryDequeue(out Action? work))
                work();
        });
    }
}
