using Foretoken.Memory;

namespace Foretoken.Microbenchmarks;

/// <summary>Memory of a benchmark, which lives until its cleanup.</summary>
internal sealed unsafe class Buffers : IDisposable
{
    private readonly List<NativeBuffer> _all = [];

    public byte* Bytes(long count)
    {
        NativeBuffer buffer = NativeBuffer.Allocate(count, "benchmark");
        _all.Add(buffer);
        return buffer.Pointer;
    }

    public float* Floats(long count) => (float*)Bytes(count * sizeof(float));

    public void Dispose()
    {
        foreach (NativeBuffer buffer in _all) buffer.Dispose();
    }
}
