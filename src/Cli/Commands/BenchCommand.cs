using System.CommandLine;
using System.Globalization;
using Foretoken.Backends;
using Foretoken.Backends.Cpu;
using Foretoken.Backends.Cuda;
using Foretoken.Cli.Benchmarks;
using Foretoken.Cli.Options;
using Foretoken.Cli.Output;
using Foretoken.Models;
using Stopwatch = System.Diagnostics.Stopwatch;

namespace Foretoken.Cli.Commands;

/// <summary>Measures passes of a model, or of random weights of a named shape, beside the machine's read bandwidth.</summary>
internal sealed class BenchCommand : CliCommand
{
    private const int MaximumContext = 1 << 20;
    private static readonly string[] s_planned = ["tokenizer"];
    private readonly Argument<string> _kind;
    private readonly Flag<string?> _model = ModelFlags.Model();
    private readonly Flag<string?> _shape;
    private readonly Flag<WeightType?> _type = ModelFlags.Type();
    private readonly Flag<KvType> _kvType = ModelFlags.KvType(KvType.BF16);
    private readonly Flag<KvChoice> _kv = KvChoice.Flag();
    private readonly Flag<int> _threads = ModelFlags.Threads();
    private readonly Flag<ComputeDevice> _device = ModelFlags.Device();
    private readonly Flag<int> _repeat;
    private readonly Flag<int> _tokens;
    private readonly Flag<int> _prompt;
    private readonly Flag<int> _depth;
    private readonly Flag<int[]> _rows;
    private readonly Flag<int[]?> _depths;
    private readonly Flag<int[]> _treeRows;
    private readonly Flag<int[]?> _chunkRows;
    private readonly Flag<int[]> _sequences;
    private readonly Flag<int> _kvBudget;
    private readonly Flag<KvType[]> _kvTypes = ModelFlags.KvTypes();
    private readonly SpecFlags _spec = new();
    private readonly Switch _json = new("--json", "One JSON object.");
    private readonly Switch _csv = new("--csv", "Comma-separated values.");
    private readonly Switch _markdown = new("--markdown", "A Markdown table.");

    public BenchCommand()
        : base("bench", "Measures speed: decode, prefill, rows, depth, batched, kv, load, startup or spec; without a name, decode and prefill.")
    {
        _kind = AddArgument(
            "TEST",
            "decode: tokens one by one. prefill: a prompt. rows: passes of n rows against one. depth: one token at several depths, over synthetic keys and values. "
            + "batched: n sequences decoding together through the scheduler. "
            + "kv: attention alone at several depths, per storage type; with an evicting --kv, that policy beside the dense cache: attention, memory, decoding, sequences in a budget. load: reading the files. startup: a process until its first byte of output. "
            + "spec: drafters against plain decoding, per bucket of the held-out questions.");
        Add(_model);
        _shape = Add(new Flag<string?>(
            "--shape", "NAME", $"Random weights of a known shape, without any file: {string.Join(", ", NamedShapes.Names)}.", Shape, null));
        foreach (Flag flag in new Flag[] { _type, _kvType, _kv, _threads, _device }) Add(flag);
        _repeat = Add(new Flag<int>("--repeat", "N", "Repeats of each test; medians are reported.", Parse.Integer(1, 1000, "5 is usual."), 5));
        _tokens = Add(new Flag<int>("--tokens", "N", "Tokens that decode, and each sequence of batched, makes in a repeat.", Parse.Integer(1, MaximumContext, "64 is usual."), 64));
        _prompt = Add(new Flag<int>("--prompt", "N", "Tokens of the prompt of prefill.", Parse.Integer(1, MaximumContext, "512 is usual."), 512));
        _depth = Add(new Flag<int>("--depth", "N", "Tokens before those of decode and rows.", Parse.Integer(0, MaximumContext, "0 starts empty."), 0));
        _rows = Add(new Flag<int[]>("--rows", "N,N,…", "Row counts of rows.", Parse.IntegerList(1, 256, "for example 2,4,8,16."), [2, 4, 8, 16, 32, 64]));
        FlagParser<int[]> depths = Parse.IntegerList(0, MaximumContext, "for example 0,1024,4096.");
        _depths = Add(new Flag<int[]?>("--depths", "N,N,…", "Depths of depth (0,1024,4096) and kv (4096,16384).", (text, source) => depths(text, source), null));
        _treeRows = Add(new Flag<int[]>(
            "--tree-rows", "N,N,…", "Rows of the trees of kv.", Parse.IntegerList(1, RowBatch.MaxTreeRows, "for example 1,8."), [1, 8]));
        FlagParser<int[]> chunkRows = Parse.IntegerList(2, 4096, "for example 64,512.");
        _chunkRows = Add(new Flag<int[]?>("--chunk-rows", "N,N,…", "Rows of the prompt chunks of kv; without it none.", (text, source) => chunkRows(text, source), null));
        _sequences = Add(new Flag<int[]>(
            "--sequences", "N,N,…", "Numbers of sequences of batched.", Parse.IntegerList(1, 1024, "for example 16,32."), [1, 4, 16, 32]));
        _kvBudget = Add(new Flag<int>(
            "--kv-budget", "MB", "Size of the cache in which kv with an evicting --kv counts sequences.", Parse.Integer(1, 1 << 20, "for example 1024."), 1024));
        Add(_kvTypes);
        foreach (Flag flag in _spec.All.Concat([_json, _csv, _markdown])) Add(flag);
    }

    public override int Run(CommandContext context)
    {
        CliHost host = context.Host;
        BenchKind[] kinds = Kinds(Value(context, _kind));
        bool cuda = _device.Get(context) == ComputeDevice.Cuda;
        if (cuda && kinds.Any(k => k is not (BenchKind.Decode or BenchKind.Rows)))
            throw new UsageException($"{_device.Name} cuda is for decode and rows.");
        RefuseSettingsOfOthers(kinds, context);
        TableFormat? format = Format(context);
        string? shape = _shape.GetBeside(_model.GivenOnLine(context), context), model = _model.GetBeside(_shape.GivenOnLine(context), context);
        if (shape is not null && model is not null) throw new UsageException("--shape and --model exclude each other: give one.");
        int repeats = _repeat.Get(context), threads = _threads.Get(context);
        var sizes = new BenchSizes
        {
            Tokens = _tokens.Get(context),
            Prompt = _prompt.Get(context),
            Depth = _depth.Get(context),
            Rows = _rows.Get(context),
            Depths = _depths.Get(context) ?? (kinds.Contains(BenchKind.Kv) ? [4096, 16384] : [0, 1024, 4096]),
            TreeRows = _treeRows.Get(context),
            ChunkRows = _chunkRows.Get(context) ?? [],
            Sequences = _sequences.Get(context),
            KvTypes = _kvTypes.Get(context),
        };
        KvChoice kv = _kv.Get(context);
        if (kv.Evicts && kinds.Contains(BenchKind.Load))
            throw new UsageException($"--kv {kv.Text} changes nothing in load: it is for decode, prefill, rows, depth, batched and kv.");
        if (kinds.Contains(BenchKind.Kv) && (kv.Policy is null || (kv.Evicts && kv.Policy.ActsAtCommit)))
        {
            throw new UsageException(
                $"--kv {kv.Text} follows what a model decides or attends to, and kv runs over synthetic keys and values: use dms-random, window, sinks or random here, and eval for the rest.");
        }

        var options = new DirectModelOptions
        {
            KvPolicy = kv.Policy,
            WeightType = _type.Get(context),
            KvType = _kvType.Get(context),
            Threads = threads,
            ContextLength = sizes.ContextFor(kinds),
            MaxRows = sizes.MaxRowsFor(kinds),
        };
        if (kinds.Contains(BenchKind.Load))
        {
            if (shape is not null) throw new UsageException("load measures the reading of files, and --shape has none: give --model.");
            return Load(ModelLocator.Find(model, host), options, repeats, format, host);
        }

        if (kinds.Contains(BenchKind.Startup))
        {
            if (shape is not null) throw new UsageException("startup measures a process that opens files, and --shape has none: give --model.");
            return new StartBench(ModelLocator.Find(model, host), threads, repeats, host).Report(format);
        }

        if (kinds.Contains(BenchKind.Spec)) return _spec.Run(context, shape, model, options, kv, repeats, format);
        if (kv.Policy is null && shape is not null) throw new UsageException($"--kv {kv.Text} follows a model's decisions, and random weights make none: use dms-random.");

        if (cuda) options = options with { ContextLength = Math.Max(8, sizes.Tokens) + options.MaxRows };
        (string? path, string? adapter) = shape is null ? kv.Locate(ModelLocator.Find(model, host), host) : (null, null);
        using ModelSource opened = path is not null
            ? ModelLoader.Open(path)
            : new RandomSource(NamedShapes.Create(shape!, Math.Max(options.ContextLength, 1)));
        using DmsAdapterSource? adapted = adapter is null ? null : new DmsAdapterSource(opened, adapter);
        ModelSource source = adapted ?? opened;
        string name = shape ?? Path.GetFileName(Path.TrimEndingDirectorySeparator(source.Origin));
        if (kinds.Contains(BenchKind.Kv) && kv.Evicts)
        {
            int most = sizes.Depths.Max() + 4096;
            using var deep = new RandomSource(shape is null ? source.Config with { Shape = source.Config.Shape with { MaxPositions = most } } : NamedShapes.Create(shape, most));
            var request = new EvictionRequest(
                kv.Policy!, options.KvType, options.WeightType, sizes.Depths, _sequences.GivenOnLine(context) ? sizes.Sequences.Max() : 8,
                (long)_kvBudget.Get(context) << 20, threads, repeats);
            return Eviction(deep, name, kv.Text, request, format, host);
        }

        if (kinds.Contains(BenchKind.Kv)) return Attention(source.Config.Shape, name, sizes, options, repeats, format, host);
        if (options.ContextLength > source.Config.Shape.MaxPositions)
        {
            throw new UsageException(
                $"The asked sizes need a context of {options.ContextLength} tokens, and the model has {source.Config.Shape.MaxPositions}: "
                + "lower --tokens, --prompt, --depth or --depths.");
        }

        if (kinds.Contains(BenchKind.Batched)) return Batched(source, name, sizes, options, kv, repeats, format, host);
        return cuda
            ? Cuda(source, name, kinds.Contains(BenchKind.Rows) ? sizes.Rows : [], sizes.Tokens, options, repeats, format, host)
            : Measure(source, name, kinds, sizes, options, kv, repeats, format, host);
    }

    private static int Cuda(
        ModelSource source, string name, IReadOnlyList<int> rows, int tokens, DirectModelOptions options, int repeats, TableFormat? format, CliHost host)
    {
        using var bench = new CudaBench(
            source, options.WeightType, options.KvType, options.ContextLength, options.MaxRows, host.Cuda ?? CudaPlatform.Find(), host.Interrupt);
        CudaBenchResult result = bench.Run(tokens, rows, repeats, host.Interrupt);
        if (format is { } f) CudaBench.WriteTable(host.Output, f, name, bench.WeightType, result);
        else host.Output.WriteLine(CudaBench.Json(name, bench.WeightType, result));
        host.Error.WriteLine(string.Create(
            CultureInfo.InvariantCulture, $"[{result.Device}, {result.WeightBytes / 1e6:F1} MB of weights per pass, read at {result.ReadGigabytesPerSecond:F0} GB/s, medians of {repeats}]"));
        return ExitCode.Success;
    }

    private static int Measure(
        ModelSource source, string name, BenchKind[] kinds, BenchSizes sizes, DirectModelOptions options, KvChoice kv, int repeats, TableFormat? format,
        CliHost host)
    {
        using var model = DirectModel.Load(source, options, host);
        var cases = new BenchCases(model, sizes, host.Interrupt);
        IReadOnlyList<BenchResult> results;
        using (var progress = new ProgressLine(host))
        {
            results = new BenchRunner(model.Backend.Team, repeats, host.Interrupt, cases.Clock).Run(
                [.. kinds.SelectMany(cases.Of)], (text, fraction) => progress.Report((text, fraction)));
        }

        var subject = new BenchSubject(
            name, model.Loaded.WeightType.ToString().ToLowerInvariant(), options.KvType.ToString().ToLowerInvariant() + (kv.Evicts ? $" {kv.Text}" : ""),
            model.Backend.Name, model.Backend.Team.Threads, cases.WeightBytes, repeats);
        return Report(subject, results, FormattableString.Invariant($"{cases.WeightBytes / 1e6:F1} MB of weights per pass"), format, host);
    }

    private static int Batched(
        ModelSource source, string name, BenchSizes sizes, DirectModelOptions options, KvChoice kv, int repeats, TableFormat? format, CliHost host)
    {
        using var team = new ThreadTeam(options.Threads == 0 ? ProcessorLimits.Current.Threads : options.Threads); // the probe's own; it sleeps meanwhile
        using var bench = new BatchedBench(source, options, sizes.Sequences, sizes.Tokens, host.Interrupt);
        IReadOnlyList<BenchResult> results;
        using (var progress = new ProgressLine(host))
        {
            results = new BenchRunner(team, repeats, host.Interrupt).Run(
                [.. sizes.Sequences.Select(bench.Case)], (text, fraction) => progress.Report((text, fraction)));
        }

        var subject = new BenchSubject(
            name, bench.WeightType.ToString().ToLowerInvariant(), options.KvType.ToString().ToLowerInvariant() + (kv.Evicts ? $" {kv.Text}" : ""),
            bench.BackendName, team.Threads, bench.WeightBytes, repeats);
        return Report(subject, results, FormattableString.Invariant($"{bench.WeightBytes / 1e6:F1} MB of weights per pass, scheduler and sampler included"), format, host);
    }

    /// <summary>A policy beside the dense cache, on random weights of the model's shape: what it costs does not depend on what it says.</summary>
    private static int Eviction(ModelSource source, string name, string policy, EvictionRequest request, TableFormat? format, CliHost host)
    {
        var bench = new EvictionBench(request, host);
        IReadOnlyList<EvictionLine> lines = bench.Run(source);
        if (format is { } f) EvictionBench.ToTable(lines).Write(host.Output, f);
        else host.Output.WriteLine(EvictionBench.Json(name, policy, lines));
        host.Error.WriteLine(string.Create(
            CultureInfo.InvariantCulture, $"[{name}, {bench.Backend}, --kv {policy}, keys and values {request.Type.ToString().ToLowerInvariant()}, medians of {request.Repeats}, dense and policy alternated]"));
        return ExitCode.Success;
    }

    /// <summary>Attention alone needs the model's sizes only: no weight is loaded.</summary>
    private static int Attention(
        TransformerShape shape, string name, BenchSizes sizes, DirectModelOptions options, int repeats, TableFormat? format, CliHost host)
    {
        using var backend = CpuBackend.Create(new CpuOptions { Threads = options.Threads });
        var results = new List<BenchResult>();
        foreach (KvType type in sizes.KvTypes)
        {
            using var attention = new AttentionBench(shape, type, sizes.Depths, sizes.TreeRows.Concat(sizes.ChunkRows).Max(), backend.Team, host.Interrupt);
            using var progress = new ProgressLine(host);
            results.AddRange(new BenchRunner(backend.Team, repeats, host.Interrupt).Run(
                [.. attention.Cases(sizes.TreeRows, sizes.ChunkRows)], (text, fraction) => progress.Report(($"{type} {text}", fraction))));
        }

        var subject = new BenchSubject(name, "none", "", backend.Name, backend.Team.Threads, 0, repeats);
        return Report(subject, results, "attention of all layers over synthetic keys and values", format, host);
    }

    private static int Report(BenchSubject subject, IReadOnlyList<BenchResult> results, string what, TableFormat? format, CliHost host)
    {
        if (format is { } f) BenchReport.WriteTable(host.Output, f, subject, results);
        else host.Output.WriteLine(BenchReport.Json(subject, results));
        host.Error.WriteLine(string.Create(
            CultureInfo.InvariantCulture, $"[{subject.Backend}, {what}, medians of {subject.Repeats}, probe alternated with every repeat]"));
        return ExitCode.Success;
    }

    private static int Load(string directory, DirectModelOptions options, int repeats, TableFormat? format, CliHost host)
    {
        double bytes = ModelInspector.Inspect(directory).StoredBytes;
        var seconds = new double[repeats];
        for (int i = 0; i < repeats; i++)
        {
            long start = Stopwatch.GetTimestamp();
            using ModelSource source = ModelLoader.Open(directory);
            using var model = DirectModel.Load(source, options, host);
            seconds[i] = Stopwatch.GetElapsedTime(start).TotalSeconds;
        }

        double median = BenchRunner.Median(seconds);
        if (format is { } f)
        {
            var table = new Table("test", "model", "seconds", "file MB", "MB/s");
            table.Add("load", Path.GetFileName(directory), Number(median, 4), Number(bytes / 1e6, 1), Number(bytes / 1e6 / median, 1));
            table.Write(host.Output, f);
        }
        else
        {
            host.Output.WriteLine(JsonText.Object(w =>
            {
                w.WriteString("model", Path.GetFileName(directory));
                w.WriteNumber("file_bytes", bytes);
                w.WriteRounded("seconds", median, 6);
                w.WriteRounded("mb_per_second", bytes / 1e6 / median, 1);
            }));
        }

        return ExitCode.Success;
    }

    private static BenchKind[] Kinds(string? name)
    {
        if (name is null) return [BenchKind.Decode, BenchKind.Prefill];
        string[] known = [.. Enum.GetNames<BenchKind>().Select(n => n.ToLowerInvariant())];
        if (Array.IndexOf(known, name) is >= 0 and var index) return [(BenchKind)index];
        string rule = s_planned.Contains(name) ? $"'bench {name}' is not available in this build" : $"'{name}' is not a test of bench";
        throw new UsageException($"{rule}: available are {string.Join(", ", known)}.");
    }

    /// <summary>A setting that this test does not read would be taken for one that changed nothing.</summary>
    private void RefuseSettingsOfOthers(BenchKind[] kinds, CommandContext context)
    {
        (IEnumerable<Flag> Flags, BenchKind[] Of)[] settings =
        [
            (_spec.All, [BenchKind.Spec]), ([_prompt], [BenchKind.Prefill]), ([_rows], [BenchKind.Rows]), ([_depths], [BenchKind.Depth, BenchKind.Kv]),
            ([_sequences], [BenchKind.Batched, BenchKind.Kv]), ([_treeRows, _chunkRows, _kvTypes, _kvBudget], [BenchKind.Kv]),
        ];
        foreach ((IEnumerable<Flag> flags, BenchKind[] of) in settings)
        {
            if (kinds.Intersect(of).Any() || flags.FirstOrDefault(f => f.GivenOnLine(context)) is not { } flag) continue;
            string[] names = [.. of.Select(k => k.ToString().ToLowerInvariant())];
            throw new UsageException($"{flag.Name} is a setting of {string.Join(" and ", names)}, and changes nothing here: leave it out, or run 'bench {names[0]}'.");
        }
    }

    private static string Shape(string text, string source) => NamedShapes.Names.Contains(text, StringComparer.OrdinalIgnoreCase)
        ? text.ToLowerInvariant()
        : throw new UsageException($"{source} does not know '{text}': known shapes are {string.Join(", ", NamedShapes.Names)}.");

    /// <summary>The table's format, or null for JSON.</summary>
    private TableFormat? Format(CommandContext context)
    {
        Switch[] formats = [_json, _csv, _markdown];
        bool onLine = formats.Any(s => s.GivenOnLine(context));
        bool json = _json.GetBeside(onLine, context), csv = _csv.GetBeside(onLine, context), markdown = _markdown.GetBeside(onLine, context);
        if ((json ? 1 : 0) + (csv ? 1 : 0) + (markdown ? 1 : 0) > 1) throw new UsageException("--json, --csv and --markdown exclude each other: give one.");
        if (json) return null;
        return csv ? TableFormat.Csv : markdown ? TableFormat.Markdown : TableFormat.Text;
    }

    private static string Number(double value, int digits) => value.ToString("F" + digits.ToString(CultureInfo.InvariantCulture), CultureInfo.InvariantCulture);
}
