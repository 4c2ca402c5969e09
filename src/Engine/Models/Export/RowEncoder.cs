using System.Runtime.ExceptionServices;
using Foretoken.Backends;
using Foretoken.Backends.Cpu;
using Foretoken.Formats;
using Foretoken.Numerics;

namespace Foretoken.Models.Export;

/// <summary>How a model is written.</summary>
public sealed record ExportOptions
{
    /// <summary>Types of the weights.</summary>
    public required WeightMix Mix { get; init; }

    /// <summary>Name of the model in the file.</summary>
    public required string Name { get; init; }

    /// <summary>Threads that convert; 0 = one per processor.</summary>
    public int Threads { get; init; }

    /// <summary>Hears of the tensors as they are written; null = nobody.</summary>
    public IProgress<LoadProgress>? Progress { get; init; }

    /// <summary>Ends the export with an <see cref="OperationCanceledException"/>.</summary>
    public CancellationToken Cancellation { get; init; }
}

/// <summary>Converts the rows of a matrix to their type in a file, a few megabytes at a time; threads share the rows of a piece.</summary>
internal sealed class RowEncoder(ExportOptions options)
{
    private const long PieceBytes = 8 << 20;
    private readonly ParallelOptions _parallel = new()
    {
        MaxDegreeOfParallelism = options.Threads == 0 ? ProcessorLimits.Current.Threads : options.Threads,
        CancellationToken = options.Cancellation,
    };

    private byte[] _piece = [];

    /// <summary>Writes all rows.</summary>
    /// <param name="stream">Receives them.</param>
    /// <param name="origin">The model, for errors.</param>
    /// <param name="rows">The matrix.</param>
    /// <param name="type">Type in the file.</param>
    /// <param name="rowOf">Which row of the matrix stands at a place of the file; null = the same.</param>
    public void Write(Stream stream, string origin, IRowSource rows, DType type, Func<int, int>? rowOf)
    {
        int rowBytes = checked((int)type.BytesOf(rows.InFeatures)), perPiece = (int)Math.Clamp(PieceBytes / rowBytes, 1, rows.OutFeatures);
        if (_piece.Length < perPiece * (long)rowBytes) _piece = new byte[checked(perPiece * rowBytes)];
        for (int first = 0; first < rows.OutFeatures; first += perPiece)
        {
            int count = Math.Min(perPiece, rows.OutFeatures - first), start = first;
            try
            {
                Parallel.For(0, count, _parallel, () => new float[rows.InFeatures], (i, _, values) =>
                {
                    int row = rowOf?.Invoke(start + i) ?? start + i;
                    Encode(rows, row, type, values, _piece.AsSpan(i * rowBytes, rowBytes));
                    return values;
                }, _ => { });
            }
            catch (AggregateException e) when (e.InnerExceptions[0] is ModelFormatException or ArgumentException)
            {
                if (e.InnerExceptions[0] is not ArgumentException refused) ExceptionDispatchInfo.Throw(e.InnerExceptions[0]);
                else throw new ModelFormatException(origin, $"\"{rows.Name}\"", $"cannot be written as {type.FileName()}: {refused.Message}", "Choose another type.", refused);
            }

            stream.Write(_piece, 0, count * rowBytes);
        }
    }

    /// <summary>Rows that are stored in the wanted type are taken over byte for byte.</summary>
    private static void Encode(IRowSource rows, int row, DType type, float[] values, Span<byte> destination)
    {
        if (rows is IStoredRowSource stored && stored.StoredType == type)
        {
            stored.ReadStoredRow(row).CopyTo(destination);
            return;
        }

        rows.ReadRow(row, values);
        DTypeConverter.FromSingle(type, values, destination);
    }
}
