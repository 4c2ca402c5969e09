using System.Runtime.ExceptionServices;
using Foretoken.Backends.Cpu.Kernels;
using Foretoken.Memory;
using Foretoken.Numerics;

namespace Foretoken.Backends.Cpu;

/// <summary>Reads the rows of a matrix, 16 at a time, and writes them as panels; threads share the panels.</summary>
internal static unsafe class PanelPacker
{
    /// <summary>Packs <paramref name="parts"/>, stacked along output features. Two parts of equal height become paired panels.</summary>
    /// <exception cref="ArgumentException">The parts are none or differ in width, or a weight does not fit the type.</exception>
    public static PanelMatrix Pack(string name, WeightType type, ReadOnlySpan<IRowSource> parts, ThreadTeam team, MemoryPlan plan)
    {
        if (parts.Length == 0) throw new ArgumentException($"The matrix {name} has no parts.", nameof(parts));
        int outFeatures = 0, inFeatures = parts[0].InFeatures;
        foreach (IRowSource part in parts)
        {
            if (part.InFeatures != inFeatures)
                throw new ArgumentException($"{part.Name} has {part.InFeatures} columns, {parts[0].Name} has {inFeatures}: both are stacked in {name}.", nameof(parts));
            outFeatures = checked(outFeatures + part.OutFeatures);
        }

        bool paired = parts.Length == 2 && parts[0].OutFeatures == parts[1].OutFeatures;
        var matrix = new PanelMatrix(name, type, outFeatures, inFeatures, paired, plan);
        try
        {
            Fill(matrix, parts.ToArray(), team);
            return matrix;
        }
        catch (Exception e)
        {
            matrix.Dispose();
            if (e is InvalidOperationException { InnerException: { } cause }) ExceptionDispatchInfo.Throw(cause); // what a source or the quantiser said
            throw;
        }
    }

    private static void Fill(PanelMatrix matrix, IRowSource[] parts, ThreadTeam team)
    {
        int words = matrix.Steps * matrix.StepBytes / (PanelMatrix.PanelRows * 4);
        int padded = matrix.Steps * PanelMatrix.StepLength;
        long perThread = (padded + words + matrix.Steps) * 4L;
        using NativeBuffer scratch = NativeBuffer.Allocate(perThread * team.Threads, "packing scratch");
        var job = new PackJob { Matrix = matrix, Parts = parts, Scratch = scratch.Pointer, ScratchBytes = perThread };
        team.Run(ref job, matrix.Panels);
        if (matrix.Type == WeightType.Int8) NormalizeScales(matrix, team);
    }

    /// <summary>Moves the largest scale of the matrix to 2^14 ≤ s &lt; 2^15, so that no scale within a factor of 2^28 of it is denormal.</summary>
    private static void NormalizeScales(PanelMatrix matrix, ThreadTeam team)
    {
        var maxima = new ushort[matrix.Panels];
        var scan = new ScanJob { Matrix = matrix, Maxima = maxima };
        team.Run(ref scan, matrix.Panels);
        float largest = (float)BitConverter.UInt16BitsToHalf(maxima.Max());
        if (largest == 0f) return;
        matrix.ScaleExponent = 14 - Math.ILogB(largest);
        var shift = new ShiftJob { Matrix = matrix, Factor = MathF.ScaleB(1f, matrix.ScaleExponent) };
        team.Run(ref shift, matrix.Panels);
    }

    private struct PackJob : IParallelJob
    {
        public PanelMatrix Matrix;
        public IRowSource[] Parts;
        public byte* Scratch; // per thread: a row as f32 [padded K], the row encoded in dwords [words], its scales [steps]
        public long ScratchBytes;

        public readonly void Execute(int chunk, int thread)
        {
            int steps = Matrix.Steps, padded = steps * PanelMatrix.StepLength, words = steps * Matrix.StepBytes / 64;
            float* row = (float*)(Scratch + thread * ScratchBytes);
            uint* encoded = (uint*)(row + padded);
            ushort* scales = (ushort*)(encoded + words);
            uint* data = (uint*)Matrix.Panel(chunk);
            for (int lane = 0; lane < PanelMatrix.PanelRows; lane++)
            {
                (IRowSource? source, int index) = Locate(chunk, lane);
                if (!TakeBlocks(source, index, encoded, scales))
                {
                    new Span<float>(row, padded).Clear();
                    source?.ReadRow(index, new Span<float>(row, Matrix.InFeatures));
                    Encode(row, padded, encoded, scales, chunk, lane);
                }

                for (int i = 0; i < words; i++) data[i * PanelMatrix.PanelRows + lane] = encoded[i];
                if (Matrix.Type != WeightType.Int8) continue;
                ushort* panelScales = Matrix.Scales(chunk);
                for (int s = 0; s < steps; s++) panelScales[s * PanelMatrix.PanelRows + lane] = scales[s];
            }
        }

        /// <summary>The part that a lane comes from and its row there; null for padding.</summary>
        private readonly (IRowSource? Source, int Row) Locate(int panel, int lane)
        {
            int row;
            if (Matrix.Paired)
            {
                IRowSource half = Parts[panel % 2];
                row = panel / 2 * PanelMatrix.PanelRows + lane;
                return row < half.OutFeatures ? (half, row) : (null, 0);
            }

            row = panel * PanelMatrix.PanelRows + lane;
            foreach (IRowSource part in Parts)
            {
                if (row < part.OutFeatures) return (part, row);
                row -= part.OutFeatures;
            }

            return (null, 0);
        }

        /// <summary>Takes over the blocks of a Q8_0 row as they are; false where the row must be quantised.</summary>
        private readonly bool TakeBlocks(IRowSource? source, int row, uint* encoded, ushort* scales) =>
            Matrix.Type == WeightType.Int8 && source is IStoredRowSource { StoredType: DType.Q8_0 } stored
            && Int8Quantizer.TakeBlocks(stored.ReadStoredRow(row), (byte*)encoded, scales);

        private readonly void Encode(float* row, int padded, uint* encoded, ushort* scales, int panel, int lane)
        {
            switch (Matrix.Type)
            {
                case WeightType.F32:
                    Buffer.MemoryCopy(row, encoded, padded * 4L, padded * 4L);
                    break;
                case WeightType.BF16:
                    BFloat16Bits.FromSingle(new ReadOnlySpan<float>(row, padded), new Span<ushort>(encoded, padded));
                    break;
                default:
                    if (!Int8Quantizer.QuantizeWeights(row, Matrix.Steps, (byte*)encoded, scales))
                    {
                        throw new ArgumentException(
                            $"{Matrix.Name}, panel {panel} row {lane}: a weight is not finite or too large for 8-bit blocks with f16 scales; load it as bf16 or f32.");
                    }

                    break;
            }
        }
    }

    private struct ScanJob : IParallelJob
    {
        public PanelMatrix Matrix;
        public ushort[] Maxima;

        public readonly void Execute(int chunk, int thread)
        {
            ushort largest = 0; // scales are not negative, so their bits order as they do
            foreach (ushort s in new ReadOnlySpan<ushort>(Matrix.Scales(chunk), Matrix.Steps * PanelMatrix.PanelRows)) largest = Math.Max(largest, s);
            Maxima[chunk] = largest;
        }
    }

    private struct ShiftJob : IParallelJob
    {
        public PanelMatrix Matrix;
        public float Factor;

        public readonly void Execute(int chunk, int thread)
        {
            foreach (ref ushort s in new Span<ushort>(Matrix.Scales(chunk), Matrix.Steps * PanelMatrix.PanelRows))
                s = BitConverter.HalfToUInt16Bits((Half)((float)BitConverter.UInt16BitsToHalf(s) * Factor));
        }
    }
}
