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
            JsonElement counts = cell.GetProperty("counts"); // what came along with a prompt took no time of decoding
            double decoded = counts.GetProperty("decoded_tokens").GetDouble() / counts.GetProperty("timed_steps").GetDouble();
            Assert.Equal(decoded, predicted * (cell.GetProperty("c").GetDouble() + cell.GetProperty("v").GetDouble()), 0.01 * decoded);
            if (cell.GetProperty("drafter").GetString() == "oracle=1,3") Assert.InRange(length, 2.5, 4);
            if (cell.GetProperty("drafter").GetString() == "none") Assert.Equal((1, 0), (length, cell.GetProperty("drafted_tokens").GetInt64()));
        }

        string html = File.ReadAllText(page);
        Assert.Contains("<h2>Speed-up by bucket</h2><svg", html, StringComparison.Ordinal);
        Assert.DoesNotContain("http", html, StringComparison.Ordinal); // needs nothing else
        Assert.Contains("[auto: ", result.Error, StringComparison.Ordinal);
    }

    [Fact]
    public void Runs_of_single_buckets_are_put_together()
    {
        string[] files = [.. new[] { "json", "arithmetic" }.Select(bucket =>
        {
            CliResult run = Run("--drafters", "ngram", "--bucket", bucket, "--limit", "1", "--repeat", "1", "--warm", "1", "--max-tokens", "12", "--json");
            Assert.Equal(ExitCode.Success, run.Code);
            string file = _directory.File(bucket + ".json");
            File.WriteAllText(file, run.Output);
            return file;
        })];
        JsonElement[] merged = [.. JsonDocument.Parse(Run("--merge", string.Join(' ', files), "--json").Output).RootElement.GetProperty("results").EnumerateArray()];
        Assert.Equal(["none json", "none arithmetic", "none all", "ngram json", "ngram arithmetic", "ngram all"],
            merged.Select(c => $"{c.GetProperty("drafter").GetString()} {c.GetProperty("bucket").GetString()}"));
        Assert.Equal(merged[3].GetProperty("steps").GetInt64() + merged[4].GetProperty("steps").GetInt64(), merged[5].GetProperty("steps").GetInt64());
        double[] speedUps = [.. merged.Skip(3).Select(c => c.GetProperty("measured_speed_up").GetDouble())];
        Assert.Equal(2 / (1 / speedUps[0] + 1 / speedUps[1]), speedUps[2], 1e-3);
        File.WriteAllText(files[0], "{}");
        Run("--merge", files[0]).FailsWith(ExitCode.Usage, "--merge", files[0], "is no result of 'bench spec --json'");
    }

    [Fact]
    public void Adversaries_change_no_answer_and_all_are_timed()
    {
        foreach (string batch in new[] { "1", "3" })
        {
            CliResult result = Run("--adversarial", "--bucket", "json", "--bucket-tokens", "400", "--batch", batch, "--repeat", "1", "--json");
            Assert.Equal(ExitCode.Success, result.Code); // else answers differ
            JsonElement[] cells = [.. JsonDocument.Parse(result.Output).RootElement.GetProperty("time_over_plain").EnumerateArray()];
            Assert.Equal(["auto", "wrong", "right-wrong", "wrong-right", "flipping", "slow", "slow-model"], cells.Select(c => c.GetProperty("drafter").GetString()).Distinct());
            Assert.All(cells, c => Assert.True(c.GetProperty("median").GetDouble() > 0));
        }

        Run("--adversarial", "--predict").FailsWith(ExitCode.Usage, "exclude each other");
    }

    [Fact]
    public void Predictions_stand_beside_what_was_measured()
    {
        CliResult result = Run("--predict", "--acceptances", "1,0.5", "--drafts", "3", "--max-tokens", "41", "--repeat", "2", "--json");
        Assert.Equal(ExitCode.Success, result.Code);
        JsonElement[] rows = [.. JsonDocument.Parse(result.Output).RootElement.GetProperty("predictions").EnumerateArray()];
        Assert.Equal([4, 1.875], rows.Select(r => r.GetProperty("expected_length").GetDouble()));
        Assert.Equal(41.0 / 11, rows[0].GetProperty("measured_length").GetDouble(), 1e-3);
        foreach (JsonElement r in rows)
        {
            double cost = 3 * r.GetProperty("c").GetDouble() + r.GetProperty("v").GetDouble();
            Assert.Equal(r.GetProperty("expected_length").GetDouble() / cost, r.GetProperty("predicted_speed_up").GetDouble(), 0.01 * r.GetProperty("predicted_speed_up").GetDouble());
        }
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
