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

    /// <summary>Enqueues the kernel for up to <paramref name="rows"/> rows: more rows add columns, and from the kernel's columns on blocks.</summary>
    public void Launch(CudaStream stream, int rows)
    {
        int columns = ColumnsFor(rows), units = Matrix.Shape.Units;
        Dim3 grid = (Matrix.Shape.Strips, Matrix.Shape.Pieces, (rows + columns - 1) / columns);
        if (Form == ActivationForm.Int8)
        {
            new ProductInt8
            {
                Kernel = columns switch
                {
                    8 => ProductInt8Kernel.N8,
                    16 => ProductInt8Kernel.N16,
                    32 => ProductInt8Kernel.N32,
                    _ => ProductInt8Kernel.N64,
                },
                Weights = Matrix.Data, WeightScales = Matrix.Scales, Units = units, X = Input, XScales = InputScales, Rows = Rows, Out = Output,
                Stride = Matrix.Stride, Piece = Piece, Grid = grid, Block = Threads,
            }.Launch(stream);
        }
        else
        {
            new Product
            {
                Kernel = (Form, columns) switch
                {
                    (ActivationForm.Float, 8) => ProductKernel.F32N8,
                    (ActivationForm.Float, _) => ProductKernel.F32N16,
                    (_, 8) => ProductKernel.Bf16N8,
                    (_, 16) => ProductKernel.Bf16N16,
                    (_, 32) => ProductKernel.Bf16N32,
                    _ => ProductKernel.Bf16N64,
                },
                Weights = Matrix.Data, Units = units, X = Input.As<ushort>(), Part = Part, Rows = Rows, Out = Output, Stride = Matrix.Stride, Piece = Piece,
                Grid = grid, Block = Threads,
            }.Launch(stream);
        }
    }

    /// <summary>Rows that a block of the kernel takes: the smallest of 8, 16, 32 and 64 that holds them, of f32 inputs at most 16.</summary>
    private int ColumnsFor(int rows) => rows switch
    {
        <= 8 => 8,
        <= 16 => 16,
        _ when Form == ActivationForm.Float => 16,
        <= 32 => 32,
        _ => 64,
    };
}
