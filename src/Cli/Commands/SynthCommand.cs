using System.Globalization;
using Foretoken.Cli.Options;
using Foretoken.Cli.Output;
using Foretoken.Models;
using Foretoken.Models.Export;
using Foretoken.Tokenization;

namespace Foretoken.Cli.Commands;

/// <summary>
/// Writes a model of a well-known shape with random weights and a dummy vocabulary, for benchmarks that compare engines on the same file. Weights are a function
/// of the seed; they pass through memory a few megabytes at a time.
/// </summary>
internal sealed class SynthCommand : CliCommand
{
    private const int DefaultContext = 131_072;
    private readonly Flag<string?> _shape;
    private readonly Flag<WeightMix?> _type;
    private readonly Flag<string> _format;
    private readonly Flag<string?> _out;
    private readonly Flag<ulong> _seed;
    private readonly Flag<int> _context;
    private readonly Flag<int> _threads;

    public SynthCommand()
        : base("synth", "Writes a model of random weights in a well-known shape.")
    {
        _shape = Add(new Flag<string?>("--shape", "NAME", $"Shape: {string.Join(", ", NamedShapes.Names)}.", Parse.NotEmpty, null));
        _type = Add(ConversionFlags.Type("Without it, bf16."));
        _format = Add(new Flag<string>(
            "--format", "FORMAT", "gguf (one file) or hf (a folder with f32, f16 or bf16 weights).",
            Parse.Choice(new Dictionary<string, string> { ["gguf"] = "gguf", ["hf"] = "hf" }), "gguf"));
        _out = Add(new Flag<string?>("--out", "PATH", "The file or folder to write.", Parse.NotEmpty, null));
        _seed = Add(new Flag<ulong>("--seed", "N", "Names the random weights.", Parse.Seed, 1));
        _context = Add(new Flag<int>("--context", "N", "Longest context that the model claims, in tokens.", Parse.Integer(1, ModelConfig.MaxContext, "leave it out for 131072."), DefaultContext));
        _threads = Add(ModelFlags.Threads());
    }

    public override int Run(CommandContext context)
    {
        CliHost host = context.Host;
        string shape = _shape.Get(context) ?? throw new UsageException($"--shape is missing: give one of {string.Join(", ", NamedShapes.Names)}.");
        if (!NamedShapes.Names.Contains(shape)) throw new UsageException($"--shape does not know '{shape}': give one of {string.Join(", ", NamedShapes.Names)}.");
        string path = _out.Get(context) ?? throw new UsageException("--out is missing: give the file or folder to write.");
        WeightMix mix = _type.Get(context) ?? WeightMix.Find("bf16")!;
        bool folder = _format.Get(context) == "hf";
        if (folder && !mix.IsPlain) throw new UsageException($"--type {mix.Name} cannot be written with --format hf: use f32, f16 or bf16, or --format gguf.");
        ModelConfig config = NamedShapes.Create(shape, _context.Get(context)) with { BosTokenId = 0, EosTokenIds = [1] };
        using var source = new RandomSource(config, _seed.Get(context));
        TrainedBpe vocabulary = DummyVocabulary.Create(config.Family == "llama" ? SplitPattern.Llama3 : SplitPattern.Qwen2);
        using var progress = new ProgressLine(host);
        var options = new ExportOptions
        {
            Mix = mix, Name = $"{shape} of random weights", Threads = _threads.Get(context), Progress = LoadReport.To(progress, "writing"), Cancellation = host.Interrupt,
        };
        long bytes = folder ? WriteFolder(path, source, vocabulary, options) : WriteFile(path, source, vocabulary, options);
        progress.Dispose();
        host.Error.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{path}: {shape}, {mix.Name}, {bytes / 1e6:F1} MB"));
        return ExitCode.Success;
    }

    private static long WriteFile(string path, RandomSource source, TrainedBpe vocabulary, ExportOptions options)
    {
        using var output = OutputFile.Create(path, "--out");
        GgufExport.Write(output.Stream, source, DummyVocabulary.ToGguf(vocabulary, source.Config.Shape.VocabSize), options);
        long bytes = output.Stream.Length;
        output.Commit();
        return bytes;
    }

    private static long WriteFolder(string path, RandomSource source, TrainedBpe vocabulary, ExportOptions options)
    {
        using var output = OutputDirectory.Create(path, "--out");
        TokenizerJsonWriter.Write(output.Path, vocabulary, new TokenizerConfig(vocabulary.SpecialTokens[1], vocabulary.SpecialTokens[1], source.Config.Shape.MaxPositions));
        HuggingFaceExport.Write(output.Path, source, options);
        long bytes = new DirectoryInfo(output.Path).EnumerateFiles().Sum(f => f.Length);
        output.Commit();
        return bytes;
    }
}
