using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using Foretoken.Backends.Cpu.Emitter;
using Foretoken.Backends.Cpu.Kernels;
using Foretoken.Backends.Cpu.Lanes;

namespace Foretoken.Backends.Cpu;

/// <summary>
/// Kernels of int8 keys and values: products of a 16-bit and an 8-bit integer, summed exactly in 32 bits. Queries and weights are rounded to 15 bits and
/// a sign, which is finer than what the stored bytes have lost by two orders of magnitude, and a product costs half of one in f32.
/// <code>
/// q'[d] = round(q[d] · (L / Q)), Q = max |q[d]|, L = 32767 (less above a head_dim of 516);   s(k) = float(Σ q'·k) · (Q / L · scale) · keyScale(k)
/// p(k) = exp(s(k) − m);   w(k) = p(k) · valueScale(k);   w'(k) = round(w(k) · (32767 / W)), W = max w(k) over the chunk
/// l = Σ round(p(k) · 2^22) / 2^22;   o[d] = float(Σ w'·v) · (W / 32767)
/// </code>
/// Rounding is that of one fma that adds 1.5 · 2^23. A chunk has at most 256 visible keys: 256 · 32767 · 127 &lt; 2^31.
/// </summary>
/// <param name="emitted">The loops for four columns as machine code; null: those written here.</param>
internal sealed unsafe partial class Int8AttentionKernels<TLanes, TWords>(EmittedAttention? emitted) : AttentionKernels
    where TLanes : struct, ILanes<TLanes>
    where TWords : struct, IWordLanes<TWords>
{
    private const int Largest16 = short.MaxValue;
    private const int Line = 64; // bytes of a cache line

    /// <summary>Adding it rounds a number to the nearest integer, ties to even, whose two's complement then stands in the low mantissa bits.</summary>
    private const float Rounder = 12582912f;

    private const float SumUnits = WeighCall.SumUnits;

    /// <summary>Columns whose accumulators fit the registers of the level.</summary>
    private static int ColumnsAtOnce => typeof(TLanes) == typeof(Lanes512) ? 4 : typeof(TLanes) == typeof(Lanes256) ? 2 : 1;

    /// <summary>
    /// Scores fetch the values of the run, the softmax and the values the keys of the next one, so that lines come into the nearest cache about half a run before
    /// they are used, and no loop asks for more than the memory brings meanwhile. A place without anything to fetch points to its own keys.
    /// </summary>
    [SkipLocalsInit]
    public override void Plan(in AttentionSlots slots, in AttentionWeights weights)
    {
        KvPageFormat format = slots.Format;
        int inPage = slots.Aligned & (format.SlotsPerPage - 1);
        AttentionAhead pages = slots.Ahead(0);
        int tiles = slots.AlignedCount / Tile;
        byte** next = stackalloc byte*[tiles]; // keys of the next run
        AttentionPlace* place = weights.Places, end = place + tiles;
        for (int slot = slots.Aligned; place < end; inPage = 0, slot = (slot | (format.SlotsPerPage - 1)) + 1)
        {
            byte* page = slots.Page(slot), keys = page + inPage / Tile * format.KeyTileBytes, values = page + format.ValueOffset + inPage * format.ValueRowBytes;
            float* scales = (float*)(page + format.KeyScaleOffset) + inPage;
            byte* nextPage = pages.Next(format.PositionOffset), nextKeys = nextPage is null ? keys : nextPage + inPage / Tile * format.KeyTileBytes;
            if (nextPage is not null) PrefetchAll(nextPage + format.KeyScaleOffset, nextPage + format.PositionOffset);
            for (; inPage < format.SlotsPerPage && place < end; inPage += Tile, place++)
            {
                place->Keys = (sbyte*)keys;
                place->Values = (sbyte*)values;
                place->KeyScales = scales;
                place->ValueScales = scales + format.SlotsPerPage;
                place->AheadOfKeys = values;
                *next++ = nextKeys;
                keys += format.KeyTileBytes;
                nextKeys += format.KeyTileBytes;
                values += Tile * format.ValueRowBytes;
                scales += Tile;
            }
        }

        next -= tiles;
        place = weights.Places;
        for (int t = 0; t < tiles; t++, place++)
        {
            int half = (t & 1) * format.KeyTileBytes / 2;
            place->AheadOfWeights = next[t / 2] + half;
            place->AheadOfValues = next[tiles / 2 + t / 2] + half;
        }

        for (int t = 0; t < AttentionWeights.SparePlaces; t++, place++) place->Keys = weights.Places[Math.Min(t, tiles - 1)].Values; // what comes after the last keys
    }

    private static void PrefetchAll(byte* from, byte* end)
    {
        for (; from < end; from += Line) Prefetch(from);
    }

    public override void PackQuery(float* query, int headDim, float scale, float* block, int column, float* queryScale)
    {
        float largest = AttentionStore.LargestMagnitude(query, headDim);
        float limit = Math.Min(Largest16, int.MaxValue / (sbyte.MaxValue * headDim));
        bool zero = largest < Int8Quantizer.ZeroBelow;
        float factor = zero ? 0f : limit / largest;
        *queryScale = zero ? 0f : float.IsFinite(largest) ? largest / limit * scale : float.NaN;
        int* to = (int*)block + column, words = stackalloc int[ILanes<TLanes>.Count / 2];
        TLanes factors = TLanes.Broadcast(factor), rounder = TLanes.Broadcast(Rounder);
        int d = 0;
        for (; d + ILanes<TLanes>.Count <= headDim; d += ILanes<TLanes>.Count)
        {
            TLanes.MultiplyAdd(TLanes.Load(query + d), factors, rounder).StoreLowWords((short*)words);
            for (int pair = 0; pair < ILanes<TLanes>.Count / 2; pair++) to[(d / 2 + pair) * Block] = words[pair];
        }

        for (; d < headDim; d += 2) to[d / 2 * Block] = Word(query[d], factor) | Word(query[d + 1], factor) << 16;
    }

    public override void Softmax(in AttentionSlots slots, int columns, in AttentionWeights weights, in AttentionPartial partial)
    {
        int count = slots.AlignedCount;
        if (emitted is not null)
        {
            SoftmaxEmitted(emitted, slots, columns, weights, partial);
            return;
        }

        for (int c = 0; c < columns; c++)
        {
            float* s = weights.Floats + c * Stride;
            float largest = Largest<TLanes>(s, count);
            partial.Maximum[c] = largest;
            int lines = slots.Prefetches ? slots.Format.KeyTileBytes / 2 / Line / columns : 0;
            float scaled = Weigh(weights.Places, s, count, Reference(largest), c * lines * Line, lines, out partial.Sum[c]);
            short* words = weights.Words + c * Stride;
            TLanes factor = TLanes.Broadcast(FactorOf(scaled, out weights.Units[c])), rounder = TLanes.Broadcast(Rounder);
            for (int i = 0; i < count; i += Tile) TLanes.MultiplyAdd(TLanes.Load(s + i), factor, rounder).StoreLowWords(words + i);
        }
    }

    [SkipLocalsInit]
    private static void SoftmaxEmitted(EmittedAttention code, in AttentionSlots slots, int columns, in AttentionWeights weights, in AttentionPartial partial)
    {
        int tiles = slots.AlignedCount / Tile, lines = Math.Max(1, slots.Format.KeyTileBytes / 2 / Line / columns);
        float* factors = stackalloc float[Block];
        int* sums = stackalloc int[Block * Tile];
        uint* largest = stackalloc uint[Block * Tile];
        if (columns < Block)
        {
            new Span<int>(sums, Block * Tile).Clear();
            new Span<uint>(largest, Block * Tile).Clear();
        }

        var weigh = new WeighCall
        {
            Places = weights.Places, Tiles = tiles, Columns = columns, Scores = weights.Floats, References = factors, Sums = sums, Largest = largest,
            Lines = lines, LineBytes = lines * Line,
        };
        code.Maxima(&weigh);
        Vector128<float> most = Reduce<float, Larger>((float*)largest), limit = Vector128.Create((float)Largest16);
        most.Store(partial.Maximum);
        Vector128<float> reference = Vector128.ConditionalSelect(Vector128.Equals(most, Vector128.Create(float.NegativeInfinity)), Vector128<float>.Zero, most);
        (-reference).Store(factors);
        code.Weigh(&weigh, slots.Prefetches);
        Vector128<float> scaled = Reduce<uint, Larger>(largest).AsSingle();
        Vector128<float> finite = Vector128.LessThan(Vector128.Abs(scaled), Vector128.Create(float.PositiveInfinity));
        Vector128<float> sum = Vector128.ConvertToSingle(Reduce<int, Sum>(sums) - Vector128.Create(slots.AlignedCount * BitConverter.SingleToInt32Bits(Rounder)));
        Vector128.ConditionalSelect(finite, sum * Vector128.Create(1f / SumUnits), Vector128.Create(float.NaN)).Store(partial.Sum);
        scaled = Vector128.ConditionalSelect(finite, scaled, Vector128.Create(float.NaN));
        Vector128<float> zero = Vector128.LessThan(scaled, Vector128.Create(Int8Quantizer.ZeroBelow));
        Vector128.AndNot(scaled / limit, zero).Store(weights.Units);
        Vector128.AndNot(limit / scaled, zero).Store(factors);
        var words = new WordCall { Tiles = tiles, Columns = columns, Products = weights.Floats, Words = weights.Words, Factors = factors };
        code.Words(&words);
    }

    /// <summary>Reduces the sixteen lanes of each of four columns. // [4, 16] to [4]</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector128<T> Reduce<T, TReduction>(T* lanes)
        where T : unmanaged
        where TReduction : struct, IReduction
    {
        Vector128<T> a = Quarter(lanes), b = Quarter(lanes + Tile), c = Quarter(lanes + 2 * Tile), d = Quarter(lanes + 3 * Tile);
        Vector128<float> ab = TReduction.Of(Low(a, b), High(a, b)).AsSingle(), cd = TReduction.Of(Low(c, d), High(c, d)).AsSingle();
        return TReduction.Of(Sse.MoveLowToHigh(ab, cd).As<float, T>(), Sse.MoveHighToLow(cd, ab).As<float, T>());

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        static Vector128<T> Quarter(T* from) => TReduction.Of(
            TReduction.Of(Vector128.Load(from), Vector128.Load(from + 4)), TReduction.Of(Vector128.Load(from + 8), Vector128.Load(from + 12)));
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        static Vector128<T> Low(Vector128<T> x, Vector128<T> y) => Sse.UnpackLow(x.AsSingle(), y.AsSingle()).As<float, T>(); // x0 y0 x1 y1
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        static Vector128<T> High(Vector128<T> x, Vector128<T> y) => Sse.UnpackHigh(x.AsSingle(), y.AsSingle()).As<float, T>(); // x2 y2 x3 y3
    }

    private interface IReduction
    {
        static abstract Vector128<T> Of<T>(Vector128<T> x, Vector128<T> y)
            where T : unmanaged;
    }

    /// <summary>The larger one; of bits, what is not a number, of either sign, counts above numbers.</summary>
    private readonly struct Larger : IReduction
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static Vector128<T> Of<T>(Vector128<T> x, Vector128<T> y)
            where T : unmanaged => Vector128.Max(x, y);
    }

    private readonly struct Sum : IReduction
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static Vector128<T> Of<T>(Vector128<T> x, Vector128<T> y)
            where T : unmanaged => x + y;
    }

    /// <summary>What products with the values' scales are multiplied by to become words; <paramref name="unit"/> is what a word counts.</summary>
    private static float FactorOf(float scaled, out float unit)
    {
        bool zero = scaled < Int8Quantizer.ZeroBelow;
        unit = zero ? 0f : scaled / Largest16;
        return zero ? 0f : Largest16 / scaled;
    }

    /// <summary>l, from sums of bits that wrap around, and back.</summary>
    private static float SumOf(int bits, int count) => (bits - count * BitConverter.SingleToInt32Bits(Rounder)) * (1f / SumUnits);

    /// <summary>Turns scores into weights times the values' scales, in place.</summary>
    /// <param name="place">Where the tiles lie.</param>
    /// <param name="scores">Scores of one column. // [count]</param>
    /// <param name="count">Slots; whole tiles.</param>
    /// <param name="reference">What is subtracted from the scores.</param>
    /// <param name="ahead">Bytes from the beginning of what a place fetches meanwhile.</param>
    /// <param name="lines">Lines to fetch there per tile, as the memory would be idle otherwise.</param>
    /// <param name="sum">l: sum of the weights without the scales.</param>
    /// <returns>W, or NaN if a weight or the scale of a visible slot is not a number; then the sum is NaN too.</returns>
    private static float Weigh(AttentionPlace* place, float* scores, int count, float reference, int ahead, int lines, out float sum)
    {
        TLanes m = TLanes.Broadcast(reference), units = TLanes.Broadcast(SumUnits), rounder = TLanes.Broadcast(Rounder);
        TLanes largest = TLanes.Zero, sums = TLanes.Zero;
        for (int i = 0; i < count; i += Tile, place++)
        {
            for (int line = 0; line < lines; line++) Prefetch(place->AheadOfWeights + ahead + line * Line);
            TLanes p = TLanes.ExpOfNonPositive(TLanes.Load(scores + i) - m);
            sums = TLanes.AddBits(sums, TLanes.MultiplyAdd(p, units, rounder));
            TLanes w = TLanes.ZeroUnless(p, p * TLanes.Load(place->ValueScales)); // hidden slots may hold anything
            w.Store(scores + i);
            largest = TLanes.LargerBits(largest, w);
        }

        sum = SumOf(sums.SumBits(), count);
        float most = BitConverter.Int32BitsToSingle(largest.MaxBits());
        if (float.IsFinite(most)) return most;
        sum = float.NaN;
        return float.NaN;
    }

    /// <summary>x · factor rounded to 16 bits.</summary>
    private static int Word(float x, float factor) => BitConverter.SingleToInt32Bits(MathF.FusedMultiplyAdd(x, factor, Rounder)) & 0xFFFF;

    /// <summary>Columns of the next call; three are done as four, the last one padding.</summary>
    private static int AtOnce(int left) => Math.Min(ColumnsAtOnce, left > 2 ? 4 : left);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Prefetch(byte* line)
    {
        if (Sse.IsSupported) Sse.Prefetch0(line);
    }
}
