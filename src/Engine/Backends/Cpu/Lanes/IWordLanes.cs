namespace Foretoken.Backends.Cpu.Lanes;

/// <summary>
/// Sixteen 32-bit integer lanes, each of which also holds a pair of 16-bit words, in whatever vectors the machine has. Integer sums are exact, so that
/// their order does not matter and every instruction set gives the same bits.
/// </summary>
internal unsafe interface IWordLanes<TSelf>
    where TSelf : struct, IWordLanes<TSelf>
{
    static abstract TSelf Zero { get; }

    /// <summary>Reads 32 signed bytes, widened to 32 words.</summary>
    static abstract TSelf LoadBytes(sbyte* source);

    /// <summary>The same pair of words in every lane.</summary>
    static abstract TSelf Broadcast(int pair);

    /// <summary>sum + a.low · b.low + a.high · b.high in every lane.</summary>
    static abstract TSelf MultiplyAdd(TSelf a, TSelf b, TSelf sum);

    /// <summary>Stores each lane, converted to f32, times <paramref name="factor"/>.</summary>
    void StoreScaled(float* destination, float factor);

    /// <summary>Stores each lane, converted to f32, times <paramref name="factor"/>, times its element of <paramref name="scales"/>.</summary>
    void StoreScaled(float* destination, float factor, float* scales);
}
