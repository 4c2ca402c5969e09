using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace Foretoken.Training;

/// <summary>How the rows of a tile's left operand lie in memory: element (r, k) is <c>a[r * RowStride + k * step]</c>.</summary>
internal interface ILeftLayout
{
    /// <summary>Floats between neighbouring rows; a constant, so that it becomes an address displacement.</summary>
    static abstract int RowStride { get; }
}

/// <summary>Rows adjacent: packed panels, and transposed score blocks [key, query] read by query.</summary>
internal readonly struct AdjacentRows : ILeftLayout
{
    public static int RowStride => 1;
}

/// <summary>Rows of a transposed score block [key, query] read by key.</summary>
internal readonly struct ScoreBlockRows : ILeftLayout
{
    public static int RowStride => TileKernel.ScoreBlockQueries;
}

/// <summary>
/// The register tile of all matrix products: C[12, 32] (+)= A[12, depth] · B[depth, 32]. With AVX-512 the tile is 24 accumulators of 16 lanes;
/// otherwise it is computed as four 6×16 quarters of 12 accumulators of 8 lanes. The depth is summed in order, one fused multiply-add each.
/// The rows are written out because the compiler keeps only named locals in registers.
/// </summary>
internal static unsafe class TileKernel
{
    /// <summary>Rows of a tile.</summary>
    public const int Rows = 12;

    /// <summary>Columns of a tile.</summary>
    public const int Columns = 32;

    /// <summary>Queries per transposed score block; a multiple of both tile sides.</summary>
    public const int ScoreBlockQueries = 96;

    /// <summary>
    /// C[<paramref name="rows"/>, <paramref name="columns"/>] (+)= A · B; a partial tile is computed whole and only its valid part is stored, so
    /// A must have 12 readable rows and B 32 readable columns.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Run<TLeft>(float* a, nint aStep, float* b, nint bStep, int depth, float* c, nint ldc, int rows, int columns, bool accumulate)
        where TLeft : struct, ILeftLayout
    {
        if (rows >= Rows && columns >= Columns) Whole<TLeft>(a, aStep, b, bStep, depth, c, ldc, accumulate);
        else Partial<TLeft>(a, aStep, b, bStep, depth, c, ldc, Math.Min(rows, Rows), Math.Min(columns, Columns), accumulate);
    }

    private static void Whole<TLeft>(float* a, nint aStep, float* b, nint bStep, int depth, float* c, nint ldc, bool accumulate)
        where TLeft : struct, ILeftLayout
    {
        if (Vector512.IsHardwareAccelerated)
        {
            Tile12x32<TLeft>(a, aStep, b, bStep, depth, c, ldc, accumulate);
            return;
        }
        for (int row = 0; row < Rows; row += 6)
        {
            for (int column = 0; column < Columns; column += 16)
            {
                Tile6x16<TLeft>(a + row * TLeft.RowStride, aStep, b + column, bStep, depth, c + row * ldc + column, ldc, accumulate);
            }
        }
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static void Partial<TLeft>(float* a, nint aStep, float* b, nint bStep, int depth, float* c, nint ldc, int rows, int columns, bool accumulate)
        where TLeft : struct, ILeftLayout
    {
        float* tile = stackalloc float[Rows * Columns];
        Whole<TLeft>(a, aStep, b, bStep, depth, tile, Columns, accumulate: false);
        for (int row = 0; row < rows; row++)
        {
            float* source = tile + row * Columns;
            float* target = c + row * ldc;
            if (accumulate)
                for (int column = 0; column < columns; column++) target[column] += source[column];
            else
                for (int column = 0; column < columns; column++) target[column] = source[column];
        }
    }

    private static void Tile12x32<TLeft>(float* a, nint aStep, float* b, nint bStep, int depth, float* c, nint ldc, bool accumulate)
        where TLeft : struct, ILeftLayout
    {
        Vector512<float> r0x = default, r0y = default;
        Vector512<float> r1x = default, r1y = default;
        Vector512<float> r2x = default, r2y = default;
        Vector512<float> r3x = default, r3y = default;
        Vector512<float> r4x = default, r4y = default;
        Vector512<float> r5x = default, r5y = default;
        Vector512<float> r6x = default, r6y = default;
        Vector512<float> r7x = default, r7y = default;
        Vector512<float> r8x = default, r8y = default;
        Vector512<float> r9x = default, r9y = default;
        Vector512<float> r10x = default, r10y = default;
        Vector512<float> r11x = default, r11y = default;
        if (accumulate)
        {
            r0x = Vector512.Load(c); r0y = Vector512.Load(c + 16);
            r1x = Vector512.Load(c + ldc); r1y = Vector512.Load(c + ldc + 16);
            r2x = Vector512.Load(c + 2 * ldc); r2y = Vector512.Load(c + 2 * ldc + 16);
            r3x = Vector512.Load(c + 3 * ldc); r3y = Vector512.Load(c + 3 * ldc + 16);
            r4x = Vector512.Load(c + 4 * ldc); r4y = Vector512.Load(c + 4 * ldc + 16);
            r5x = Vector512.Load(c + 5 * ldc); r5y = Vector512.Load(c + 5 * ldc + 16);
            r6x = Vector512.Load(c + 6 * ldc); r6y = Vector512.Load(c + 6 * ldc + 16);
            r7x = Vector512.Load(c + 7 * ldc); r7y = Vector512.Load(c + 7 * ldc + 16);
            r8x = Vector512.Load(c + 8 * ldc); r8y = Vector512.Load(c + 8 * ldc + 16);
            r9x = Vector512.Load(c + 9 * ldc); r9y = Vector512.Load(c + 9 * ldc + 16);
            r10x = Vector512.Load(c + 10 * ldc); r10y = Vector512.Load(c + 10 * ldc + 16);
            r11x = Vector512.Load(c + 11 * ldc); r11y = Vector512.Load(c + 11 * ldc + 16);
        }
        for (int k = 0; k < depth; k++)
        {
            Vector512<float> x = Vector512.Load(b), y = Vector512.Load(b + 16), t;
            t = Vector512.Create(a[0 * TLeft.RowStride]); r0x = Vector512.FusedMultiplyAdd(t, x, r0x); r0y = Vector512.FusedMultiplyAdd(t, y, r0y);
            t = Vector512.Create(a[1 * TLeft.RowStride]); r1x = Vector512.FusedMultiplyAdd(t, x, r1x); r1y = Vector512.FusedMultiplyAdd(t, y, r1y);
            t = Vector512.Create(a[2 * TLeft.RowStride]); r2x = Vector512.FusedMultiplyAdd(t, x, r2x); r2y = Vector512.FusedMultiplyAdd(t, y, r2y);
            t = Vector512.Create(a[3 * TLeft.RowStride]); r3x = Vector512.FusedMultiplyAdd(t, x, r3x); r3y = Vector512.FusedMultiplyAdd(t, y, r3y);
            t = Vector512.Create(a[4 * TLeft.RowStride]); r4x = Vector512.FusedMultiplyAdd(t, x, r4x); r4y = Vector512.FusedMultiplyAdd(t, y, r4y);
            t = Vector512.Create(a[5 * TLeft.RowStride]); r5x = Vector512.FusedMultiplyAdd(t, x, r5x); r5y = Vector512.FusedMultiplyAdd(t, y, r5y);
            t = Vector512.Create(a[6 * TLeft.RowStride]); r6x = Vector512.FusedMultiplyAdd(t, x, r6x); r6y = Vector512.FusedMultiplyAdd(t, y, r6y);
            t = Vector512.Create(a[7 * TLeft.RowStride]); r7x = Vector512.FusedMultiplyAdd(t, x, r7x); r7y = Vector512.FusedMultiplyAdd(t, y, r7y);
            t = Vector512.Create(a[8 * TLeft.RowStride]); r8x = Vector512.FusedMultiplyAdd(t, x, r8x); r8y = Vector512.FusedMultiplyAdd(t, y, r8y);
            t = Vector512.Create(a[9 * TLeft.RowStride]); r9x = Vector512.FusedMultiplyAdd(t, x, r9x); r9y = Vector512.FusedMultiplyAdd(t, y, r9y);
            t = Vector512.Create(a[10 * TLeft.RowStride]); r10x = Vector512.FusedMultiplyAdd(t, x, r10x); r10y = Vector512.FusedMultiplyAdd(t, y, r10y);
            t = Vector512.Create(a[11 * TLeft.RowStride]); r11x = Vector512.FusedMultiplyAdd(t, x, r11x); r11y = Vector512.FusedMultiplyAdd(t, y, r11y);
            a += aStep; b += bStep;
        }
        r0x.Store(c); r0y.Store(c + 16);
        r1x.Store(c + ldc); r1y.Store(c + ldc + 16);
        r2x.Store(c + 2 * ldc); r2y.Store(c + 2 * ldc + 16);
        r3x.Store(c + 3 * ldc); r3y.Store(c + 3 * ldc + 16);
        r4x.Store(c + 4 * ldc); r4y.Store(c + 4 * ldc + 16);
        r5x.Store(c + 5 * ldc); r5y.Store(c + 5 * ldc + 16);
        r6x.Store(c + 6 * ldc); r6y.Store(c + 6 * ldc + 16);
        r7x.Store(c + 7 * ldc); r7y.Store(c + 7 * ldc + 16);
        r8x.Store(c + 8 * ldc); r8y.Store(c + 8 * ldc + 16);
        r9x.Store(c + 9 * ldc); r9y.Store(c + 9 * ldc + 16);
        r10x.Store(c + 10 * ldc); r10y.Store(c + 10 * ldc + 16);
        r11x.Store(c + 11 * ldc); r11y.Store(c + 11 * ldc + 16);
    }

    private static void Tile6x16<TLeft>(float* a, nint aStep, float* b, nint bStep, int depth, float* c, nint ldc, bool accumulate)
        where TLeft : struct, ILeftLayout
    {
        Vector256<float> r0x = default, r0y = default;
        Vector256<float> r1x = default, r1y = default;
        Vector256<float> r2x = default, r2y = default;
        Vector256<float> r3x = default, r3y = default;
        Vector256<float> r4x = default, r4y = default;
        Vector256<float> r5x = default, r5y = default;
        if (accumulate)
        {
            r0x = Vector256.Load(c); r0y = Vector256.Load(c + 8);
            r1x = Vector256.Load(c + ldc); r1y = Vector256.Load(c + ldc + 8);
            r2x = Vector256.Load(c + 2 * ldc); r2y = Vector256.Load(c + 2 * ldc + 8);
            r3x = Vector256.Load(c + 3 * ldc); r3y = Vector256.Load(c + 3 * ldc + 8);
            r4x = Vector256.Load(c + 4 * ldc); r4y = Vector256.Load(c + 4 * ldc + 8);
            r5x = Vector256.Load(c + 5 * ldc); r5y = Vector256.Load(c + 5 * ldc + 8);
        }
        for (int k = 0; k < depth; k++)
        {
            Vector256<float> x = Vector256.Load(b), y = Vector256.Load(b + 8), t;
            t = Vector256.Create(a[0 * TLeft.RowStride]); r0x = Vector256.FusedMultiplyAdd(t, x, r0x); r0y = Vector256.FusedMultiplyAdd(t, y, r0y);
            t = Vector256.Create(a[1 * TLeft.RowStride]); r1x = Vector256.FusedMultiplyAdd(t, x, r1x); r1y = Vector256.FusedMultiplyAdd(t, y, r1y);
            t = Vector256.Create(a[2 * TLeft.RowStride]); r2x = Vector256.FusedMultiplyAdd(t, x, r2x); r2y = Vector256.FusedMultiplyAdd(t, y, r2y);
            t = Vector256.Create(a[3 * TLeft.RowStride]); r3x = Vector256.FusedMultiplyAdd(t, x, r3x); r3y = Vector256.FusedMultiplyAdd(t, y, r3y);
            t = Vector256.Create(a[4 * TLeft.RowStride]); r4x = Vector256.FusedMultiplyAdd(t, x, r4x); r4y = Vector256.FusedMultiplyAdd(t, y, r4y);
            t = Vector256.Create(a[5 * TLeft.RowStride]); r5x = Vector256.FusedMultiplyAdd(t, x, r5x); r5y = Vector256.FusedMultiplyAdd(t, y, r5y);
            a += aStep; b += bStep;
        }
        r0x.Store(c); r0y.Store(c + 8);
        r1x.Store(c + ldc); r1y.Store(c + ldc + 8);
        r2x.Store(c + 2 * ldc); r2y.Store(c + 2 * ldc + 8);
        r3x.Store(c + 3 * ldc); r3y.Store(c + 3 * ldc + 8);
        r4x.Store(c + 4 * ldc); r4y.Store(c + 4 * ldc + 8);
        r5x.Store(c + 5 * ldc); r5y.Store(c + 5 * ldc + 8);
    }
}
