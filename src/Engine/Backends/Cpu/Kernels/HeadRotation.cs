using System.Runtime.CompilerServices;
using Foretoken.Backends.Cpu.Lanes;

namespace Foretoken.Backends.Cpu.Kernels;

/// <summary>Query and key heads to be normalised and rotated in place.</summary>
internal unsafe struct HeadRotationArguments
{
    /// <summary>[rows, (heads + 2·kvHeads)·headDim]; the value heads at the end stay as they are.</summary>
    public float* Qkv;

    /// <summary>Floats from row to row.</summary>
    public long Stride;

    public int Rows;
    public int Heads;
    public int KvHeads;
    public int HeadDim;

    /// <summary>RMSNorm gains, or null. // [2, HalfStride]: the two halves of a head, each padded with zeros</summary>
    public float* QueryGain;

    /// <inheritdoc cref="QueryGain"/>
    public float* KeyGain;

    public float Epsilon;

    /// <summary>cos and sin of each row's angles, padded with zeros. // [rows, 2, HalfStride]</summary>
    public float* Angles;

    /// <summary>Half a head rounded up to a multiple of 16.</summary>
    public int HalfStride;

    /// <summary>
    /// Null, or receives the last channel of the first query head of each group, normalised and not rotated: an eviction logit. The channel is zero from then on,
    /// for the rotation and, with <see cref="ZeroAfterRope"/>, behind it. // [rows, BorrowedStride]
    /// </summary>
    public float* Borrowed;

    /// <summary>Floats from row to row.</summary>
    public int BorrowedStride;

    public bool ZeroAfterRope;
}

/// <summary>Normalises and rotates the heads of one row per chunk: RMSNorm per head (Qwen3), then rotary position embedding (Su et al., 2021).</summary>
internal unsafe struct HeadRotation<TLanes> : IParallelJob
    where TLanes : struct, ILanes<TLanes>
{
    /// <summary>Below this many elements the calling thread does all rows.</summary>
    private const long InlineElements = 8 * 1024;

    private HeadRotationArguments _p;

    public static void Run(in HeadRotationArguments arguments, ThreadTeam team)
    {
        var job = new HeadRotation<TLanes> { _p = arguments };
        if (arguments.Rows * arguments.Stride > InlineElements) team.Run(ref job, arguments.Rows);
        else for (int r = 0; r < arguments.Rows; r++) job.Execute(r, 0);
    }

    public readonly void Execute(int chunk, int thread)
    {
        float* head = _p.Qkv + chunk * _p.Stride;
        float* cos = _p.Angles + (long)chunk * 2 * _p.HalfStride, sin = cos + _p.HalfStride;
        float* scratch = stackalloc float[2 * _p.HalfStride];
        int half = _p.HeadDim / 2;
        for (int h = 0; h < _p.Heads + _p.KvHeads; h++, head += _p.HeadDim)
        {
            float* gain = h < _p.Heads ? _p.QueryGain : _p.KeyGain;
            bool lends = _p.Borrowed is not null && h < _p.Heads && h % (_p.Heads / _p.KvHeads) == 0;
            float* lent = lends ? _p.Borrowed + (long)chunk * _p.BorrowedStride + h / (_p.Heads / _p.KvHeads) : null;
            if (half == _p.HalfStride)
            {
                Rotate(head, head + half, gain, cos, sin, lent);
                continue;
            }

            float* second = scratch + _p.HalfStride;
            new Span<float>(scratch, 2 * _p.HalfStride).Clear();
            new Span<float>(head, half).CopyTo(new Span<float>(scratch, half));
            new Span<float>(head + half, half).CopyTo(new Span<float>(second, half));
            Rotate(scratch, second, gain, cos, sin, lent);
            new Span<float>(scratch, half).CopyTo(new Span<float>(head, half));
            new Span<float>(second, half).CopyTo(new Span<float>(head + half, half));
        }
    }

    /// <summary>RMSNorm (lane = index within the half mod 16, first half before the second), then (x, y) → (x·cos − y·sin, y·cos + x·sin).</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private readonly void Rotate(float* first, float* second, float* gain, float* cos, float* sin, float* lent)
    {
        TLanes inverse = TLanes.Zero;
        int last = _p.HeadDim / 2 - 1; // of the second half
        if (gain is not null)
        {
            TLanes squares = TLanes.Zero;
            for (int i = 0; i < _p.HalfStride; i += ILanes<TLanes>.Count) squares = Square(first + i, squares);
            for (int i = 0; i < _p.HalfStride; i += ILanes<TLanes>.Count) squares = Square(second + i, squares);
            float scale = 1f / MathF.Sqrt(squares.Sum() / _p.HeadDim + _p.Epsilon);
            if (lent is not null) *lent = second[last] * scale * gain[_p.HalfStride + last];
            inverse = TLanes.Broadcast(scale);
        }
        else if (lent is not null)
        {
            *lent = second[last];
        }

        if (lent is not null) second[last] = 0f;

        for (int i = 0; i < _p.HalfStride; i += ILanes<TLanes>.Count)
        {
            TLanes x = TLanes.Load(first + i), y = TLanes.Load(second + i), c = TLanes.Load(cos + i), s = TLanes.Load(sin + i);
            if (gain is not null)
            {
                x = x * inverse * TLanes.Load(gain + i);
                y = y * inverse * TLanes.Load(gain + _p.HalfStride + i);
            }

            TLanes.MultiplyAdd(TLanes.Zero - y, s, x * c).Store(first + i);
            TLanes.MultiplyAdd(x, s, y * c).Store(second + i);
        }

        if (lent is not null && _p.ZeroAfterRope) second[last] = 0f;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static TLanes Square(float* at, TLanes sum)
    {
        TLanes v = TLanes.Load(at);
        return TLanes.MultiplyAdd(v, v, sum);
    }
}
