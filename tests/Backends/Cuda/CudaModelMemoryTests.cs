using Foretoken.Backends;
using Foretoken.Backends.Cuda;
using Foretoken.Generation;
using Foretoken.Memory;
using Foretoken.Speculation;
using Foretoken.Tests.Generation;
using Foretoken.Tests.Speculation;

namespace Foretoken.Tests.Backends.Cuda;

/// <summary>Loads a tiny model onto a device that computes nothing: where its memory comes from, and what is left of it.</summary>
public sealed class CudaModelMemoryTests(TinyModelFixture model) : IClassFixture<TinyModelFixture>
{
    [Theory]
    [InlineData(WeightType.BF16)]
    [InlineData(WeightType.Int8)]
    public void Weights_cache_and_activations_are_one_allocation_as_planned_and_nothing_is_left_after_disposal(WeightType type)
    {
        using var fake = new FakeDriver { TotalBytes = 64 << 20 };
        using (LanguageModel loaded = model.Load(Options(fake) with { WeightType = type }))
        {
            Assert.Single(fake.Calls, c => c == "cuMemAlloc_v2");
            string[] onDevice = ["weights", "activations"];
            long planned = loaded.Plan.Entries
                .Where(e => onDevice.Contains(e.Group) || (e.Group, e.Name) is ("pass", "rows") or ("kv", "device pages" or "device slot tables" or "commands"))
                .Sum(e => DeviceArena.Padded(e.Bytes));
            Assert.Equal(planned, fake.DeviceBytes);
            Assert.Contains(loaded.Plan.Entries, e => e.Group == "weights" && e.Name == "layer 0 qkv");
            Assert.DoesNotContain("cuMemAlloc_v2", fake.Calls[(fake.Calls.IndexOf("cuMemAlloc_v2") + 1)..]);
        }

        Assert.Equal("", fake.Leaks);
    }

    [Fact]
    public void Model_that_does_not_fit_is_a_budget_error_before_a_weight_is_copied_or_a_kernel_runs()
    {
        using var fake = new FakeDriver { TotalBytes = 64 << 20, Taken = (64 << 20) - 800_000 };
        string message = Assert.Throws<OutOfMemoryBudgetException>(() => model.Load(Options(fake))).Message;
        Assert.Matches(@"^The model \(weights [\d,]+ bytes, KV cache [\d,]+, activations [\d,]+\) needs [\d,]+ bytes on CUDA device 0 \(Fake 0\), and 800,000 of ", message);
        Assert.Empty(fake.Launches);
        Assert.DoesNotContain("cuMemAlloc_v2", fake.Calls);
        Assert.DoesNotContain("cuMemcpyHtoDAsync_v2", fake.Calls);
        Assert.Equal("", fake.Leaks);
    }

    /// <summary>More copies in one window than the staging memory holds commands.</summary>
    [Fact]
    public void Any_number_of_page_copies_between_two_passes_fits_the_staging_memory()
    {
        using var fake = new FakeDriver { TotalBytes = 64 << 20 };
        using LanguageModel loaded = model.Load(Options(fake));
        var store = (CudaKvStore)loaded.Cache.Options.Store!;
        int before = fake.Launches.Count;
        for (int i = 0; i < 90_000; i++) store.CopyPage(2 * i, 2 * i + 1);
        store.Fence();
        Assert.InRange(fake.Launches.Count - before, 3, 8);
    }

    /// <summary>The device's stream belongs to the thread that steps, and may be recording a pass.</summary>
    [Fact]
    public void Heads_copy_what_they_borrow_with_the_model_and_load_without_the_device()
    {
        using var fake = new FakeDriver { TotalBytes = 64 << 20 };
        using LanguageModel loaded = model.Load(Options(fake) with { Draft = new GovernorOptions(DraftCases.Options("eagle3", model.Directory)) });
        LazyDrafter eagle = Assert.Single(((Governor)loaded.Drafter).Lazy);
        Assert.Equal(DrafterState.Waiting, eagle.State);
        Assert.Contains(loaded.Plan.Entries, e => e.Group == "draft weights" && e.Name.StartsWith("copy of ", StringComparison.Ordinal));
        int calls = fake.Calls.Count;
        eagle.Load();
        eagle.Wait();
        Assert.Equal((DrafterState.Ready, calls), (eagle.State, fake.Calls.Count));
    }

    private static LanguageModelOptions Options(FakeDriver fake) => new()
    {
        Device = ComputeDevice.Cuda, CudaPlatform = fake.Platform(), Threads = 1, MaxSequences = 2, ContextLength = 64, MaxRows = 16,
    };
}
