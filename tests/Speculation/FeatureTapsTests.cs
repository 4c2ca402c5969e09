using Foretoken.Backends;
using Foretoken.Generation;
using Foretoken.Memory;
using Foretoken.Models;
using Foretoken.Sampling;
using Foretoken.Speculation;
using Foretoken.Tests.Fixtures;
using Foretoken.Tests.Generation;

namespace Foretoken.Tests.Speculation;

/// <summary>Hidden states of every committed row reach the drafter, and are those of the float64 reference.</summary>
public sealed class FeatureTapsTests : IDisposable
{
    private readonly TempDirectory _directory = new();

    public void Dispose() => _directory.Dispose();

    [Theory]
    [InlineData("llama", 64, false)]
    [InlineData("mistral", 7, true)]
    [InlineData("qwen2", 7, false)]
    [InlineData("qwen3", 1, true)]
    public void Every_committed_row_gives_the_states_of_the_reference(string family, int chunk, bool drafts)
    {
        var tiny = new TinyModel { Family = family, Layers = 3, Hidden = 48, Heads = 4, KvHeads = 2, HeadDim = 12 };
        tiny.Write(_directory.Path);
        var reader = new Reader(drafts ? 3 : 0);
        using LanguageModel model = LanguageModel.Load(_directory.Path, new LanguageModelOptions
        {
            Threads = 2, MaxSequences = 2, PrefillChunk = chunk, WeightType = WeightType.F32, KvType = KvType.F32, Draft = new ReaderOptions(reader),
        });
        GenerationSession[] sessions = [.. Enumerable.Range(0, 2).Select(i => model.Generate(
            LoopRig.Prompt(20 + 7 * i, (ulong)i), new GenerationOptions { MaxTokens = 12, IgnoreEndTokens = true }))];
        int[][] paths = [.. sessions.Select((s, i) => (int[])[.. LoopRig.Prompt(20 + 7 * i, (ulong)i), .. s.Complete().Tokens])];
        var reference = new ReferenceTransformer(_directory.Path);
        foreach (int[] path in paths)
        {
            double[][][] states = reference.States(path[..^1]);
            Dictionary<int, float[][]> seen = reader.Seen.Single(s => s.Path[^1] == path[^1] && s.Path.AsSpan().SequenceEqual(path)).Rows;
            Assert.Equal(path.Length - 1, seen.Count);
            for (int position = 0; position < path.Length - 1; position++)
            {
                for (int tap = 0; tap < 5; tap++)
                {
                    for (int d = 0; d < 48; d++) Assert.Equal(states[tap][position][d], seen[position][tap][d], 2e-3);
                }
            }
        }
    }

    [Fact]
    public void A_point_is_kept_once_and_points_that_do_not_exist_are_refused()
    {
        var plan = new MemoryPlan();
        var taps = new FeatureTaps(Shape, 4, plan);
        Assert.Equal((0, 1, 0), (taps.Tap(2), taps.Tap(FeatureTaps.Normed), taps.Tap(2)));
        Assert.Equal(2, plan.Entries.Count);
        Assert.Throws<ArgumentOutOfRangeException>(() => taps.Tap(Shape.LayerCount + 1));
        Assert.Throws<ArgumentOutOfRangeException>(() => taps.Tap(-2));
    }

    private static TransformerShape Shape { get; } = new()
    {
        LayerCount = 4, HiddenSize = 8, IntermediateSize = 8, HeadCount = 1, KvHeadCount = 1, HeadDim = 8, VocabSize = 9, RmsNormEpsilon = 1e-6f,
        MaxPositions = 16, RopeInverseFrequencies = [1, 1, 1, 1], AttentionScale = 1,
    };

    private sealed record ReaderOptions(Reader Reader) : DrafterOptions
    {
        public override string Name => "reader";

        public override int MaxNodes => Reader.MaxNodes;

        public override IDrafter Create(DrafterContext context)
        {
            Reader.Taps = context.Taps!;
            for (int i = 0; i <= context.Target.Shape.LayerCount; i++) Assert.Equal(i, Reader.Taps.Tap(i));
            Reader.Taps.Tap(FeatureTaps.Normed);
            return Reader;
        }
    }

    /// <summary>Notes the features of every row by position, and drafts a chain of the last token and a wrong sibling.</summary>
    private sealed class Reader(int nodes) : IDrafter
    {
        private readonly Dictionary<int, (TokenHistory Path, Dictionary<int, float[][]> Rows)> _running = [];

        public FeatureTaps Taps { get; set; } = null!;

        public List<(int[] Path, Dictionary<int, float[][]> Rows)> Seen { get; } = [];

        public string Name => "reader";

        public int MaxNodes => nodes;

        public void Propose(ReadOnlySpan<DraftRequest> requests, TokenForest forest)
        {
            foreach (DraftRequest r in requests)
            {
                int node = forest.Root(r.Tree);
                for (int i = 0; i < nodes && node >= 0; i++) node = forest.Add(node, r.Path.Last);
            }
        }

        public void Committed(int sequence, TokenHistory path, RowBatch rows, ReadOnlySpan<int> accepted)
        {
            if (!_running.TryGetValue(sequence, out var known)) _running[sequence] = known = (path, []);
            foreach (int row in accepted)
            {
                Assert.Equal(path.Tokens[rows.Positions[row]], rows.Tokens[row]);
                known.Rows.Add(rows.Positions[row], [.. Enumerable.Range(0, Taps.Count).Select(t => Taps.Of(t, row).ToArray())]);
            }
        }

        public void Observe(ReadOnlySpan<DraftRequest> requests, ReadOnlySpan<Acceptance> acceptances, TokenForest forest)
        {
        }

        public void Release(int sequence)
        {
            if (_running.Remove(sequence, out var done)) Seen.Add((done.Path.Tokens.ToArray(), done.Rows));
        }

        public void Dispose()
        {
        }
    }
}
