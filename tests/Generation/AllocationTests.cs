using Foretoken.Backends;
using Foretoken.Backends.Cpu;
using Foretoken.Generation;
using Foretoken.KvCache;
using Foretoken.Memory;
using Foretoken.Sampling;
using Foretoken.Speculation;
using Foretoken.Tests.Fixtures;
using Foretoken.Tests.Speculation;
using Xunit.Sdk;

namespace Foretoken.Tests.Generation;

/// <summary>Counts by the collector's own counters of every thread that takes part in a step (the test host's threads allocate now and then).</summary>
[Collection("telemetry")] // whoever listens to requests makes their end allocate
public sealed class AllocationTests(TinyModelFixture fixture) : IClassFixture<TinyModelFixture>
{
    private static object? s_kept; // what is kept cannot live on the stack
    private const int Sequences = 8, WarmUpSteps = 60, MeasuredSteps = 220;

    public static TheoryData<string> Samplings => ["greedy", "full"];

    [Theory]
    [MemberData(nameof(Samplings))]
    public void A_step_allocates_nothing(string sampling)
    {
        using LanguageModel model = fixture.Load(new LanguageModelOptions { Threads = 2, MaxSequences = Sequences });
        AssertNothingAllocated(model, Options(sampling));
    }

    public static TheoryData<string> Policies => ["dms", "dms-random", "window", "sinks", "random", "tova", "h2o", "snapkv"];

    [Theory]
    [MemberData(nameof(Policies))]
    public void A_step_under_every_policy_allocates_nothing(string policy)
    {
        using var directory = new TempDirectory();
        new TinyModel { Layers = 1, Config = [("dms_separate_alpha", "true"), ("dms_window_size", "9")] }.Write(directory.Path);
        using LanguageModel model = LanguageModel.Load(directory.Path, new LanguageModelOptions
        {
            Threads = 2, MaxSequences = Sequences, LearnedEviction = policy == "dms",
            KvPolicy = policy switch
            {
                "dms" => null,
                "dms-random" => new DmsPolicy(16, SyntheticDecisions.ForCompression(1, 4)),
                "window" => new SlidingWindowPolicy(30),
                "sinks" => new SinksPolicy(30),
                "random" => new RandomPolicy(0.3, 9, 1),
                "tova" => new TovaPolicy(30),
                "h2o" => new H2oPolicy(30),
                _ => new SnapKvPolicy(30),
            },
        });
        AssertNothingAllocated(model, Options("greedy"));
        Assert.True(model.Cache.Statistics.EffectiveCompression > 1.05, $"{model.Cache.Statistics.EffectiveCompression}");
    }

    [Fact]
    public void A_step_with_drafted_trees_allocates_nothing()
    {
        var drafter = new CyclicDrafter(12);
        using LanguageModel model = fixture.Load(new LanguageModelOptions { Threads = 2, MaxSequences = Sequences, Drafter = drafter });
        AssertNothingAllocated(model, Options("full"));
        Assert.True(drafter.Proposed > 1000);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void A_step_of_64_sequences_with_trees_and_every_sampler_stage_allocates_nothing_while_others_wait_end_and_begin(bool evicts)
    {
        const int sequences = 64, more = 10;
        var oracle = new OracleDrafter(new OracleOptions { VocabSize = 277, Depth = 3, Siblings = 2, Acceptance = 0.6 });
        using LanguageModel model = fixture.Load(new LanguageModelOptions
        {
            Threads = 2, MaxSequences = sequences, MaxRows = sequences * (1 + oracle.MaxNodes) + 200, PrefillChunk = 200, ContextLength = 256, Drafter = oracle,
            KvType = evicts ? KvType.Int8 : KvType.BF16, MaxPrefixes = evicts ? 8 : 0,
            KvPolicy = evicts ? new DmsPolicy(16, SyntheticDecisions.ForCompression(1, 4)) : null,
        });
        Request[] requests = [.. Enumerable.Range(0, sequences + more).Select(i => new Request(
            LoopRig.Prompt(5 + i, (ulong)i), Options("full", (ulong)i) with { MaxTokens = i % 4 == 0 ? 60 : 160, Priority = i % 3 }))];
        Record(model, oracle, requests);
        GenerationStatistics[] statistics = [.. requests.Select(r => model.Generate(r.Prompt, r.Options).Statistics)];
        DecodeLoop loop = model.Engine.Loop;
        for (int i = 0; i < 12; i++) loop.Step();
        Assert.Equal((sequences, more), (loop.Statistics.Running, loop.Statistics.Waiting));
        (int drafted, int accepted, int second, int third) = Drafts(statistics);
        AssertNothingAllocated(model, 30);
        Assert.Equal(0, loop.Statistics.Waiting); // some ended in between, so that others began
        (int draftedSince, int acceptedSince, int secondSince, int thirdSince) = Drafts(statistics);
        Assert.True(draftedSince - drafted > 30 * 40 * 5 && acceptedSince - accepted > 1000, $"{draftedSince - drafted} drafts, {acceptedSince - accepted} accepted");
        Assert.True(secondSince - second > 300 && thirdSince - third > 100, $"{secondSince - second} second drafts and {thirdSince - third} third ones were accepted");
        Assert.InRange(loop.Statistics.Running, 40, sequences);
        KvStatistics kv = model.Cache.Statistics;
        Assert.True(evicts ? kv is { EffectiveCompression: > 1.3, Prefixes.Stored: > 0 } : kv.EffectiveCompression == 1, kv.ToString());
    }

    [Fact]
    public void A_step_that_preempts_allocates_nothing()
    {
        const int sequences = 12;
        var oracle = new OracleDrafter(new OracleOptions { VocabSize = 277, Depth = 4, Siblings = 1, Acceptance = 0.5 });
        using LanguageModel model = fixture.Load(new LanguageModelOptions
        {
            Threads = 2, MaxSequences = sequences, ContextLength = 256, Drafter = oracle, KvAdmission = KvAdmission.Measured,
            KvBytes = PagedKvCache.BytesFor(new KvLayout(2, 2, 16, KvType.BF16), 5, 256),
        });
        Request[] requests = [.. Enumerable.Range(0, sequences).Select(i => new Request(LoopRig.Prompt(20, (ulong)i), Options("full", (ulong)i)))];
        Record(model, oracle, requests);
        for (int i = 0; i < 40; i++) Complete(model, new Request([1, 2, 3], new GenerationOptions { MaxTokens = 1 })); // so that all are admitted
        foreach (Request r in requests) model.Generate(r.Prompt, r.Options);
        DecodeLoop loop = model.Engine.Loop;
        for (int i = 0; i < 20; i++) loop.Step();
        Assert.Equal(sequences, loop.Statistics.Running);
        long before = loop.Statistics.Preemptions;
        AssertNothingAllocated(model, 150);
        Assert.InRange(loop.Statistics.Preemptions - before, 3, 100);
    }

    /// <summary>Prompts are read and samples forked while we measure, in the cache and in the drafter's.</summary>
    [Theory]
    [InlineData("suffix", false)]
    [InlineData("eagle3", false)]
    [InlineData("model-tree", true)]
    public void A_step_in_which_samples_fork_allocates_nothing(string drafter, bool evicts)
    {
        const int samples = 6;
        using LanguageModel model = fixture.Load(new LanguageModelOptions
        {
            Threads = 2, MaxSequences = samples, ContextLength = 512, Draft = DraftCases.Options(drafter, fixture.Directory), MaxPrefixes = 4,
            KvPolicy = evicts ? new DmsPolicy(16, SyntheticDecisions.ForCompression(1, 4)) : null,
        });
        DecodeLoop loop = model.Engine.Loop;
        void Start(ulong seed) => model.GenerateSamples(LoopRig.Prompt(150, seed), Options("full", seed) with { Samples = samples, MaxTokens = 60 });
        Start(1);
        while (loop.Step())
        {
        }

        long before = loop.Statistics.Forks;
        Start(2);
        Start(3);
        AssertNothingAllocated(model, 100);
        Assert.InRange(loop.Statistics.Forks - before, samples, 2 * (samples - 1));
    }

    /// <summary>Requests end and others begin while we measure, so that releases are part of it.</summary>
    [Theory]
    [InlineData("ngram")]
    [InlineData("suffix")]
    [InlineData("suffix-tree")]
    [InlineData("recycling")]
    [InlineData("ngram+suffix+recycling")]
    [InlineData("model-tree")]
    [InlineData("auto")]
    [InlineData("medusa")]
    [InlineData("eagle3")]
    [InlineData("medusa-fitted")]
    [InlineData("eagle3-fitted")]
    [InlineData("mtp+ngram")]
    [InlineData("auto-trained")]
    [InlineData("auto-lazy")]
    public void A_step_of_a_drafter_allocates_nothing(string drafter)
    {
        const int sequences = 6, more = 12;
        using LanguageModel model = fixture.Load(new LanguageModelOptions
        {
            Threads = 2, MaxSequences = sequences, ContextLength = 512, Draft = DraftCases.Options(drafter, fixture.Directory), MaxPrefixes = 4,
        });
        for (int i = 0; i < sequences + more; i++)
        {
            int[] part = LoopRig.Prompt(10, (ulong)i);
            model.Generate([.. part, .. part, .. part], Options(i % 2 == 0 ? "greedy" : "full", (ulong)i) with { MaxTokens = i % 4 == 0 ? 60 : 160 });
        }

        DecodeLoop loop = model.Engine.Loop;
        Governor? governor = drafter == "auto-lazy" ? (Governor)model.Drafter : null;
        for (int step = 0; step < 100 && governor is not null && governor.Lazy.Any(l => !l.IsReady); step++)
        {
            loop.Step();
            foreach (LazyDrafter lazy in governor.Lazy) lazy.Wait();
        }

        Assert.True(governor is null || governor.Lazy.All(l => l.IsReady));

        for (int i = 0; i < 60; i++) loop.Step();
        int waiting = loop.Statistics.Waiting;
        AssertNothingAllocated(model, 120);
        Assert.True(loop.Statistics.Waiting < waiting && loop.Statistics.Running > 0);
    }

    [Fact]
    public void A_step_of_a_model_that_drafts_for_itself_allocates_nothing()
    {
        using var directory = new TempDirectory();
        new TinyModel { Layers = 5, Hidden = 32, Heads = 2, KvHeads = 1, Intermediate = 48 }.Write(directory.Path);
        using LanguageModel model = LanguageModel.Load(
            directory.Path, new LanguageModelOptions { Threads = 2, MaxSequences = Sequences, Draft = new SwiftOptions { Width = 2, MinConfidence = 0, Window = 10 } });
        AssertNothingAllocated(model, Options("full"));
    }

    /// <summary>Otherwise the tests above would prove nothing.</summary>
    [Theory]
    [InlineData("managed memory")]
    [InlineData("managed memory of another thread")]
    [InlineData("native memory")]
    public void Canary_planted_allocation_is_caught(string kind)
    {
        var drafter = new HookedDrafter(new NoDrafter());
        using LanguageModel model = fixture.Load(new LanguageModelOptions { Threads = 2, MaxSequences = 2, Drafter = drafter });
        model.Generate(LoopRig.Prompt(9, 3), new GenerationOptions { MaxTokens = 200, IgnoreEndTokens = true });
        for (int i = 0; i < 20; i++) model.Engine.Loop.Step();
        AssertNothingAllocated(model, 40);
        ThreadTeam team = ((CpuBackend)model.Loaded.Transformer.Backend).Team;
        int steps = 0;
        var job = new AllocatingJob(team.Threads);
        drafter.Proposing = () =>
        {
            if (++steps != 20) return; // once in all of them
            if (kind == "managed memory") s_kept = new object();
            else if (kind == "native memory") NativeBuffer.Allocate(1, "a test").Dispose();
            else team.Run(ref job, team.Threads);
        };
        Assert.Throws<EqualException>(() => AssertNothingAllocated(model, 40));
        AssertNothingAllocated(model, 40);
    }

    [Fact]
    public void The_full_sampling_has_every_stage()
    {
        SamplingOptions s = Options("full").Sampling;
        Assert.Equal(5, typeof(ISamplerStage).Assembly.GetTypes().Count(t => t.IsClass && t.IsAssignableTo(typeof(ISamplerStage))));
        Assert.True(s is { Temperature: > 0 and not 1, TopK: > 0, TopP: < 1, MinP: > 0, RepetitionPenalty: not 1, PresencePenalty: > 0, FrequencyPenalty: > 0, LogProbs: true });
    }

    /// <summary>Drafted and accepted tokens so far, and those that were accepted as the second and the third of their step.</summary>
    private static (int Drafted, int Accepted, int Second, int Third) Drafts(GenerationStatistics[] statistics) => (
        statistics.Sum(s => s.DraftedTokens), statistics.Sum(s => s.AcceptedTokens),
        statistics.Sum(s => s.AcceptedAt[1]), statistics.Sum(s => s.AcceptedAt[2]));

    private static void Record(LanguageModel model, OracleDrafter oracle, Request[] requests)
    {
        GenerationSession[] sessions = [.. requests.Select(r => model.Generate(r.Prompt, r.Options))];
        for (int i = 0; i < requests.Length; i++) oracle.Record(requests[i].Prompt, requests[i].Options.Sampling, sessions[i].Complete().Tokens.ToArray());
    }

    private static void Complete(LanguageModel model, Request request)
    {
        using GenerationSession session = model.Generate(request.Prompt, request.Options);
        session.Complete();
    }

    private static GenerationOptions Options(string sampling, ulong seed = 0) => new()
    {
        IgnoreEndTokens = true,
        StopStrings = ["a stop string that never comes", "another one"],
        Sampling = sampling == "greedy" ? SamplingOptions.Greedy : new SamplingOptions
        {
            Temperature = 0.9f, TopK = 80, TopP = 0.95f, MinP = 0.001f, RepetitionPenalty = 1.1f, PresencePenalty = 0.1f, FrequencyPenalty = 0.05f,
            LogProbs = true, Seed = seed,
        },
    };

    private static void AssertNothingAllocated(LanguageModel model, GenerationOptions options)
    {
        int[] prompt = LoopRig.Prompt(100, 3);
        for (int i = 0; i < Sequences - 1; i++) model.Generate(prompt, options with { Sampling = options.Sampling with { Seed = (ulong)i } });
        DecodeLoop loop = model.Engine.Loop;
        for (int i = 0; i < WarmUpSteps; i++) loop.Step();
        model.Generate(LoopRig.Prompt(40, 4), options); // its prompt is read beside the others' decoding, while we measure
        AssertNothingAllocated(model, MeasuredSteps);
        Assert.Equal(Sequences, model.Cache.Statistics.Sequences); // all of them ran to the end of the measurement
    }

    private static void AssertNothingAllocated(LanguageModel model, int steps)
    {
        ThreadTeam team = ((CpuBackend)model.Loaded.Transformer.Backend).Team;
        var before = new AllocatedBytes(team.Threads);
        var after = new AllocatedBytes(team.Threads);
        team.Run(ref before, team.Threads);
        for (int i = 0; i < steps; i++) model.Engine.Loop.Step();
        team.Run(ref after, team.Threads);
        Assert.Equal(before.Bytes, after.Bytes);
        Assert.Equal(before.NativeBytes, after.NativeBytes);
        Assert.True(before.Bytes[0] > 0 && before.NativeBytes[0] > 0);
    }

    private sealed record Request(int[] Prompt, GenerationOptions Options);

    /// <summary>Bytes that each thread of a team has allocated since it started. Each waits for the others, so that each takes one chunk.</summary>
    private readonly struct AllocatedBytes(int threads) : IParallelJob
    {
        private readonly int[] _arrived = new int[1];

        public long[] Bytes { get; } = new long[threads];

        public long[] NativeBytes { get; } = new long[threads];

        public void Execute(int chunk, int thread)
        {
            Bytes[thread] = GC.GetAllocatedBytesForCurrentThread();
            NativeBytes[thread] = NativeBuffer.AllocatedBytesForCurrentThread;
            Interlocked.Increment(ref _arrived[0]);
            while (Volatile.Read(ref _arrived[0]) < Bytes.Length) Thread.Yield();
        }
    }

    /// <summary>Allocates on the last thread of a team; each waits for the others, so that each takes one chunk.</summary>
    private readonly struct AllocatingJob(int threads) : IParallelJob
    {
        private readonly int[] _arrived = new int[1];

        public void Execute(int chunk, int thread)
        {
            if (thread == threads - 1) s_kept = new object();
            Interlocked.Increment(ref _arrived[0]);
            while (Volatile.Read(ref _arrived[0]) < threads) Thread.Yield();
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
