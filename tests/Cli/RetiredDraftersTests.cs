using System.Text.Json;
using Foretoken.Cli;
using Foretoken.Cli.Options;
using Foretoken.Cli.Output;
using Foretoken.Formats;
using Foretoken.Generation;
using Foretoken.Speculation;
using Foretoken.Tests.Fixtures;

namespace Foretoken.Tests.Cli;

/// <summary>Heads beside a model whose weights prove damaged when they are wanted.</summary>
public sealed class RetiredDraftersTests : IDisposable
{
    private readonly TempDirectory _directory = new();
    private readonly string _model, _heads;

    public RetiredDraftersTests()
    {
        (_model, _heads) = (_directory.File("reasoner"), _directory.File("reasoner-medusa"));
        new TinyModel().Write(_model);
        new TinyHeads().Medusa(_heads, "medusa", new TinyModel());
        string weights = Path.Combine(_heads, "medusa_lm_head.safetensors");
        long offset;
        using (var file = new SafetensorsFile(weights)) offset = file.Tensors.Single(t => t.Name == "1.1.weight").Offset;
        using FileStream stream = File.OpenWrite(weights);
        stream.Position = offset;
        stream.Write(BitConverter.GetBytes(float.NaN));
    }

    public void Dispose() => _directory.Dispose();

    [Fact]
    public void Are_told_of_once_and_stand_beside_the_answer()
    {
        using StringWriter output = new(), error = new();
        using var host = new CliHost { Input = Stream.Null, Output = output, Error = error, BaseDirectory = _directory.Path };
        DraftChoice draft = DraftChoice.Parse("auto", "--draft");
        using ChatModel model = ChatModel.Load(_model, new LanguageModelOptions { Threads = 1, Draft = draft.Options!(host, _model) }, draft, traceDrafts: false);
        LazyDrafter medusa = Assert.Single(model.Governor!.Lazy);
        for (int request = 0; request < 50 && medusa.State != DrafterState.Retired; request++)
        {
            model.Language.Generate([1, 2, 3], new GenerationOptions { MaxTokens = 20, IgnoreEndTokens = true }).Complete();
            medusa.Wait();
        }

        Assert.Equal(DrafterState.Retired, medusa.State);
        for (int turn = 0; turn < 2; turn++) AnswerWriter.Write(model.Start([1, 2, 3], new GenerationOptions { MaxTokens = 5 }, host), model, host, json: true);
        string warning = Assert.Single(error.ToString().Split('\n', StringSplitOptions.RemoveEmptyEntries));
        Assert.Contains("[warning: medusa could not be loaded and drafts nothing: " + _heads, warning, StringComparison.Ordinal);
        JsonElement retired = JsonDocument.Parse(output.ToString().Split('\n')[0]).RootElement.GetProperty("retired_drafters")[0];
        Assert.Equal("medusa", retired.GetProperty("name").GetString());
        Assert.Contains("\"1.1.weight\" holds NaN or infinity", retired.GetProperty("problem").GetString(), StringComparison.Ordinal);
    }

    [Fact]
    public void Are_errors_where_everything_is_loaded_at_the_start()
    {
        CliResult result = new CliTestHost { BaseDirectory = _directory.Path }.Run("run", "--model", _model, "--draft", "auto=eager", "--max-tokens", "5", "abc");
        result.FailsWith(ExitCode.RunError, "1.1.weight", "NaN or infinity");
        Assert.Equal(ExitCode.Success, new CliTestHost { BaseDirectory = _directory.Path }.Run("run", "--model", _model, "--draft", "auto", "--max-tokens", "1", "abc").Code);
    }
}
