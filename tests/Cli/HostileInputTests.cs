using System.Text.Json.Nodes;
using Foretoken.Cli;
using Foretoken.Cli.Input;
using Foretoken.Tests.Fixtures;

namespace Foretoken.Tests.Cli;

/// <summary>Wrong, contradictory and damaged input: one line that names it, and no result.</summary>
public sealed class HostileInputTests : IDisposable
{
    private readonly TempDirectory _directory = new();
    private readonly string _model;

    public HostileInputTests() => _model = new TinyModel { MaxPositions = 128 }.Write(_directory.File("models/reasoner"));

    public void Dispose() => _directory.Dispose();

    [Theory]
    [InlineData("--beams 2 --samples 3", "--beams draws nothing", "--samples 3")]
    [InlineData("--length-penalty 2", "--length-penalty", "--beams")]
    [InlineData("--draft ngram+ngram=3", "--draft ngram+ngram=3", "names ngram twice")]
    [InlineData("--draft ngram+suffix+ngram", "names ngram twice")]
    [InlineData("--draft eagle=,64", "the depth of eagle must be an integer from 1 to 32", "eagle=,8")]
    [InlineData("--draft eagle=,32,64", "expands 1984 nodes")]
    [InlineData("--draft eagle=,6,4,3", "takes a directory, a depth and a width")]
    [InlineData("--activations f32", "--activations", "--device cuda")]
    public void Flags_that_contradict_each_other_are_refused(string flags, params string[] parts) => Run([.. flags.Split(' '), "abc"]).FailsWith(ExitCode.Usage, parts);

    [Theory]
    [InlineData("--stop has no value behind its equals sign", "run", "--stop=", "abc")]
    [InlineData("--model has no value behind its equals sign", "run", "--model=", "abc")]
    [InlineData("'help' is not a command (did you mean --help?)", "help")]
    [InlineData("'version' is not a command (did you mean --version?)", "version")]
    [InlineData("'is' is one argument too many: 'foretoken run' takes PROMPT. Leave it out, or put quotes around what has spaces.", "run", "what", "is")]
    [InlineData("'c' is one argument too many: 'foretoken convert' takes IN and OUT.", "convert", "a", "b", "c")]
    [InlineData("OUT is model.safetensors, and what is written is a file that ends with .gguf or a folder: give one of these, without .safetensors", "convert", "reasoner", "model.safetensors")]
    [InlineData("--drafters is a setting of spec, and changes nothing here: leave it out, or run 'bench spec'", "bench", "--drafters", "ngram")]
    [InlineData("--max-tokens is a setting of spec", "bench", "decode", "--max-tokens", "3")]
    [InlineData("--depths is a setting of depth and kv", "bench", "rows", "--depths", "3")]
    [InlineData("--rows is a setting of rows", "bench", "depth", "--rows", "3")]
    [InlineData("--sequences is a setting of batched and kv", "bench", "decode", "--sequences", "3")]
    [InlineData("--kv-budget is a setting of kv", "bench", "batched", "--kv-budget", "3")]
    public void Command_lines_that_would_not_do_what_they_seem_to_are_refused(string message, params string[] args) => Host().Run(args).FailsWith(ExitCode.Usage, message);

    [Theory]
    [InlineData("give --model the path", "chat", "--model", "nosuch")]
    [InlineData("give --draft the path", "run", "--draft", "model=nosuch", "abc")]
    [InlineData("give IN the path", "convert", "nosuch", "x.gguf")]
    [InlineData("give PATH the path", "inspect", "nosuch")]
    [InlineData("give --tokenizer the path", "tokenize", "--tokenizer", "nosuch", "abc")]
    public void A_model_that_does_not_exist_is_asked_for_where_it_was_named(string remedy, params string[] args) =>
        Host().Run(args).FailsWith(ExitCode.RunError, "nosuch: no such model", remedy, "shipped model (reasoner)");

    [Fact]
    public void An_empty_prompt_is_named_by_where_it_came_from()
    {
        string file = _directory.File("empty.txt");
        File.WriteAllText(file, "\n");
        Run(["--file", file]).FailsWith(ExitCode.Usage, $"The prompt is empty: {file} holds no text.");
        Host().RunWithInput("\n", "run").FailsWith(ExitCode.Usage, "The prompt is empty: stdin holds no text.");
    }

    [Fact]
    public void A_context_beyond_the_models_is_refused_with_the_remedy() =>
        Run(["--context", "999", "abc"]).FailsWith(ExitCode.Usage, "context is 999: the model was made for at most 128 tokens. Give at most these (context), or 0");

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void Input_that_cannot_be_read_is_named(bool interruptible)
    {
        using var interrupt = new CancellationTokenSource();
        using var broken = new BrokenStream();
        var error = Assert.Throws<RunException>(() => Utf8Input.ReadAll(broken, "stdin", interruptible ? interrupt.Token : CancellationToken.None));
        Assert.Equal("stdin cannot be read (Is a directory): give a file or a pipe that holds text.", error.Message);
    }

    [Fact]
    public void A_prompt_that_was_not_Utf8_is_not_answered_with_replacements()
    {
        Run(["ab\uFFFDc"]).FailsWith(ExitCode.Usage, "PROMPT is not UTF-8 (character 2", "--file");
        string file = _directory.File("prompt.txt");
        File.WriteAllText(file, "ab\uFFFDc"); // valid there: it is the character itself
        Assert.Equal(ExitCode.Success, Run(["--file", file, "--max-tokens", "2"]).Code);
    }

    [Fact]
    public void As_many_samples_as_may_be_asked_for_find_room_to_wait()
    {
        CliResult result = Run(["--samples", "4096", "--temperature", "1", "--max-tokens", "1", "--threads", "1", "abc"]);
        Assert.Equal(ExitCode.Success, result.Code);
        Assert.Equal(4096, result.Output.Split("[sample ").Length - 1);
    }

    [Fact]
    public void Heads_are_refused_as_a_model_and_as_heads_of_another_kind()
    {
        string medusa = Heads("medusa", """{"architectures": ["MedusaModel"], "medusa_num_heads": 1, "medusa_num_layers": 1}""");
        string eagle = Heads("eagle", """{"architectures": ["LlamaForCausalLMEagle3"], "speculators_model_type": "eagle3"}""");
        foreach (string heads in new[] { medusa, eagle })
        {
            Run(["--model", heads, "abc"]).FailsWith(ExitCode.RunError, heads, "is not supported", "draft for another model", "--draft");
            Host().Run("inspect", heads).FailsWith(ExitCode.RunError, heads, "is not supported", "draft for another model", "--draft"); // and not for its weights' missing name
        }

        Run(["--draft", $"eagle={medusa}", "abc"]).FailsWith(ExitCode.Usage, "holds medusa", $"medusa={medusa}");
        Run(["--draft", $"medusa={eagle}", "abc"]).FailsWith(ExitCode.Usage, "holds eagle", $"eagle={eagle}");
    }

    [Fact]
    public void A_file_that_is_no_model_is_named_itself()
    {
        string file = _directory.File("notes.txt");
        File.WriteAllText(file, "no model");
        Run(["--model", file, "abc"]).FailsWith(ExitCode.RunError, file + ": file is neither a GGUF file", "config.json");
        Host().Run("inspect", file).FailsWith(ExitCode.RunError, file + ": file is neither a GGUF file");
        Assert.Equal(ExitCode.Success, Run(["--model", Path.Combine(_model, "config.json"), "--max-tokens", "1", "abc"]).Code);
    }

    [Fact]
    public void A_page_that_cannot_be_written_is_refused_before_the_work()
    {
        string page = _directory.File("absent/page.html"), questions = _directory.File("questions.jsonl");
        File.WriteAllText(questions, """{"question": "abc", "answer": "1"}""" + "\n");
        string[] eval = ["eval", "--file", questions, "--max-tokens", "4", "--html", page];
        Host().Run([.. eval, "--chains", "2"]).FailsWith(ExitCode.RunError, page, "--html", "does not exist");
        Host().Run([.. eval, "--kv", "window=4"]).FailsWith(ExitCode.RunError, page, "--html", "does not exist");
        Host().Run("bench", "spec", "--drafters", "ngram", "--limit", "1", "--html", page).FailsWith(ExitCode.RunError, page, "--html", "does not exist");
    }

    [Fact]
    public void Settings_of_eval_without_what_they_belong_to_are_refused()
    {
        Host().Run("eval", "--temperature", "0.5").FailsWith(ExitCode.Usage, "--temperature", "--chains");
        Host().Run("eval", "--chains", "2", "--compare", "--kv", "window=4").FailsWith(ExitCode.Usage, "--chains", "leave out --compare");
        Host().Run("eval", "--html", _directory.File("page.html")).FailsWith(ExitCode.Usage, "--html", "--kv window=128");
    }

    [Theory]
    [InlineData("{}", "fields that such a result has are missing")]
    [InlineData("[1]", "fields that such a result has are missing")]
    [InlineData("""{"model": "m", "results": [{"drafter": "none", "bucket": "b", "tokens": 1.5, "counts": {}}]}""", "fields that such a result has are missing")]
    [InlineData("not json", "invalid")]
    public void Files_that_bench_spec_did_not_write_are_not_merged(string content, string rule)
    {
        string file = _directory.File("part.json");
        File.WriteAllText(file, content);
        Host().Run("bench", "spec", "--merge", file).FailsWith(ExitCode.Usage, "--merge", file, "is no result of 'bench spec --json'", rule);
    }

    [Fact]
    public void Runs_that_do_not_belong_together_are_not_merged()
    {
        string one = Result("one", "m", "none"), other = Result("other", "n", "none"), lone = Result("lone", "m", "ngram");
        Host().Run("bench", "spec", "--merge", $"{one} {other}").FailsWith(ExitCode.Usage, other, "measured n", "runs of one model");
        Host().Run("bench", "spec", "--merge", lone).FailsWith(ExitCode.Usage, "no file has plain decoding of b", "ngram");
        Host().Run("bench", "spec", "--merge", " ").FailsWith(ExitCode.Usage, "--merge names no file");
    }

    [Theory]
    [InlineData("""{"sead": 3}""", "key sead is none of this kind of recipe", "line 1")]
    [InlineData("""{"seed": -1}""", "key seed must be a whole number from 0")]
    [InlineData("""{"model": 3}""", "key model must be an object")]
    [InlineData("""{"mixture": {}}""", "key mixture must be an array")]
    [InlineData("""{"name": 3}""", "key name must be a string")]
    [InlineData("""{"prompt_weight": "a"}""", "key prompt_weight must be a number")]
    [InlineData("""{"model": null}""", "key model must not be null")]
    [InlineData("[]", "key (root) must be an object")]
    [InlineData("{", "key (root) is not valid JSON")]
    [InlineData("{}", "key model: vocab_size is 0")]
    [InlineData("""{"model": {"vocab_size": 2000000000}}""", "key model: vocab_size is 2000000000; it must be 1 to 4194304")]
    [InlineData("""{"drafter": "hydra"}""", "key drafter must be \"medusa\"")]
    public void Recipes_are_refused_in_their_own_words(string recipe, params string[] parts)
    {
        string file = _directory.File("recipe.json");
        File.WriteAllText(file, recipe);
        CliResult result = Host().Run("train", file, "--out", _directory.File("out"));
        result.FailsWith(ExitCode.RunError, [file, .. parts]);
        Assert.DoesNotContain("Foretoken.", result.Error, StringComparison.Ordinal);
        Assert.DoesNotContain("System.", result.Error, StringComparison.Ordinal);
        Assert.False(Directory.Exists(_directory.File("out")));
    }

    [Fact]
    public void Taps_of_layers_that_the_target_lacks_are_refused_before_it_writes_its_text()
    {
        string file = _directory.File("recipe.json");
        File.WriteAllText(file, """
            {"drafter": "eagle3", "name": "e", "target": "models/reasoner", "eagle": {"layers": [0, 1, 99]},
             "data": {"examples": 10000000, "mixture": [{"bucket": "json"}]}, "schedule": {"kind": "cosine", "total_steps": 1}}
            """);
        Host().Run("train", file, "--out", _directory.File("out")).FailsWith(ExitCode.RunError, file, "key eagle.layers must name layers of 0 to ");
        Host().Run("train", _directory.Path).FailsWith(ExitCode.RunError, "is a folder");
    }

    /// <summary>Fails as a folder does that a shell opens as stdin.</summary>
    private sealed class BrokenStream : UnmanagedMemoryStream
    {
        public override int Read(byte[] buffer, int offset, int count) => throw new IOException("Is a directory");

        public override int Read(Span<byte> buffer) => throw new IOException("Is a directory");
    }

    private CliTestHost Host() => new() { BaseDirectory = _directory.Path };

    private CliResult Run(string[] args) => Host().Run(["run", .. args]);

    /// <summary>A directory that is known for trained heads by its config.json.</summary>
    private string Heads(string name, string config)
    {
        string directory = _directory.File(name);
        Directory.CreateDirectory(directory);
        File.WriteAllText(Path.Combine(directory, "config.json"), config);
        return directory;
    }

    /// <summary>A result of one drafter in bucket b.</summary>
    private string Result(string name, string model, string drafter)
    {
        var zeros = new JsonArray([.. Enumerable.Range(0, 64).Select(_ => (JsonNode)0)]);
        var counts = new JsonObject
        {
            ["timed_steps"] = 1, ["decoded_tokens"] = 1, ["decode_ms"] = 1, ["prefill_ms"] = 1, ["draft_ms"] = 0, ["verify_ms"] = 1, ["speed_ups"] = new JsonArray(1), ["drafted_at"] = zeros, ["accepted_at"] = zeros.DeepClone(),
        };
        var cell = new JsonObject { ["drafter"] = drafter, ["bucket"] = "b", ["tokens"] = 1, ["steps"] = 1, ["drafted_tokens"] = 0, ["counts"] = counts };
        string file = _directory.File(name + ".json");
        File.WriteAllText(file, new JsonObject { ["model"] = model, ["results"] = new JsonArray(cell) }.ToJsonString());
        return file;
    }
}
