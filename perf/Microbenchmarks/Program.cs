using BenchmarkDotNet.Columns;
using BenchmarkDotNet.Configs;
using BenchmarkDotNet.Diagnosers;
using BenchmarkDotNet.Jobs;
using BenchmarkDotNet.Loggers;
using BenchmarkDotNet.Running;
using BenchmarkDotNet.Toolchains.InProcess.Emit;
using Foretoken.Microbenchmarks;
using Perfolizer.Horology;

// dotnet run -c Release --project perf/Microbenchmarks -- --filter '*Product*'
// In this process, because a kernel needs no other runtime, and with few short iterations: a kernel is called thousands of times in each.
Job job = Job.Default.WithToolchain(InProcessEmitToolchain.Instance).WithWarmupCount(2).WithIterationCount(7).WithIterationTime(TimeInterval.FromMilliseconds(100));
IConfig config = ManualConfig.CreateEmpty()
    .AddJob(job)
    .AddLogger(ConsoleLogger.Default)
    .AddDiagnoser(MemoryDiagnoser.Default)
    .AddColumnProvider(DefaultColumnProviders.Params)
    .AddColumn(TargetMethodColumn.Method, StatisticColumn.Median, StatisticColumn.Error)
    .AddColumn(new RateColumn("GB/s", work => work.Bytes), new RateColumn("GOP/s", work => work.Operations))
    .AddColumnProvider(DefaultColumnProviders.Metrics)
    .AddExporter(BenchmarkDotNet.Exporters.MarkdownExporter.GitHub)
    .WithOptions(ConfigOptions.JoinSummary);
BenchmarkSwitcher.FromAssembly(typeof(Program).Assembly).Run(args, config);
