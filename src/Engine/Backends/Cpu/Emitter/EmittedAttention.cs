using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Foretoken.Backends.Cpu.Emitter;

/// <summary>What <see cref="AttentionCode.WriteScores"/> reads.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct ScoreCall
{
    public const int PlacesOffset = 0, GroupsOffset = 8, QueryOffset = 16, FactorsOffset = 24, ScoresOffset = 32, QuarterOffset = 40;

    public AttentionPlace* Places; // four of each group, and four behind
    public long Groups;            // of four tiles, at least one
    public int* Query;             // [headDim/2, 4] pairs
    public float* Factors;         // [4]
    public float* Scores;          // [4, Slots] of which 64 per group are written
    public long Quarter;           // a quarter of the pairs of dims
}

/// <summary>What <see cref="AttentionCode.WriteValues"/> reads.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct ValueCall
{
    public const int PlacesOffset = 0, TilesOffset = 8, PairBytesOffset = 16, WordsOffset = 24, RowOffset = 32, AheadOffset = 40;
    public const int UnitsOffset = 48, OutputOffset = 56, OutputStrideOffset = 64;

    public AttentionPlace* Places;
    public long Tiles;
    public long PairBytes;    // from one pair of slots to the next
    public short* Words;      // [4, Slots]
    public long Row;          // bytes from the beginning of a pair of slots to the first dim
    public long Ahead;        // bytes from what a place prefetches to its first line
    public float* Units;      // [4]
    public float* Output;     // [4, ValueDim] of which 64 dims are written
    public long OutputStride; // bytes from column to column
}

/// <summary>What <see cref="SoftmaxCode.WriteWeigh"/> reads.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct WeighCall
{
    public const int PlacesOffset = 0, TilesOffset = 8, ColumnsOffset = 16, ScoresOffset = 24, ReferencesOffset = 32, SumsOffset = 40, LargestOffset = 48, LinesOffset = 56, LineBytesOffset = 64;

    /// <summary>What a weight of 1 adds to the sums.</summary>
    public const float SumUnits = 1 << 22;

    public AttentionPlace* Places;
    public long Tiles;
    public long Columns;
    public float* Scores;     // [4, Slots]
    public float* References; // [4] what is added to the scores: −m
    public int* Sums;         // [4, 16] receives sums of bits
    public uint* Largest;     // [4, 16] receives bits: of scores from the maxima, of products from the weights
    public long Lines;        // to prefetch per tile and column, at least one
    public long LineBytes;    // what they hold
}

/// <summary>What <see cref="SoftmaxCode.WriteWords"/> reads.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct WordCall
{
    public const int TilesOffset = 0, ColumnsOffset = 8, ProductsOffset = 16, WordsOffset = 24, FactorsOffset = 32;

    public long Tiles;
    public long Columns;
    public float* Products; // [4, Slots]
    public short* Words;    // [4, Slots]
    public float* Factors;  // [4]
}

/// <summary>The functions of <see cref="AttentionCode"/> and <see cref="SoftmaxCode"/>, written at the first use. See <see cref="EmittedTiles"/> on how they are called.</summary>
internal sealed unsafe class EmittedAttention
{
    private static readonly Lazy<EmittedAttention> s_instance = new(() => new EmittedAttention());
    private readonly Pass _plain;      // without prefetches, for blocks of columns after the first
    private readonly Pass _prefetching;
    private readonly delegate* unmanaged[SuppressGCTransition]<WeighCall*, void> _maxima;
    private readonly delegate* unmanaged[SuppressGCTransition]<WordCall*, void> _words;
    private readonly delegate* unmanaged[SuppressGCTransition]<long, void> _probe;

    private EmittedAttention()
    {
        var a = new Assembler();
        (int Scores, int Weigh, int Values) plain = Aligned(a, prefetches: false), prefetching = Aligned(a, prefetches: true);
        int maxima = Aligned(a, SoftmaxCode.WriteMaxima), words = Aligned(a, SoftmaxCode.WriteWords), probe = Aligned(a, AttentionCode.WriteProbe);
        byte* installed = CodeMemory.TryInstall(a.ToArray());
        if (installed is null) throw EmitterSupport.NoCodePages();
        _plain = new Pass(installed + plain.Scores, installed + plain.Weigh, installed + plain.Values);
        _prefetching = new Pass(installed + prefetching.Scores, installed + prefetching.Weigh, installed + prefetching.Values);
        _maxima = (delegate* unmanaged[SuppressGCTransition]<WeighCall*, void>)(installed + maxima);
        _words = (delegate* unmanaged[SuppressGCTransition]<WordCall*, void>)(installed + words);
        _probe = (delegate* unmanaged[SuppressGCTransition]<long, void>)(installed + probe);
    }

    public static EmittedAttention Instance => s_instance.Value;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Scores(ScoreCall* call, bool prefetches) => (prefetches ? _prefetching : _plain).Scores(call);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Values(ValueCall* call, bool prefetches) => (prefetches ? _prefetching : _plain).Values(call);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Maxima(WeighCall* call) => _maxima(call);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Weigh(WeighCall* call, bool prefetches) => (prefetches ? _prefetching : _plain).Weigh(call);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Words(WordCall* call) => _words(call);

    /// <summary>So many rounds of <see cref="AttentionCode.WriteProbe"/>.</summary>
    public void Probe(long rounds) => _probe(rounds);

    private static int Aligned(Assembler a, Action<Assembler> write)
    {
        a.Align(64);
        int position = a.Position;
        write(a);
        return position;
    }

    private static (int Scores, int Weigh, int Values) Aligned(Assembler a, bool prefetches) => (
        Aligned(a, code => AttentionCode.WriteScores(code, prefetches)),
        Aligned(a, code => SoftmaxCode.WriteWeigh(code, prefetches)),
        Aligned(a, code => AttentionCode.WriteValues(code, prefetches)));

    /// <summary>The loops of which there are two.</summary>
    private readonly struct Pass(byte* scores, byte* weigh, byte* values)
    {
        public readonly delegate* unmanaged[SuppressGCTransition]<ScoreCall*, void> Scores = (delegate* unmanaged[SuppressGCTransition]<ScoreCall*, void>)scores;
        public readonly delegate* unmanaged[SuppressGCTransition]<WeighCall*, void> Weigh = (delegate* unmanaged[SuppressGCTransition]<WeighCall*, void>)weigh;
        public readonly delegate* unmanaged[SuppressGCTransition]<ValueCall*, void> Values = (delegate* unmanaged[SuppressGCTransition]<ValueCall*, void>)values;
    }
}
