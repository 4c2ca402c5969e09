namespace Foretoken.Backends.Cpu.Emitter;

/// <summary>
/// Machine code of int8 attention: the loops of <see cref="Int8AttentionKernels{TLanes, TWords}"/> for four columns with <c>vpdpwssd</c>, which multiplies
/// 16-bit pairs and adds both products to a 32-bit sum in one instruction. Sums are exact, so that the bits are those of the other levels.
/// </summary>
internal static class AttentionCode
{
    /// <summary>Tiles that the scores work on at once.</summary>
    public const int ScoreTiles = 4;

    /// <summary>Dims of one call of the values.</summary>
    public const int ValueDims = 64;

    /// <summary>Instructions of a round of the probe.</summary>
    public const int ProbeSums = 16;

    private const int Columns = 4;
    private const int VectorBytes = 64;
    private const int PairBytes = 2 * KvPageFormat.TileSlots;                  // of a pair of dims or slots in one vector of sixteen lanes
    private const int ScoreStride = AttentionScratch.Slots * sizeof(float);    // from column to column
    private const int WordStride = AttentionScratch.Slots * sizeof(short);
    private static readonly Gpr[] s_tiles = [Gpr.Rax, Gpr.Rcx, Gpr.Rdx, Gpr.Rsi], s_saved = [Gpr.R12, Gpr.R13, Gpr.R14, Gpr.R15], s_streams = [Gpr.R9, Gpr.R10];

    /// <summary>
    /// Writes void(ScoreCall*): groups of four tiles of sixteen slots. Two lines of each of two streams are prefetched per pair of dims: of what the group's
    /// places want fetched, and once more of the next group's keys, some of which the processor may have dropped. The streams go on to another tile with every
    /// quarter of the dims, so that each runs through memory in its order.
    /// <code>
    /// zmm 4·tile + column sums   16..19 keys   20 query   22 scales
    /// rax, rcx, rdx, rsi tiles   r8 query   r9, r10 prefetch   r11 pairs left of the quarter   r12 place of the quarter   r13 quarters left
    /// r14 groups left   r15 scores   rdi the call
    /// </code>
    /// </summary>
    public static unsafe void WriteScores(Assembler a, bool prefetches)
    {
        foreach (Gpr register in s_saved) a.Push(register);
        a.Mov(Gpr.R12, new Address(Gpr.Rdi, ScoreCall.PlacesOffset));
        a.Mov(Gpr.R14, new Address(Gpr.Rdi, ScoreCall.GroupsOffset));
        a.Mov(Gpr.R15, new Address(Gpr.Rdi, ScoreCall.ScoresOffset));
        int group = a.Position;
        for (int t = 0; t < ScoreTiles; t++) a.Mov(s_tiles[t], new Address(Gpr.R12, sizeof(AttentionPlace) * t + AttentionPlace.KeysOffset));
        a.Mov(Gpr.R8, new Address(Gpr.Rdi, ScoreCall.QueryOffset));
        a.Mov(Gpr.R13, (uint)ScoreTiles);
        for (int i = 0; i < ScoreTiles * Columns; i++) Clear(a, new Zmm(i));
        int quarter = a.Position;
        if (prefetches)
        {
            a.Mov(Gpr.R9, new Address(Gpr.R12, AttentionPlace.AheadOfKeysOffset));
            a.Mov(Gpr.R10, new Address(Gpr.R12, sizeof(AttentionPlace) * ScoreTiles + AttentionPlace.KeysOffset));
        }

        a.Mov(Gpr.R11, new Address(Gpr.Rdi, ScoreCall.QuarterOffset));
        a.Add(Gpr.R12, sizeof(AttentionPlace));
        a.Align(64);
        int loop = a.Position;
        foreach (Gpr stream in prefetches ? s_streams : [])
        {
            a.Prefetcht0(new Address(stream));
            a.Prefetcht0(new Address(stream, VectorBytes));
            a.Add(stream, 2 * VectorBytes);
        }

        for (int t = 0; t < ScoreTiles; t++)
        {
            a.Vpmovsxbw(new Zmm(16 + t), new Address(s_tiles[t]));
            a.Add(s_tiles[t], PairBytes);
        }

        for (int c = 0; c < Columns; c++)
        {
            a.Vpbroadcastd(new Zmm(20), new Address(Gpr.R8, 4 * c));
            for (int t = 0; t < ScoreTiles; t++) a.Vpdpwssd(new Zmm(Columns * t + c), new Zmm(16 + t), new Zmm(20));
        }

        a.Add(Gpr.R8, 4 * Columns);
        a.Dec(Gpr.R11);
        a.Jnz(loop);
        a.Dec(Gpr.R13);
        a.Jnz(quarter);
        WriteScoreEnd(a);
        a.Dec(Gpr.R14);
        a.Jnz(group);
        foreach (Gpr register in s_saved.Reverse()) a.Pop(register);
        a.Vzeroupper();
        a.Ret();
    }

    /// <summary>
    /// Writes void(ValueCall*): 64 dims over all tiles of the chunk. What the softmax prefetched is asked for once more: the processor drops some prefetches
    /// while the memory is busy.
    /// <code>
    /// zmm 4·column + vector sums   16..19 values   20 weight   21 unit
    /// rax row   rcx tiles left   rdx bytes between pairs of slots   rsi words   r8 place   r9, r10 prefetch
    /// r11 offset of the dims   rbx offset of the prefetch   rdi the call
    /// </code>
    /// </summary>
    public static unsafe void WriteValues(Assembler a, bool prefetches)
    {
        a.Push(Gpr.Rbx);
        a.Mov(Gpr.R8, new Address(Gpr.Rdi, ValueCall.PlacesOffset));
        a.Mov(Gpr.Rcx, new Address(Gpr.Rdi, ValueCall.TilesOffset));
        a.Mov(Gpr.Rdx, new Address(Gpr.Rdi, ValueCall.PairBytesOffset));
        a.Mov(Gpr.Rsi, new Address(Gpr.Rdi, ValueCall.WordsOffset));
        a.Mov(Gpr.R11, new Address(Gpr.Rdi, ValueCall.RowOffset));
        a.Mov(Gpr.Rbx, new Address(Gpr.Rdi, ValueCall.AheadOffset));
        for (int i = 0; i < 16; i++) Clear(a, new Zmm(i));
        a.Align(64);
        int loop = a.Position;
        a.Mov(Gpr.Rax, new Address(Gpr.R8, AttentionPlace.ValuesOffset));
        a.Add(Gpr.Rax, Gpr.R11);
        if (prefetches)
        {
            a.Mov(Gpr.R9, new Address(Gpr.R8, AttentionPlace.AheadOfValuesOffset));
            a.Mov(Gpr.R10, new Address(Gpr.R8, AttentionPlace.AheadOfWeightsOffset));
            foreach (Gpr stream in s_streams) a.Add(stream, Gpr.Rbx);
        }

        for (int pair = 0; pair < KvPageFormat.TileSlots / 2; pair++)
        {
            foreach (Gpr stream in prefetches ? s_streams : []) a.Prefetcht0(new Address(stream, VectorBytes * pair));
            for (int v = 0; v < 4; v++) a.Vpmovsxbw(new Zmm(16 + v), new Address(Gpr.Rax, PairBytes * v));
            a.Add(Gpr.Rax, Gpr.Rdx);
            for (int c = 0; c < Columns; c++)
            {
                a.Vpbroadcastd(new Zmm(20), new Address(Gpr.Rsi, WordStride * c + 4 * pair));
                for (int v = 0; v < 4; v++) a.Vpdpwssd(new Zmm(4 * c + v), new Zmm(16 + v), new Zmm(20));
            }
        }

        a.Add(Gpr.Rsi, PairBytes);
        a.Add(Gpr.R8, sizeof(AttentionPlace));
        a.Dec(Gpr.Rcx);
        a.Jnz(loop);
        WriteValueEnd(a);
        a.Pop(Gpr.Rbx);
        a.Vzeroupper();
        a.Ret();
    }

    /// <summary>Writes void(long rounds): so many rounds of independent sums. // zmm 0..15 sums   16, 17 factors   rdi rounds left</summary>
    public static void WriteProbe(Assembler a)
    {
        for (int i = 0; i < ProbeSums + 2; i++) Clear(a, new Zmm(i));
        a.Align(64);
        int loop = a.Position;
        for (int i = 0; i < ProbeSums; i++) a.Vpdpwssd(new Zmm(i), new Zmm(ProbeSums), new Zmm(ProbeSums + 1));
        a.Dec(Gpr.Rdi);
        a.Jnz(loop);
        a.Vzeroupper();
        a.Ret();
    }

    /// <summary>score = float(sum) · factor of the column · scale of the slot's key. r12 stands behind the group's places.</summary>
    private static unsafe void WriteScoreEnd(Assembler a)
    {
        a.Mov(Gpr.R8, new Address(Gpr.Rdi, ScoreCall.FactorsOffset));
        for (int t = 0; t < ScoreTiles; t++)
        {
            a.Mov(Gpr.Rax, new Address(Gpr.R12, sizeof(AttentionPlace) * (t - ScoreTiles) + AttentionPlace.KeyScalesOffset));
            a.Vmovups(new Zmm(22), new Address(Gpr.Rax));
            for (int c = 0; c < Columns; c++)
            {
                var sum = new Zmm(Columns * t + c);
                a.Vcvtdq2ps(sum, sum);
                a.VmulpsBroadcast(sum, sum, new Address(Gpr.R8, 4 * c));
                a.Vmulps(sum, sum, new Zmm(22));
                a.Vmovups(new Address(Gpr.R15, ScoreStride * c + VectorBytes * t), sum);
            }
        }

        a.Add(Gpr.R15, VectorBytes * ScoreTiles);
    }

    /// <summary>output = float(sum) · unit of the column.</summary>
    private static void WriteValueEnd(Assembler a)
    {
        a.Mov(Gpr.R8, new Address(Gpr.Rdi, ValueCall.UnitsOffset));
        a.Mov(Gpr.R9, new Address(Gpr.Rdi, ValueCall.OutputOffset));
        a.Mov(Gpr.R10, new Address(Gpr.Rdi, ValueCall.OutputStrideOffset));
        for (int c = 0; c < Columns; c++)
        {
            for (int v = 0; v < 4; v++)
            {
                var sum = new Zmm(4 * c + v);
                a.Vcvtdq2ps(sum, sum);
                a.VmulpsBroadcast(sum, sum, new Address(Gpr.R8, 4 * c));
                a.Vmovups(new Address(Gpr.R9, VectorBytes * v), sum);
            }

            a.Add(Gpr.R9, Gpr.R10);
        }
    }

    private static void Clear(Assembler a, Zmm register) => a.Vpxord(register, register, register);
}
