using Foretoken.Backends;
using Foretoken.Formats;
using Foretoken.Numerics;

namespace Foretoken.Models;

/// <summary>
/// Rows of a stored matrix as f32. Each thread reads a window of some adjacent rows with one call, so that packing a panel costs one system call
/// and peak memory stays near the packed weights: files are not mapped, their pages are never counted as the process's own.
/// </summary>
/// <param name="file">The open file.</param>
/// <param name="tensor">A matrix of it.</param>
/// <param name="windows">The rows that each thread read last, shared by the matrices of a model.</param>
/// <param name="pairedHead">Length of the heads whose rows are stored as interleaved pairs (<see cref="RopePairs"/>), or 0.</param>
internal sealed class TensorRows(TensorFile file, StoredTensor tensor, ThreadLocal<RowWindow> windows, int pairedHead = 0) : IStoredRowSource
{
    private const int MaxWindowRows = 16, MaxWindowBytes = 1 << 20;
    private readonly long _rowBytes = tensor.RowBytes;

    public string Name => tensor.Name;

    public DType StoredType => tensor.Type;

    public int OutFeatures { get; } = checked((int)tensor.Shape[0]);

    public int InFeatures { get; } = checked((int)tensor.Shape[1]);

    private int WindowRows => (int)Math.Clamp(MaxWindowBytes / _rowBytes, 1, MaxWindowRows);

    /// <exception cref="ModelFormatException">The file was cut since it was opened, or the row holds NaN or infinity.</exception>
    public void ReadRow(int row, Span<float> destination)
    {
        destination = destination[..InFeatures];
        DTypeConverter.ToSingle(tensor.Type, Stored(row), destination);
        if (!FiniteCheck.AllFinite(destination)) throw NotFinite(tensor, $"row {row}");
    }

    /// <exception cref="ModelFormatException">The file was cut since it was opened.</exception>
    public ReadOnlySpan<byte> ReadStoredRow(int row) => Stored(row);

    /// <summary>All elements of a vector.</summary>
    /// <exception cref="ModelFormatException">The file was cut since it was opened, or the vector holds NaN or infinity.</exception>
    public static float[] ReadVector(TensorFile file, StoredTensor tensor)
    {
        var bytes = new byte[tensor.Bytes];
        file.Read(tensor, 0, bytes);
        var values = new float[tensor.Elements];
        DTypeConverter.ToSingle(tensor.Type, bytes, values);
        return FiniteCheck.AllFinite(values) ? values : throw NotFinite(tensor, "its elements");
    }

    internal static ModelFormatException NotFinite(StoredTensor tensor, string where) =>
        new(tensor.File, $"\"{tensor.Name}\"", $"holds NaN or infinity in {where}", "The weights are damaged or do not fit their type: download or convert them again.");

    private ReadOnlySpan<byte> Stored(int row)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual((uint)row, (uint)OutFeatures, nameof(row));
        if (pairedHead > 0) row = RopePairs.InterleavedRow(row, pairedHead);
        RowWindow window = windows.Value!;
        if (window.Owner != this || row < window.FirstRow || row >= window.FirstRow + window.Rows) Fill(window, row);
        return window.Bytes.AsSpan((int)((row - window.FirstRow) * _rowBytes), (int)_rowBytes);
    }

    /// <summary>Windows start at multiples of their size, like the panels that backends pack.</summary>
    private void Fill(RowWindow window, int row)
    {
        int first = row - row % WindowRows, rows = Math.Min(WindowRows, OutFeatures - first);
        int bytes = checked((int)(rows * _rowBytes));
        window.Owner = null; // a failed read must not leave the old rows behind under the new owner
        if (window.Bytes.Length < bytes) window.Bytes = new byte[bytes];
        file.Read(tensor, first * _rowBytes, window.Bytes.AsSpan(0, bytes));
        (window.Owner, window.FirstRow, window.Rows) = (this, first, rows);
    }
}

/// <summary>The rows that one thread read last.</summary>
internal sealed class RowWindow
{
    public TensorRows? Owner;
    public byte[] Bytes = [];
    public int FirstRow;
    public int Rows;
}
