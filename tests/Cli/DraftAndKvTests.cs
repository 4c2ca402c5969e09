using System.Globalization;
using System.Text.Json;
using System.Text.RegularExpressions;
using Foretoken.Cli;
using Foretoken.Speculation;
using Foretoken.Speculation.Trained;
using Foretoken.Tests.Fixtures;

namespace Foretoken.Tests.Cli;

/// <summary>Drafters and eviction policies from the command line: what they change, what they never change, and what they tell.</summary>
public sealed partial class DraftAndKvTests : IDisposable
{
    private static readonly TinyModel s_model = new() { MaxPositions = 256 };
    private readonly TempDirectory _directory = new();

    public DraftAndKvTests() => s_model.Write(_directory.File("models/reasoner"));

    public void Dispose() => _directory.Dispose();

    [Theory]
    [InlineData("oracle=1", 1)]
    [InlineData("oracle=0.7", 0.7)]
    [InlineData("oracle=0,9", 0)]
    public void Oracle_records_a_plain_run_and_then_drafts_the_same_answer(string drafter, double acceptance)
    {
        foreach (string temperature in new[] { "0", "0.9" })
        {
            string[] request = ["--max-tokens", "41", "--temperature", temperature, "--json", "abc"];
            JsonElement plain = Json(Run(request)), drafted = Json(Run(["--draft", drafter, .. request]));
            Assert.Equal(plain.GetProperty("text").GetString(), drafted.GetProperty("text").GetString());
            (int steps, int accepted) = (drafted.GetProperty("steps").GetInt32(), drafted.GetProperty("accepted_tokens").GetInt32());
            Assert.Equal(41, steps + accepted);
            Assert.Equal(acceptance == 0, accepted == 0);
            if (acceptance == 1) Assert.Equal(9, steps); // 41 = 8 · 5 + 1
            Assert.True(drafted.GetProperty("drafted_tokens").GetInt32() > 0);
        }

        string error = Run("--max-tokens", "5", "--draft", drafter, "abc").Error;
        Assert.Contains($"[--draft {drafter}: a plain run recorded 5 tokens in ", error, StringComparison.Ordinal);
        Assert.Contains("drafts accepted, ", error, StringComparison.Ordinal);
    }

    /// <summary>One draft per step; chance makes the shares a little higher than what the oracle is set to.</summary>
    [Theory]
    [InlineData(0.2, 0, 0.3, "use --draft auto, which drafts only where it pays, or --draft none")]
    [InlineData(0.38, 0.4, 0.5, "use --draft auto, which drafts only where it pays, or --draft none")]
    [InlineData(0.45, 0.5, 0.6, "draft fewer tokens per step, or use --draft auto")]
    [InlineData(0.5, 0.5, 0.6, "draft fewer tokens per step, or use --draft auto")]
    [InlineData(0.53, 0.6, 0.65, null)]
    [InlineData(0.9, 0.85, 1, null)]
    public void Drafts_that_are_accepted_less_than_six_times_in_ten_are_warned_of_with_a_remedy(double acceptance, double least, double most, string? remedy)
    {
        string[] request = ["--draft", string.Create(CultureInfo.InvariantCulture, $"oracle={acceptance},1"), "--max-tokens", "220", "abc"];
        JsonElement drafter = Assert.Single(Json(Run(["--json", .. request])).GetProperty("drafters").EnumerateArray());
        double tried = drafter.GetProperty("drafted_at")[0].GetInt32(), share = drafter.GetProperty("accepted_at")[0].GetInt32() / tried;
        Assert.InRange(tried, 100, 220);
        Assert.InRange(share, least, most - 1e-6);
        string error = Run(request).Error;
        if (remedy is null) Assert.DoesNotContain("warning", error, StringComparison.Ordinal);
        else Assert.Contains(string.Create(CultureInfo.InvariantCulture, $"[warning: {share:P0} of drafted positions were accepted: {remedy}]"), error, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("oracle=0,1", 20)] // too few drafts to say anything
    [InlineData("auto", 220)]      // the Governor drafts only where it pays
    [InlineData("none", 220)]
    public void Nothing_is_warned_of_where_little_was_drafted_or_nobody_is_to_change_anything(string draft, int tokens) =>
        Assert.DoesNotContain("warning", Run("--draft", draft, "--max-tokens", $"{tokens}", "abc").Error, StringComparison.Ordinal);

    [Fact]
    public void Trained_heads_are_found_beside_the_model_and_recognised_by_what_they_hold()
    {
        string[] request = ["--max-tokens", "30", "--json", "abcabc"];
        string plain = Json(Run(["--draft", "none", .. request])).GetProperty("text").GetString()!;
        Run("--draft", "medusa", "abc").FailsWith(ExitCode.Usage, "finds no heads beside", "medusa=some/directory");
        Run("--draft", "ngram+eagle", "abc").FailsWith(ExitCode.Usage, "finds no heads beside");
        Run("--draft", "medusa=some/dir", "abc").FailsWith(ExitCode.RunError, "some/dir");
        Run("--draft", "eagle=some/dir,0", "abc").FailsWith(ExitCode.Usage, "--draft");
        new TinyHeads().Medusa(_directory.File("models/reasoner-medusa"), "medusa", new TinyModel());
        new TinyHeads().Eagle(_directory.File("models/reasoner/eagle3"), "eagle3", new TinyModel());
        foreach (string drafter in new[] { "medusa", "eagle", "eagle=,3,2", "medusa=reasoner-medusa,8", _directory.File("models/reasoner-medusa"), _directory.File("models/reasoner/eagle3") })
        {
            JsonElement answer = Json(Run(["--draft", drafter, .. request]));
            Assert.Equal(plain, answer.GetProperty("text").GetString());
            Assert.True(answer.GetProperty("drafted_tokens").GetInt32() > 10, drafter);
        }

        Assert.IsType<MedusaOptions>(TrainedDrafters.Recognise(_directory.File("models/reasoner-medusa")));
        Assert.IsType<EagleOptions>(TrainedDrafters.Recognise(_directory.File("models/reasoner/eagle3")));
        Assert.IsType<DraftModelOptions>(TrainedDrafters.Recognise(_directory.File("models/reasoner")));
        Assert.Equal(plain, Json(Run(["--draft", _directory.File("models/reasoner"), .. request])).GetProperty("text").GetString());
        Assert.Equal(plain, Json(Run(request)).GetProperty("text").GetString());
        string asked = Run("--max-tokens", "40", "--draft", "auto", "abc").Error;
        Assert.DoesNotContain("error", asked, StringComparison.Ordinal);
    }

    [Fact]
    public void Acceptance_rules_are_named_and_only_lossy_ones_change_greedy_answers()
    {
        string draft = "model=" + _directory.File("models/reasoner");
        JsonElement plain = Json(Run("--max-tokens", "40", "--json", "--draft", "none", "abcabc"));
        foreach ((string rule, string name) in new[] { ("match", "sample-and-match"), ("rejection", "rejection"), ("block", "block") })
        {
            JsonElement answer = Json(Run("--max-tokens", "40", "--json", "--draft", draft, "--accept", rule, "abcabc"));
            Assert.Equal(plain.GetProperty("text").GetString(), answer.GetProperty("text").GetString());
            Assert.Equal((name, false), (answer.GetProperty("acceptance").GetString(), answer.GetProperty("lossy").GetBoolean()));
            JsonElement drafter = Assert.Single(answer.GetProperty("drafters").EnumerateArray());
            Assert.Equal(answer.GetProperty("accepted_tokens").GetInt32(), drafter.GetProperty("accepted").GetInt32());
            Assert.Equal(answer.GetProperty("accepted_tokens").GetInt32(), drafter.GetProperty("accepted_at").EnumerateArray().Sum(n => n.GetInt32()));
            Assert.Equal(answer.GetProperty("drafted_tokens").GetInt32(), drafter.GetProperty("drafted_at").EnumerateArray().Sum(n => n.GetInt32()));
        }

        foreach ((string rule, string name) in new[] { ("typical=1,0", "lossy typical"), ("topk=300,100", "lossy top-k"), ("divergence", "lossy divergence") })
        {
            CliResult run = Run("--max-tokens", "40", "--json", "--draft", draft, "--accept", rule, "--temperature", "1", "abcabc");
            Assert.Equal((name, true), (Json(run).GetProperty("acceptance").GetString(), Json(run).GetProperty("lossy").GetBoolean()));
            Assert.Contains($"[--accept {rule} is lossy", run.Error, StringComparison.Ordinal);
        }

        // anything will do: every draft of a drafter that is mostly wrong becomes part of the answer
        JsonElement all = Json(Run("--max-tokens", "40", "--json", "--draft", "recycling", "--accept", "topk=300,100", "abcabc"));
        Assert.NotEqual(plain.GetProperty("text").GetString(), all.GetProperty("text").GetString());
    }

    [Theory]
    [InlineData("none", "rejection", "--accept rejection decides about drafts, and --draft none makes none")]
    [InlineData("oracle=0.8", "typical", "from which --accept typical departs")]
    [InlineData("ngram", "divergence", "compares distributions, and ngram draws from none")]
    [InlineData("ngram", "match=3", "takes no settings")]
    [InlineData("ngram", "typical=2", "a setting of typical")]
    [InlineData("ngram", "often", "is unknown: available are match, rejection, block")]
    public void Acceptance_that_cannot_do_what_it_says_is_refused(string draft, string rule, string message)
    {
        CliResult run = Run("--draft", draft, "--accept", rule, "abc");
        Assert.Equal(ExitCode.Usage, run.Code);
        Assert.Contains(message, run.Error, StringComparison.Ordinal);
    }

    [Fact]
    public void Composite_drafts_are_counted_by_drafter()
    {
        JsonElement answer = Json(Run("--max-tokens", "60", "--json", "--draft", "ngram+recycling", "abcabcabc"));
        JsonElement[] drafters = [.. answer.GetProperty("drafters").EnumerateArray()];
        Assert.Equal(["ngram", "recycling"], drafters.Select(d => d.GetProperty("name").GetString()));
        Assert.Equal(answer.GetProperty("drafted_tokens").GetInt32(), drafters.Sum(d => d.GetProperty("drafted").GetInt32()));
        Assert.Equal(answer.GetProperty("accepted_tokens").GetInt32(), drafters.Sum(d => d.GetProperty("accepted").GetInt32()));
        Assert.True(drafters[1].GetProperty("drafted").GetInt32() > 0);
    }

    [Fact]
    public void Policies_forget_what_their_sizes_say_and_are_named_lossy()
    {
        JsonElement Answer(string kv) => Json(Run("--max-tokens", "60", "--json", "--kv", kv, "abcdefgh"));
        JsonElement dense = Answer("dense");
        Assert.Equal(("dense", false, 1.0), (dense.GetProperty("kv").GetString(), dense.GetProperty("lossy").GetBoolean(), dense.GetProperty("kv_compression").GetDouble()));
        foreach ((string kv, string name) in new[] { ("window=6", "window"), ("sinks=9", "sinks"), ("random=0.2,3", "random"), ("tova=6", "tova"), ("h2o=6", "h2o") })
        {
            JsonElement lossy = Answer(kv);
            Assert.Equal((name, true), (lossy.GetProperty("kv").GetString(), lossy.GetProperty("lossy").GetBoolean()));
            Assert.InRange(lossy.GetProperty("kv_compression").GetDouble(), 2, 10);
            Assert.NotEqual(dense.GetProperty("text").GetString(), lossy.GetProperty("text").GetString());
        }

        foreach (string enough in new[] { "window", "window=69", "sinks", "tova", "h2o=69", "snapkv", "random=1", "random=0,1000" })
            Assert.Equal(dense.GetProperty("text").GetString(), Answer(enough).GetProperty("text").GetString());
        JsonElement drawn = Answer("dms-random=4,5");
        Assert.Equal(("dms-random", true), (drawn.GetProperty("kv").GetString(), drawn.GetProperty("lossy").GetBoolean()));
        Assert.Contains("[--kv dms-random is lossy", Run("--max-tokens", "60", "--kv", "dms-random=4,5", "abcdefgh").Error, StringComparison.Ordinal);
        string error = Run("--max-tokens", "60", "--kv", "window=6", "abcdefgh").Error;
        Assert.Contains("[--kv window is lossy", error, StringComparison.Ordinal);
        Assert.Contains("window cache ", error, StringComparison.Ordinal);
    }

    [Fact]
    public void Drafts_under_eviction_give_the_evicting_models_own_answer()
    {
        string[] request = ["--max-tokens", "60", "--temperature", "0.8", "--kv", "window=6", "abcdefgh"];
        Assert.Equal(Run(request).Output, Run(["--draft", "oracle=0.6,7", .. request]).Output);
    }

    [Fact]
    public void Decisions_are_found_beside_the_model_or_where_the_flag_says_and_are_not_lossy()
    {
        string model = Path.Combine(_directory.Path, "models", ModelLocator.DefaultModel), adapter = model + "-dms";
        Run("--kv", "dms", "abc").FailsWith(ExitCode.RunError, "was not trained to decide what its cache evicts", adapter, "foretoken train models/recipes/reasoner-dms.json");
        Directory.CreateDirectory(adapter);
        RawSafetensors.Write(Path.Combine(adapter, "adapter_model.safetensors"), [.. s_model.DecisionTensors()], "F32");
        File.WriteAllText(Path.Combine(adapter, "adapter_config.json"), """{"dms_separate_alpha": true, "dms_window_size": 5}""");
        string[] request = ["--max-tokens", "60", "--temperature", "0.8", "--json", "abcdefgh"];
        JsonElement beside = Json(Run(["--kv", "dms", .. request]));
        Assert.Equal(("dms", false), (beside.GetProperty("kv").GetString(), beside.GetProperty("lossy").GetBoolean()));
        Assert.True(beside.GetProperty("kv_compression").GetDouble() > 1.1);
        string elsewhere = Path.Combine(_directory.Path, "elsewhere");
        Directory.Move(adapter, elsewhere);
        JsonElement named = Json(Run(["--kv", $"dms={elsewhere}", "--draft", "oracle=0.7", .. request]));
        Assert.Equal(beside.GetProperty("text").GetString(), named.GetProperty("text").GetString());
    }

    [Theory]
    [InlineData("--kv", "window=0", "--kv: window must be an integer from 1")]
    [InlineData("--kv", "window=-1", "--kv: window must be an integer from 1")]
    [InlineData("--kv", "window=1,2", "--kv window=1,2 has sizes that it does not take")]
    [InlineData("--kv", "window=", "--kv: window must be an integer")]
    [InlineData("--kv", "dense=3", "--kv dense=3 has sizes")]
    [InlineData("--kv", "sinks=4", "--kv: sinks must be an integer from 5")]
    [InlineData("--kv", "random=1.5", "--kv: the share of random must be a number from 0 to 1")]
    [InlineData("--kv", "random=0.5,0", "--kv: the window of random must be an integer from 1")]
    [InlineData("--kv", "dms=", "--kv dms= has sizes")]
    [InlineData("--kv", "dms-random=8", "--kv dms-random=8 has sizes")]
    [InlineData("--kv", "dms-random=0.5,16", "--kv: the compression of dms-random must be a number from 1")]
    [InlineData("--kv", "snapkv=1", "--kv: snapkv must be an integer from 2")]
    [InlineData("--kv", "tova=3,4", "--kv tova=3,4 has sizes")]
    [InlineData("--kv", "everything", "--kv everything is unknown: available are dense")]
    [InlineData("--draft", "oracle", "--draft oracle needs an acceptance, for example oracle=0.8")]
    [InlineData("--draft", "oracle=2", "--draft: the acceptance of oracle must be a number from 0 to 1")]
    [InlineData("--draft", "oracle=NaN", "--draft: the acceptance of oracle must be a number")]
    [InlineData("--draft", "oracle=0.5,0", "--draft: the depth of oracle must be an integer from 1 to 64")]
    [InlineData("--draft", "oracle=0.5,2,3", "--draft oracle=0.5,2,3 needs")]
    [InlineData("--draft", "none=1", "--draft none=1 takes no settings")]
    [InlineData("--draft", "ngram+none", "--draft ngram+none takes no settings and joins no others")]
    [InlineData("--draft", "ngram=0", "--draft: the depth of ngram must be an integer from 1 to 64")]
    [InlineData("--draft", "suffix=2,3", "--draft suffix=2,3 takes one setting")]
    [InlineData("--draft", "model", "--draft model needs the directory of a draft model")]
    [InlineData("--draft", "model=x,4,0", "--draft: the width of model must be an integer from 1 to 64")]
    [InlineData("--draft", "oracle=1+ngram", "--draft oracle=1+ngram joins oracle, which knows it all, with another")]
    [InlineData("--draft", "magic", "--draft magic is unknown: available are none, auto[=eager], ngram")]
    [InlineData("--draft", "auto=lazy", "--draft auto=lazy takes no settings but eager and joins no others")]
    public void Values_out_of_range_are_refused_by_flag_and_rule(string flag, string value, string message) =>
        Run(flag, value, "abc").FailsWith(ExitCode.Usage, message);

    [Fact]
    public void Shown_drafts_leave_stdout_the_answer_and_mark_it_on_stderr()
    {
        string[] request = ["--max-tokens", "50", "--temperature", "0.9", "abc"];
        string plain = Run(request).Output;
        CliResult shown = Run(["--draft", "oracle=0.6", "--show-drafts", .. request]);
        Assert.Equal(plain, shown.Output);
        Assert.Contains("[(+accepted drafts), (-rejected drafts)", shown.Error, StringComparison.Ordinal);
        string marked = shown.Error[(shown.Error.IndexOf("unmarked]\n", StringComparison.Ordinal) + "unmarked]\n".Length)..shown.Error.LastIndexOf('[')];
        Assert.Matches(@"\(\+[^)]", marked);
        Assert.Matches(@"\(-[^)]", marked);
    }

    [Theory]
    [InlineData("none", "50")]
    [InlineData("oracle=1", "1")] // the only token is the model's own
    public void Where_nothing_was_drafted_that_is_said_and_no_marks_are_explained(string draft, string tokens)
    {
        string[] request = ["--draft", draft, "--max-tokens", tokens, "abc"];
        CliResult shown = Run(["--show-drafts", .. request]);
        Assert.Equal((ExitCode.Success, Run(request).Output), (shown.Code, shown.Output));
        Assert.Contains("[nothing was drafted: every token is the model's own]\n", shown.Error, StringComparison.Ordinal);
        Assert.DoesNotContain("accepted drafts", shown.Error, StringComparison.Ordinal);
        CliResult terminal = new CliTestHost { BaseDirectory = _directory.Path, OutputIsTerminal = true }.Run(["run", "--show-drafts", .. request]);
        Assert.DoesNotContain("accepted drafts", terminal.Error, StringComparison.Ordinal);
        if (draft == "none") Assert.Equal(shown.Output, terminal.Output); // no colours either
    }

    [Fact]
    public void Marks_on_a_terminal_are_colours_or_plain_and_hold_exactly_the_answer()
    {
        string[] request = ["run", "--max-tokens", "50", "--temperature", "0.9", "abc"], shown = [.. request, "--draft", "oracle=0.6", "--show-drafts"];
        CliTestHost terminal = new() { BaseDirectory = _directory.Path, OutputIsTerminal = true };
        string plain = terminal.Run(request).Output.TrimEnd('\n');
        CliResult coloured = terminal.Run(shown);
        Assert.Contains("\u001b[32m", coloured.Output, StringComparison.Ordinal);
        Assert.Contains("\u001b[9;31m", coloured.Output, StringComparison.Ordinal);
        Assert.Contains("\u001b[32maccepted drafts\u001b[0m", coloured.Error, StringComparison.Ordinal);
        Assert.Equal(plain, ColourPattern().Replace(RejectedColourPattern().Replace(coloured.Output, ""), "").TrimEnd('\n'));
        terminal.Environment["NO_COLOR"] = "1";
        CliResult marked = terminal.Run(shown);
        Assert.DoesNotContain("\u001b", marked.Output, StringComparison.Ordinal);
        Assert.Contains("(+", marked.Output, StringComparison.Ordinal);
        Assert.Contains("(-", marked.Output, StringComparison.Ordinal);
    }

    [Fact]
    public void Json_lists_the_tokens_of_every_step()
    {
        JsonElement root = Json(Run("--max-tokens", "41", "--json", "--draft", "oracle=0.7", "--show-drafts", "abc"));
        JsonElement[] steps = [.. root.GetProperty("drafts").EnumerateArray()];
        int Count(string name) => steps.Sum(s => s.GetProperty(name).GetArrayLength());
        Assert.Equal(root.GetProperty("steps").GetInt32(), steps.Length);
        Assert.Equal((root.GetProperty("accepted_tokens").GetInt32(), steps.Length), (Count("accepted"), Count("bonus")));
        Assert.InRange(Count("rejected"), 1, root.GetProperty("drafted_tokens").GetInt32() - Count("accepted"));
        Assert.All(steps[..^1], s => Assert.InRange(s.GetProperty("accepted").GetArrayLength() + s.GetProperty("rejected").GetArrayLength(), 1, 4));
        Assert.Equal(4, steps[0].GetProperty("accepted").GetArrayLength() + steps[0].GetProperty("rejected").GetArrayLength());
        Assert.False(Json(Run("--max-tokens", "5", "--json", "abc")).TryGetProperty("drafts", out _));
    }

    [Fact]
    public void A_stop_string_is_not_shown_in_marked_text_either()
    {
        CliTestHost terminal = new() { BaseDirectory = _directory.Path, OutputIsTerminal = true, Environment = { ["NO_COLOR"] = "1" } };
        string whole = Run("--max-tokens", "40", "--temperature", "1", "abc").Output, stop = whole.Substring(whole.Length / 2, 3);
        string[] request = ["run", "--max-tokens", "40", "--temperature", "1", "--stop", stop, "abc"];
        string cut = terminal.Run(request).Output, marked = terminal.Run([.. request, "--draft", "oracle=1,6", "--show-drafts"]).Output;
        Assert.Equal(cut, marked.Replace("(+", "", StringComparison.Ordinal).Replace(")", "", StringComparison.Ordinal)); // nothing is rejected
        Assert.Contains("(+", marked, StringComparison.Ordinal);
    }

    [Fact]
    public void Eval_and_chat_take_the_same_drafters_and_policies()
    {
        string file = _directory.File("questions.jsonl");
        File.WriteAllText(file, "{\"question\": \"a\", \"answer\": \"1\"}\n{\"question\": \"bc\", \"answer\": \"2\"}\n");
        CliResult Eval(params string[] flags) => Host().Run(["eval", "--file", file, "--max-tokens", "30", "--json", .. flags]);
        CliResult drafted = Eval("--draft", "oracle=0.8");
        Assert.Equal((ExitCode.Success, Eval().Output), (drafted.Code, drafted.Output));
        Assert.Contains("2 of 2 drafted answers equal the recorded ones", drafted.Error, StringComparison.Ordinal);
        Assert.Contains("window cache ", Eval("--kv", "window=4").Error, StringComparison.Ordinal);

        string Chat(params string[] flags) => Host().RunWithInput("abc\nxyz\n", ["chat", "--max-tokens", "12", .. flags]).Output;
        Assert.Equal(Chat(), Chat("--draft", "oracle=0.5"));
        Assert.Equal(Chat("--kv", "sinks=7"), Chat("--kv", "sinks=7", "--draft", "oracle=0.5"));
    }

    [Fact]
    public void Bench_reads_fewer_bytes_under_eviction_and_names_the_policy()
    {
        JsonElement Bench(string kv) => JsonDocument.Parse(
            Host().Run("bench", "depth", "--depths", "200", "--repeat", "1", "--kv", kv, "--json").Output).RootElement;
        double Bytes(JsonElement root)
        {
            JsonElement result = root.GetProperty("results")[0];
            return result.GetProperty("gb_per_second").GetDouble() * result.GetProperty("seconds")[0].GetDouble() * 1e9;
        }

        JsonElement dense = Bench("dense"), window = Bench("window=8");
        Assert.Equal(("bf16", "bf16 window=8"), (dense.GetProperty("kv").GetString(), window.GetProperty("kv").GetString()));
        Assert.True(Bytes(window) < 0.9 * Bytes(dense));
    }

    [Theory]
    [InlineData("ngram")]
    [InlineData("suffix=6")]
    [InlineData("recycling")]
    [InlineData("model=reasoner,3,2")]
    [InlineData("ngram=4+recycling=8+model=reasoner")]
    public void Drafters_change_no_answer_and_tell_what_was_accepted(string drafter)
    {
        foreach (string[] request in new string[][] { ["--max-tokens", "60", "--json", "abcabcabc"], ["--max-tokens", "60", "--temperature", "0.8", "--seed", "4", "--json", "xyxy"] })
        {
            JsonElement plain = Json(Run(request)), drafted = Json(Run(["--draft", drafter, .. request]));
            Assert.Equal(plain.GetProperty("text").GetString(), drafted.GetProperty("text").GetString());
            Assert.Equal(60, drafted.GetProperty("steps").GetInt32() + drafted.GetProperty("accepted_tokens").GetInt32());
            if (drafter.Contains("model", StringComparison.Ordinal)) Assert.True(drafted.GetProperty("accepted_tokens").GetInt32() > 0);
        }
    }

    [Fact]
    public void A_draft_model_that_does_not_exist_or_fit_is_refused()
    {
        Run("--draft", "model=nosuch", "abc").FailsWith(ExitCode.RunError, "nosuch: no such model");
        new TinyModel { Vocab = 300 }.Write(_directory.File("models/other"));
        Run("--draft", "model=other", "abc").FailsWith(ExitCode.RunError, "has another vocabulary than the model it drafts for: 300 tokens, not 277");
    }

    [Fact]
    public void The_memory_plan_counts_the_drafters_rows()
    {
        long Total(params string[] flags) => Json(Host().Run(["inspect", "--memory", "--json", .. flags])).GetProperty("memory").GetProperty("total_bytes").GetInt64();
        Assert.True(Total("--draft", "oracle=0.5,40") > Total("--draft", "none"));
        Assert.True(Total("--draft", "model=reasoner") > 1.5 * Total("--draft", "none"));
    }

    private static JsonElement Json(CliResult result)
    {
        Assert.Equal(ExitCode.Success, result.Code);
        return JsonDocument.Parse(result.Output).RootElement;
    }

    private CliTestHost Host() => new() { BaseDirectory = _directory.Path };

    private CliResult Run(params string[] args) => Host().Run(["run", .. args]);

    [GeneratedRegex("\u001b\\[9;31m[^\u001b]*\u001b\\[0m")]
    private static partial Regex RejectedColourPattern();

    [GeneratedRegex("\u001b\\[[0-9;]*m")]
    private static partial Regex ColourPattern();
}
