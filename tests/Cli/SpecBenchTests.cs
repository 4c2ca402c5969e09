using System.Text.Json;
using Foretoken.Cli;
using Foretoken.Tests.Fixtures;

namespace Foretoken.Tests.Cli;

public sealed class SpecBenchTests : IDisposable
{
    private readonly TempDirectory _directory = new();

    public SpecBenchTests() => new TinyModel { MaxPositions = 2048 }.Write(_directory.File("models/tiny"));

    public void Dispose() => _directory.Dispose();

    [Fact]
    public void Every_drafter_is_measured_on_every_bucket_and_a_page_is_written()
    {
        string page = _directory.File("spec.html");
        CliResult result = Run("--drafters", "ngram model=tiny,3 auto oracle=1,3", "--limit", "1", "--repeat", "1", "--max-tokens", "16", "--json", "--html", page);
        Assert.Equal(ExitCode.Success, result.Code);
        JsonElement[] cells = [.. JsonDocument.Parse(result.Output).RootElement.GetProperty("results").EnumerateArray()];
        Assert.Equal(["none", "ngram", "model=tiny,3", "auto", "oracle=1,3"], cells.Select(c => c.GetProperty("drafter").GetString()).Distinct());
        Assert.Equal(5, cells.Count(c => c.GetProperty("bucket").GetString() == "all"));
        foreach (JsonElement cell in cells)
        {
            double length = cell.GetProperty("mean_accepted_length").GetDouble(), predicted = cell.GetProperty("predicted_speed_up").GetDouble();
            Assert.Equal((double)cell.GetProperty("tokens").GetInt64() / cell.GetProperty("steps").GetInt64(), length, 1e-3);
            Assert.Equal(length, predicted * (cell.GetProperty("c").GetDouble() + cell.GetProperty("v").GetDouble()), 0.01 * length);
            if (cell.GetProperty("drafter").GetString() == "oracle=1,3") Assert.InRange(length, 2.5, 4);
            if (cell.GetProperty("drafter").GetString() == "none") Assert.Equal((1, 0), (length, cell.GetProperty("drafted_tokens").GetInt64()));
        }

        string html = File.ReadAllText(page);
        Assert.Contains("<h2>Speed-up by bucket</h2><svg", html, StringComparison.Ordinal);
        Assert.DoesNotContain("http", html, StringComparison.Ordinal); // needs nothing else
        Assert.Contains("[auto: ", result.Error, StringComparison.Ordinal);
    }

    [Fact]
    public void Nothing_to_measure_is_refused()
    {
        Run("--drafters", "none").FailsWith(ExitCode.Usage, "--drafters names no drafter, or none");
        Run("--drafters", "ngram magic").FailsWith(ExitCode.Usage, "--drafters magic is unknown");
    }

    [Fact]
    public void Doctor_measures_what_rows_cost()
    {
        CliResult result = new CliTestHost { BaseDirectory = _directory.Path }.Run("doctor", "--calibrate", "--model", "tiny", "--threads", "1");
        Assert.Equal(ExitCode.Success, result.Code);
        Assert.Matches("passes at 16 +tiny: [0-9.]+ ms; 2 rows [0-9.]+, 3 rows", result.Output);
        Assert.Contains("passes at 2031", result.Output, StringComparison.Ordinal);
    }

    private CliResult Run(params string[] args) =>
        new CliTestHost { BaseDirectory = _directory.Path }.Run(["bench", "spec", "--model", "tiny", "--threads", "1", .. args]);
}
