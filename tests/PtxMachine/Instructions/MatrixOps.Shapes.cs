using System.Numerics;
using Foretoken.Ptx.Execution;

namespace Foretoken.Ptx.Instructions;

/// <summary>
/// The less frequent shapes of mma.sync (PTX ISA 9.7.14.5), element by element: integers of 8, 4 and 1 bits, and f64. Register r of A holds row
/// g + 8·(r &amp; 1), of B column g; element j of a register k = per·t + j + 4·per·(r >> 1 for A, r for B), where per elements fill a register.
/// </summary>
internal static unsafe partial class MatrixOps
{
    /// <summary>Mode of integers: bit 0 A signed, bit 1 B signed, and how single bits combine.</summary>
    public const int XorPopulation = 4, AndPopulation = 8;

    /// <summary>Count = k, Width = bits of an element, Target = rows (8 or 16), Flag: satfinite.</summary>
    public static void NarrowInteger(Warp w, Instruction* i, uint exec)
    {
        int rows = i->Target, k = i->Count, bits = i->Width, per = 32 / bits, registersC = rows / 4, registersA = rows * k * bits / 1024, registersB = Columns * k * bits / 1024;
        int* a = stackalloc int[rows * k], b = stackalloc int[k * Columns]; // [rows, k], [8, k]
        for (int lane = 0; lane < Warp.Lanes; lane++)
        {
            int g = lane >> 2, t = lane & 3;
            for (int r = 0; r < registersA; r++)
            {
                int row = rows == 8 ? g : g + (8 * (r & 1)), first = (per * t) + (4 * per * (rows == 8 ? r : r >> 1));
                Spread(((uint*)w.At(i->List[registersC + r]))[lane], bits, (i->Mode & 1) != 0, a + (row * k) + first);
            }

            for (int r = 0; r < registersB; r++)
                Spread(((uint*)w.At(i->List[registersC + registersA + r]))[lane], bits, (i->Mode & 2) != 0, b + (g * k) + (per * t) + (4 * per * r));
        }

        int* results = stackalloc int[registersC * Warp.Lanes];
        for (int lane = 0; lane < Warp.Lanes; lane++)
        {
            for (int e = 0; e < registersC; e++)
            {
                int row = (lane >> 2) + (8 * (e >> 1)), column = (2 * (lane & 3)) + (e & 1);
                long old = ((int*)w.At(i->List[registersC + registersA + registersB + e]))[lane], sum = old + Dot(a + (row * k), b + (column * k), k, i->Mode);
                results[(e * Warp.Lanes) + lane] = i->Flag ? (int)Math.Clamp(sum, int.MinValue, int.MaxValue) : (int)sum;
            }
        }

        for (int e = 0; e < registersC; e++)
            new Span<int>(results + (e * Warp.Lanes), Warp.Lanes).CopyTo(new Span<int>(w.At(i->List[e]), Warp.Lanes));
        Count(w, rows * Columns * k);
    }

    /// <summary>f64, Count = k, Target = rows: one fused multiply-add after the other in increasing k.</summary>
    public static void Double(Warp w, Instruction* i, uint exec)
    {
        int rows = i->Target, k = i->Count, registersC = rows / 4, registersA = rows * k / 32, registersB = k / 4;
        double* a = stackalloc double[rows * k], b = stackalloc double[k * Columns], results = stackalloc double[registersC * Warp.Lanes];
        for (int lane = 0; lane < Warp.Lanes; lane++)
        {
            int g = lane >> 2, t = lane & 3;
            for (int r = 0; r < registersA; r++)
                a[((rows == 8 ? g : g + (8 * (r & 1))) * k) + t + (4 * (rows == 8 ? r : r >> 1))] = ((double*)w.At(i->List[registersC + r]))[lane];
            for (int r = 0; r < registersB; r++)
                b[(g * k) + t + (4 * r)] = ((double*)w.At(i->List[registersC + registersA + r]))[lane];
        }

        for (int lane = 0; lane < Warp.Lanes; lane++)
        {
            for (int e = 0; e < registersC; e++)
            {
                int row = (lane >> 2) + (8 * (e >> 1)), column = (2 * (lane & 3)) + (e & 1);
                double sum = ((double*)w.At(i->List[registersC + registersA + registersB + e]))[lane];
                for (int n = 0; n < k; n++)
                    sum = Math.FusedMultiplyAdd(a[(row * k) + n], b[(column * k) + n], sum);
                results[(e * Warp.Lanes) + lane] = sum;
            }
        }

        for (int e = 0; e < registersC; e++)
            new Span<double>(results + (e * Warp.Lanes), Warp.Lanes).CopyTo(new Span<double>(w.At(i->List[e]), Warp.Lanes));
        Count(w, rows * Columns * k);
    }

    /// <summary>The elements of a register, the lowest first.</summary>
    public static void Spread(uint register, int bits, bool signed, int* target)
    {
        for (int j = 0; j < 32 / bits; j++)
        {
            uint field = register << (32 - bits - (j * bits));
            target[j] = signed ? (int)field >> (32 - bits) : (int)(field >> (32 - bits));
        }
    }

    /// <summary>A row of products: numbers, or of single bits those that differ (xor) or are both set (and).</summary>
    public static long Dot(int* a, int* b, int k, int mode)
    {
        long sum = 0;
        for (int n = 0; n < k; n++)
            sum += (mode & XorPopulation) != 0 ? a[n] ^ b[n] : (mode & AndPopulation) != 0 ? a[n] & b[n] : a[n] * b[n];
        return sum;
    }
}
