using Foretoken.Backends;
using Foretoken.Memory;
using Foretoken.Models;
using Foretoken.Numerics;

namespace Foretoken.Cli.Benchmarks;

/// <summary>What <c>bench</c> measures, and at which sizes.</summary>
internal sealed record BenchSizes
{
    /// <summary>Decoded tokens of one repeat.</summary>
    public required int Tokens { get; init; }

    /// <summary>Tokens of the measured prompt.</summary>
    public required int Prompt { get; init; }

    /// <summary>Committed tokens before decoding begins.</summary>
    public required int Depth { get; init; }

    /// <summary>Row counts of <c>rows</c>.</summary>
    public required IReadOnlyList<int> Rows { get; init; }

    /// <summary>Context depths of <c>depth</c>.</summary>
    public required IReadOnlyList<int> Depths { get; init; }

    /// <summary>Rows of the trees of <c>kv</c>; 1 is plain decoding.</summary>
    public required IReadOnlyList<int> TreeRows { get; init; }

    /// <summary>Rows of the prompt chunks of <c>kv</c>.</summary>
    public IReadOnlyList<int> ChunkRows { get; init; } = [];

    /// <summary>Numbers of sequences of <c>batched</c>.</summary>
    public IReadOnlyList<int> Sequences { get; init; } = [1];

    /// <summary>Storage types of <c>kv</c>.</summary>
    public required IReadOnlyList<KvType> KvTypes { get; init; }

    /// <summary>Rows of a prefill pass: what the engine's scheduler uses.</summary>
    public int PrefillChunk { get; init; } = new Generation.LanguageModelOptions().PrefillChunk;

    /// <summary>The context that <paramref name="kinds"/> need, in tokens.</summary>
    public int ContextFor(IReadOnlyCollection<BenchKind> kinds)
    {
        int context = 1;
        if (kinds.Contains(BenchKind.Decode)) context = Math.Max(context, Depth + Tokens);
        if (kinds.Contains(BenchKind.Rows)) context = Math.Max(context, Depth + Rows.Max());
        if (kinds.Contains(BenchKind.Prefill)) context = Math.Max(context, Prompt);
        if (kinds.Contains(BenchKind.Depth)) context = Math.Max(context, Depths.Max() + 1);
        if (kinds.Contains(BenchKind.Batched)) context = Math.Max(context, BatchedBench.ContextFor(Tokens, Sequences.Max()));
        return context;
    }

    public int MaxRowsFor(IReadOnlyCollection<BenchKind> kinds) =>
        Math.Max(PrefillChunk, kinds.Contains(BenchKind.Rows) ? Rows.Max() : 1);
}

internal enum BenchKind
{
    Decode,
    Prefill,
    Rows,
    Depth,
    Kv,
    Load,
    Spec,
    Batched,
    Startup,
}

/// <summary>One thing that is timed.</summary>
/// <param name="Name">For example tg64, pp512, rows8, tg@4096, attention@4096.</param>
/// <param name="Passes">Forward passes of one repeat.</param>
/// <param name="Tokens">Rows of one repeat.</param>
/// <param name="Bytes">Bytes that one repeat must read at least: weights once per pass, keys and values once per pass.</param>
/// <param name="Prepare">Untimed, before each repeat.</param>
/// <param name="Run">Timed.</param>
internal sealed record BenchCase(string Name, int Passes, int Tokens, double Bytes, Action Prepare, Action Run)
{
    /// <summary>Rows of one pass, where the case is one of a family that is compared by rows; else 0.</summary>
    public int Rows { get; init; }

    /// <summary>Storage of keys and values, where it is not the model's; else null.</summary>
    public KvType? Kv { get; init; }

    /// <summary>Multiplications and additions of one repeat, where arithmetic is probed too; else 0.</summary>
    public double Operations { get; init; }

    /// <summary>False where only a part of the model runs, so that tokens per second would mislead.</summary>
    public bool WholeModel { get; init; } = true;
}

/// <summary>Builds the cases of a kind on a loaded model.</summary>
internal sealed class BenchCases(DirectModel model, BenchSizes sizes, CancellationToken cancel)
{
    private const int RowPasses = 8; // passes per repeat of one row count
    private readonly int[] _tokens = RandomTokens(model, sizes);
    private readonly double _weightBytes = WeightBytesOf(model.Plan, model.Loaded.Config);

    /// <summary>Times every pass.</summary>
    public PassClock Clock { get; } = new(model.Backend);

    /// <summary>Packed weights that a pass reads.</summary>
    public double WeightBytes => _weightBytes;

    public IEnumerable<BenchCase> Of(BenchKind kind) => kind switch
    {
        BenchKind.Decode => [Decode()],
        BenchKind.Prefill => [Prefill()],
        BenchKind.Rows => sizes.Rows.Prepend(1).Distinct().Select(RowCount),
        BenchKind.Depth => sizes.Depths.Select(AtDepth),
        _ => throw new ArgumentOutOfRangeException(nameof(kind)),
    };

    /// <summary>Tokens one after the other behind Depth tokens.</summary>
    private BenchCase Decode()
    {
        double kv = Enumerable.Range(sizes.Depth, sizes.Tokens).Sum(KvBytes);
        return new BenchCase(
            sizes.Depth == 0 ? $"tg{sizes.Tokens}" : $"tg{sizes.Tokens}@{sizes.Depth}", sizes.Tokens, sizes.Tokens, sizes.Tokens * _weightBytes + kv,
            () => Fill(sizes.Depth),
            () =>
            {
                for (int i = 0; i < sizes.Tokens; i++) Pass(1, LogitRows.Last, commit: true);
            });
    }

    /// <summary>A prompt in chunks; logits of its last row only.</summary>
    private BenchCase Prefill()
    {
        int passes = (sizes.Prompt + sizes.PrefillChunk - 1) / sizes.PrefillChunk;
        return new BenchCase($"pp{sizes.Prompt}", passes, sizes.Prompt, passes * _weightBytes, model.Reset, () => Fill(sizes.Prompt, reset: false));
    }

    /// <summary>Verification: n rows with logits each, taken back afterwards, so that every pass is the same.</summary>
    private BenchCase RowCount(int rows) =>
        new($"rows{rows}", RowPasses, RowPasses * rows, RowPasses * (_weightBytes + KvBytes(sizes.Depth + rows)),
            () => Fill(sizes.Depth),
            () =>
            {
                for (int i = 0; i < RowPasses; i++) Pass(rows, LogitRows.All, commit: false);
            })
        {
            Rows = rows,
        };

    /// <summary>Single tokens behind synthetic keys and values, taken back afterwards.</summary>
    private BenchCase AtDepth(int depth) =>
        new($"tg@{depth}", RowPasses, RowPasses, RowPasses * (_weightBytes + KvBytes(depth)),
            () => model.FillSynthetic(depth),
            () =>
            {
                for (int i = 0; i < RowPasses; i++) Pass(1, LogitRows.Last, commit: false);
            });

    /// <summary>Brings the cache to <paramref name="depth"/> tokens.</summary>
    private void Fill(int depth, bool reset = true)
    {
        if (reset && model.Length > depth) model.Reset();
        while (model.Length < depth)
        {
            int rows = Math.Min(sizes.PrefillChunk, depth - model.Length);
            Pass(rows, model.Length + rows == depth ? LogitRows.Last : LogitRows.None, commit: true);
        }
    }

    private void Pass(int rows, LogitRows logits, bool commit)
    {
        cancel.ThrowIfCancellationRequested();
        Clock.Run(() => model.Pass(_tokens.AsSpan(model.Length, rows), logits, commit));
    }

    private double KvBytes(int tokens)
    {
        TransformerShape s = model.Loaded.Config.Shape;
        return LiveSlots(tokens) * new KvPageFormat(new KvLayout(s.LayerCount, s.KvHeadCount, s.HeadDim, model.KvType)).SlotBytes;
    }

    /// <summary>Slots over all layers and KV heads that the row behind <paramref name="tokens"/> tokens sees.</summary>
    private double LiveSlots(int tokens)
    {
        TransformerShape s = model.Loaded.Config.Shape;
        if (!model.KvPolicy.Evicts) return (double)tokens * s.LayerCount * s.KvHeadCount;
        if (model.KvPolicy.DecisionWindow > 0) return model.LiveSlots; // decided as tokens come
        long live = 0;
        for (int head = 0; head < s.LayerCount * s.KvHeadCount; head++)
        {
            for (int position = 0; position < tokens; position++)
                live += model.KvPolicy.ExpireOf(head / s.KvHeadCount, head % s.KvHeadCount, position) >= tokens ? 1 : 0;
        }

        return live;
    }

    /// <summary>Packed weights that a step reads: all of them, but of an embedding table that is not also the head only one row.</summary>
    public static double WeightBytesOf(MemoryPlan plan, ModelConfig config) =>
        plan.Entries.Where(e => e.Group == "weights" && (config.TiedEmbeddings || e.Name != "embedding")).Sum(e => (double)e.Bytes);

    private static int[] RandomTokens(DirectModel model, BenchSizes sizes)
    {
        var random = new SeededRandom(1);
        int count = Math.Max(Math.Max(sizes.Depth + sizes.Tokens, sizes.Prompt), sizes.Depths.Max()) + sizes.Rows.Max() + 1;
        return [.. Enumerable.Range(0, count).Select(_ => random.Next(model.Loaded.Config.Shape.VocabSize))];
    }
}
