using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using Foretoken.Ptx.Execution;
using Foretoken.Ptx.Memory;

namespace Foretoken.Ptx.Instructions;

/// <summary>
/// ldmatrix, stmatrix, movmatrix and mma.sync with the fragment maps of ptx.md §1: g = lane / 4, t = lane mod 4. List holds the registers in the order
/// D, A, B, C.
/// </summary>
internal static unsafe partial class MatrixOps
{
    private const int Rows = 16, Columns = 8;
    public const int Half = 0, Brain = 1, Tf32 = 2; // Mode of the float forms

    /// <summary>ldmatrix: lanes 8m … 8m+7 hold the row addresses of matrix m; Count matrices, Flag: transposed.</summary>
    public static void LoadMatrix(Warp w, Instruction* i, uint exec)
    {
        MemoryOps.Addresses(w, i);
        ushort* matrix = stackalloc ushort[64]; // [8 rows, 8 columns]
        for (int m = 0; m < i->Count; m++)
        {
            for (int row = 0; row < 8; row++)
            {
                int lane = (8 * m) + row;
                Unsafe.CopyBlockUnaligned(matrix + (8 * row), ReadRow(w, i, lane), 16);
            }

            uint* d = (uint*)w.At(i->List[m]);
            for (int lane = 0; lane < Warp.Lanes; lane++)
            {
                int g = lane >> 2, t = lane & 3;
                d[lane] = i->Flag ? matrix[(16 * t) + g] | ((uint)matrix[(16 * t) + 8 + g] << 16) : *(uint*)(matrix + (8 * g) + (2 * t));
            }
        }

        CountRows(w, i->Count);
    }

    /// <summary>16 bytes at a lane's address, which all lanes read together.</summary>
    private static byte* ReadRow(Warp w, Instruction* i, int lane)
    {
        ulong address = Local(w.Address[lane]);
        SharedMemory shared = w.Block.Shared;
        SharedSpace.Check(w, i, lane, address, 16, "read");
        return shared.Read((int)address, 16, w.Index, -1) ? shared.Data + address : throw w.Block.Fault(shared.Wrong.Kind, w, i, 1u << lane, shared.Wrong.Message);
    }

    /// <summary>stmatrix, the inverse (sm_90).</summary>
    public static void StoreMatrix(Warp w, Instruction* i, uint exec)
    {
        MemoryOps.Addresses(w, i);
        ushort* matrix = stackalloc ushort[64];
        for (int m = 0; m < i->Count; m++)
        {
            Scatter((uint*)w.At(i->List[m]), matrix, i->Flag);
            for (int row = 0; row < 8; row++)
            {
                int lane = (8 * m) + row;
                byte* target = SharedSpace.Write(w, i, lane, Local(w.Address[lane]), 16, (byte*)(matrix + (8 * row)));
                Unsafe.CopyBlockUnaligned(target, matrix + (8 * row), 16);
            }
        }

        CountRows(w, i->Count);
    }

    /// <summary>movmatrix.trans: (r, c) → (c, r).</summary>
    public static void MoveMatrix(Warp w, Instruction* i, uint exec)
    {
        ushort* matrix = stackalloc ushort[64];
        Scatter((uint*)w.At(i->A), matrix, transposed: true);
        Unsafe.CopyBlockUnaligned(w.At(i->D), matrix, 128);
    }

    /// <summary>mma m16n8 with s8 or u8 operands, Count = k (32); Mode bit 0: A signed, bit 1: B signed; Flag: satfinite. Exact; wraps unless saturating.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Integer(Warp w, Instruction* i, uint exec)
    {
        const int k = 32;
        int* a = stackalloc int[Rows * k], b = stackalloc int[k * Columns], c = stackalloc int[Rows * Columns]; // [16, k], [k, 8], [16, 8]
        bool signedA = (i->Mode & 1) != 0, signedB = (i->Mode & 2) != 0;
        for (int r = 0; r < 4; r++)
        {
            byte* source = w.At(i->List[4 + r]); // [8 rows, 16 k]: element 4r+j → row g + 8·(r & 1), k 4t + j + 16·(r >> 1)
            for (int g = 0; g < 8; g++)
                Widen(source + (16 * g), signedA, a + ((g + (8 * (r & 1))) * k) + (16 * (r >> 1)), 16);
        }

        byte* columns = stackalloc byte[16 * Columns];
        for (int r = 0; r < 2; r++)
        {
            byte* source = w.At(i->List[8 + r]); // [8 columns, 16 k]: element 4r+j → k 4t + j + 16·r, column g
            for (int n = 0; n < 128; n++)
                columns[((n & 15) * Columns) + (n >> 4)] = source[n];
            Widen(columns, signedB, b + (16 * r * Columns), 128);
        }

        LoadAccumulators((int*)w.At(i->List[10]), (int*)w.At(i->List[11]), (int*)w.At(i->List[12]), (int*)w.At(i->List[13]), c);
        for (int row = 0; row < Rows; row++)
        {
            Vector256<int> sum = Vector256<int>.Zero;
            for (int kk = 0; kk < k; kk++)
                sum += Vector256.Create(a[(row * k) + kk]) * Vector256.Load(b + (kk * Columns));
            Vector256<int> old = Vector256.Load(c + (row * Columns)), result = old + sum;
            if (i->Flag)
                result = Vector256.ConditionalSelect(Vector256.LessThan((old ^ result) & (sum ^ result), Vector256<int>.Zero), Vector256.ShiftRightArithmetic(old, 31) ^ Vector256.Create(int.MaxValue), result);
            result.Store(c + (row * Columns));
        }

        StoreAccumulators(c, (int*)w.At(i->List[0]), (int*)w.At(i->List[1]), (int*)w.At(i->List[2]), (int*)w.At(i->List[3]));
        Count(w, Rows * Columns * k);
    }

    /// <summary>
    /// mma m16n8 with f16, bf16 or tf32 operands, Count = k; Width: bits of an accumulator (32, or 16: two to a register). A chain of fused blocks (ptx.md §1),
    /// all in double precision, where products, the cut and the sum of a block are exact: a term is cut toward zero to a multiple of 2^(E−F), where 2^E is
    /// the largest power among the products' exponents (not renormalised) and the accumulator's.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Float(Warp w, Instruction* i, uint exec)
    {
        int k = i->Count;
        double* a = stackalloc double[Rows * 16], powerA = stackalloc double[Rows * 16]; // [16, k]
        double* b = stackalloc double[16 * Columns], powerB = stackalloc double[16 * Columns]; // [k, 8]
        float* c = stackalloc float[Rows * Columns];
        bool finite = LoadOperands(w, i, a, powerA, b, powerB);
        LoadFloatAccumulators(w, i, c);
        Multiply(w, a, powerA, b, powerB, c, Rows, k, i->Mode, i->Width, finite);
        StoreFloatAccumulators(w, i, c);
        Count(w, Rows * Columns * k);
    }

    /// <summary>c[rows, 8] += a[rows, k] · b[k, 8] with the blocks and cuts of the machine's profile.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Multiply(Warp w, double* a, double* powerA, double* b, double* powerB, float* c, int rows, int k, int mode, int width, bool finite)
    {
        bool hopper = w.Block.Launch.Options.Mma == MmaProfile.Hopper;
        int block = Math.Min(k, (hopper ? 16 : 8) >> (mode == Tf32 ? 1 : 0)), bits = hopper ? 25 : 24;
        for (int row = 0; row < rows; row++)
        {
            Vector512<double> sum = Widen(c + (row * Columns));
            for (int first = 0; first < k; first += block)
                sum = Block(a + (row * k), powerA + (row * k), b, powerB, first, block, bits, sum, finite, width);
            Vector512.Narrow(sum, sum).GetLower().Store(c + (row * Columns));
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<double> Block(double* a, double* powerA, double* b, double* powerB, int first, int count, int bits, Vector512<double> sum, bool finite, int width)
    {
        Vector512<double> largest = Power(sum);
        for (int n = first; n < first + count; n++)
            largest = Vector512.MaxNative(largest, Vector512.Create(powerA[n]) * Vector512.Load(powerB + (n * Columns)));
        largest = Vector512.ConditionalSelect(Vector512.Equals(largest, Vector512<double>.Zero), Vector512<double>.One, largest);
        // 2^(F−E) from the bits of 2^E: exponents subtract
        Vector512<double> up = (Vector512.Create((long)(bits + 2046) << 52) - largest.AsInt64()).AsDouble();
        Vector512<double> total = Vector512.Truncate(sum * up), plain = sum;
        for (int n = first; n < first + count; n++)
        {
            Vector512<double> product = Vector512.Create(a[n]) * Vector512.Load(b + (n * Columns));
            total += Vector512.Truncate(product * up);
            plain += product;
        }

        Vector512<double> result = total * (largest * Vector512.Create(Math.ScaleB(1, -bits)));
        result = width == 16 ? RoundHalf(result) : TruncateSingle(result);
        return finite ? result : Vector512.ConditionalSelect(Vector512.LessThan(Vector512.Abs(plain), Vector512.Create(double.PositiveInfinity)), result, Specials(plain));
    }

    /// <summary>2 to the exponent, at least <paramref name="least"/>; 0 of a zero.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<double> Power(Vector512<double> value, double least = 1.1754943508222875e-38)
    {
        Vector512<double> power = (value.AsInt64() & Vector512.Create(0x7FF0000000000000L)).AsDouble();
        return Vector512.ConditionalSelect(Vector512.Equals(value, Vector512<double>.Zero), Vector512<double>.Zero, Vector512.MaxNative(power, Vector512.Create(least)));
    }

    /// <summary>Toward zero to binary32: 24 bits, or a multiple of 2^−149; too large becomes infinite.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<double> TruncateSingle(Vector512<double> value)
    {
        Vector512<double> normal = (value.AsInt64() & Vector512.Create(~((1L << 29) - 1))).AsDouble();
        Vector512<double> magnitude = Vector512.Abs(value);
        Vector512<double> subnormal = Vector512.Truncate(value * Vector512.Create(7.1362384635297994e44)) * Vector512.Create(1.4012984643248171e-45); // 2^149, 2^−149
        Vector512<double> result = Vector512.ConditionalSelect(Vector512.LessThan(magnitude, Vector512.Create(1.1754943508222875e-38)), subnormal, normal);
        Vector512<double> infinite = (value.AsInt64() & Vector512.Create(long.MinValue) | Vector512.Create(0x7FF0000000000000L)).AsDouble();
        return Vector512.ConditionalSelect(Vector512.GreaterThanOrEqual(magnitude, Vector512.Create(3.4028236692093846e38)), infinite, result);
    }

    private static Vector512<double> RoundHalf(Vector512<double> value)
    {
        for (int n = 0; n < Columns; n++)
            value = value.WithElement(n, Numbers.Round(value.GetElement(n), FloatFormat.Half, Rounding.Nearest));
        return value;
    }

    /// <summary>NaN, 0·inf and inf − inf are the canonical NaN.</summary>
    private static Vector512<double> Specials(Vector512<double> value) => Vector512.ConditionalSelect(Vector512.Equals(value, value), value, Vector512.Create(double.NaN));

    /// <summary>Fills the operands and the powers of two of their exponents; false when one is infinite or NaN.</summary>
    private static bool LoadOperands(Warp w, Instruction* i, double* a, double* powerA, double* b, double* powerB)
    {
        int k = i->Count, d = i->Width == 16 ? 2 : 4;
        if (i->Mode == Tf32)
        {
            LoadTf32(w, i, a, b);
        }
        else
        {
            int registersA = k / 4;
            for (int q = 0; q < registersA; q++) // [8 rows, 8 k]: row g + 8·(q & 1), k 2t + half + 8·(q >> 1)
            {
                ushort* source = (ushort*)w.At(i->List[d + q]);
                for (int g = 0; g < 8; g++)
                    Read8(source + (8 * g), i->Mode).Store(a + ((g + (8 * (q & 1))) * k) + (8 * (q >> 1)));
            }

            ushort* columns = stackalloc ushort[64];
            for (int q = 0; q < registersA / 2; q++) // [8 columns, 8 k]: k 2t + half + 8q, column g
            {
                ushort* source = (ushort*)w.At(i->List[d + registersA + q]);
                for (int n = 0; n < 64; n++)
                    columns[((n & 7) * 8) + (n >> 3)] = source[n];
                for (int kk = 0; kk < 8; kk++)
                    Read8(columns + (8 * kk), i->Mode).Store(b + (((8 * q) + kk) * Columns));
            }
        }

        return Powers(a, powerA, Rows * k, i->Mode) & Powers(b, powerB, k * Columns, i->Mode);
    }

    /// <summary>The powers of two of count values (a multiple of 8); false when one is infinite or NaN.</summary>
    public static bool Powers(double* values, double* powers, int count, int mode)
    {
        double least = mode == Half ? 6.103515625e-05 : 1.1754943508222875e-38; // subnormals count with the least exponent, 2^−14 or 2^−126
        Vector512<double> finite = Vector512<double>.AllBitsSet;
        for (int n = 0; n < count; n += 8)
        {
            Vector512<double> value = Vector512.Load(values + n);
            Power(value, least).Store(powers + n);
            finite &= Vector512.LessThan(Vector512.Abs(value), Vector512.Create(double.PositiveInfinity));
        }

        return finite.AsUInt64() == Vector512<ulong>.AllBitsSet;
    }

    /// <summary>Eight 16-bit floats side by side.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<double> Read8(ushort* source, int mode)
    {
        Vector256<uint> bits = Vector256.WidenLower(Vector128.Load(source).ToVector256Unsafe());
        Vector256<float> single = mode == Brain ? Vector256.ShiftLeft(bits, 16).AsSingle() : FromHalf(bits);
        return Vector512.WidenLower(single.ToVector512Unsafe());
    }

    /// <summary>binary16: the exponent field moves by a factor 2^112, which also makes subnormals right; the top exponent stays the top one.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<float> FromHalf(Vector256<uint> bits)
    {
        Vector256<uint> magnitude = Vector256.ShiftLeft(bits & Vector256.Create(0x7FFFu), 13), sign = Vector256.ShiftLeft(bits & Vector256.Create(0x8000u), 16);
        Vector256<uint> number = (magnitude.AsSingle() * Vector256.Create(5.192296858534828e33f)).AsUInt32();
        Vector256<uint> special = Vector256.GreaterThanOrEqual(magnitude, Vector256.Create(0x7C00u << 13));
        return (Vector256.ConditionalSelect(special, magnitude | Vector256.Create(0x7F800000u), number) | sign).AsSingle();
    }

    private static void LoadTf32(Warp w, Instruction* i, double* a, double* b)
    {
        int k = i->Count, registersA = k / 2;
        for (int lane = 0; lane < Warp.Lanes; lane++)
        {
            int g = lane >> 2, t = lane & 3;
            for (int q = 0; q < registersA; q++) // row g + 8·(q & 1), k t + 4·(q >> 1)
                a[((g + (8 * (q & 1))) * k) + t + (4 * (q >> 1))] = BitConverter.UInt32BitsToSingle(((uint*)w.At(i->List[4 + q]))[lane] & 0xFFFFE000);
            for (int q = 0; q < registersA / 2; q++) // k t + 4q, column g
                b[((t + (4 * q)) * Columns) + g] = BitConverter.UInt32BitsToSingle(((uint*)w.At(i->List[4 + registersA + q]))[lane] & 0xFFFFE000);
        }
    }

    /// <summary>Bytes to words; count is a multiple of 16.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Widen(byte* source, bool signed, int* target, int count)
    {
        for (int n = 0; n < count; n += 16)
        {
            Vector128<byte> bytes = Vector128.Load(source + n);
            (Vector128<int> a0, Vector128<int> a1, Vector128<int> a2, Vector128<int> a3) = signed ? Signed(bytes.AsSByte()) : Unsigned(bytes);
            a0.Store(target + n);
            a1.Store(target + n + 4);
            a2.Store(target + n + 8);
            a3.Store(target + n + 12);
        }

        static (Vector128<int>, Vector128<int>, Vector128<int>, Vector128<int>) Signed(Vector128<sbyte> bytes)
        {
            (Vector128<short> low, Vector128<short> high) = Vector128.Widen(bytes);
            (Vector128<int> a, Vector128<int> b) = Vector128.Widen(low);
            (Vector128<int> c, Vector128<int> d) = Vector128.Widen(high);
            return (a, b, c, d);
        }

        static (Vector128<int>, Vector128<int>, Vector128<int>, Vector128<int>) Unsigned(Vector128<byte> bytes)
        {
            (Vector128<ushort> low, Vector128<ushort> high) = Vector128.Widen(bytes);
            (Vector128<uint> a, Vector128<uint> b) = Vector128.Widen(low);
            (Vector128<uint> c, Vector128<uint> d) = Vector128.Widen(high);
            return (a.AsInt32(), b.AsInt32(), c.AsInt32(), d.AsInt32());
        }
    }

    /// <summary>C element e → row g + 8·(e >> 1), column 2t + (e &amp; 1).</summary>
    private static void LoadAccumulators(int* c0, int* c1, int* c2, int* c3, int* c)
    {
        for (int lane = 0; lane < Warp.Lanes; lane++)
        {
            int at = ((lane >> 2) * Columns) + (2 * (lane & 3));
            (c[at], c[at + 1], c[at + 64], c[at + 65]) = (c0[lane], c1[lane], c2[lane], c3[lane]);
        }
    }

    private static void StoreAccumulators(int* c, int* d0, int* d1, int* d2, int* d3)
    {
        for (int lane = 0; lane < Warp.Lanes; lane++)
        {
            int at = ((lane >> 2) * Columns) + (2 * (lane & 3));
            (d0[lane], d1[lane], d2[lane], d3[lane]) = (c[at], c[at + 1], c[at + 64], c[at + 65]);
        }
    }

    private static void LoadFloatAccumulators(Warp w, Instruction* i, float* c)
    {
        int* list = i->List + (i->Width == 16 ? 2 : 4) + (i->Mode == Tf32 ? i->Count / 2 * 3 / 2 : i->Count / 4 * 3 / 2);
        if (i->Width == 32)
        {
            LoadAccumulators((int*)w.At(list[0]), (int*)w.At(list[1]), (int*)w.At(list[2]), (int*)w.At(list[3]), (int*)c);
            return;
        }

        for (int r = 0; r < 2; r++)
        {
            for (int n = 0; n < 64; n++)
                c[(r * 64) + n] = Numbers.FromHalf(((ushort*)w.At(list[r]))[n]);
        }
    }

    private static void StoreFloatAccumulators(Warp w, Instruction* i, float* c)
    {
        if (i->Width == 32)
        {
            for (int n = 0; n < Rows * Columns; n++)
                c[n] = float.IsNaN(c[n]) ? BitConverter.UInt32BitsToSingle(Numbers.CanonicalNaN) : c[n];
            StoreAccumulators((int*)c, (int*)w.At(i->List[0]), (int*)w.At(i->List[1]), (int*)w.At(i->List[2]), (int*)w.At(i->List[3]));
            return;
        }

        for (int r = 0; r < 2; r++)
        {
            for (int n = 0; n < 64; n++)
                ((ushort*)w.At(i->List[r]))[n] = Numbers.ToHalf(c[(r * 64) + n], Rounding.Nearest);
        }
    }

    private static Vector512<double> Widen(float* source) => Vector512.WidenLower(Vector256.Load(source).ToVector512Unsafe());

    /// <summary>An 8×8 matrix from its fragment: register lane (g, t) holds row g, columns 2t and 2t+1.</summary>
    private static void Scatter(uint* source, ushort* matrix, bool transposed)
    {
        for (int lane = 0; lane < Warp.Lanes; lane++)
        {
            int g = lane >> 2, t = lane & 3;
            for (int half = 0; half < 2; half++)
                matrix[transposed ? (((2 * t) + half) * 8) + g : (g * 8) + (2 * t) + half] = (ushort)(source[lane] >> (16 * half));
        }
    }

    private static ulong Local(ulong address) => Window.IsIn(address, Window.Shared) ? address - Window.Shared : address;

    /// <summary>Each matrix is one pass over eight rows of 16 bytes.</summary>
    private static void CountRows(Warp w, int matrices)
    {
        if (!w.Block.Launch.Options.Count)
            return;
        w.Block.Counters.SharedAccesses++;
        for (int m = 0; m < matrices; m++)
            w.Block.Counters.SharedBankConflicts += AccessCounts.Passes(w.Address, 0xFFu << (8 * m), 4) - 1;
    }

    public static void Count(Warp w, int multiplyAdds)
    {
        w.Block.Counters.MmaInstructions++;
        w.Block.Counters.MmaMultiplyAdds += multiplyAdds;
    }
}
