using System.Buffers.Binary;
using Foretoken.Cli;
using Foretoken.Tests.Fixtures;

namespace Foretoken.Tests.Cli;

public sealed class LogitsCommandTests : IDisposable
{
    private const int Context = 96;
    private readonly TempDirectory _directory = new();
    private readonly TinyModel _shape = new() { MaxPositions = Context };
    private readonly string _model;

    public LogitsCommandTests() => _model = _shape.Write(_directory.File("model"));

    public void Dispose() => _directory.Dispose();

    [Fact]
    public void Writes_one_row_of_the_vocabulary_per_token_with_the_same_bits_in_prefill_and_stepwise()
    {
        string ids = Ids([.. Enumerable.Range(0, 70).Select(i => i * 7 % _shape.Vocab)]);
        byte[] prefill = Logits(ids), stepwise = Logits(ids, "--stepwise");
        Assert.Equal(70 * _shape.Vocab * sizeof(float), prefill.Length);
        Assert.Equal(prefill, stepwise);
        Assert.NotEqual(prefill, Logits(ids, "--kv-type", "bf16"));
        Assert.NotEqual(prefill, Logits(ids, "--type", "int8"));
        Assert.True(float.IsFinite(BinaryPrimitives.ReadSingleLittleEndian(prefill.AsSpan(^4..))));
    }

    [Fact]
    public void Logits_row_depends_on_the_tokens_before_it_only()
    {
        byte[] longer = Logits(Ids([1, 2, 3, 4])), shorter = Logits(Ids([1, 2]));
        Assert.Equal(shorter, longer[..shorter.Length]);
    }

    [Theory]
    [InlineData(new byte[] { 1, 0, 0 }, "3 bytes", "multiple of 4")]
    [InlineData(new byte[0], "0 bytes", "multiple of 4")]
    [InlineData(new byte[] { 0, 0, 0, 0, 255, 255, 255, 255 }, "token 1 is -1", "ids 0 to 276")]
    [InlineData(new byte[] { 21, 1, 0, 0 }, "token 0 is 277", "ids 0 to 276")]
    public void Malformed_ids_are_refused_and_leave_no_file(byte[] bytes, string problem, string rule)
    {
        string ids = _directory.File("ids.i32"), output = _directory.File("out.f32");
        File.WriteAllBytes(ids, bytes);
        Run(ids, output).FailsWith(ExitCode.RunError, ids, problem, rule);
        Assert.False(File.Exists(output));
    }

    [Fact]
    public void More_tokens_than_the_context_are_refused() =>
        Run(Ids(new int[Context + 1]), _directory.File("out.f32")).FailsWith(ExitCode.RunError, "97 tokens", "context 96");

    [Fact]
    public void Unwritable_output_is_refused_without_a_partial_file()
    {
        string ids = Ids([1]);
        Run(ids, _directory.File("missing/out.f32")).FailsWith(ExitCode.RunError, "--out", "does not exist", "Choose a folder");
        Run(ids, _directory.Path).FailsWith(ExitCode.RunError, "--out names a folder");
    }

    [Fact]
    public void A_link_is_followed_and_an_older_output_is_replaced()
    {
        if (OperatingSystem.IsWindows()) return;
        string ids = Ids([1, 2]), target = _directory.File("target.f32"), link = _directory.File("link.f32");
        byte[] expected = Logits(ids);
        File.WriteAllText(target, "older");
        File.CreateSymbolicLink(link, target);
        Assert.Equal(ExitCode.Success, Run(ids, link).Code);
        Assert.Equal(expected, File.ReadAllBytes(target));
        Assert.Equal(target, File.ResolveLinkTarget(link, returnFinalTarget: false)!.FullName);
    }

    [Fact]
    public void A_flag_of_the_command_line_silences_the_environment_twin_of_its_opposite()
    {
        var host = new CliTestHost { Environment = { ["FORETOKEN_STEPWISE"] = "1" } };
        Assert.Equal(ExitCode.Success, host.Run("logits", "--model", _model, "--ids", Ids([1]), "--out", _directory.File("out.f32"), "--prefill").Code);
    }

    [Fact]
    public void Interrupted_run_leaves_no_file()
    {
        string output = _directory.File("out.f32");
        var host = new CliTestHost { Interrupt = new CancellationToken(canceled: true) };
        Assert.Equal(ExitCode.Interrupted, host.Run("logits", "--model", _model, "--ids", Ids([1, 2]), "--out", output).Code);
        Assert.Empty(Directory.GetFiles(_directory.Path, "out.f32*"));
    }

    [Fact]
    public void Missing_and_contradictory_flags_are_usage_errors()
    {
        new CliTestHost().Run("logits", "--model", _model, "--out", "x").FailsWith(ExitCode.Usage, "--ids is missing");
        new CliTestHost().Run("logits", "--model", _model, "--ids", "x").FailsWith(ExitCode.Usage, "--out is missing");
        new CliTestHost().Run("logits", "--ids", "x", "--out", "y", "--prefill", "--stepwise").FailsWith(ExitCode.Usage, "exclude each other");
        new CliTestHost().Run("logits", "--ids", "x", "--out", "y", "--type", "q3_k").FailsWith(ExitCode.Usage, "--type does not know 'q3_k'", "f32, bf16, f16, ", "int8, ");
        new CliTestHost().Run("logits", "--ids", "x", "--out", "y", "--kv-type", "int4").FailsWith(ExitCode.Usage, "--kv-type does not know 'int4'");
        new CliTestHost().Run("logits", "--model", _model, "--ids", "no-such-file", "--out", "y").FailsWith(ExitCode.RunError, "no-such-file: no such file");
        string ids = Ids([1, 2]);
        byte[] before = File.ReadAllBytes(ids);
        new CliTestHost().Run("logits", "--model", _model, "--ids", ids, "--out", ids).FailsWith(ExitCode.Usage, "--ids and --out are the same file");
        Assert.Equal(before, File.ReadAllBytes(ids));
    }

    [Theory]
    [InlineData("model.safetensors", "model.safetensors", "does not exist")]
    [InlineData("config.json", "config.json", "")]
    public void Incomplete_model_is_refused_by_file(string deleted, string file, string rule)
    {
        File.Delete(Path.Combine(_model, deleted));
        Run(Ids([1]), _directory.File("out.f32")).FailsWith(ExitCode.RunError, file, rule);
    }

    [Fact]
    public void Truncated_weights_and_unknown_architecture_are_refused()
    {
        string weights = Path.Combine(_model, "model.safetensors");
        byte[] whole = File.ReadAllBytes(weights);
        File.WriteAllBytes(weights, whole[..^100]);
        Run(Ids([1]), _directory.File("out.f32")).FailsWith(ExitCode.RunError, weights);
        File.WriteAllBytes(weights, whole);
        string config = Path.Combine(_model, "config.json");
        File.WriteAllText(config, File.ReadAllText(config).Replace("Qwen3ForCausalLM", "MambaForCausalLM", StringComparison.Ordinal));
        Run(Ids([1]), _directory.File("out.f32")).FailsWith(ExitCode.RunError, config, "MambaForCausalLM");
    }

    private CliResult Run(string ids, string output) => new CliTestHost().Run("logits", "--model", _model, "--ids", ids, "--out", output);

    private byte[] Logits(string ids, params string[] flags)
    {
        string output = _directory.File("out.f32");
        CliResult result = new CliTestHost().Run(["logits", "--model", _model, "--ids", ids, "--out", output, .. flags]);
        Assert.True(result.Code == ExitCode.Success, result.Error);
        Assert.Equal("", result.Output);
        return File.ReadAllBytes(output);
    }

    private string Ids(int[] ids)
    {
        string path = _directory.File($"ids-{Guid.NewGuid():N}.i32");
        byte[] bytes = new byte[ids.Length * sizeof(int)];
        for (int i = 0; i < ids.Length; i++) BinaryPrimitives.WriteInt32LittleEndian(bytes.AsSpan(i * sizeof(int)), ids[i]);
        File.WriteAllBytes(path, bytes);
        return path;
    }
}
