using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace Foretoken.Backends.Cpu.Lanes;

/// <summary>Sixteen lanes in four 128-bit registers, by portable operations where the x64 base set has no single one.</summary>
internal readonly unsafe struct WordLanes128 : IWordLanes<WordLanes128>
{
    private readonly Vector128<int> _a; // lanes 0..3
    private readonly Vector128<int> _b; // lanes 4..7
    private readonly Vector128<int> _c; // lanes 8..11
    private readonly Vector128<int> _d; // lanes 12..15

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private WordLanes128(Vector128<int> a, Vector128<int> b, Vector128<int> c, Vector128<int> d)
    {
        _a = a;
        _b = b;
        _c = c;
        _d = d;
    }

    public static WordLanes128 Zero
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        get => Broadcast(0);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static WordLanes128 LoadBytes(sbyte* source)
    {
        (Vector128<short> a, Vector128<short> b) = Vector128.Widen(Vector128.Load(source));
        (Vector128<short> c, Vector128<short> d) = Vector128.Widen(Vector128.Load(source + 16));
        return new(a.AsInt32(), b.AsInt32(), c.AsInt32(), d.AsInt32());
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static WordLanes128 Broadcast(int pair)
    {
        Vector128<int> v = Vector128.Create(pair);
        return new(v, v, v, v);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static WordLanes128 MultiplyAdd(WordLanes128 a, WordLanes128 b, WordLanes128 sum) =>
        new(sum._a + Products(a._a, b._a), sum._b + Products(a._b, b._b), sum._c + Products(a._c, b._c), sum._d + Products(a._d, b._d));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void StoreScaled(float* destination, float factor)
    {
        Vector128<float> f = Vector128.Create(factor);
        (Vector128.ConvertToSingle(_a) * f).Store(destination);
        (Vector128.ConvertToSingle(_b) * f).Store(destination + 4);
        (Vector128.ConvertToSingle(_c) * f).Store(destination + 8);
        (Vector128.ConvertToSingle(_d) * f).Store(destination + 12);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void StoreScaled(float* destination, float factor, float* scales)
    {
        Vector128<float> f = Vector128.Create(factor);
        (Vector128.ConvertToSingle(_a) * f * Vector128.Load(scales)).Store(destination);
        (Vector128.ConvertToSingle(_b) * f * Vector128.Load(scales + 4)).Store(destination + 4);
        (Vector128.ConvertToSingle(_c) * f * Vector128.Load(scales + 8)).Store(destination + 8);
        (Vector128.ConvertToSingle(_d) * f * Vector128.Load(scales + 12)).Store(destination + 12);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector128<int> Products(Vector128<int> a, Vector128<int> b) =>
        Sse2.IsSupported ? Sse2.MultiplyAddAdjacent(a.AsInt16(), b.AsInt16()) : PortableProducts(a, b);

    /// <summary>The same without an instruction of its own: lower and upper words apart.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static Vector128<int> PortableProducts(Vector128<int> a, Vector128<int> b) => ((a << 16) >> 16) * ((b << 16) >> 16) + (a >> 16) * (b >> 16);
}
