using System.Globalization;
using BenchmarkDotNet.Columns;
using BenchmarkDotNet.Parameters;
using BenchmarkDotNet.Reports;
using BenchmarkDotNet.Running;

namespace Foretoken.Microbenchmarks;

/// <summary>What one call does at least.</summary>
/// <param name="Bytes">Read from memory or cache: weights, keys, values, elements.</param>
/// <param name="Operations">Multiplications and additions.</param>
public readonly record struct KernelWork(double Bytes, double Operations);

/// <summary>A benchmark that knows its work as a function of its parameters.</summary>
public interface IKernelBenchmark
{
    static abstract KernelWork WorkOf(ParameterInstances parameters);
}

/// <summary>10^9 per second of something that the benchmark does, by the median.</summary>
internal sealed class RateColumn(string name, Func<KernelWork, double> amount) : IColumn
{
    public string Id => name;

    public string ColumnName => name;

    public string Legend => $"10^9 {(name == "GB/s" ? "bytes" : "multiplications and additions")} per second, by the median";

    public UnitType UnitType => UnitType.Dimensionless;

    public bool AlwaysShow => true;

    public ColumnCategory Category => ColumnCategory.Custom;

    public int PriorityInCategory => 0;

    public bool IsNumeric => true;

    public string GetValue(Summary summary, BenchmarkCase benchmarkCase)
    {
        double nanoseconds = summary[benchmarkCase]?.ResultStatistics?.Median ?? double.NaN;
        KernelWork work = benchmarkCase.Descriptor.Type.GetInterfaces().Contains(typeof(IKernelBenchmark))
            ? (KernelWork)benchmarkCase.Descriptor.Type.GetMethod(nameof(IKernelBenchmark.WorkOf))!.Invoke(null, [benchmarkCase.Parameters])!
            : default;
        return work == default || double.IsNaN(nanoseconds) ? "-" : (amount(work) / nanoseconds).ToString("F1", CultureInfo.InvariantCulture);
    }

    public string GetValue(Summary summary, BenchmarkCase benchmarkCase, SummaryStyle style) => GetValue(summary, benchmarkCase);

    public bool IsAvailable(Summary summary) => true;

    public bool IsDefault(Summary summary, BenchmarkCase benchmarkCase) => false;
}
