using Foretoken.Backends.Cuda.Kernels;
using Foretoken.Memory;
using Foretoken.Numerics;

namespace Foretoken.Backends.Cuda;

/// <content>
/// Hidden states and weights for drafters, which compute on the processor. A tap is a step of the pass like others: a kernel copies the residual stream to a
/// buffer of the tap, and all taps come to the host together when the pass has run.
/// </content>
public sealed unsafe partial class CudaBackend
{
    private readonly List<TapBuffer> _taps = []; // by their order in a pass; made with the first pass that has so many
    private readonly List<Memory<float>> _destinations = []; // of this pass

    /// <inheritdoc/>
    public bool GivesHidden => true;

    /// <inheritdoc/>
    public void ReadHidden(Memory<float> destination) => AddTap(TensorHandle.None, destination);

    /// <inheritdoc/>
    public void ReadNormed(TensorHandle norm, Memory<float> destination) => AddTap(norm, destination);

    /// <inheritdoc/>
    public IRowSource RowsOf(TensorHandle matrix, out WeightType type)
    {
        _device.MakeCurrent();
        CudaMatrix from = Matrix(matrix);
        type = from.Type;
        PinnedBuffer host = PinnedBuffer.Allocate(
            _device, "staging", from.Name + ", read back", $"[{from.OutFeatures}, {from.InFeatures}] {type}", from.DataBytes + from.ScaleBytes, new MemoryPlan());
        try
        {
            _stream.Download(from.Data, host, 0, from.DataBytes);
            if (from.ScaleBytes > 0) _stream.Download(from.Scales, host, from.DataBytes, from.ScaleBytes);
            _stream.Synchronize();
            return new FragmentRows(from, host);
        }
        catch
        {
            host.Dispose();
            throw;
        }
    }

    private void AddTap(TensorHandle norm, Memory<float> destination)
    {
        if (_destinations.Count == _taps.Count) _taps.Add(new TapBuffer(this));
        _steps.Add(new PassStep(PassOperation.Tap, _destinations.Count, null, norm, TensorHandle.None));
        _destinations.Add(destination);
    }

    private void EnqueueTap(int tap, DevicePointer<float> gain, PassBucket bucket)
    {
        int stride = _pending.Matrix?.Stride ?? 0;
        new ReadHidden
        {
            Hidden = Buffers.Hidden, Width = Shape.HiddenSize, Pieces = Buffers.PieceBuffer, Count = _pending.Matrix?.Shape.Pieces ?? 0,
            Piece = (long)Buffers.MaxRows * stride, Stride = stride, Bias = _pending.Bias, Gain = gain, Epsilon = Shape.RmsNormEpsilon, Rows = Pass.Rows,
            Output = _taps[tap].Device, Grid = bucket.Rows, Block = ElementThreads,
        }.Launch(_stream);
    }

    /// <summary>Brings the taps of the pass to the host.</summary>
    private void TakeTaps()
    {
        if (_destinations.Count == 0) return;
        int floats = Rows.Count * Shape.HiddenSize;
        for (int t = 0; t < _destinations.Count; t++) _stream.Download(_taps[t].Device, _taps[t].Host, 0, (long)floats * sizeof(float));
        _stream.Synchronize();
        for (int t = 0; t < _destinations.Count; t++) _taps[t].Host.Span<float>(0, floats).CopyTo(_destinations[t].Span);
    }

    /// <summary>What a tap of a pass goes through. // [rows, hidden] each</summary>
    private sealed class TapBuffer
    {
        public TapBuffer(CudaBackend backend)
        {
            long floats = (long)backend.Buffers.MaxRows * backend.Shape.HiddenSize;
            string shape = $"[{backend.Buffers.MaxRows}, {backend.Shape.HiddenSize}] f32";
            Device = DeviceArena.Allocate(backend._device, floats * sizeof(float), "A tap of hidden states", backend._plan!).Take<float>("activations", "tap", shape, floats);
            Host = PinnedBuffer.Allocate(backend._device, "activations", "tap, host", shape, floats * sizeof(float), backend._plan!);
        }

        public DevicePointer<float> Device { get; }

        public PinnedBuffer Host { get; }
    }

    /// <summary>Rows of a matrix out of its fragments in host memory.</summary>
    private sealed class FragmentRows(CudaMatrix matrix, PinnedBuffer host) : IRowSource, IDisposable
    {
        public string Name => matrix.Name;

        public int OutFeatures => matrix.OutFeatures;

        public int InFeatures => matrix.InFeatures;

        public void ReadRow(int row, Span<float> destination)
        {
            ProductShape shape = matrix.Shape;
            int strip = row / ProductShape.StripFeatures, feature = row % ProductShape.StripFeatures, bytes = shape.Units * ProductShape.UnitBytes;
            if (matrix.Type == WeightType.BF16)
            {
                ReadOnlySpan<ushort> words = host.Span<ushort>((long)strip * bytes, bytes / sizeof(ushort));
                for (int k = 0; k < destination.Length; k++) destination[k] = BFloat16Bits.ToSingle(words[FragmentPacker.BFloat16Index(feature, k)]);
                return;
            }

            int stripScales = shape.Units * FragmentPacker.UnitScales;
            ReadOnlySpan<sbyte> quantised = host.Span<sbyte>((long)strip * bytes, bytes);
            ReadOnlySpan<Half> scales = host.Span<Half>(matrix.DataBytes + (long)strip * stripScales * sizeof(ushort), stripScales);
            for (int k = 0; k < destination.Length; k++)
                destination[k] = quantised[FragmentPacker.Int8Index(feature, k)] * (float)scales[FragmentPacker.ScaleIndex(feature, k / 32)];
        }

        public void Dispose() => host.Dispose();
    }
}
