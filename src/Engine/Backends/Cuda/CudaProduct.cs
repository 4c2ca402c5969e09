using Foretoken.Backends.Cuda.Kernels;

namespace Foretoken.Backends.Cuda;

/// <summary>How the inputs of a product stand in memory (cu/foretoken.cuh: activations).</summary>
internal enum ActivationForm
{
    /// <summary>Rounded to bf16.</summary>
    BFloat16,

    /// <summary>Three bf16 whose sum is the f32.</summary>
    Float,

    /// <summary>Bytes with a scale per 32.</summary>
    Int8,
}

/// <summary>A weight-streaming product: out[piece, row, feature] of a matrix and the activations.</summary>
internal readonly record struct CudaProduct
{
    public required CudaMatrix Matrix { get; init; }

    public required ActivationForm Form { get; init; }

    /// <summary>// [parts, RowCapacity, padded]</summary>
    public required DevicePointer<byte> Input { get; init; }

    /// <summary>// [RowCapacity, padded / 32]</summary>
    public required DevicePointer<float> InputScales { get; init; }

    /// <summary>Rows from one part of the input to the next.</summary>
    public required int RowCapacity { get; init; }

    /// <summary>Number of rows, on the device.</summary>
    public required DevicePointer<int> Rows { get; init; }

    /// <summary>// [pieces, OutputCapacity, Matrix.Stride]</summary>
    public required DevicePointer<float> Output { get; init; }

    /// <summary>Rows from one piece of the output to the next.</summary>
    public required int OutputCapacity { get; init; }

    private long Part => (long)RowCapacity * Matrix.PaddedLength;

    private long Piece => (long)OutputCapacity * Matrix.Stride;

    private int Threads => 32 * Matrix.Shape.Warps;

    private DevicePointer<ushort> Words => Input.As<ushort>();

    /// <summary>Enqueues the kernel for up to <paramref name="rows"/> rows: more rows add columns, and from the kernel's columns on blocks.</summary>
    public void Launch(CudaStream stream, int rows)
    {
        switch (Form)
        {
            case ActivationForm.BFloat16:
                LaunchBFloat16(stream, rows);
                break;
            case ActivationForm.Float:
                LaunchFloat(stream, rows);
                break;
            default:
                LaunchInt8(stream, rows);
                break;
        }
    }

    private Dim3 Grid(int rows, int columns) => (Matrix.Shape.Strips, Matrix.Shape.Pieces, (rows + columns - 1) / columns);

    private void LaunchBFloat16(CudaStream stream, int rows)
    {
        CudaMatrix m = Matrix;
        int units = m.Shape.Units;
        switch (rows)
        {
            case <= 8:
                new ProductBf16N8 { Weights = m.Data, Units = units, X = Words, Part = 0, Rows = Rows, Out = Output, Stride = m.Stride, Piece = Piece, Grid = Grid(rows, 8), Block = Threads }.Launch(stream);
                break;
            case <= 16:
                new ProductBf16N16 { Weights = m.Data, Units = units, X = Words, Part = 0, Rows = Rows, Out = Output, Stride = m.Stride, Piece = Piece, Grid = Grid(rows, 16), Block = Threads }.Launch(stream);
                break;
            case <= 32:
                new ProductBf16N32 { Weights = m.Data, Units = units, X = Words, Part = 0, Rows = Rows, Out = Output, Stride = m.Stride, Piece = Piece, Grid = Grid(rows, 32), Block = Threads }.Launch(stream);
                break;
            default:
                new ProductBf16N64 { Weights = m.Data, Units = units, X = Words, Part = 0, Rows = Rows, Out = Output, Stride = m.Stride, Piece = Piece, Grid = Grid(rows, 64), Block = Threads }.Launch(stream);
                break;
        }
    }

    private void LaunchFloat(CudaStream stream, int rows)
    {
        CudaMatrix m = Matrix;
        int units = m.Shape.Units;
        if (rows <= 8)
            new ProductF32N8 { Weights = m.Data, Units = units, X = Words, Part = Part, Rows = Rows, Out = Output, Stride = m.Stride, Piece = Piece, Grid = Grid(rows, 8), Block = Threads }.Launch(stream);
        else
            new ProductF32N16 { Weights = m.Data, Units = units, X = Words, Part = Part, Rows = Rows, Out = Output, Stride = m.Stride, Piece = Piece, Grid = Grid(rows, 16), Block = Threads }.Launch(stream);
    }

    private void LaunchInt8(CudaStream stream, int rows)
    {
        CudaMatrix m = Matrix;
        int units = m.Shape.Units;
        switch (rows)
        {
            case <= 8:
                new ProductInt8N8 { Weights = m.Data, WeightScales = m.Scales, Units = units, X = Input, XScales = InputScales, Rows = Rows, Out = Output, Stride = m.Stride, Piece = Piece, Grid = Grid(rows, 8), Block = Threads }.Launch(stream);
                break;
            case <= 16:
                new ProductInt8N16 { Weights = m.Data, WeightScales = m.Scales, Units = units, X = Input, XScales = InputScales, Rows = Rows, Out = Output, Stride = m.Stride, Piece = Piece, Grid = Grid(rows, 16), Block = Threads }.Launch(stream);
                break;
            case <= 32:
                new ProductInt8N32 { Weights = m.Data, WeightScales = m.Scales, Units = units, X = Input, XScales = InputScales, Rows = Rows, Out = Output, Stride = m.Stride, Piece = Piece, Grid = Grid(rows, 32), Block = Threads }.Launch(stream);
                break;
            default:
                new ProductInt8N64 { Weights = m.Data, WeightScales = m.Scales, Units = units, X = Input, XScales = InputScales, Rows = Rows, Out = Output, Stride = m.Stride, Piece = Piece, Grid = Grid(rows, 64), Block = Threads }.Launch(stream);
                break;
        }
    }
}
