using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace Foretoken.Training;

/// <summary>
/// f32 matrix products on one thread, by packed panels and register tiles. Every method adds in an order that depends only on the sizes, so
/// results are the same bits on any thread. One instance per thread (it owns the packing buffers).
/// </summary>
public sealed unsafe class Gemm : IDisposable
{
    private const int DepthBlock = 256;
    private const int ColumnBlock = 512;
    private readonly FloatBuffer _left = new(TileKernel.Rows * DepthBlock);
    private readonly FloatBuffer _right = new(ColumnBlock * DepthBlock);

    /// <summary>Y[rows, outputs] = X[rows, inputs] · W[outputs, inputs]ᵀ.</summary>
    public void Forward(float* x, float* w, float* y, int rows, int inputs, int outputs) =>
        Multiply(x, inputs, 1, w, 1, inputs, y, outputs, rows, outputs, inputs, accumulate: false);

    /// <summary>dX[rows, inputs] (+)= dY[rows, outputs] · W[outputs, inputs].</summary>
    public void BackwardInput(float* dy, float* w, float* dx, int rows, int inputs, int outputs, bool accumulate) =>
        Multiply(dy, outputs, 1, w, inputs, 1, dx, inputs, rows, inputs, outputs, accumulate);

    /// <summary>dW[outputs, inputs] += dY[rows, outputs]ᵀ · X[rows, inputs].</summary>
    public void BackwardWeight(float* dy, float* x, float* dw, int rows, int inputs, int outputs) =>
        Multiply(dy, 1, outputs, x, inputs, 1, dw, inputs, outputs, inputs, rows, accumulate: true);

    /// <summary>
    /// C[m, n] (+)= A[m, k] · B[k, n], where A(i, j) = a[i·aRow + j·aColumn] and B(i, j) = b[i·bRow + j·bColumn]; one stride of each is 1.
    /// </summary>
    public void Multiply(
        float* a, long aRow, long aColumn, float* b, long bRow, long bColumn, float* c, long ldc, int m, int n, int k, bool accumulate) =>
        Multiply(a, aRow, aColumn, b, bRow, bColumn, c, ldc, m, n, k, accumulate, lowerOnly: false);

    /// <summary>C[side, side] = X·Xᵀ of X[side, depth]; only the lower triangle is computed, then mirrored.</summary>
    public void SymmetricProduct(float* x, float* c, int side, int depth)
    {
        Multiply(x, depth, 1, x, 1, depth, c, side, side, side, depth, accumulate: false, lowerOnly: true);
        for (int block = 0; block < side; block += 16)
        {
            int rows = Math.Min(16, side - block);
            float* first = c + (long)block * side;
            Transpose(first, side, rows, block, c + block, side);
            for (int row = 0; row < rows; row++)
                for (int column = row + 1; column < rows; column++) first[(long)row * side + block + column] = first[(long)column * side + block + row];
        }
    }

    private void Multiply(
        float* a, long aRow, long aColumn, float* b, long bRow, long bColumn, float* c, long ldc, int m, int n, int k, bool accumulate, bool lowerOnly)
    {
        if (k == 0 && !accumulate)
        {
            for (int row = 0; row < m; row++) new Span<float>(c + row * ldc, n).Clear();
        }
        for (int n0 = 0; n0 < n; n0 += ColumnBlock)
        {
            int columns = Math.Min(ColumnBlock, n - n0);
            for (int k0 = 0; k0 < k; k0 += DepthBlock)
            {
                int depth = Math.Min(DepthBlock, k - k0);
                PackRight(b + k0 * bRow + n0 * bColumn, bRow, bColumn, depth, columns, _right.Pointer);
                for (int m0 = 0; m0 < m; m0 += TileKernel.Rows)
                {
                    int rows = Math.Min(TileKernel.Rows, m - m0);
                    PackLeft(a + m0 * aRow + k0 * aColumn, aRow, aColumn, depth, rows, _left.Pointer);
                    float* target = c + m0 * ldc + n0;
                    int end = lowerOnly ? Math.Min(columns, m0 + rows - n0) : columns;
                    for (int column = 0; column < end; column += TileKernel.Columns)
                    {
                        TileKernel.Run<AdjacentRows>(_left.Pointer, TileKernel.Rows, _right.Pointer + (long)column * depth, TileKernel.Columns, depth,
                            target + column, (nint)ldc, rows, columns - column, accumulate || k0 > 0);
                    }
                }
            }
        }
    }

    /// <summary>Packs A[rows ≤ 12, depth] as [depth][12], missing rows as zeros.</summary>
    internal static void PackLeft(float* a, long rowStride, long columnStride, int depth, int rows, float* target)
    {
        if (rows < TileKernel.Rows)
        {
            new Span<float>(target, depth * TileKernel.Rows).Clear();
            for (int row = 0; row < rows; row++)
                for (int k = 0; k < depth; k++) target[k * TileKernel.Rows + row] = a[row * rowStride + k * columnStride];
        }
        else if (rowStride == 1)
        {
            for (int k = 0; k < depth; k++)
            {
                Vector256.Load(a).Store(target);
                Vector128.Load(a + 8).Store(target + 8);
                a += columnStride;
                target += TileKernel.Rows;
            }
        }
        else
        {
            Transpose(a, rowStride, TileKernel.Rows, depth, target, TileKernel.Rows);
        }
    }

    /// <summary>Packs B[depth, columns] as panels [columns / 32][depth][32], missing columns as zeros.</summary>
    private static void PackRight(float* b, long rowStride, long columnStride, int depth, int columns, float* target)
    {
        for (int column = 0; column < columns; column += TileKernel.Columns, target += TileKernel.Columns * depth)
        {
            int valid = Math.Min(TileKernel.Columns, columns - column);
            float* source = b + column * columnStride;
            if (valid < TileKernel.Columns) new Span<float>(target, depth * TileKernel.Columns).Clear();
            if (columnStride == 1)
            {
                for (int k = 0; k < depth; k++)
                {
                    float* from = source + k * rowStride;
                    float* to = target + k * TileKernel.Columns;
                    if (valid == TileKernel.Columns)
                    {
                        Vector512.Load(from).Store(to);
                        Vector512.Load(from + 16).Store(to + 16);
                    }
                    else
                    {
                        for (int j = 0; j < valid; j++) to[j] = from[j];
                    }
                }
            }
            else
            {
                Transpose(source, columnStride, valid, depth, target, TileKernel.Columns);
            }
        }
    }

    /// <summary>target[k, r] = source[r, k] for r &lt; rows, k &lt; depth, in 4×4 blocks where SSE is there.</summary>
    internal static void Transpose(float* source, long stride, int rows, int depth, float* target, int targetStride)
    {
        int wholeRows = Sse.IsSupported ? rows & ~3 : 0, wholeDepth = Sse.IsSupported ? depth & ~3 : 0;
        for (int row = 0; row < wholeRows; row += 4)
        {
            float* s = source + row * stride;
            float* t = target + row;
            for (int k = 0; k < wholeDepth; k += 4, t += 4 * targetStride)
            {
                Vector128<float> r0 = Vector128.Load(s + k), r1 = Vector128.Load(s + stride + k);
                Vector128<float> r2 = Vector128.Load(s + 2 * stride + k), r3 = Vector128.Load(s + 3 * stride + k);
                Vector128<float> t0 = Sse.UnpackLow(r0, r1), t1 = Sse.UnpackLow(r2, r3), t2 = Sse.UnpackHigh(r0, r1), t3 = Sse.UnpackHigh(r2, r3);
                Sse.MoveLowToHigh(t0, t1).Store(t);
                Sse.MoveHighToLow(t1, t0).Store(t + targetStride);
                Sse.MoveLowToHigh(t2, t3).Store(t + 2 * targetStride);
                Sse.MoveHighToLow(t3, t2).Store(t + 3 * targetStride);
            }
        }
        for (int row = 0; row < rows; row++)
            for (int k = row < wholeRows ? wholeDepth : 0; k < depth; k++) target[(long)k * targetStride + row] = source[row * stride + k];
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _left.Dispose();
        _right.Dispose();
    }
}
