using System.Buffers.Binary;
using System.Runtime.InteropServices;
using Foretoken.Backends;
using Foretoken.Cli.Input;
using Foretoken.Cli.Options;
using Foretoken.Cli.Output;
using Foretoken.Models;

namespace Foretoken.Cli.Commands;

/// <summary>
/// Logits of a given token sequence as raw numbers, for comparison with other engines: little-endian int32 ids in, little-endian float32
/// [rows, vocab] out. Prefill runs the tokens in passes of many rows, stepwise one row per pass; the bits are the same.
/// </summary>
internal sealed class LogitsCommand : CliCommand
{
    private const int PrefillRows = 64;
    private readonly Flag<string?> _model;
    private readonly Flag<string?> _ids;
    private readonly Flag<string?> _out;
    private readonly Flag<WeightType?> _type;
    private readonly Flag<KvType> _kvType;
    private readonly Flag<KvChoice> _kv;
    private readonly Flag<int> _threads;
    private readonly Switch _prefill;
    private readonly Switch _stepwise;

    public LogitsCommand()
        : base("logits", "Writes the logits of given token ids as raw float32.")
    {
        _model = Add(ModelFlags.Model());
        _ids = Add(new Flag<string?>("--ids", "FILE", "Token ids as little-endian int32.", Parse.NotEmpty, null));
        _out = Add(new Flag<string?>("--out", "FILE", "Receives float32 [rows, vocab], little-endian.", Parse.NotEmpty, null));
        _type = Add(ModelFlags.Type());
        _kvType = Add(ModelFlags.KvType(KvType.F32));
        _kv = Add(KvChoice.Flag());
        _threads = Add(ModelFlags.Threads());
        _prefill = Add(new Switch("--prefill", $"Passes of {PrefillRows} rows (the default)."));
        _stepwise = Add(new Switch("--stepwise", "One row per pass."));
    }

    public override int Run(CommandContext context)
    {
        CliHost host = context.Host;
        string idsFile = _ids.Get(context) ?? throw new UsageException("--ids is missing: give a file of little-endian int32 token ids.");
        string outFile = _out.Get(context) ?? throw new UsageException("--out is missing: give the file that receives the logits.");
        if (Path.GetFullPath(idsFile) == Path.GetFullPath(outFile) && new FileInfo(outFile).Length > 0) throw new UsageException("--ids and --out are the same file: give another path.");
        bool stepwise = _stepwise.GetBeside(_prefill.GivenOnLine(context), context);
        if (stepwise && _prefill.GetBeside(_stepwise.GivenOnLine(context), context)) throw new UsageException("--prefill and --stepwise exclude each other: give one.");
        KvChoice kv = _kv.Get(context);
        var options = new DirectModelOptions
        {
            WeightType = _type.Get(context),
            KvType = _kvType.Get(context),
            KvPolicy = kv.Policy,
            Threads = _threads.Get(context),
            ContextLength = 1,
            MaxRows = stepwise ? 1 : PrefillRows,
        };

        (string path, string? adapter) = kv.Locate(ModelLocator.Find(_model.Get(context), host), host);
        using ModelSource opened = ModelLoader.Open(path);
        using DmsAdapterSource? adapted = adapter is null ? null : new DmsAdapterSource(opened, adapter);
        ModelSource source = adapted ?? opened;
        int[] ids = ReadIds(idsFile, source.Config.Shape.VocabSize, source.Config.Shape.MaxPositions);
        using var output = OutputFile.Create(outFile, "--out");
        using var model = DirectModel.Load(source, options with { ContextLength = ids.Length }, host);
        for (int done = 0; done < ids.Length;)
        {
            host.Interrupt.ThrowIfCancellationRequested();
            int rows = Math.Min(options.MaxRows, ids.Length - done);
            model.Pass(ids.AsSpan(done, rows), LogitRows.All, commit: true);
            for (int r = 0; r < rows; r++) Write(output.Stream, model.LogitsOf(r));
            done += rows;
        }

        output.Commit();
        host.Error.WriteLine($"{outFile}: float32 [{ids.Length}, {source.Config.Shape.VocabSize}]");
        return ExitCode.Success;
    }

    private static int[] ReadIds(string path, int vocab, int context)
    {
        using FileStream stream = Utf8Input.Open(path);
        byte[] bytes = new byte[(context + 1L) * sizeof(int)]; // a pipe does not tell its length: one token too many is enough to refuse it
        int read = stream.ReadAtLeast(bytes, bytes.Length, throwOnEndOfStream: false);
        if (read == bytes.Length)
        {
            string count = stream.CanSeek ? $"{Math.Max(stream.Length, read) / sizeof(int)}" : $"at least {read / sizeof(int)}";
            throw new RunException($"{path} holds {count} tokens and the model's context {context}: give fewer tokens.");
        }

        if (read == 0 || read % sizeof(int) != 0)
            throw new RunException($"{path} has {read} bytes: token ids are little-endian int32, so that the length must be a positive multiple of 4.");
        int[] ids = new int[read / sizeof(int)];
        for (int i = 0; i < ids.Length; i++)
        {
            ids[i] = BinaryPrimitives.ReadInt32LittleEndian(bytes.AsSpan(i * sizeof(int)));
            if ((uint)ids[i] >= (uint)vocab)
                throw new RunException($"{path}: token {i} is {ids[i]}, and the vocabulary has ids 0 to {vocab - 1}: use this model's tokenizer.");
        }

        return ids;
    }

    private static void Write(Stream stream, ReadOnlySpan<float> values)
    {
        if (BitConverter.IsLittleEndian)
        {
            stream.Write(MemoryMarshal.AsBytes(values));
            return;
        }

        Span<byte> bytes = stackalloc byte[sizeof(float)];
        foreach (float value in values)
        {
            BinaryPrimitives.WriteSingleLittleEndian(bytes, value);
            stream.Write(bytes);
        }
    }
}
