using System.Text.Json;
using Foretoken.Cli.Output;

namespace Foretoken.Cli.Benchmarks;

/// <summary>Puts several runs of <c>bench spec --json</c> together: a bucket or a drafter at a time where the machine is quiet for a short while only.</summary>
internal static class SpecMerge
{
    /// <exception cref="UsageException">A file is missing or holds something else.</exception>
    public static int Run(IReadOnlyList<string> files, OutputFile? page, TableFormat? format, CliHost host)
    {
        if (files.Count == 0) throw new UsageException("--merge names no file: give those that 'bench spec --json' wrote, with spaces between them.");
        var cells = new List<SpecCell>();
        string? model = null;
        foreach (string file in files)
        {
            try
            {
                using JsonDocument json = JsonDocument.Parse(File.ReadAllBytes(file));
                string? measured = json.RootElement.GetProperty("model").GetString();
                if (measured != (model ??= measured)) throw new UsageException($"--merge: {file} measured {measured}, the files before it {model}: merge runs of one model.");
                foreach (JsonElement result in json.RootElement.GetProperty("results").EnumerateArray()) Take(cells, SpecCell.Read(result));
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException or JsonException or KeyNotFoundException or InvalidOperationException or FormatException or IndexOutOfRangeException)
            {
                string rule = e is IOException or UnauthorizedAccessException or JsonException ? e.Message.TrimEnd('.') : "fields that such a result has are missing or of another type";
                throw new UsageException($"--merge: {file} is no result of 'bench spec --json' ({rule}): name the files that it wrote, with spaces between them.");
            }
        }

        if (cells.Find(c => !cells.Exists(p => p.Drafter == "none" && p.Bucket == c.Bucket)) is { } lone)
            throw new UsageException($"--merge: no file has plain decoding of {lone.Bucket}, which {lone.Drafter} is compared with: name a file that has.");
        SpecReport.Write(model ?? "", $"{model}, merged from {files.Count} runs.", SpecCell.WithTotals(cells), governor: null, page, format, host);
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
