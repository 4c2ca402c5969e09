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

    /// <summary>Sign, exponent and mantissa of a half that was shifted from the upper 16 bits of a word by 3, sign-extended, to the fields of an f32.</summary>
    const int HalfMask = unchecked((int)0x8FFFE000);

    /// <summary>2^112: the difference of the exponent biases of f32 and half.</summary>
    const float HalfBias = 5.192296858534828e33f;

    static abstract TSelf Zero { get; }

    static abstract TSelf Broadcast(float value);

    /// <summary>Reads 16 floats from any address.</summary>
    static abstract TSelf Load(float* source);

    /// <summary>Sixteen bfloat16 pairs, one pair per 32-bit lane: <paramref name="even"/> receives the lower halves, <paramref name="odd"/> the upper ones.</summary>
    static abstract void LoadBFloat16Pairs(byte* source, out TSelf even, out TSelf odd);

    /// <summary>Sixteen pairs of IEEE halves, laid out as above. A half whose exponent is all ones reads as a finite number.</summary>
    static abstract void LoadHalfPairs(byte* source, out TSelf even, out TSelf odd);

    /// <summary>The same times 2^−112, which saves the multiplication. A half below 2^−14 gives a denormal number.</summary>
    static abstract void LoadUnbiasedHalfPairs(byte* source, out TSelf even, out TSelf odd);

    /// <summary>Reads 16 signed bytes.</summary>
    static abstract TSelf LoadBytes(sbyte* source);

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

    /// <summary>The same bits for x ≤ 0 (and NaN for NaN) with fewer instructions.</summary>
    static abstract TSelf ExpOfNonPositive(TSelf x);

    /// <summary>The larger of each lane; the second where one is not a number.</summary>
    static abstract TSelf Larger(TSelf a, TSelf b);

    /// <summary>Of each lane the larger of <paramref name="a"/>'s bits and of |<paramref name="b"/>|'s bits as integers: NaN counts above ∞, and ∞ above numbers.</summary>
    static abstract TSelf LargerBits(TSelf a, TSelf b);

    /// <summary>The larger magnitude of each lane of <paramref name="a"/> and <paramref name="b"/>.</summary>
    static abstract TSelf MaxMagnitude(TSelf a, TSelf b);

    /// <summary><paramref name="value"/> where <paramref name="test"/> is not zero, else 0.</summary>
    static abstract TSelf ZeroUnless(TSelf test, TSelf value);

    /// <summary>Adds the bits of the lanes as 32-bit integers.</summary>
    static abstract TSelf AddBits(TSelf a, TSelf b);

    /// <summary>Largest lane's bits as a 32-bit integer.</summary>
    int MaxBits();

    /// <summary>Sum of the lanes' bits as 32-bit integers.</summary>
    int SumBits();

    /// <summary>Stores the lower 16 bits of each lane.</summary>
    void StoreLowWords(short* destination);

    /// <summary>Sum of the lanes by halving: lane i takes lane i + 8, then i + 4, i + 2, i + 1.</summary>
    float Sum();

    /// <summary>Largest lane.</summary>
    float Max();
}
