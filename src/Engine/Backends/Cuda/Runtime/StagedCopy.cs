using Foretoken.Memory;

namespace Foretoken.Backends.Cuda;

/// <summary>
/// Copies any host memory to the device through two pinned halves: while the device reads one, the host fills the other. For loading; the step itself
/// copies little and from buffers of its own.
/// </summary>
internal sealed class StagedCopy : IDisposable
{
    private readonly CudaStream _stream;
    private readonly PinnedBuffer _staging; // [2, half] bytes
    private readonly CudaEvent[] _read; // per half: the device has read it
    private readonly long _half;
    private int _next;

    /// <param name="stream">Copies and order.</param>
    /// <param name="half">Bytes of each half.</param>
    /// <param name="plan">Receives the staging buffer.</param>
    public StagedCopy(CudaStream stream, long half, MemoryPlan plan)
    {
        (_stream, _half) = (stream, half);
        _staging = PinnedBuffer.Allocate(stream.Device, "staging", "upload", FormattableString.Invariant($"[2, {half}] bytes"), 2 * half, plan);
        _read = [CudaEvent.Create(stream.Device), CudaEvent.Create(stream.Device)];
    }

    /// <summary>Copies; <paramref name="source"/> may be reused at once.</summary>
    public unsafe void Upload<T>(ReadOnlySpan<T> source, DevicePointer<T> destination)
        where T : unmanaged
    {
        ReadOnlySpan<byte> bytes = System.Runtime.InteropServices.MemoryMarshal.AsBytes(source);
        for (int done = 0; done < bytes.Length;)
        {
            int count = (int)Math.Min(_half, bytes.Length - done);
            long offset = _next * _half;
            _read[_next].Synchronize();
            bytes.Slice(done, count).CopyTo(_staging.Span<byte>(offset, count));
            _stream.Upload(_staging, offset, new DevicePointer<byte>(destination.Address + (ulong)done), count);
            _read[_next].Record(_stream);
            _next ^= 1;
            done += count;
        }
    }

    public void Dispose()
    {
        foreach (CudaEvent read in _read) read.Dispose();
        _staging.Dispose();
    }
}
