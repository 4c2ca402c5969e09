using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Foretoken.Backends.Cpu.Emitter;

/// <summary>What <see cref="AttentionCode.WriteScores"/> reads.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct ScoreCall
{
    public const int TilesOffset = 0, ScalesOffset = 32, AheadOffset = 64, QueryOffset = 80, FactorsOffset = 88, ScoresOffset = 96, PairsOffset = 104, StepOffset = 112;

    public byte* Tile0, Tile1, Tile2, Tile3;        // keys of sixteen slots each // [headDim/2, 16, 2]
    public float* Scales0, Scales1, Scales2, Scales3; // [16]
    public byte* Ahead0, Ahead1;                    // what to prefetch, one line per pair of dims
    public int* Query;                              // [headDim/2, 4] pairs
    public float* Factors;                          // [4]
    public float* Scores;                           // [4, Slots] of which 64 are written
    public long Pairs;
    public long Step;                               // bytes between lines to prefetch; 0: nothing new
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

/// <summary>The functions of <see cref="AttentionCode"/>, written at the first use. See <see cref="EmittedTiles"/> on how they are called.</summary>
internal sealed unsafe class EmittedAttention
{
    private static readonly Lazy<EmittedAttention> s_instance = new(() => new EmittedAttention());
    private readonly delegate* unmanaged[SuppressGCTransition]<ScoreCall*, void> _scores;
    private readonly delegate* unmanaged[SuppressGCTransition]<ValueCall*, void> _values;

    private EmittedAttention()
    {
        var a = new Assembler();
        AttentionCode.WriteScores(a);
        a.Align(64);
        int values = a.Position;
        AttentionCode.WriteValues(a);
        byte* installed = CodeMemory.TryInstall(a.ToArray());
        if (installed is null) throw new PlatformNotSupportedException($"The system refuses executable memory: set {EmitterSupport.Variable}=0.");
        _scores = (delegate* unmanaged[SuppressGCTransition]<ScoreCall*, void>)installed;
        _values = (delegate* unmanaged[SuppressGCTransition]<ValueCall*, void>)(installed + values);
    }

    public static EmittedAttention Instance => s_instance.Value;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Scores(ScoreCall* call) => _scores(call);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Values(ValueCall* call) => _values(call);
}
