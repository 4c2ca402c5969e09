namespace Foretoken.Backends.Cpu.Lanes;

/// <summary>
/// Sixteen f32 lanes, whatever vectors the machine has: one 512-bit, two 256-bit or four 128-bit registers. Kernels written over it exist once and
/// give the same bits on every <see cref="IsaLevel"/>: lanes are independent, multiply-adds are fused everywhere, and reductions have a fixed order.
/// </summary>
internal unsafe interface ILanes<TSelf>
    where TSelf : struct, ILanes<TSelf>
{
    /// <summary>Lanes of a value.</summary>
    const int Count = 16;

    static abstract TSelf Zero { get; }

    static abstract TSelf Broadcast(float value);

    /// <summary>Reads 16 floats from any address.</summary>
    static abstract TSelf Load(float* source);

    /// <summary>Sixteen bfloat16 pairs, one pair per 32-bit lane: <paramref name="even"/> receives the lower halves, <paramref name="odd"/> the upper ones.</summary>
    static abstract void LoadBFloat16Pairs(byte* source, out TSelf even, out TSelf odd);

    void Store(float* destination);

    /// <summary>Stores each lane, an integer in −128..127, as one signed byte.</summary>
    void StoreAsBytes(sbyte* destination);

    static abstract TSelf operator +(TSelf a, TSelf b);

    static abstract TSelf operator -(TSelf a, TSelf b);

    static abstract TSelf operator *(TSelf a, TSelf b);

    static abstract TSelf operator /(TSelf a, TSelf b);

    /// <summary>a · b + c, rounded once.</summary>
    static abstract TSelf MultiplyAdd(TSelf a, TSelf b, TSelf c);

    /// <summary>e^x by <see cref="Numerics.VectorMath"/>.</summary>
    static abstract TSelf Exp(TSelf x);

    /// <summary>The larger magnitude of each lane of <paramref name="a"/> and <paramref name="b"/>.</summary>
    static abstract TSelf MaxMagnitude(TSelf a, TSelf b);

    /// <summary>Sum of the lanes by halving: lane i takes lane i + 8, then i + 4, i + 2, i + 1.</summary>
    float Sum();

    /// <summary>Largest lane.</summary>
    float Max();
}
