using System.Runtime.ExceptionServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
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
        var job = new PackJob(matrix, parts);
        using NativeBuffer scratch = NativeBuffer.Allocate(job.ScratchBytes * team.Threads, "packing scratch");
        job.Scratch = scratch.Pointer;
        team.Run(ref job, matrix.Panels);
        if (matrix.Type.IsInteger()) NormalizeScales(matrix, team);
    }

    /// <summary>Moves the largest f16 factor of the matrix to 2^14 ≤ |s| &lt; 2^15, so that no factor within 2^28 of it is denormal.</summary>
    private static void NormalizeScales(PanelMatrix matrix, ThreadTeam team)
    {
        var maxima = new ushort[matrix.Panels];
        var scan = new ScanJob { Matrix = matrix, Maxima = maxima };
        team.Run(ref scan, matrix.Panels);
        float largest = (float)BitConverter.UInt16BitsToHalf(maxima.Max());
        if (largest == 0f) return;
        matrix.ScaleExponent = 14 - Math.ILogB(largest);
        var shift = new ShiftJob { Matrix = matrix, Exponent = matrix.ScaleExponent };
        team.Run(ref shift, matrix.Panels);
    }

    /// <summary>Packs one panel per chunk.</summary>
    private struct PackJob : IParallelJob
    {
        private readonly PanelMatrix _matrix;
        private readonly IRowSource[] _parts;
        private readonly int _padded;                 // K in whole steps and blocks
        private readonly BlockFormat? _blocks;        // integer types
        private readonly int _encodedBytes;           // the row in blocks, or in the dwords of its lane

        public PackJob(PanelMatrix matrix, IRowSource[] parts)
        {
            _matrix = matrix;
            _parts = parts;
            _padded = matrix.Steps * PanelMatrix.StepLength;
            _blocks = matrix.Type.IsInteger() ? BlockFormat.Of(IntegerPanel.BlockTypeOf(matrix.Type)) : null;
            int laneBytes = matrix.Steps * matrix.Format.StepBytes / PanelMatrix.PanelRows;
            _encodedBytes = Math.Max(laneBytes, _blocks is null ? 0 : checked((int)_blocks.Type.BytesOf(_padded)));
            ScratchBytes = (_padded * 4L + _encodedBytes + matrix.Steps * sizeof(ushort) + 63) & ~63L;
        }

        /// <summary>Per thread: a row as f32 [padded K], the row encoded [encoded bytes], scales [steps].</summary>
        public byte* Scratch { get; set; }

        public long ScratchBytes { get; }

        public readonly void Execute(int chunk, int thread)
        {
            float* row = (float*)(Scratch + thread * ScratchBytes);
            byte* encoded = (byte*)(row + _padded);
            for (int lane = 0; lane < PanelMatrix.PanelRows; lane++)
            {
                (IRowSource? part, int index) = Find(chunk, lane);
                if (_blocks is null || (_matrix.Type == WeightType.Int8 && !IsStored(part))) WriteValues(chunk, lane, part, index, row, encoded);
                else WriteBlocks(chunk, lane, part, index, row, encoded);
            }
        }

        private readonly bool IsStored(IRowSource? part) => part is IStoredRowSource stored && stored.StoredType == _blocks!.Type;

        /// <summary>The part and its row that belong in a lane; null for padding.</summary>
        private readonly (IRowSource? Part, int Row) Find(int panel, int lane)
        {
            int row = panel * PanelMatrix.PanelRows + lane;
            if (_matrix.Paired)
            {
                IRowSource half = _parts[panel % 2];
                row = panel / 2 * PanelMatrix.PanelRows + lane;
                return row < half.OutFeatures ? (half, row) : (null, 0);
            }

            foreach (IRowSource part in _parts)
            {
                if (row < part.OutFeatures) return (part, row);
                row -= part.OutFeatures;
            }

            return (null, 0);
        }

        private readonly void ReadRow(IRowSource? part, int index, float* row)
        {
            new Span<float>(row, _padded).Clear();
            part?.ReadRow(index, new Span<float>(row, _matrix.InFeatures));
        }

        /// <summary>Takes the source's blocks over where it has the panel's type, else quantises its values.</summary>
        private readonly void WriteBlocks(int panel, int lane, IRowSource? part, int index, float* row, byte* encoded)
        {
            ReadOnlySpan<byte> blocks;
            if (IsStored(part) && _matrix.InFeatures == _padded)
            {
                blocks = ((IStoredRowSource)part!).ReadStoredRow(index);
            }
            else
            {
                ReadRow(part, index, row);
                var target = new Span<byte>(encoded, checked((int)_blocks!.Type.BytesOf(_padded)));
                _blocks.Quantize(new ReadOnlySpan<float>(row, _padded), target);
                blocks = target;
            }

            if (!IntegerPanel.WriteLane(_matrix.Type, blocks, _matrix.Steps, _matrix.Panel(panel), _matrix.Scales(panel), lane))
                throw new ArgumentException($"{part?.Name ?? _matrix.Name}, row {index}: a block has a scale that is not finite; the weights are damaged.");
        }

        /// <summary>Encodes the values of a row and spreads them over the lane, dword by dword.</summary>
        private readonly void WriteValues(int panel, int lane, IRowSource? part, int index, float* row, byte* encoded)
        {
            var scales = (ushort*)(encoded + _encodedBytes);
            var values = new ReadOnlySpan<float>(row, _padded);
            bool taken = _matrix.Type == WeightType.F16 && TryTakeHalves(part, index, new Span<ushort>(encoded, _padded)), fits = true;
            if (!taken) ReadRow(part, index, row);
            switch (_matrix.Type)
            {
                case var _ when taken: break;
                case WeightType.F32: Buffer.MemoryCopy(row, encoded, _padded * 4L, _padded * 4L); break;
                case WeightType.BF16: BFloat16Bits.FromSingle(values, new Span<ushort>(encoded, _padded)); break;
                case WeightType.BF16Rounded: BFloat16Factors.Round(values, new Span<ushort>(encoded, _padded)); break;
                case WeightType.F16: fits = ToHalves(values, new Span<Half>(encoded, _padded)); break;
                default: fits = Int8Quantizer.QuantizeWeights(row, _matrix.Steps, encoded, scales); break;
            }

            if (!fits)
            {
                throw new ArgumentException(
                    $"{_matrix.Name}, panel {panel} row {lane}: a weight is not finite or too large for {_matrix.Type}; load it as bf16 or f32.");
            }

            uint* data = (uint*)_matrix.Panel(panel) + lane;
            int words = _matrix.Steps * _matrix.Format.StepBytes / (4 * PanelMatrix.PanelRows);
            for (int i = 0; i < words; i++) data[i * PanelMatrix.PanelRows] = ((uint*)encoded)[i];
            if (_matrix.Type != WeightType.Int8) return;
            ushort* panelScales = (ushort*)_matrix.Scales(panel) + lane;
            for (int s = 0; s < _matrix.Steps; s++) panelScales[s * PanelMatrix.PanelRows] = scales[s];
        }

        /// <summary>Takes a stored row of halves over as it is, which is several times faster than by way of f32; false where it is not one, or not all numbers.</summary>
        private readonly bool TryTakeHalves(IRowSource? part, int index, Span<ushort> halves)
        {
            const ushort exponent = 0x7C00; // all ones: infinite, or not a number
            if (part is not IStoredRowSource { StoredType: DType.F16 } stored) return false;
            ReadOnlySpan<ushort> row = MemoryMarshal.Cast<byte, ushort>(stored.ReadStoredRow(index));
            var bad = Vector256<ushort>.Zero;
            int i = 0;
            for (; i + Vector256<ushort>.Count <= row.Length; i += Vector256<ushort>.Count)
                bad |= Vector256.Equals(Vector256.Create(row[i..]) & Vector256.Create(exponent), Vector256.Create(exponent));
            if (bad != Vector256<ushort>.Zero) return false;
            for (; i < row.Length; i++)
                if ((row[i] & exponent) == exponent) return false;
            row.CopyTo(halves);
            halves[row.Length..].Clear();
            return true;
        }

        private static bool ToHalves(ReadOnlySpan<float> values, Span<Half> halves)
        {
            bool finite = true;
            for (int i = 0; i < values.Length; i++)
            {
                halves[i] = (Half)values[i];
                finite &= Half.IsFinite(halves[i]);
            }

            return finite;
        }
    }

    private struct ScanJob : IParallelJob
    {
        public PanelMatrix Matrix;
        public ushort[] Maxima;

        public readonly void Execute(int chunk, int thread)
        {
            ushort largest = 0; // bits of halves without a sign order as they do
            IntegerPanel.VisitFactors(Matrix.Type, Matrix.Steps, Matrix.Scales(chunk), factors =>
            {
                foreach (ushort s in factors) largest = Math.Max(largest, (ushort)(s & 0x7FFF));
            });
            Maxima[chunk] = largest;
        }
    }

    /// <summary>Multiplies the factors with 2^Exponent.</summary>
    private struct ShiftJob : IParallelJob
    {
        public PanelMatrix Matrix;
        public int Exponent;

        public readonly void Execute(int chunk, int thread)
        {
            int exponent = Exponent;
            IntegerPanel.VisitFactors(Matrix.Type, Matrix.Steps, Matrix.Scales(chunk), factors =>
            {
                foreach (ref ushort s in factors) s = Times(s, exponent);
            });
        }

        /// <summary>A half times 2^<paramref name="exponent"/>: of what is normal and stays so, which all but a few are, the exponent's bits alone change.</summary>
        private static ushort Times(ushort half, int exponent)
        {
            int old = half >> 10 & 31, sum = old + exponent;
            return old != 0 && sum is > 0 and < 31
                ? (ushort)(half + (exponent << 10))
                : BitConverter.HalfToUInt16Bits((Half)((float)BitConverter.UInt16BitsToHalf(half) * MathF.ScaleB(1f, exponent)));
        }
    }
}
