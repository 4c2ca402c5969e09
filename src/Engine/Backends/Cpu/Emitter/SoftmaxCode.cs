using Foretoken.Numerics;

namespace Foretoken.Backends.Cpu.Emitter;

/// <summary>
/// Machine code of int8 attention's softmax: what <see cref="Int8AttentionKernels{TLanes, TWords}"/> says about weights, with the constants of
/// <see cref="VectorMath"/> in registers and hidden slots as a mask. The operations are those of the other levels, and so are the bits.
/// </summary>
internal static unsafe class SoftmaxCode
{
    private const int VectorBytes = 64;
    private static readonly Gpr[] s_saved = [Gpr.Rbx, Gpr.R12, Gpr.R13];
    private const int ScoreStride = AttentionScratch.Slots * sizeof(float);    // from column to column
    private const int WordStride = AttentionScratch.Slots * sizeof(short);
    private static readonly Zmm s_log2E = new(16), s_rounder = new(17), s_minusRounder = new(18), s_minusLn2High = new(19), s_minusLn2Low = new(20);
    private static readonly Zmm s_q4 = new(21), s_q3 = new(22), s_q2 = new(23), s_q1 = new(24), s_q0 = new(25), s_one = new(26), s_minimum = new(27), s_units = new(28);

    private static readonly Zmm s_remainder = new(0), s_exponent = new(2), s_power = new(3), s_lastExponent = new(9);

    /// <summary>What the registers hold, in their order.</summary>
    private static readonly (Zmm Register, float Value)[] s_constants =
    [
        (s_log2E, VectorMath.Log2E), (s_rounder, VectorMath.Rounder), (s_minusRounder, -VectorMath.Rounder), (s_minusLn2High, -VectorMath.Ln2High),
        (s_minusLn2Low, -VectorMath.Ln2Low), (s_q4, VectorMath.Q4), (s_q3, VectorMath.Q3), (s_q2, VectorMath.Q2), (s_q1, VectorMath.Q1), (s_q0, VectorMath.Q0),
        (s_one, 1f), (s_minimum, VectorMath.ExpMinimum), (s_units, WeighCall.SumUnits),
    ];

    /// <summary>
    /// Writes void(WeighCall*): scores to weights times the values' scales, in place, with the sum of the weights and the largest product. While a tile is
    /// worked on some lines of its prefetch are fetched. Three tiles are in work at a time, one in each stage, so that no instruction waits for a long chain of
    /// others: two tiles behind the last one are read, which lie in the scratch memory, and not used.
    /// <code>
    /// zmm 0 x, then r   1 shifted   2 n   3 q   4 r²   5 p   6 product   7 sums   8 largest   9 n of the last stage   16..28 constants   29 −m   k1, k2 visible
    /// rax tiles left   rcx columns left   rdx sums   rsi scores   rbx prefetch offset   r8 place   r9 memory   r10 largest   r11 −m   r12 scores of the column
    /// r13 lines left   rdi the call
    /// </code>
    /// </summary>
    public static void WriteWeigh(Assembler a, bool prefetches)
    {
        foreach (Gpr register in s_saved) a.Push(register);
        foreach ((Zmm register, float value) in s_constants) Broadcast(a, register, value);
        a.Mov(Gpr.Rcx, new Address(Gpr.Rdi, WeighCall.ColumnsOffset));
        a.Mov(Gpr.Rdx, new Address(Gpr.Rdi, WeighCall.SumsOffset));
        a.Mov(Gpr.R10, new Address(Gpr.Rdi, WeighCall.LargestOffset));
        a.Mov(Gpr.R11, new Address(Gpr.Rdi, WeighCall.ReferencesOffset));
        a.Mov(Gpr.R12, new Address(Gpr.Rdi, WeighCall.ScoresOffset));
        a.Mov(Gpr.Rbx, 0u);
        int column = a.Position;
        a.Vpbroadcastd(new Zmm(29), new Address(Gpr.R11));
        a.Vpxord(new Zmm(7), new Zmm(7), new Zmm(7));
        a.Vpxord(new Zmm(8), new Zmm(8), new Zmm(8));
        a.Mov(Gpr.R8, new Address(Gpr.Rdi, WeighCall.PlacesOffset));
        a.Mov(Gpr.Rax, new Address(Gpr.Rdi, WeighCall.TilesOffset));
        a.Mov(Gpr.Rsi, Gpr.R12);
        WriteReduction(a, ahead: 0);
        WritePolynomial(a);
        WriteReduction(a, ahead: 1);
        a.Align(64);
        int tile = a.Position;
        if (prefetches) WritePrefetch(a);
        a.Mov(Gpr.R9, new Address(Gpr.R8, AttentionPlace.ValueScalesOffset));
        WriteWeight(a);
        WritePolynomial(a);
        WriteReduction(a, ahead: 2);
        a.Add(Gpr.Rsi, VectorBytes);
        a.Add(Gpr.R8, sizeof(AttentionPlace));
        a.Dec(Gpr.Rax);
        a.Jnz(tile);
        a.Vmovups(new Address(Gpr.Rdx), new Zmm(7));
        a.Vmovups(new Address(Gpr.R10), new Zmm(8));
        a.Add(Gpr.Rdx, VectorBytes);
        a.Add(Gpr.R10, VectorBytes);
        a.Add(Gpr.R11, sizeof(float));
        a.Add(Gpr.R12, ScoreStride);
        a.Mov(Gpr.R9, new Address(Gpr.Rdi, WeighCall.LineBytesOffset));
        a.Add(Gpr.Rbx, Gpr.R9);
        a.Dec(Gpr.Rcx);
        a.Jnz(column);
        foreach (Gpr register in s_saved.Reverse()) a.Pop(register);
        a.Vzeroupper();
        a.Ret();
    }

    /// <summary>
    /// Writes void(WeighCall*): the largest score of each column and lane.
    /// <code>
    /// zmm 0 largest   rax tiles left   rcx columns left   rsi scores of the column   r8 of the tile   r10 largest
    /// </code>
    /// </summary>
    public static void WriteMaxima(Assembler a)
    {
        a.Mov(Gpr.Rcx, new Address(Gpr.Rdi, WeighCall.ColumnsOffset));
        a.Mov(Gpr.Rsi, new Address(Gpr.Rdi, WeighCall.ScoresOffset));
        a.Mov(Gpr.R10, new Address(Gpr.Rdi, WeighCall.LargestOffset));
        int column = a.Position;
        a.Mov(Gpr.Rax, new Address(Gpr.Rdi, WeighCall.TilesOffset));
        a.Mov(Gpr.R8, Gpr.Rsi);
        a.Vmovups(new Zmm(0), new Address(Gpr.Rsi));
        int tile = a.Position;
        a.Vmaxps(new Zmm(0), new Zmm(0), new Address(Gpr.R8));
        a.Add(Gpr.R8, VectorBytes);
        a.Dec(Gpr.Rax);
        a.Jnz(tile);
        a.Vmovups(new Address(Gpr.R10), new Zmm(0));
        a.Add(Gpr.R10, VectorBytes);
        a.Add(Gpr.Rsi, ScoreStride);
        a.Dec(Gpr.Rcx);
        a.Jnz(column);
        a.Vzeroupper();
        a.Ret();
    }

    /// <summary>
    /// Writes void(WordCall*): products times a factor, rounded to 16 bits.
    /// <code>
    /// zmm 0 word   1 factor   17 rounder   rax tiles left   rcx columns left   rdx factors   rsi products of the column   r8 words of the column   r9, r10 of the tile
    /// </code>
    /// </summary>
    public static void WriteWords(Assembler a)
    {
        Broadcast(a, s_rounder, VectorMath.Rounder);
        a.Mov(Gpr.Rcx, new Address(Gpr.Rdi, WordCall.ColumnsOffset));
        a.Mov(Gpr.Rdx, new Address(Gpr.Rdi, WordCall.FactorsOffset));
        a.Mov(Gpr.Rsi, new Address(Gpr.Rdi, WordCall.ProductsOffset));
        a.Mov(Gpr.R8, new Address(Gpr.Rdi, WordCall.WordsOffset));
        int column = a.Position;
        a.Vpbroadcastd(new Zmm(1), new Address(Gpr.Rdx));
        a.Mov(Gpr.Rax, new Address(Gpr.Rdi, WordCall.TilesOffset));
        a.Mov(Gpr.R9, Gpr.Rsi);
        a.Mov(Gpr.R10, Gpr.R8);
        a.Align(64);
        int tile = a.Position;
        a.Vmovaps(new Zmm(0), s_rounder);
        a.Vfmadd231ps(new Zmm(0), new Zmm(1), new Address(Gpr.R9));
        a.Vpmovdw(new Address(Gpr.R10), new Zmm(0));
        a.Add(Gpr.R9, VectorBytes);
        a.Add(Gpr.R10, VectorBytes / 2);
        a.Dec(Gpr.Rax);
        a.Jnz(tile);
        a.Add(Gpr.Rdx, sizeof(float));
        a.Add(Gpr.Rsi, ScoreStride);
        a.Add(Gpr.R8, WordStride);
        a.Dec(Gpr.Rcx);
        a.Jnz(column);
        a.Vzeroupper();
        a.Ret();
    }

    private static void WritePrefetch(Assembler a)
    {
        a.Mov(Gpr.R9, new Address(Gpr.R8, AttentionPlace.AheadOfWeightsOffset));
        a.Add(Gpr.R9, Gpr.Rbx);
        a.Mov(Gpr.R13, new Address(Gpr.Rdi, WeighCall.LinesOffset));
        int line = a.Position;
        a.Prefetcht0(new Address(Gpr.R9));
        a.Add(Gpr.R9, VectorBytes);
        a.Dec(Gpr.R13);
        a.Jnz(line);
    }

    /// <summary>x = s − m of the tile <paramref name="ahead"/> tiles behind, split into n · ln 2 + r; k1 says where it is visible.</summary>
    private static void WriteReduction(Assembler a, int ahead)
    {
        Zmm x = s_remainder, shifted = new(1), n = s_exponent;
        a.Vaddps(x, new Zmm(29), new Address(Gpr.Rsi, ahead * VectorBytes));
        a.Vcmpnltps(Mask.K1, x, s_minimum);
        a.Vmovaps(shifted, s_rounder);
        a.Vfmadd231ps(shifted, x, s_log2E);
        a.Vaddps(n, shifted, s_minusRounder);
        a.Vfmadd231ps(x, n, s_minusLn2High);
        a.Vfmadd231ps(x, n, s_minusLn2Low);
    }

    /// <summary>exp(r), step by step as <see cref="VectorMath.ExpOfNonPositive(System.Runtime.Intrinsics.Vector512{float})"/>; n and the mask go on to the next stage.</summary>
    private static void WritePolynomial(Assembler a)
    {
        Zmm r = s_remainder, square = new(4), q = s_power;
        a.Vmulps(square, r, r);
        a.Vmovaps(q, s_q4);
        foreach (Zmm coefficient in new[] { s_q3, s_q2, s_q1, s_q0 }) a.Vfmadd213ps(q, r, coefficient);
        a.Vfmadd213ps(q, square, r);
        a.Vaddps(q, q, s_one);
        a.Vmovaps(s_lastExponent, s_exponent);
        a.Kmovw(Mask.K2, Mask.K1);
    }

    /// <summary>The weight, which is 2^n times the power and keeps what is not a number, its sum, and its product with the value's scale.</summary>
    private static void WriteWeight(Assembler a)
    {
        Zmm p = new(5), product = new(6), sums = new(7), largest = new(8);
        a.VscalefpsMasked(p, Mask.K2, s_power, s_lastExponent);
        a.Vmovaps(product, s_rounder);
        a.Vfmadd231ps(product, p, s_units);
        a.Vpaddd(sums, sums, product);
        a.VmulpsMasked(product, Mask.K2, p, new Address(Gpr.R9));
        a.Vmovups(new Address(Gpr.Rsi), product);
        a.Vpmaxud(largest, largest, product);
    }

    private static void Broadcast(Assembler a, Zmm register, float value)
    {
        a.Mov(Gpr.Rax, BitConverter.SingleToUInt32Bits(value));
        a.Vpbroadcastd(register, Gpr.Rax);
    }
}
