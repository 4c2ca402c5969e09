using System.Text.Json;
using Foretoken.Cli;
using Foretoken.Tests.Fixtures;
using Foretoken.Training.Evaluation;

namespace Foretoken.Tests.Cli;

/// <summary>Cache policies beside the dense cache from the command line, and chains that vote.</summary>
public sealed class EvictionCommandTests : IDisposable
{
    private readonly TempDirectory _directory = new();

    public EvictionCommandTests() => new TinyModel { Layers = 1, MaxPositions = 256 }.Write(_directory.File("models/reasoner"));

    public void Dispose() => _directory.Dispose();

    [Fact]
    public void The_most_frequent_answer_wins_and_of_equals_the_first()
    {
        Assert.Equal(("7", 2), MajorityVote.Of(["3", "7", null, "7", null, null]));
        Assert.Equal(("3", 1), MajorityVote.Of(["3", "7", null]));
        Assert.Equal((null, 0), MajorityVote.Of([null, null]));
    }

    [Fact]
    public void Chains_share_a_prompt_and_say_what_most_of_them_say()
    {
        string[] request = ["run", "--chains", "5", "--temperature", "0.9", "--max-tokens", "12", "abc", "--json"];
        JsonElement dense = Json(Host().Run(request));
        JsonElement[] chains = [.. dense.GetProperty("chains").EnumerateArray()];
        string?[] answers = [.. chains.Select(c => c.GetProperty("answer").GetString())];
        (string? answer, int votes) = MajorityVote.Of(answers);
        Assert.Equal((answer, votes), (dense.GetProperty("answer").GetString(), dense.GetProperty("votes").GetInt32()));
        Assert.Equal(5, chains.Length);
        Assert.Equal(dense.GetProperty("kv_bytes_read").GetInt64(), chains.Sum(c => c.GetProperty("kv_bytes_read").GetInt64()));
        JsonElement evicting = Json(Host().Run([.. request, "--kv", "window=4", "--kv-budget", "1"]));
        Assert.True(evicting.GetProperty("kv_bytes_read").GetInt64() < dense.GetProperty("kv_bytes_read").GetInt64());
        Assert.Contains("5 chains: ", Host().Run(request[..^1]).Error, StringComparison.Ordinal);
        Host().Run([.. request, "--samples", "2"]).FailsWith(ExitCode.Usage, "--chains draws its own answers");
    }

    [Fact]
    public void A_policy_is_compared_with_the_dense_cache_and_the_page_shows_who_lives()
    {
        string questions = _directory.File("questions.jsonl"), page = _directory.File("page.html");
        File.WriteAllText(questions, string.Concat(Enumerable.Range(0, 4).Select(i => $$"""{"question": "abcdefgh{{i}}", "answer": "1", "bucket": "b{{i % 2}}"}""" + "\n")));
        string[] request = ["eval", "--file", questions, "--max-tokens", "20", "--json"];
        JsonElement[] policies = [.. Json(Host().Run([.. request, "--kv", "window=4", "--html", page])).GetProperty("policies").EnumerateArray()];
        Assert.Equal(["dense", "window=4"], policies.Select(p => p.GetProperty("policy").GetString()));
        Assert.Equal(0, policies[0].GetProperty("kl_nats").GetDouble());
        Assert.True(policies[1].GetProperty("kl_nats").GetDouble() > 0.001);
        Assert.InRange(policies[1].GetProperty("live_tokens_per_head").GetDouble(), 1, 4);
        Assert.True(policies[1].GetProperty("kv_bytes_read_per_token").GetDouble() < policies[0].GetProperty("kv_bytes_read_per_token").GetDouble());
        string html = File.ReadAllText(page);
        Assert.Contains("Tokens that live", html, StringComparison.Ordinal);
        Assert.Contains("layer 0", html, StringComparison.Ordinal);

        JsonElement[] all = [.. Json(Host().Run([.. request, "--kv", "window=4000", "--compare"])).GetProperty("policies").EnumerateArray()];
        Assert.Equal(0, all[1].GetProperty("kl_nats").GetDouble()); // nothing is evicted: the same bits
        Assert.InRange(Json(Host().Run([.. request, "--kv", "tova=4", "--compare"])).GetProperty("policies")[1].GetProperty("live_tokens_per_head").GetDouble(), 1, 4.01);
        Host().Run([.. request, "--compare"]).FailsWith(ExitCode.Usage, "name a policy that evicts");
    }

    /// <summary>A rule that accepts whatever is likelier than nothing takes every draft, so that passes bring more tokens than with exact acceptance.</summary>
    [Fact]
    public void A_lossy_rule_is_compared_with_exact_acceptance()
    {
        string questions = _directory.File("questions.jsonl");
        File.WriteAllText(questions, string.Concat(Enumerable.Range(0, 4).Select(i => $$"""{"question": "ababababab{{i}}", "answer": "1", "bucket": "b{{i % 2}}"}""" + "\n")));
        string[] request = ["eval", "--file", questions, "--max-tokens", "60", "--draft", "recycling", "--compare", "--temperature", "1.5"];
        string[] rows = Host().Run([.. request, "--accept", "typical=0.001,0.001"]).Output.Split('\n', StringSplitOptions.RemoveEmptyEntries);
        Assert.Equal(2 + 2 + 1, rows.Length);
        string[] all = rows[^1].Split('|', StringSplitOptions.TrimEntries);
        Assert.Equal(["all", "0.0 %", "0.0 %", "0.0 %"], all[1..5]);
        double exact = double.Parse(all[5], System.Globalization.CultureInfo.InvariantCulture), lossy = double.Parse(all[6], System.Globalization.CultureInfo.InvariantCulture);
        Assert.InRange(exact, 1, 3);
        Assert.True(lossy > exact + 0.1, rows[^1]);
        CliResult refused = Host().Run([.. request, "--accept", "typical", "--json"]); // behind the note that the rule is lossy
        Assert.Equal(ExitCode.Usage, refused.Code);
        Assert.Contains("takes no --kv", refused.Error, StringComparison.Ordinal);
        Host().Run([.. request, "--accept", "match"]).FailsWith(ExitCode.Usage, "--temperature", "with a lossy --accept");
    }

    [Fact]
    public void Accuracy_of_voting_chains_is_drawn_against_what_they_read()
    {
        string questions = _directory.File("questions.jsonl"), page = _directory.File("page.html");
        File.WriteAllText(questions, """{"question": "abcdefgh", "answer": "1"}""" + "\n" + """{"question": "hgf", "answer": "1"}""" + "\n");
        JsonElement[] points = [.. Json(Host().Run("eval", "--file", questions, "--max-tokens", "20", "--json", "--kv", "window=4", "--chains", "4", "--html", page))
            .GetProperty("chains").EnumerateArray()];
        Assert.Equal([1, 2, 4, 1, 2, 4], points.Select(p => p.GetProperty("chains").GetInt32()));
        double[] read = [.. points.Select(p => p.GetProperty("kv_mb_read").GetDouble())];
        Assert.True(read[0] < read[1] && read[1] < read[2] && read[5] < read[2], string.Join(' ', read));
        Assert.Contains("<polyline", File.ReadAllText(page), StringComparison.Ordinal);
    }

    [Fact]
    public void Bench_kv_sets_a_policy_beside_the_dense_cache()
    {
        JsonElement root = Json(Host().Run(
            "bench", "kv", "--kv", "dms-random=8,16", "--depths", "200,400", "--repeat", "1", "--sequences", "2", "--kv-budget", "1", "--threads", "1", "--json"));
        Dictionary<string, JsonElement> lines = root.GetProperty("results").EnumerateArray().ToDictionary(l => l.GetProperty("what").GetString()!);
        Assert.InRange(lines["bytes held @400"].GetProperty("ratio").GetDouble(), 0.1, 0.6);
        Assert.InRange(lines["live tokens @400"].GetProperty("policy").GetDouble(), 45, 90); // 16 and an eighth of 384
        Assert.True(lines["sequences in 1 MiB @200"].GetProperty("ratio").GetDouble() > 1.3);
        Assert.True(lines["decode @400, 2 sequences"].GetProperty("policy").GetDouble() > 0);
        Host().Run("bench", "kv", "--kv", "tova=20").FailsWith(ExitCode.Usage, "synthetic keys and values");
    }

    private static JsonElement Json(CliResult result)
    {
        Assert.True(result.Code == ExitCode.Success, result.Error);
        return JsonDocument.Parse(result.Output).RootElement;
    }

    private CliTestHost Host() => new() { BaseDirectory = _directory.Path };
}
