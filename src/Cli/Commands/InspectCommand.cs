using System.CommandLine;
using System.Globalization;
using System.Text.Json;
using Foretoken.Backends;
using Foretoken.Cli.Options;
using Foretoken.Cli.Output;
using Foretoken.Formats;
using Foretoken.Generation;
using Foretoken.Memory;
using Foretoken.Models;

namespace Foretoken.Cli.Commands;

/// <summary>Shows what a model directory or GGUF file holds: configuration, files, metadata, tensors.</summary>
internal sealed class InspectCommand : CliCommand
{
    private readonly Argument<string> _path;
    private readonly LanguageModelFlags _model = new();
    private readonly Switch _tensors;
    private readonly Switch _metadata;
    private readonly Switch _memory;
    private readonly Switch _json;

    public InspectCommand()
        : base("inspect", "Shows a model's configuration, tensors and memory plan.")
    {
        _path = AddArgument("PATH", "The model's directory or GGUF file; without it, --model or the shipped reasoner.");
        _tensors = Add(new Switch("--tensors", "List every tensor."));
        _metadata = Add(new Switch("--metadata", "List every metadata key of a GGUF file."));
        _memory = Add(new Switch("--memory", "Load the model and list every buffer, as run would allocate them."));
        foreach (Flag flag in _model.All) Add(flag);
        _json = Add(new Switch("--json", "One JSON object."));
    }

    public override int Run(CommandContext context)
    {
        CliHost host = context.Host;
        string? path = Value(context, _path);
        if (path is not null && _model.Model.GivenOnLine(context)) throw new UsageException("PATH and --model name two models: give one.");
        bool tensors = _tensors.Get(context), memory = _memory.Get(context), json = _json.Get(context);
        LanguageModelOptions options = _model.Get(context, sequences: 1);
        DraftChoice draft = _model.Draft(context);
        ModelInspection found = ModelInspector.Inspect(ModelLocator.Find(path ?? _model.Model.Get(context), host, path is null ? _model.Model.Name : "PATH"));
        MemoryPlan? plan = null;
        if (memory && found.Problem is null)
        {
            (string model, string? adapter) = _model.Kv(context).Locate(found.Directory, host);
            plan = Plan(model, options with { Draft = draft.Options?.Invoke(host, found.Directory), DmsAdapter = adapter }, host);
        }

        if (json)
        {
            host.Output.WriteLine(JsonText.Object(w =>
            {
                WriteJson(w, found, tensors, _metadata.Get(context));
                if (plan is not null) WriteJson(w, plan);
            }));
        }
        else
        {
            WriteText(host.Output, found, tensors, _metadata.Get(context));
            if (plan is not null) WriteText(host.Output, plan);
        }

        if (found.Problem is not { } problem) return ExitCode.Success;
        host.Error.WriteLine($"error: {problem.Message}");
        return ExitCode.RunError;
    }

    private static MemoryPlan Plan(string directory, LanguageModelOptions options, CliHost host)
    {
        using var progress = new ProgressLine(host);
        using ModelSource source = ModelLoader.Open(directory);
        using var model = LanguageModel.Load(source, tokenizer: null, options with { Progress = LoadReport.To(progress) });
        return model.Plan;
    }

    private static void WriteText(TextWriter output, MemoryPlan plan)
    {
        output.WriteLine();
        var table = new Table("buffer", "shape", "bytes");
        foreach (MemoryPlanEntry e in plan.Entries) table.Add($"{e.Group}/{e.Name}", e.Shape, Bytes(e.Bytes));
        foreach (var group in plan.Entries.GroupBy(e => e.Group)) table.Add($"all {group.Key}", "", Bytes(group.Sum(e => e.Bytes)));
        table.Add("total", "", Bytes(plan.TotalBytes));
        table.Write(output, TableFormat.Text);
    }

    private static void WriteJson(Utf8JsonWriter w, MemoryPlan plan)
    {
        w.WriteStartObject("memory");
        w.WriteNumber("total_bytes", plan.TotalBytes);
        w.WriteStartArray("buffers");
        foreach (MemoryPlanEntry e in plan.Entries)
        {
            w.WriteStartObject();
            w.WriteString("group", e.Group);
            w.WriteString("name", e.Name);
            w.WriteString("shape", e.Shape);
            w.WriteNumber("bytes", e.Bytes);
            w.WriteEndObject();
        }

        w.WriteEndArray();
        w.WriteEndObject();
    }

    private static string Bytes(long bytes) => bytes.ToString("N0", CultureInfo.InvariantCulture);

    private static IEnumerable<(string Name, object Value)> Fields(ModelConfig config)
    {
        TransformerShape s = config.Shape;
        yield return ("architecture", config.Architecture);
        yield return ("family", config.Family);
        yield return ("parameters", config.ParameterCount);
        yield return ("layers", s.LayerCount);
        yield return ("hidden_size", s.HiddenSize);
        yield return ("intermediate_size", s.IntermediateSize);
        yield return ("query_heads", s.HeadCount);
        yield return ("kv_heads", s.KvHeadCount);
        yield return ("head_dim", s.HeadDim);
        yield return ("vocab_size", s.VocabSize);
        yield return ("context", s.MaxPositions);
        yield return ("rope_theta", config.Rope.Theta);
        yield return ("rope_scaling", config.Rope.Kind.ToString().ToLowerInvariant());
        yield return ("sliding_window", config.SlidingWindows.Max());
        yield return ("tied_embeddings", config.TiedEmbeddings);
        if (config.Dms is { } dms)
        {
            yield return ("dms_decisions", dms.Adapter ? "adapter" : "query channel");
            yield return ("dms_window", dms.Window);
        }

        yield return ("qkv_bias", config.QkvBias);
        yield return ("qk_norm", config.QkNorm);
        yield return ("kv_bytes_per_token_f32", 2L * s.LayerCount * s.KvHeadCount * s.HeadDim * sizeof(float));
    }

    private static string Tokenizer(ModelInspection found) => !found.HasTokenizer ? "none"
        : found.Metadata is { } metadata ? string.Join(' ', ((string[])["tokenizer.ggml.model", "tokenizer.ggml.pre"]).Select(metadata.Text).OfType<string>())
        : "tokenizer.json";

    private static void WriteText(TextWriter output, ModelInspection found, bool tensors, bool metadata)
    {
        output.WriteLine(found.Directory);
        if (found.Config is { } config)
            foreach ((string name, object value) in Fields(config)) output.WriteLine($"  {name,-24}{Shown(value)}");
        output.WriteLine($"  {"tokenizer",-24}{Tokenizer(found)}");
        foreach ((string path, long bytes) in found.Files) output.WriteLine($"  {Path.GetFileName(path),-23} {Bytes(bytes)} bytes");
        output.WriteLine($"  {"tensors",-24}{found.Tensors.Count}, {Bytes(found.StoredElements)} elements, {Bytes(found.StoredBytes)} bytes");
        if (metadata && found.Metadata is { } keys)
        {
            output.WriteLine();
            var list = new Table("key", "value");
            foreach (string key in keys.Keys) list.Add(key, keys.TextOf(key).ReplaceLineEndings(" "));
            list.Write(output, TableFormat.Text);
        }

        if (!tensors) return;
        output.WriteLine();
        var table = new Table("tensor", "type", "shape", "bytes");
        foreach (StoredTensor t in found.Tensors) table.Add(t.Name, t.Type.ToString(), t.ShapeText, t.Bytes.ToString("N0", CultureInfo.InvariantCulture));
        table.Write(output, TableFormat.Text);
    }

    private static void WriteJson(Utf8JsonWriter w, ModelInspection found, bool tensors, bool metadata)
    {
        w.WriteString("directory", found.Directory);
        if (found.Config is { } config)
        {
            w.WriteStartObject("config");
            foreach ((string name, object value) in Fields(config))
            {
                w.WritePropertyName(name);
                w.WriteRawValue(value is string s ? JsonText.Line(j => j.WriteStringValue(s)) : Raw(value));
            }

            w.WriteEndObject();
        }

        if (found.Problem is { } problem) w.WriteString("problem", problem.Message);
        w.WriteBoolean("tokenizer", found.HasTokenizer);
        w.WriteStartArray("files");
        foreach ((string path, long bytes) in found.Files)
        {
            w.WriteStartObject();
            w.WriteString("name", Path.GetFileName(path));
            w.WriteNumber("bytes", bytes);
            w.WriteEndObject();
        }

        w.WriteEndArray();
        w.WriteNumber("tensor_count", found.Tensors.Count);
        w.WriteNumber("stored_bytes", found.StoredBytes);
        if (metadata && found.Metadata is { } keys)
        {
            w.WriteStartObject("metadata");
            foreach (string key in keys.Keys) w.WriteString(key, keys.TextOf(key));
            w.WriteEndObject();
        }

        if (!tensors) return;
        w.WriteStartArray("tensors");
        foreach (StoredTensor t in found.Tensors)
        {
            w.WriteStartObject();
            w.WriteString("name", t.Name);
            w.WriteString("type", t.Type.ToString());
            w.WriteStartArray("shape");
            foreach (long d in t.Shape) w.WriteNumberValue(d);
            w.WriteEndArray();
            w.WriteNumber("bytes", t.Bytes);
            w.WriteEndObject();
        }

        w.WriteEndArray();
    }

    private static string Shown(object value) => value switch
    {
        bool b => b ? "yes" : "no",
        IFormattable f => f.ToString(value is double ? "G" : "N0", CultureInfo.InvariantCulture),
        _ => value.ToString()!,
    };

    private static string Raw(object value) => value is bool b ? (b ? "true" : "false") : ((IFormattable)value).ToString(null, CultureInfo.InvariantCulture);
}
