using System.Runtime.InteropServices;

namespace Foretoken.Training;

/// <summary>
/// A 64-byte-aligned native array of f32, zeroed, with 64 readable and writable floats of slack behind its end: tile kernels load whole
/// 32-float rows and may run past the last column, never past the slack.
/// </summary>
public sealed unsafe class FloatBuffer : IDisposable
{
    private const int SlackFloats = 64;

    /// <summary>Allocates <paramref name="count"/> zeroed floats.</summary>
    public FloatBuffer(long count)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(count);
        Count = count;
        nuint bytes = checked((nuint)(count + SlackFloats) * sizeof(float));
        Pointer = (float*)NativeMemory.AlignedAlloc(bytes, 64);
        NativeMemory.Clear(Pointer, bytes);
    }

    /// <summary>Frees the memory when the owner forgot to.</summary>
    ~FloatBuffer() => Free();

    /// <summary>Number of floats, slack excluded.</summary>
    public long Count { get; }

    /// <summary>The first float; valid until <see cref="Dispose"/>.</summary>
    public float* Pointer { get; private set; }

    /// <summary>The floats as a span (at most 2³¹−1 of them).</summary>
    public Span<float> Span => new(Pointer, checked((int)Count));

    /// <summary>Sets all floats to zero.</summary>
    public void Clear() => NativeMemory.Clear(Pointer, (nuint)Count * sizeof(float));

    /// <inheritdoc/>
    public void Dispose()
    {
        Free();
        GC.SuppressFinalize(this);
    }

    private void Free()
    {
        if (Pointer == null) return;
        NativeMemory.AlignedFree(Pointer);
        Pointer = null;
    }
}
