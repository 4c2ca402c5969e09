using Foretoken.Backends.Cpu;
using Foretoken.Generation;
using Foretoken.Sampling;
using Foretoken.Speculation;

namespace Foretoken.Tests.Generation;

/// <summary>Counts by the collector's own counters of every thread that takes part in a step (the test host's threads allocate now and then).</summary>
public sealed class AllocationTests(TinyModelFixture fixture) : IClassFixture<TinyModelFixture>
{
    private const int Sequences = 8, WarmUpSteps = 60, MeasuredSteps = 220;

    public static TheoryData<string> Samplings => ["greedy", "full"];

    [Theory]
    [MemberData(nameof(Samplings))]
    public void A_step_allocates_nothing(string sampling)
    {
        using LanguageModel model = fixture.Load(new LanguageModelOptions { Threads = 2, MaxSequences = Sequences });
        AssertNothingAllocated(model, Options(sampling));
    }

    [Fact]
    public void A_step_with_drafted_trees_allocates_nothing()
    {
        var drafter = new CyclicDrafter(12);
        using LanguageModel model = fixture.Load(new LanguageModelOptions { Threads = 2, MaxSequences = Sequences, Drafter = drafter });
        AssertNothingAllocated(model, Options("full"));
        Assert.True(drafter.Proposed > 1000);
    }

    private static GenerationOptions Options(string sampling) => new()
    {
        IgnoreEndTokens = true,
        StopStrings = ["a stop string that never comes", "another one"],
        Sampling = sampling == "greedy" ? SamplingOptions.Greedy : new SamplingOptions
        {
            Temperature = 0.9f, TopK = 80, TopP = 0.95f, MinP = 0.001f, RepetitionPenalty = 1.1f, PresencePenalty = 0.1f, FrequencyPenalty = 0.05f, LogProbs = true,
        },
    };

    private static void AssertNothingAllocated(LanguageModel model, GenerationOptions options)
    {
        int[] prompt = LoopRig.Prompt(100, 3);
        for (int i = 0; i < Sequences - 1; i++) model.Generate(prompt, options with { Sampling = options.Sampling with { Seed = (ulong)i } });
        DecodeLoop loop = model.Engine.Loop;
        for (int i = 0; i < WarmUpSteps; i++) loop.Step();
        model.Generate(LoopRig.Prompt(40, 4), options); // its prompt is read beside the others' decoding, while we measure
        ThreadTeam team = ((CpuBackend)model.Loaded.Transformer.Backend).Team;
        var before = new AllocatedBytes(team.Threads);
        var after = new AllocatedBytes(team.Threads);
        team.Run(ref before, team.Threads);
        for (int i = 0; i < MeasuredSteps; i++) loop.Step();
        team.Run(ref after, team.Threads);
        Assert.Equal(before.Bytes, after.Bytes);
        Assert.True(before.Bytes[0] > 0);
        Assert.Equal(Sequences, model.Cache.Statistics.Sequences); // all of them ran to the end of the measurement
    }

    /// <summary>Bytes that each thread of a team has allocated since it started. Each waits for the others, so that each takes one chunk.</summary>
    private readonly struct AllocatedBytes(int threads) : IParallelJob
    {
        private readonly int[] _arrived = new int[1];

        public long[] Bytes { get; } = new long[threads];

        public void Execute(int chunk, int thread)
        {
            Bytes[thread] = GC.GetAllocatedBytesForCurrentThread();
            Interlocked.Increment(ref _arrived[0]);
            while (Volatile.Read(ref _arrived[0]) < Bytes.Length) Thread.Yield();
        }
    }

    /// <summary>Proposes the tokens after the last occurrence of the last token, with a sibling for each.</summary>
    private sealed class CyclicDrafter(int maxNodes) : IDrafter
    {
        public string Name => "cyclic";

        public int MaxNodes => maxNodes;

        public int Proposed { get; private set; }

        public void Propose(ReadOnlySpan<DraftRequest> requests, TokenForest forest)
        {
            foreach (DraftRequest request in requests)
            {
                ReadOnlySpan<int> tokens = request.Path.Tokens;
                int from = tokens[..^1].LastIndexOf(tokens[^1]) + 1, node = forest.Root(request.Tree);
                for (int i = from; i < tokens.Length && node >= 0; i++)
                {
                    forest.Add(node, (tokens[i] + 1) % 277);
                    node = forest.Add(node, tokens[i]);
                    Proposed++;
                }
            }
        }

        public void Observe(ReadOnlySpan<DraftRequest> requests, ReadOnlySpan<Acceptance> acceptances, TokenForest forest)
        {
        }

        public void Release(int sequence)
        {
        }

        public void Dispose()
        {
        }
    }
}
