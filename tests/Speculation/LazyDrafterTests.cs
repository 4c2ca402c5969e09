using System.Text;
using Foretoken.Backends;
using Foretoken.Backends.Cpu;
using Foretoken.Formats;
using Foretoken.Generation;
using Foretoken.Memory;
using Foretoken.Models;
using Foretoken.Sampling;
using Foretoken.Speculation;
using Foretoken.Speculation.Trained;
using Foretoken.Tests.Fixtures;
using Foretoken.Tests.Generation;

namespace Foretoken.Tests.Speculation;

/// <summary>Weights of drafters are read when the Governor first wants them: nothing of that is seen in an answer, and nothing that goes wrong ends one.</summary>
public sealed class LazyDrafterTests(TinyModelFixture fixture) : IClassFixture<TinyModelFixture>, IDisposable
{
    private static readonly (int[] Prompt, GenerationOptions Options)[] s_requests = DraftCases.Requests(4, 90);
    private readonly TempDirectory _directory = new();

    public void Dispose() => _directory.Dispose();

    [Fact]
    public void Nothing_is_loaded_until_it_is_wanted_and_answers_stay_what_they_are()
    {
        GenerationResult[] alone = DraftCases.Alone(fixture.Load, Options(), s_requests);
        using LanguageModel model = fixture.Load(Options() with { Draft = Auto() });
        var governor = (Governor)model.Drafter;
        Assert.Equal([DrafterState.Waiting, DrafterState.Waiting, DrafterState.Waiting], States(governor));
        model.Generate(s_requests[0].Prompt, new GenerationOptions { MaxTokens = 2, IgnoreEndTokens = true }).Complete();
        Assert.Equal([DrafterState.Waiting, DrafterState.Waiting, DrafterState.Waiting], States(governor));

        using var gate = new ManualResetEventSlim();
        foreach (LazyDrafter lazy in governor.Lazy) lazy.Loading = gate.Wait;
        DraftCases.AssertSame(model, s_requests, alone); // while the first is being read
        Assert.Equal([DrafterState.Loading, DrafterState.Waiting, DrafterState.Waiting], States(governor));
        Assert.All(governor.Report.Drafters.Where(d => d.State != DrafterState.Ready), d => Assert.Equal(0, d.Calls));
        gate.Set();
        for (int round = 0; round < 20 && governor.Report.Drafters.Any(d => d.Calls == 0); round++)
        {
            foreach (LazyDrafter lazy in governor.Lazy) lazy.Wait();
            DraftCases.AssertSame(model, s_requests, alone); // weights come in the middle of these
        }

        Assert.All(governor.Report.Drafters, d => Assert.True(d is { State: DrafterState.Ready, Calls: > 0, Problem: null }, d.ToString()));
        Assert.All(governor.Report.Drafters.Skip(1), d => Assert.True(d.LoadMilliseconds > 0));
    }

    [Fact]
    public void Models_that_load_the_same_drafters_at_a_time_do_not_disturb_each_other()
    {
        GenerationResult[] alone = DraftCases.Alone(fixture.Load, Options(), s_requests);
        GovernorOptions auto = Auto();
        Parallel.For(0, 3, _ =>
        {
            using LanguageModel model = fixture.Load(Options() with { Draft = auto });
            var governor = (Governor)model.Drafter;
            for (int round = 0; round < 20 && governor.Report.Drafters.Any(d => d.Calls == 0); round++)
            {
                DraftCases.AssertSame(model, s_requests, alone);
                foreach (LazyDrafter lazy in governor.Lazy) lazy.Wait();
            }

            Assert.All(governor.Report.Drafters, d => Assert.True(d is { State: DrafterState.Ready, Calls: > 0, Problem: null }, d.ToString()));
        });
    }

    [Fact]
    public async Task A_model_can_be_disposed_while_a_drafter_is_being_loaded()
    {
        LanguageModel model = fixture.Load(Options() with { Draft = Auto() });
        LazyDrafter first = ((Governor)model.Drafter).Lazy.First();
        using ManualResetEventSlim loads = new(), goesOn = new();
        first.Loading = () =>
        {
            loads.Set();
            goesOn.Wait();
        };
        model.Generate(s_requests[0].Prompt, s_requests[0].Options).Complete();
        Assert.True(loads.Wait(TimeSpan.FromSeconds(30)));
        var disposing = Task.Run(model.Dispose);
        await AssertWaits(disposing); // what is freed is what the load writes to
        goesOn.Set();
        await disposing.WaitAsync(TimeSpan.FromSeconds(30));
        Assert.Null(first.Problem);
        model.Dispose();
    }

    [Fact]
    public async Task A_load_is_cancelled_by_disposal_which_waits_for_its_end_and_frees_the_drafter_once()
    {
        var inner = new SlowDrafter();
        var lazy = new LazyDrafter(inner);
        lazy.Load();
        var disposing = Task.Run(lazy.Dispose);
        Assert.True(inner.Cancelled.Wait(TimeSpan.FromSeconds(30)));
        await AssertWaits(disposing);
        Assert.Equal(0, inner.Disposals);
        inner.GoesOn.Set();
        await disposing.WaitAsync(TimeSpan.FromSeconds(30));
        lazy.Dispose();
        Assert.Equal((1, DrafterState.Loading, null), (inner.Disposals, lazy.State, lazy.Problem));
        lazy.Poll();
        Assert.False(lazy.IsReady);
    }

    [Fact]
    public void A_drafter_is_retired_where_the_system_starts_no_more_threads()
    {
        GenerationResult[] alone = DraftCases.Alone(fixture.Load, Options(), s_requests);
        using LanguageModel model = fixture.Load(Options() with { Draft = Auto() });
        var governor = (Governor)model.Drafter;
        foreach (LazyDrafter lazy in governor.Lazy) lazy.Start = _ => throw new OutOfMemoryException("no thread");
        for (int round = 0; round < 10 && States(governor).Any(s => s != DrafterState.Retired); round++) DraftCases.AssertSame(model, s_requests, alone);
        Assert.All(governor.Report.Drafters.Skip(1), d => Assert.Equal((DrafterState.Retired, "the system starts no thread to read its weights: no thread"), (d.State, d.Problem)));
    }

    [Theory]
    [InlineData("a weight", "NaN or infinity")]
    [InlineData("the vocabulary", "maps two tokens to one")]
    [InlineData("the file", "was changed while it was read")]
    public void Damage_that_shows_only_in_the_weights_retires_the_drafter_with_its_reason(string what, string reason)
    {
        string eagle = Path.Combine(_directory.Path, "eagle3"), file = Path.Combine(eagle, "model.safetensors");
        new TinyHeads().Eagle(eagle, "eagle3", new TinyModel(), 138);
        if (what == "a weight") Overwrite(file, "lm_head.weight", [0, 0, 0xC0, 0x7F]);
        if (what == "the vocabulary") Overwrite(file, "d2t", BitConverter.GetBytes(2L));
        GenerationResult[] alone = DraftCases.Alone(fixture.Load, Options(), s_requests);
        using LanguageModel model = fixture.Load(Options() with
        {
            Draft = new GovernorOptions(new EagleOptions { Directory = eagle }, DraftCases.Options("medusa", fixture.Directory)) { Curiosity = 1 },
        });
        if (what == "the file") File.SetLastWriteTimeUtc(file, DateTime.UtcNow.AddMinutes(1));
        var governor = (Governor)model.Drafter;
        for (int round = 0; round < 20 && governor.Report.Drafters[1].Calls == 0; round++)
        {
            DraftCases.AssertSame(model, s_requests, alone);
            foreach (LazyDrafter lazy in governor.Lazy) lazy.Wait();
        }

        DrafterReport broken = governor.Report.Drafters[0], other = governor.Report.Drafters[1];
        Assert.Equal((DrafterState.Retired, 0L), (broken.State, broken.Calls));
        Assert.Contains(reason, broken.Problem, StringComparison.Ordinal);
        Assert.Contains(file, broken.Problem, StringComparison.Ordinal);
        Assert.Contains("retired: " + file, governor.Report.Explain(), StringComparison.Ordinal);
        Assert.True(other is { State: DrafterState.Ready, Calls: > 0 });
    }

    [Fact]
    public void What_headers_and_configuration_tell_fails_at_the_start()
    {
        string eagle = Path.Combine(_directory.Path, "eagle3"), medusa = Path.Combine(_directory.Path, "medusa");
        new TinyHeads().Eagle(eagle, "eagle3", new TinyModel { Intermediate = 64 }, 138, ("intermediate_size", "48"));
        new TinyHeads().Medusa(medusa, "medusa", new TinyModel(), config: ("medusa_num_heads", "4"));
        Fails(new EagleOptions { Directory = eagle }, "mlp.gate_proj.weight");
        Fails(new MedusaOptions { Directory = medusa }, "3.0.linear.weight");
        File.WriteAllBytes(Path.Combine(medusa, "medusa_lm_head.safetensors"), [1, 2, 3]);
        Fails(new MedusaOptions { Directory = medusa }, "medusa_lm_head.safetensors");

        new TinyHeads().Eagle(eagle, "eagle3", new TinyModel(), 138);
        Retype(Path.Combine(eagle, "model.safetensors"), "I64", "F64");
        Fails(new EagleOptions { Directory = eagle }, "\"d2t\" has type F64: it must be I64 or I32");

        static void Retype(string file, string type, string other)
        {
            string all = Encoding.Latin1.GetString(File.ReadAllBytes(file)); // one character per byte
            File.WriteAllBytes(file, Encoding.Latin1.GetBytes(all.Replace($"\"{type}\"", $"\"{other}\"", StringComparison.Ordinal)));
        }

        void Fails(DrafterOptions options, string part)
        {
            var error = Assert.Throws<ModelFormatException>(() => fixture.Load(Options() with { Draft = new GovernorOptions(options) }));
            Assert.Contains(part, error.Message, StringComparison.Ordinal);
        }
    }

    [Fact]
    public void The_plan_counts_what_is_loaded_later()
    {
        using LanguageModel lazy = fixture.Load(Options() with { Draft = Auto() });
        using LanguageModel eager = fixture.Load(Options() with { Draft = Auto() with { LoadsAtStart = true } });
        using LanguageModel plain = fixture.Load(Options());
        Assert.Equal(eager.Plan.Entries, lazy.Plan.Entries);
        Assert.True(Weights(lazy) > 1.5 * Weights(plain));
        Assert.Empty(((Governor)eager.Drafter).Lazy);
        Assert.Equal(3, ((Governor)lazy.Drafter).Lazy.Count(d => d.State == DrafterState.Waiting));

        static long Weights(LanguageModel model) => model.Plan.Entries.Where(e => e.Group.Contains("weights", StringComparison.Ordinal)).Sum(e => e.Bytes);
    }

    [Theory]
    [InlineData("medusa", WeightType.Int8)]
    [InlineData("vllm", WeightType.BF16)]
    [InlineData("eagle3", WeightType.Int8)]
    [InlineData("speculators", WeightType.F32)]
    [InlineData("eagle1", WeightType.BF16)]
    [InlineData("mtp-deepseek", WeightType.F16)]
    [InlineData("mtp-qwen", WeightType.Int4)]
    [InlineData("model", WeightType.Int8)]
    public void What_is_announced_is_what_is_allocated(string layout, WeightType type)
    {
        var target = new TinyModel { Intermediate = 72 }; // no whole panels
        target.Write(Path.Combine(_directory.Path, "target"));
        using LanguageModel model = LanguageModel.Load(Path.Combine(_directory.Path, "target"), new LanguageModelOptions { Threads = 1 });
        using CpuBackend backend = CpuBackend.Create(new CpuOptions { Threads = 1 });
        var plan = new MemoryPlan();
        string heads = Path.Combine(_directory.Path, "heads");
        if (layout is "medusa" or "vllm")
        {
            new TinyHeads().Medusa(heads, layout, target);
            using var medusa = new MedusaHeads(backend, model.Config.Shape, heads, type, 3, plan);
            medusa.Load(CancellationToken.None);
        }
        else if (layout == "model")
        {
            using ModelSource source = ModelLoader.Open(Path.Combine(_directory.Path, "target"));
            var options = new LoadOptions { Backend = backend, Plan = plan, LaterWeights = plan, MaxRows = 4, MaxLogitRows = 4, WeightType = type };
            ModelLoader.Announce(source, options).Load(CancellationToken.None);
        }
        else
        {
            new TinyHeads().Eagle(heads, layout, target);
            using var weights = new DraftWeights(heads);
            new EagleHead(backend, EagleConfig.Read(weights, model.Loaded.Transformer, 64), weights, model.Loaded.Transformer, type, 4, 4, plan).Load(weights, CancellationToken.None);
        }

        MemoryPlanEntry[] entries = [.. plan.Entries.Where(e => e.Group == "weights")];
        Assert.True(entries.Length >= 6 && entries.Length % 2 == 0);
        Assert.Equal(entries[..(entries.Length / 2)], entries[(entries.Length / 2)..]);
    }

    private static LanguageModelOptions Options() => new() { Threads = 2, MaxSequences = 3, MaxPrefixes = 2 };

    private GovernorOptions Auto() => new(
        new NgramOptions(), DraftCases.Options("medusa", fixture.Directory), DraftCases.Options("eagle3", fixture.Directory), DraftCases.Options("model-tree", fixture.Directory)) { Curiosity = 1 };

    /// <summary>Asserts that something waits: where it does not, it is done long before the time is up.</summary>
    private static async Task AssertWaits(Task task) => Assert.NotSame(task, await Task.WhenAny(task, Task.Delay(TimeSpan.FromMilliseconds(200))));

    private static DrafterState[] States(Governor governor) => [.. governor.Report.Drafters.Skip(1).Select(d => d.State)];

    /// <summary>Writes other bytes at the beginning of a tensor.</summary>
    private static void Overwrite(string path, string tensor, byte[] bytes)
    {
        long offset;
        using (var file = new SafetensorsFile(path)) offset = file.Tensors.Single(t => t.Name == tensor).Offset;
        using FileStream stream = File.OpenWrite(path);
        stream.Position = offset;
        stream.Write(bytes);
    }

    /// <summary>A drafter whose weights come until that is cancelled, and a while longer.</summary>
    private sealed class SlowDrafter : IDeferredDrafter
    {
        private int _disposals;

        public ManualResetEventSlim Cancelled { get; } = new();

        public ManualResetEventSlim GoesOn { get; } = new();

        public int Disposals => Volatile.Read(ref _disposals);

        public string Name => "slow";

        public int MaxNodes => 1;

        public void LoadWeights(CancellationToken cancellation)
        {
            if (cancellation.WaitHandle.WaitOne(TimeSpan.FromSeconds(30))) Cancelled.Set();
            GoesOn.Wait();
            cancellation.ThrowIfCancellationRequested();
        }

        public void Propose(ReadOnlySpan<DraftRequest> requests, TokenForest forest)
        {
        }

        public void Observe(ReadOnlySpan<DraftRequest> requests, ReadOnlySpan<Acceptance> acceptances, TokenForest forest)
        {
        }

        public void Release(int sequence)
        {
        }

        public void Dispose() => Interlocked.Increment(ref _disposals);
    }
}
