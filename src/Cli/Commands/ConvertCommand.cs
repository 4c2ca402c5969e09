using System.CommandLine;
using System.Globalization;
using Foretoken.Cli.Options;
using Foretoken.Cli.Output;
using Foretoken.Formats;
using Foretoken.Models;
using Foretoken.Models.Export;
using Foretoken.Tokenization;

namespace Foretoken.Cli.Commands;

/// <summary>Writes a model in another format or type: any model to a GGUF file, a GGUF file to a Hugging Face directory.</summary>
internal sealed class ConvertCommand : CliCommand
{
    private static readonly string[] s_fileEndings = [".safetensors", ".bin", ".pt", ".pth", ".ggml"]; // whoever types one does not expect a folder
    private readonly Argument<string> _in;
    private readonly Argument<string> _out;
    private readonly Flag<WeightMix?> _type;
    private readonly Flag<int> _threads;

    public ConvertCommand()
        : base("convert", "Writes a model as a GGUF file, or as a Hugging Face directory.")
    {
        _in = AddArgument("IN", "The model: a Hugging Face directory, a GGUF file, or the name of a shipped model.");
        _out = AddArgument("OUT", "What to write: a path that ends with .gguf, or a new folder.");
        _type = Add(ConversionFlags.Type("Without it, the types of IN (a folder from a quantised file: bf16)."));
        _threads = Add(ModelFlags.Threads());
    }

    public override int Run(CommandContext context)
    {
        CliHost host = context.Host;
        string from = Value(context, _in) ?? throw new UsageException("IN is missing: give the model to convert.");
        string to = Value(context, _out) ?? throw new UsageException("OUT is missing: give a path that ends with .gguf, or a new folder.");
        WeightMix? mix = _type.Get(context);
        bool file = to.EndsWith(GgufFile.Extension, StringComparison.OrdinalIgnoreCase);
        if (!file && mix is { IsPlain: false }) throw new UsageException($"--type {mix.Name} cannot be written to a folder: use f32, f16 or bf16, or let OUT end with .gguf.");
        if (s_fileEndings.FirstOrDefault(e => to.EndsWith(e, StringComparison.OrdinalIgnoreCase)) is { } ending)
            throw new UsageException($"OUT is {to}, and what is written is a file that ends with .gguf or a folder: give one of these, without {ending}.");
        string found = ModelLocator.Find(from, host, "IN");
        if (File.Exists(to) && File.Exists(found) && Path.GetFullPath(to) == Path.GetFullPath(found)) throw new RunException($"{to}: IN and OUT are the same file: give another path.");
        using ModelSource source = ModelLoader.Open(found);
        using var progress = new ProgressLine(host);
        var options = new ExportOptions
        {
            Mix = mix ?? (file ? WeightMix.AsStored(source) : PlainMixOf(source)),
            Name = Path.GetFileNameWithoutExtension(Path.TrimEndingDirectorySeparator(Path.GetFullPath(found))),
            Threads = _threads.Get(context),
            Progress = LoadReport.To(progress, "writing"),
            Cancellation = host.Interrupt,
        };
        long bytes = file ? WriteFile(to, found, source, options, host) : WriteFolder(to, found, source, options);
        progress.Dispose();
        host.Error.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{to}: {options.Mix.Name}, {bytes / 1e6:F1} MB"));
        return ExitCode.Success;
    }

    /// <summary>The plain type that loses nothing of plain files; bf16 for quantised ones.</summary>
    private static WeightMix PlainMixOf(ModelSource source)
    {
        WeightMix stored = WeightMix.AsStored(source);
        return WeightMix.All.FirstOrDefault(m => m.IsPlain && m.FileType == stored.FileType) ?? WeightMix.Find("bf16")!;
    }

    private static long WriteFile(string to, string found, ModelSource source, ExportOptions options, CliHost host)
    {
        using var output = OutputFile.Create(to, "OUT");
        GgufExport.Write(output.Stream, source, TokenizerOf(found, source, host), options);
        long bytes = output.Stream.Length;
        output.Commit();
        return bytes;
    }

    private static GgufTokenizer? TokenizerOf(string found, ModelSource source, CliHost host)
    {
        if (source is GgufSource gguf) return GgufTokenizer.FromGguf(gguf.Metadata);
        if (!File.Exists(Path.Combine(found, "tokenizer.json")))
        {
            host.Error.WriteLine($"[{found} has no tokenizer.json: the file gets no tokenizer, and only token ids can be run with it]");
            return null;
        }

        GgufTokenizer tokenizer = GgufTokenizerConverter.Convert(
            found, source.Config.Shape.VocabSize, source.Config.EosTokenIds, source.Config.BosTokenId, out bool dropsNormalization);
        if (dropsNormalization) host.Error.WriteLine("[the tokenizer brings text into Unicode form C first, which GGUF files cannot say: text in other forms will be encoded differently]");
        return tokenizer;
    }

    private static long WriteFolder(string to, string found, ModelSource source, ExportOptions options)
    {
        using var output = OutputDirectory.Create(to, "OUT");
        if (source is GgufSource gguf)
        {
            if (GgufTokenizer.FromGguf(gguf.Metadata) is { } tokenizer) GgufToTokenizerJson.Write(output.Path, tokenizer, found, source.Config.Shape.MaxPositions);
        }
        else
        {
            foreach (string name in (string[])["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja"])
                if (File.Exists(Path.Combine(found, name))) File.Copy(Path.Combine(found, name), Path.Combine(output.Path, name));
        }

        HuggingFaceExport.Write(output.Path, source, options);
        long bytes = new DirectoryInfo(output.Path).EnumerateFiles().Sum(f => f.Length);
        output.Commit();
        return bytes;
    }
}
