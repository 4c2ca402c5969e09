using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Foretoken.Backends.Cpu.Emitter;

/// <summary>What <see cref="AttentionCode.WriteScores"/> reads.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct ScoreCall
{
    public const int TilesOffset = 0, ScalesOffset = 32, AheadOffset = 64, AgainOffset = 96, QueryOffset = 128, FactorsOffset = 136, ScoresOffset = 144;
    public const int QuarterOffset = 152, StepOffset = 160;

    public byte* Tile0, Tile1, Tile2, Tile3;        // keys of sixteen slots each // [headDim/2, 16, 2]
    public float* Scales0, Scales1, Scales2, Scales3; // [16]
    public byte* Ahead0, Ahead1, Ahead2, Ahead3;    // what to prefetch in each quarter of the dims, two lines per pair
    public byte* Again0, Again1, Again2, Again3;    // likewise: what was prefetched long ago and may have been dropped
    public int* Query;                              // [headDim/2, 4] pairs
    public float* Factors;                          // [4]
    public float* Scores;                           // [4, Slots] of which 64 are written
    public long Quarter;                            // pairs of dims of a quarter
    public long Step;                               // bytes prefetched per pair of dims; 0: nothing new
}

/// <summary>What <see cref="AttentionCode.WriteValues"/> reads.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct ValueCall
{
    public const int PlacesOffset = 0, TilesOffset = 8, PairBytesOffset = 16, WordsOffset = 24, StepOffset = 32, RowOffset = 40, AheadOffset = 48;
    public const int UnitsOffset = 56, OutputOffset = 64, OutputStrideOffset = 72;

    public AttentionPlace* Places;
    public long Tiles;
    public long PairBytes;    // from one pair of slots to the next
    public short* Words;      // [4, Slots]
    public long Step;         // bytes between lines to prefetch; 0: nothing new
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
    public long LineBytes;    // what they hold; 0: nothing new
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
    private readonly delegate* unmanaged[SuppressGCTransition]<ScoreCall*, void> _scores;
    private readonly delegate* unmanaged[SuppressGCTransition]<ValueCall*, void> _values;
    private readonly delegate* unmanaged[SuppressGCTransition]<WeighCall*, void> _maxima;
    private readonly delegate* unmanaged[SuppressGCTransition]<WeighCall*, void> _weigh;
    private readonly delegate* unmanaged[SuppressGCTransition]<WordCall*, void> _words;
    private readonly delegate* unmanaged[SuppressGCTransition]<long, void> _probe;

    private EmittedAttention()
    {
        var a = new Assembler();
        AttentionCode.WriteScores(a);
        int values = Aligned(a, AttentionCode.WriteValues), maxima = Aligned(a, SoftmaxCode.WriteMaxima), weigh = Aligned(a, SoftmaxCode.WriteWeigh), words = Aligned(a, SoftmaxCode.WriteWords);
        int probe = Aligned(a, AttentionCode.WriteProbe);
        byte* installed = CodeMemory.TryInstall(a.ToArray());
        if (installed is null) throw EmitterSupport.NoCodePages();
        _scores = (delegate* unmanaged[SuppressGCTransition]<ScoreCall*, void>)installed;
        _values = (delegate* unmanaged[SuppressGCTransition]<ValueCall*, void>)(installed + values);
        _maxima = (delegate* unmanaged[SuppressGCTransition]<WeighCall*, void>)(installed + maxima);
        _weigh = (delegate* unmanaged[SuppressGCTransition]<WeighCall*, void>)(installed + weigh);
        _words = (delegate* unmanaged[SuppressGCTransition]<WordCall*, void>)(installed + words);
        _probe = (delegate* unmanaged[SuppressGCTransition]<long, void>)(installed + probe);
    }

    public static EmittedAttention Instance => s_instance.Value;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Scores(ScoreCall* call) => _scores(call);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Values(ValueCall* call) => _values(call);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Maxima(WeighCall* call) => _maxima(call);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Weigh(WeighCall* call) => _weigh(call);

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
}
