using Foretoken.Ptx.Execution;
using Foretoken.Ptx.Memory;

namespace Foretoken.Ptx.Instructions;

/// <summary>One fragment of wmma: an opaque spread of a matrix over the registers of a warp.</summary>
/// <param name="Registers">Registers of a lane.</param>
/// <param name="Bits">Bits of an element.</param>
internal readonly record struct WarpFragment(int Rows, int Columns, int Registers, int Bits)
{
    public int Elements => Rows * Columns;

    /// <summary>Elements of a register: 32 bits, or one double.</summary>
    public int PerRegister => Bits == 64 ? 1 : 32 / Bits;

    public ulong Packed => (uint)Rows | ((ulong)(uint)Columns << 16) | ((ulong)(uint)Registers << 32) | ((ulong)(uint)Bits << 48);

    public static WarpFragment From(ulong packed) => new((int)(packed & 0xFFFF), (int)(packed >> 16 & 0xFFFF), (int)(packed >> 32 & 0xFFFF), (int)(packed >> 48));
}

/// <summary>
/// wmma.load, .store and .mma. PTX leaves open which lane holds which element; here element e of register r of lane l is number (l·registers + r)·per + e,
/// counted along rows, and what is left over repeats the matrix (the fragments of f16 hold every element twice or more). Code that touches elements one by
/// one is right with any spread, and code that counts on a GPU's is wrong.
/// </summary>
internal static unsafe class WarpMatrixOps
{
    private const int MostElements = 1024;

    /// <summary>wmma.load: A the address, B the stride in elements (Flag: by columns), C.. in List the fragment's shape (two words), then the registers.</summary>
    public static void Load<TSpace>(Warp w, Instruction* i, uint exec)
        where TSpace : struct, ISpace
    {
        WarpFragment f = Shape(i);
        ulong* values = stackalloc ulong[MostElements];
        ulong origin = Origin(w, i);
        for (int e = 0; e < f.Elements; e++)
        {
            (ulong address, int shift) = Place(w, i, f, origin, e);
            byte* at = TSpace.Read(w, i, Owner(f, e), address, Math.Max(f.Bits / 8, 1));
            values[e] = f.Bits switch { 64 => *(ulong*)at, 32 => *(uint*)at, 16 => *(ushort*)at, 8 => *at, _ => (ulong)(*at >> shift & ((1 << f.Bits) - 1)) };
        }

        Write(w, i->List + Head, f, values);
        Count<TSpace>(w, i, f, origin, store: false);
    }

    public static void Store<TSpace>(Warp w, Instruction* i, uint exec)
        where TSpace : struct, ISpace
    {
        WarpFragment f = Shape(i);
        ulong* values = stackalloc ulong[MostElements];
        Read(w, i->List + Head, f, values);
        ulong origin = Origin(w, i);
        for (int e = 0; e < f.Elements; e++)
        {
            int bytes = f.Bits / 8;
            byte* target = TSpace.Write(w, i, Owner(f, e), Place(w, i, f, origin, e).Address, bytes, (byte*)(values + e));
            Buffer.MemoryCopy(values + e, target, bytes, bytes);
        }

        Count<TSpace>(w, i, f, origin, store: true);
    }

    /// <summary>Words of List before the registers: the fragment's shape.</summary>
    public const int Head = 2;

    /// <summary>wmma.mma of integers: List holds the shapes of A, B and C (two words each), then D, A, B, C. Mode as for mma; Flag: satfinite.</summary>
    public static void Integer(Warp w, Instruction* i, uint exec)
    {
        (WarpFragment fa, WarpFragment fb, WarpFragment fc) = Shapes(i);
        ulong* values = stackalloc ulong[MostElements];
        int* a = stackalloc int[fa.Elements], b = stackalloc int[fb.Elements]; // [rows, k], [columns, k]
        int* list = i->List + (3 * Head);
        int k = fa.Columns, columns = fc.Columns;
        Read(w, list + fc.Registers, fa, values);
        for (int n = 0; n < fa.Elements; n++)
            a[n] = Extended(values[n], fa.Bits, (i->Mode & 1) != 0);
        Read(w, list + fc.Registers + fa.Registers, fb, values);
        for (int n = 0; n < fb.Elements; n++)
            b[(n % columns * k) + (n / columns)] = Extended(values[n], fb.Bits, (i->Mode & 2) != 0);
        Read(w, list + fc.Registers + fa.Registers + fb.Registers, fc, values);
        for (int n = 0; n < fc.Elements; n++)
        {
            long sum = (int)values[n] + MatrixOps.Dot(a + (n / columns * k), b + (n % columns * k), k, i->Mode);
            values[n] = (uint)(i->Flag ? (int)Math.Clamp(sum, int.MinValue, int.MaxValue) : (int)sum);
        }

        Write(w, list, fc, values);
        MatrixOps.Count(w, fc.Elements * k);
    }

    /// <summary>wmma.mma of f64.</summary>
    public static void Double(Warp w, Instruction* i, uint exec)
    {
        (WarpFragment fa, WarpFragment fb, WarpFragment fc) = Shapes(i);
        double* a = stackalloc double[fa.Elements], b = stackalloc double[fb.Elements], c = stackalloc double[fc.Elements];
        int* list = i->List + (3 * Head);
        Read(w, list + fc.Registers, fa, (ulong*)a);
        Read(w, list + fc.Registers + fa.Registers, fb, (ulong*)b);
        Read(w, list + fc.Registers + fa.Registers + fb.Registers, fc, (ulong*)c);
        for (int n = 0; n < fc.Elements; n++)
        {
            for (int k = 0; k < fa.Columns; k++)
                c[n] = Math.FusedMultiplyAdd(a[(n / fc.Columns * fa.Columns) + k], b[(k * fc.Columns) + (n % fc.Columns)], c[n]);
        }

        Write(w, list, fc, (ulong*)c);
        MatrixOps.Count(w, fc.Elements * fa.Columns);
    }

    /// <summary>wmma.mma of f16, bf16 and tf32: the sums of mma.sync, eight columns at a time. Width: 16 when D and C are f16; Target: bits of D, and 256 · bits of C.</summary>
    public static void Float(Warp w, Instruction* i, uint exec)
    {
        (WarpFragment fa, WarpFragment fb, WarpFragment fc) = Shapes(i);
        WarpFragment fd = fc with { Bits = i->Target & 255, Registers = fc.Elements * (i->Target & 255) / 1024 };
        int rows = fa.Rows, k = fa.Columns, columns = fb.Columns;
        ulong* values = stackalloc ulong[MostElements];
        double* a = stackalloc double[rows * k], powerA = stackalloc double[rows * k], b = stackalloc double[k * columns], tile = stackalloc double[k * 8], powers = stackalloc double[k * 8];
        float* c = stackalloc float[fc.Elements], part = stackalloc float[rows * 8];
        int* list = i->List + (3 * Head);
        Read(w, list + fd.Registers, fa, values);
        for (int n = 0; n < fa.Elements; n++)
            a[n] = Number(values[n], i->Mode);
        Read(w, list + fd.Registers + fa.Registers, fb, values);
        for (int n = 0; n < fb.Elements; n++)
            b[n] = Number(values[n], i->Mode);
        Read(w, list + fd.Registers + fa.Registers + fb.Registers, fc, values);
        for (int n = 0; n < fc.Elements; n++)
            c[n] = fc.Bits == 16 ? Numbers.FromHalf((uint)values[n]) : BitConverter.UInt32BitsToSingle((uint)values[n]);
        bool finite = MatrixOps.Powers(a, powerA, rows * k, i->Mode);
        for (int first = 0; first < columns; first += 8)
        {
            for (int n = 0; n < k * 8; n++)
                tile[n] = b[(n / 8 * columns) + first + (n % 8)];
            for (int n = 0; n < rows * 8; n++)
                part[n] = c[(n / 8 * columns) + first + (n % 8)];
            bool all = MatrixOps.Powers(tile, powers, k * 8, i->Mode) && finite;
            MatrixOps.Multiply(w, a, powerA, tile, powers, part, rows, k, i->Mode, i->Width, all);
            for (int n = 0; n < rows * 8; n++)
                c[(n / 8 * columns) + first + (n % 8)] = part[n];
        }

        for (int n = 0; n < fc.Elements; n++)
            values[n] = fd.Bits == 16 ? Numbers.ToHalf(c[n], Rounding.Nearest) : float.IsNaN(c[n]) ? Numbers.CanonicalNaN : BitConverter.SingleToUInt32Bits(c[n]);
        Write(w, list, fd, values);
        MatrixOps.Count(w, fc.Elements * k);
    }

    private static double Number(ulong bits, int mode) => mode switch
    {
        MatrixOps.Half => Numbers.FromHalf((uint)bits),
        MatrixOps.Brain => Numbers.FromBFloat16((uint)bits),
        _ => BitConverter.UInt32BitsToSingle((uint)bits & 0xFFFFE000),
    };

    private static int Extended(ulong field, int bits, bool signed) => signed ? (int)((uint)field << (32 - bits)) >> (32 - bits) : (int)field;

    private static WarpFragment Shape(Instruction* i) => Shape(i, 0);

    private static WarpFragment Shape(Instruction* i, int n) => WarpFragment.From((uint)i->List[2 * n] & int.MaxValue | ((ulong)((uint)i->List[(2 * n) + 1] & int.MaxValue) << 32));

    private static (WarpFragment A, WarpFragment B, WarpFragment C) Shapes(Instruction* i) => (Shape(i, 0), Shape(i, 1), Shape(i, 2));

    /// <summary>The address, which must be the same in all lanes.</summary>
    private static ulong Origin(Warp w, Instruction* i)
    {
        MemoryOps.Addresses(w, i);
        for (int lane = 1; lane < Warp.Lanes; lane++)
        {
            if (w.Address[lane] != w.Address[0] || ((uint*)w.At(i->B))[lane] != ((uint*)w.At(i->B))[0])
                throw w.Block.Fault(PtxFaultKind.IllegalInstruction, w, i, 1u << lane, "the lanes of a wmma access name different addresses or strides");
        }

        return w.Address[0];
    }

    /// <summary>Address of an element, and its place in the byte for elements of less.</summary>
    private static (ulong Address, int Shift) Place(Warp w, Instruction* i, WarpFragment f, ulong origin, int element)
    {
        ulong stride = ((uint*)w.At(i->B))[0], row = (ulong)(element / f.Columns), column = (ulong)(element % f.Columns);
        ulong bit = (i->Flag ? (column * stride) + row : (row * stride) + column) * (ulong)f.Bits;
        return (origin + (bit >> 3), (int)(bit & 7));
    }

    private static int Owner(WarpFragment f, int element) => element / f.PerRegister / f.Registers;

    private static void Write(Warp w, int* list, WarpFragment f, ulong* values)
    {
        for (int lane = 0; lane < Warp.Lanes; lane++)
        {
            for (int r = 0; r < f.Registers; r++)
            {
                int first = ((lane * f.Registers) + r) * f.PerRegister;
                if (f.Bits == 64)
                {
                    ((ulong*)w.At(list[r]))[lane] = values[first % f.Elements];
                    continue;
                }

                uint whole = 0;
                for (int e = 0; e < f.PerRegister; e++)
                    whole |= (uint)values[(first + e) % f.Elements] << (e * f.Bits);
                ((uint*)w.At(list[r]))[lane] = whole;
            }
        }
    }

    private static void Read(Warp w, int* list, WarpFragment f, ulong* values)
    {
        for (int element = 0; element < f.Elements; element++)
        {
            int register = element / f.PerRegister, lane = register / f.Registers;
            byte* at = w.At(list[register % f.Registers]);
            values[element] = f.Bits == 64 ? ((ulong*)at)[lane] : f.Bits == 32 ? ((uint*)at)[lane] : ((uint*)at)[lane] >> (element % f.PerRegister * f.Bits) & ((1u << f.Bits) - 1);
        }
    }

    /// <summary>Bytes and sectors of a global access; of a shared one that it took place (its passes are not known).</summary>
    private static void Count<TSpace>(Warp w, Instruction* i, WarpFragment f, ulong origin, bool store)
        where TSpace : struct, ISpace
    {
        if (!w.Block.Launch.Options.Count)
            return;
        if (typeof(TSpace) == typeof(SharedSpace) || origin >= Window.Shared)
        {
            w.Block.Counters.SharedAccesses++;
            return;
        }

        int lines = i->Flag ? f.Columns : f.Rows, bytes = (i->Flag ? f.Rows : f.Columns) * f.Bits / 8;
        ulong stride = (ulong)((uint*)w.At(i->B))[0] * (ulong)f.Bits / 8;
        for (int line = 0; line < lines; line++)
            AccessCounts.GlobalRange(w, origin + ((ulong)line * stride), bytes, store);
    }
}
