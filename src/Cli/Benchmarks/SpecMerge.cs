using System.Text.Json;
using Foretoken.Cli.Output;

namespace Foretoken.Cli.Benchmarks;

/// <summary>Puts several runs of <c>bench spec --json</c> together: a bucket or a drafter at a time where the machine is quiet for a short while only.</summary>
internal static class SpecMerge
{
    /// <exception cref="UsageException">A file is missing or holds something else.</exception>
    public static int Run(IReadOnlyList<string> files, string? html, TableFormat? format, CliHost host)
    {
        var cells = new List<SpecCell>();
        string model = "";
        foreach (string file in files)
        {
            try
            {
                using JsonDocument json = JsonDocument.Parse(File.ReadAllBytes(file));
                model = json.RootElement.GetProperty("model").GetString()!;
                foreach (JsonElement result in json.RootElement.GetProperty("results").EnumerateArray()) Take(cells, SpecCell.Read(result));
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException or JsonException or KeyNotFoundException or InvalidOperationException)
            {
                throw new UsageException($"--merge: {file} is no result of 'bench spec --json': {e.Message}");
            }
        }

        SpecReport.Write(model, $"{model}, merged from {files.Count} runs.", SpecCell.WithTotals(cells), governor: null, html, format, host);
        return ExitCode.Success;
    }

    private static void Take(List<SpecCell> cells, SpecCell cell)
    {
        if (cell.Bucket == "all") return;
        if (cells.Find(c => c.Drafter == cell.Drafter && c.Bucket == cell.Bucket) is not { } known)
        {
            cells.Add(cell);
            return;
        }

        known.Add(cell);
        known.SpeedUps.AddRange(cell.SpeedUps);
    }
}
