using System.Globalization;
using Foretoken.Models;

namespace Foretoken.Cli.Benchmarks;

/// <summary>
/// What a pass of several rows costs on this machine in passes of one, at two depths: the figures that the Governor otherwise learns while it decodes, and that
/// tell whether speculation can pay here at all.
/// </summary>
internal static class Calibration
{
    private const int Repeats = 3, Shallow = 16;
    private static readonly int[] s_rows = [2, 3, 4, 6, 8, 12, 16];

    /// <summary>One line per figure.</summary>
    public static IEnumerable<(string Name, string Value)> Run(string directory, int threads, CliHost host)
    {
        using ModelSource source = ModelLoader.Open(directory);
        int deep = Math.Min(source.Config.Shape.MaxPositions - s_rows[^1] - 1, 2048);
        var options = new DirectModelOptions { Threads = threads, KvType = Backends.KvType.BF16, ContextLength = deep + s_rows[^1], MaxRows = 64 };
        using var model = DirectModel.Load(source, options, host);
        foreach (int depth in new[] { Math.Min(Shallow, deep), deep })
        {
            var sizes = new BenchSizes { Tokens = 1, Prompt = 1, Depth = depth, Rows = s_rows, Depths = [0], TreeRows = [1], KvTypes = [options.KvType] };
            var cases = new BenchCases(model, sizes, host.Interrupt);
            IReadOnlyList<BenchResult> results = new BenchRunner(model.Backend.Team, Repeats, host.Interrupt).Run([.. cases.Of(BenchKind.Rows)], (_, _) => { });
            double plain = results[0].MillisecondsPerPass;
            string rows = string.Join(", ", results.Skip(1).Select(r => string.Create(CultureInfo.InvariantCulture, $"{r.Case.Rows} rows {r.MillisecondsPerPass / plain:F2}")));
            yield return (
                string.Create(CultureInfo.InvariantCulture, $"passes at {depth}"),
                string.Create(CultureInfo.InvariantCulture, $"{Path.GetFileName(directory)}: {plain:F3} ms; {rows} times that"));
        }
    }
}
