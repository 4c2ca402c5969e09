using System.Globalization;
using Foretoken.Backends;
using Foretoken.Backends.Cuda;
using Foretoken.Cli.Output;
using Foretoken.KvCache;
using Foretoken.Memory;
using Foretoken.Models;

namespace Foretoken.Cli.Benchmarks;

/// <summary>Passes of so many rows on a CUDA device.</summary>
/// <param name="Rows">Rows of a pass, each with a sampled token; 1 = decoding.</param>
/// <param name="Milliseconds">Median of the repeats, per pass, from the host's call to the tokens.</param>
internal readonly record struct CudaPass(int Rows, double Milliseconds);

/// <summary>What was measured of one model.</summary>
internal sealed record CudaBenchResult
{
    public required string Device { get; init; }

    public required int DriverVersion { get; init; }

    public required double ReadGigabytesPerSecond { get; init; }

    /// <summary>Bytes of weights that a pass reads.</summary>
    public required double WeightBytes { get; init; }

    /// <summary>By rows; the first is one row.</summary>
    public required IReadOnlyList<CudaPass> Passes { get; init; }

    /// <summary>Energy per decoded token; null where NVML does not tell.</summary>
    public required double? JoulesPerToken { get; init; }

    /// <summary>Kernels that spill registers.</summary>
    public required IReadOnlyList<string> Spilling { get; init; }

    public double TokensPerSecond => 1000 / Passes[0].Milliseconds;

    public double ShareOfBandwidth => WeightBytes / Passes[0].Milliseconds / 1e6 / ReadGigabytesPerSecond;
}

/// <summary>Decodes and verifies on a CUDA device with graphs and device sampling, at the context's beginning, beside the device's read bandwidth.</summary>
internal sealed class CudaBench : IDisposable
{
    private readonly CudaBackend _backend;
    private readonly LoadedModel _model;
    private readonly PagedKvCache _cache;
    private readonly RowBatch _rows;
    private readonly int _sequence;
    private readonly double _weightBytes;
    private readonly int _driverVersion;

    public CudaBench(ModelSource source, WeightType? type, KvType kvType, int context, int maxRows, CudaPlatform platform, CancellationToken cancel)
    {
        _backend = CudaBackend.Create(platform);
        _driverVersion = platform.DriverVersion;
        var plan = new MemoryPlan();
        try
        {
            PagedKvCache? cache = null;
            _model = ModelLoader.Load(source, new LoadOptions
            {
                Backend = _backend, Plan = plan, MaxRows = maxRows, MaxLogitRows = maxRows, WeightType = type, ContextLength = context, Cancellation = cancel,
                Announced = config => cache = MakeCache(config.Shape, kvType, context, maxRows, plan),
            });
            _cache = cache!;
        }
        catch
        {
            _backend.Dispose();
            throw;
        }

        _rows = new RowBatch(maxRows);
        _sequence = _cache.TryAcquire();
        if (!_cache.TryReserve(_sequence, context)) throw new InvalidOperationException("The cache does not hold the context that it was made for.");
        _weightBytes = plan.Entries.Where(e => e.Group == "weights" && (!e.Name.StartsWith("embedding", StringComparison.Ordinal) || _model.Config.TiedEmbeddings)).Sum(e => (double)e.Bytes);
    }

    /// <summary>Type in which the weights are held.</summary>
    public WeightType WeightType => _model.WeightType;

    /// <summary>Runs everything.</summary>
    /// <param name="tokens">Tokens of a repeat of decoding.</param>
    /// <param name="rows">Row counts beside 1.</param>
    /// <param name="repeats">Repeats; medians are reported.</param>
    /// <param name="cancel">Ends it between two repeats.</param>
    public CudaBenchResult Run(int tokens, IReadOnlyList<int> rows, int repeats, CancellationToken cancel)
    {
        double bandwidth = DeviceBandwidth.Measure(_backend.Device, _backend.Stream);
        double? joules = null;
        var passes = new List<CudaPass>();
        foreach (int k in (int[])[1, .. rows.Where(r => r > 1)])
        {
            for (int warm = 0; warm < 3; warm++) Pass(k);
            _ = _cache.TryTruncate(_sequence, 0);
            var times = new double[repeats];
            using PowerMeter? meter = k == 1 ? PowerMeter.TryOpen(_backend.Device.Info.Capabilities.PciBusId, out _) : null;
            double? before = meter?.Read().Joules;
            for (int r = 0; r < repeats; r++)
            {
                cancel.ThrowIfCancellationRequested();
                int count = k == 1 ? tokens : Math.Max(8, tokens / 4);
                long start = System.Diagnostics.Stopwatch.GetTimestamp();
                for (int i = 0; i < count; i++) Pass(k);
                times[r] = System.Diagnostics.Stopwatch.GetElapsedTime(start).TotalMilliseconds / count;
                _ = _cache.TryTruncate(_sequence, 0);
            }

            if (before is { } b && meter!.Read().Joules is { } after) joules = (after - b) / (tokens * (double)repeats);
            passes.Add(new CudaPass(k, BenchRunner.Median(times)));
        }

        return new CudaBenchResult
        {
            Device = _backend.Device.Info.ToString(),
            DriverVersion = _driverVersion,
            ReadGigabytesPerSecond = bandwidth,
            WeightBytes = _weightBytes,
            Passes = passes,
            JoulesPerToken = joules,
            Spilling = [.. _backend.Device.Kernels.Spilling.Select(k => k.Kernel.EntryPoint)],
        };
    }

    public void Dispose()
    {
        _backend.Dispose();
        _cache.Dispose();
    }

    public static string Json(string name, WeightType type, CudaBenchResult result) => JsonText.Object(w =>
    {
        w.WriteString("model", name);
        w.WriteString("type", type.ToString().ToLowerInvariant());
        w.WriteString("device", result.Device);
        w.WriteString("driver", CudaPlatform.VersionText(result.DriverVersion));
        w.WriteRounded("read_gb_per_second", result.ReadGigabytesPerSecond, 1);
        w.WriteRounded("weight_megabytes", result.WeightBytes / 1e6, 1);
        w.WriteRounded("tokens_per_second", result.TokensPerSecond, 2);
        w.WriteRounded("share_of_bandwidth", result.ShareOfBandwidth, 4);
        if (result.JoulesPerToken is { } joules) w.WriteRounded("joules_per_token", joules, 4);
        w.WriteStartArray("passes");
        foreach (CudaPass pass in result.Passes)
        {
            w.WriteStartObject();
            w.WriteNumber("rows", pass.Rows);
            w.WriteRounded("milliseconds", pass.Milliseconds, 4);
            w.WriteRounded("plain_steps", pass.Milliseconds / result.Passes[0].Milliseconds, 3);
            w.WriteEndObject();
        }

        w.WriteEndArray();
        w.WriteStartArray("spilling_kernels");
        foreach (string kernel in result.Spilling) w.WriteStringValue(kernel);
        w.WriteEndArray();
    });

    public static void WriteTable(TextWriter output, TableFormat format, string name, WeightType type, CudaBenchResult result)
    {
        var table = new Table("model", "type", "rows", "ms/pass", "plain steps", "tokens/s", "% of read bandwidth");
        foreach (CudaPass pass in result.Passes)
        {
            table.Add(
                name, type.ToString().ToLowerInvariant(), pass.Rows.ToString(CultureInfo.InvariantCulture), Number(pass.Milliseconds, 3),
                Number(pass.Milliseconds / result.Passes[0].Milliseconds, 3), pass.Rows == 1 ? Number(result.TokensPerSecond, 1) : "",
                Number(100 * result.WeightBytes / pass.Milliseconds / 1e6 / result.ReadGigabytesPerSecond, 1));
        }

        table.Write(output, format);
    }

    private static string Number(double value, int digits) => value.ToString("F" + digits.ToString(CultureInfo.InvariantCulture), CultureInfo.InvariantCulture);

    private PagedKvCache MakeCache(TransformerShape shape, KvType kvType, int context, int maxRows, MemoryPlan plan)
    {
        var layout = new KvLayout(shape.LayerCount, shape.KvHeadCount, shape.HeadDim, kvType);
        var options = new KvCacheOptions
        {
            Layout = layout, MaxSequences = 1, MaxTokensPerSequence = context, MaxRowsPerSequence = maxRows, Store = _backend.KvStore,
            BudgetBytes = PagedKvCache.BytesFor(layout, 1, context + maxRows),
        };
        return new PagedKvCache(options, plan);
    }

    /// <summary>One pass of a chain of rows, each sampled; the first is kept, as where every draft is wrong.</summary>
    private void Pass(int rows)
    {
        int position = _cache.Length(_sequence), token = 1;
        _rows.Clear();
        for (int i = 0; i < rows; i++)
        {
            _rows.Add((token + i * 17) % _model.Config.Shape.VocabSize, position + i, _sequence, i - 1, wantsLogits: true);
            _rows.PlanSampling(new RowSampling(true, 0, 0, 1, 0, 0, position + i + 1, false));
        }

        _rows.AcceptsSamples = true;
        _cache.BeginPass(_rows);
        _model.Transformer.Forward(_rows, _cache.View);
        _model.Transformer.TryGetSample(0, out _, out _);
        _cache.Commit(_sequence, [0]);
    }
}
