using System.Globalization;
using Foretoken.Backends;
using Foretoken.Backends.Cpu;
using Foretoken.Cli.Output;
using Foretoken.KvCache;
using Foretoken.Memory;
using Foretoken.Models;

namespace Foretoken.Cli.Benchmarks;

/// <summary>What the comparison of a policy with the dense cache is asked.</summary>
/// <param name="Policy">What evicts, by position or by drawn decisions.</param>
/// <param name="Type">Storage of keys and values.</param>
/// <param name="WeightType">Type of the weights; null keeps the file's.</param>
/// <param name="Depths">Tokens of a sequence.</param>
/// <param name="Batch">The larger of the two batches that decode; the other is one sequence.</param>
/// <param name="BudgetBytes">Page pool of the last comparison, at the first depth.</param>
/// <param name="Threads">0 = one per processor.</param>
/// <param name="Repeats">Repeats of every timing.</param>
internal sealed record EvictionRequest(
    IEvictionPolicy Policy, KvType Type, WeightType? WeightType, IReadOnlyList<int> Depths, int Batch, long BudgetBytes, int Threads, int Repeats);

/// <summary>One line of the comparison.</summary>
internal sealed record EvictionLine(string What, string Unit, double Dense, double Policy)
{
    /// <summary>Policy over dense.</summary>
    public double Ratio => Policy / Dense;
}

/// <summary>
/// A policy beside the dense cache, alternated repeat by repeat: time of attention, bytes held, decoding of one sequence and of a batch at several depths, and how many
/// sequences a fixed budget holds. Keys and values are synthetic (<see cref="SyntheticKv"/>), evicted by the very code that evicts real ones.
/// </summary>
internal sealed class EvictionBench(EvictionRequest request, CliHost host)
{
    private const int MostSequences = 512, AttentionPasses = 16, DecodePasses = 4, GrowthTokens = 1024;
    private readonly List<EvictionLine> _lines = [];

    public string Backend { get; private set; } = "";

    public IReadOnlyList<EvictionLine> Run(ModelSource source)
    {
        using CpuBackend backend = CpuBackend.Create(new CpuOptions { Threads = request.Threads });
        using var progress = new ProgressLine(host);
        int largest = Math.Max(MostSequences, request.Batch);
        LoadedModel model = ModelLoader.Load(source, new LoadOptions
        {
            Backend = backend, Plan = new MemoryPlan(), MaxRows = largest, MaxLogitRows = largest, WeightType = request.WeightType, Progress = LoadReport.To(progress),
            Cancellation = host.Interrupt,
        });
        Backend = backend.Name;
        using var synthetic = new SyntheticKv(model.Config.Shape, EvictionSide.Chunk, backend.Team);
        var runner = new BenchRunner(backend.Team, request.Repeats, host.Interrupt);
        foreach (int depth in request.Depths) AtDepth(depth, model.Transformer, synthetic, runner, progress);
        UnderBudget(request.Depths[0], model.Transformer, synthetic, runner, progress);
        return _lines;
    }

    public static Table ToTable(IReadOnlyList<EvictionLine> lines)
    {
        var table = new Table("what", "unit", "dense", "policy", "policy / dense");
        foreach (EvictionLine line in lines) table.Add(line.What, line.Unit, Text(line.Dense), Text(line.Policy), line.Ratio.ToString("F3", CultureInfo.InvariantCulture));
        return table;
    }

    public static string Json(string model, string policy, IReadOnlyList<EvictionLine> lines) => JsonText.Object(w =>
    {
        w.WriteString("model", model);
        w.WriteString("policy", policy);
        w.WriteStartArray("results");
        foreach (EvictionLine line in lines)
        {
            w.WriteStartObject();
            w.WriteString("what", line.What);
            w.WriteString("unit", line.Unit);
            w.WriteRounded("dense", line.Dense, 4);
            w.WriteRounded("policy", line.Policy, 4);
            w.WriteRounded("ratio", line.Ratio, 4);
            w.WriteEndObject();
        }

        w.WriteEndArray();
    });

    private static string Text(double value) => value.ToString(value < 100 ? "F2" : "F0", CultureInfo.InvariantCulture);

    private void AtDepth(int depth, Transformer model, SyntheticKv synthetic, BenchRunner runner, ProgressLine progress)
    {
        int tokens = depth + GrowthTokens;
        long bytes = PagedKvCache.BytesFor(Layout(model.Shape), request.Batch, tokens + EvictionSide.Chunk);
        using var dense = new EvictionSide(model.Shape, new DensePolicy(), request.Type, request.Batch, tokens, bytes, synthetic);
        using var policy = new EvictionSide(model.Shape, request.Policy, request.Type, request.Batch, tokens, bytes, synthetic);
        EvictionSide[] sides = [dense, policy];
        foreach (EvictionSide side in sides)
        {
            progress.Report(($"{depth} tokens of {request.Batch} sequences", -1));
            side.Fill(request.Batch, depth, host.Interrupt);
        }

        Add($"bytes held @{depth}", "MB", s => s.Statistics.BytesHeld / 1e6 / s.Count, sides);
        Add($"live tokens @{depth}", "per head", s => s.Statistics.LiveTokensPerHead, sides);
        Add($"KV read per token @{depth}", "MB", s => s.BytesPerToken / 1e6, sides);
        Time($"attention @{depth}", "ms", AttentionPasses, 1, s => s.Attend(), sides, runner, progress);
        foreach (int batch in new[] { 1, request.Batch }.Distinct())
            Time($"decode @{depth}, {batch} sequence{(batch == 1 ? "" : "s")}", "tok/s", DecodePasses, batch, s => s.Decode(model, batch, 1, commit: true), sides, runner, progress);
    }

    private void UnderBudget(int depth, Transformer model, SyntheticKv synthetic, BenchRunner runner, ProgressLine progress)
    {
        string where = string.Create(CultureInfo.InvariantCulture, $"in {request.BudgetBytes / 1048576} MiB @{depth}");
        using var dense = new EvictionSide(model.Shape, new DensePolicy(), request.Type, MostSequences, depth + EvictionSide.Growth, request.BudgetBytes, synthetic);
        using var policy = new EvictionSide(model.Shape, request.Policy, request.Type, MostSequences, depth + EvictionSide.Growth, request.BudgetBytes, synthetic);
        EvictionSide[] sides = [dense, policy];
        foreach (EvictionSide side in sides)
        {
            progress.Report(($"sequences {where}", -1));
            side.Fill(MostSequences, depth, host.Interrupt);
        }

        if (dense.Count == 0)
        {
            throw new OutOfMemoryBudgetException(string.Create(
                CultureInfo.InvariantCulture, $"The budget of {request.BudgetBytes:N0} bytes does not hold one sequence of {depth} tokens: raise --kv-budget or lower --depths."));
        }

        Add($"sequences {where}", "", s => s.Count, sides);
        double[] ms = [.. sides.Select(s => Run([new BenchCase($"decode {s.Count} {where}", DecodePasses, DecodePasses * s.Count, 1, () => { }, () => Repeat(DecodePasses, () => s.Decode(model, s.Count, 1, commit: false)))], runner, progress)[0].TokensPerSecond)];
        _lines.Add(new EvictionLine($"all sequences {where}", "tok/s", ms[0], ms[1]));
    }

    private void Time(
        string what, string unit, int passes, int sequences, Action<EvictionSide> pass, EvictionSide[] sides, BenchRunner runner, ProgressLine progress)
    {
        IReadOnlyList<BenchResult> results = Run(
            [.. sides.Select((s, i) => new BenchCase($"{what}, {(i == 0 ? "dense" : "policy")}", passes, passes * sequences, 1, () => { }, () => Repeat(passes, () => pass(s))))],
            runner, progress);
        _lines.Add(unit == "ms"
            ? new EvictionLine(what, unit, results[0].MillisecondsPerPass, results[1].MillisecondsPerPass)
            : new EvictionLine(what, unit, results[0].TokensPerSecond, results[1].TokensPerSecond));
    }

    private static IReadOnlyList<BenchResult> Run(IReadOnlyList<BenchCase> cases, BenchRunner runner, ProgressLine progress) =>
        runner.Run(cases, (text, fraction) => progress.Report((text, fraction)));

    private static void Repeat(int times, Action action)
    {
        for (int i = 0; i < times; i++) action();
    }

    private void Add(string what, string unit, Func<EvictionSide, double> value, EvictionSide[] sides) =>
        _lines.Add(new EvictionLine(what, unit, value(sides[0]), value(sides[1])));

    private KvLayout Layout(TransformerShape shape) => new(shape.LayerCount, shape.KvHeadCount, shape.HeadDim, request.Type);
}
