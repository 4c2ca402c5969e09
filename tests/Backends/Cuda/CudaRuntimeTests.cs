using Foretoken.Backends.Cuda;
using Foretoken.Backends.Cuda.Kernels;
using Foretoken.Memory;
using Foretoken.Tests.Backends.Cuda.Kernels;

namespace Foretoken.Tests.Backends.Cuda;

public sealed class CudaRuntimeTests
{
    private static readonly string[] s_probe = [Probe.Module];

    [Fact]
    public void Self_test_passes_and_leaves_nothing_behind()
    {
        using var fake = new FakeDriver();
        Assert.Null(CudaSelfTest.Run(fake.Platform(), 0));
        Assert.Equal([Probe.EntryPoint], fake.Launches);
        Assert.Equal("", fake.Leaks);
    }

    [Theory]
    [InlineData((int)CudaResult.Unknown)]
    [InlineData((int)CudaResult.OutOfMemory)]
    [InlineData((int)CudaResult.IllegalAddress)] // the device is lost: every later call fails too
    public void Fault_at_any_call_is_reported_and_leaks_nothing(int error)
    {
        var fault = (CudaResult)error;
        int calls = CallsOf(-1, fault, out string? clean);
        Assert.Null(clean);
        for (int at = 0; at < calls; at++)
        {
            CallsOf(at, fault, out string? report);
            Assert.True(report is null or { Length: > 20 }, report); // a release that fails is no error of the work before it
        }
    }

    /// <summary>Runs everything that the runtime has against a driver that fails at one call; asserts that nothing leaks; gives what was reported.</summary>
    private static int CallsOf(int faultAt, CudaResult fault, out string? report)
    {
        using var fake = new FakeDriver { FaultAt = faultAt, Fault = fault };
        report = null;
        CudaPlatform platform = fake.Platform();
        try
        {
            using CudaDevice device = CudaDevice.Open(platform, 0, s_probe);
            UseEverything(device, fake);
        }
        catch (Exception e) when (e is CudaException or OutOfMemoryBudgetException or CudaUnavailableException)
        {
            report = e.Message;
        }

        Assert.Equal("", fake.Leaks);
        return fake.Calls.Count;
    }

    private static void UseEverything(CudaDevice device, FakeDriver fake)
    {
        var plan = new MemoryPlan();
        CudaStream stream = CudaStream.Create(device);
        using CudaEvent start = CudaEvent.Create(device, timing: true), end = CudaEvent.Create(device, timing: true);
        DeviceArena arena = DeviceArena.Allocate(device, 4096, "A test", plan);
        DevicePointer<uint> seed = arena.Take<uint>("test", "seed", "[1] u32", 1), values = arena.Take<uint>("test", "values", "[300] u32", 300);
        using var staged = new StagedCopy(stream, 64, plan);
        start.Record(stream);
        staged.Upload([7u], seed);
        var probe = new Probe { Seed = seed, Scale = 1f, Values = values, Count = 300, Grid = 1, Block = 64 };
        probe.Launch(stream);
        using CudaGraph graph = CudaGraph.Capture(stream, s => probe.Launch(s));
        graph.Launch(stream);
        graph.Launch(stream);
        end.Record(stream);
        end.Synchronize();
        Assert.Equal(1.5f, end.MillisecondsSince(start));
        var answer = new uint[300];
        KernelHarness.Download(stream, values, answer, plan);
        Assert.Equal(CudaSelfTest.Expected(7, 1f, 299), answer[299]);
        Assert.Equal(3, fake.Launches.Count);
    }

    [Fact]
    public void Handles_are_counted_by_kind_and_freed_with_the_device()
    {
        using var fake = new FakeDriver();
        CudaDevice device = CudaDevice.Open(fake.Platform(), 0, s_probe);
        Assert.Equal("1 Context, 1 Module", Live(device));
        CudaStream stream = CudaStream.Create(device);
        CudaEvent first = CudaEvent.Create(device);
        _ = CudaEvent.Create(device);
        Assert.Equal("1 Context, 1 Module, 1 Stream, 2 Event", Live(device));
        first.Dispose();
        first.Dispose(); // counts once
        Assert.Equal(1, device.Live(CudaHandleKind.Event));
        device.Dispose();
        Assert.Equal("", Live(device));
        Assert.Equal("", fake.Leaks);
        stream.Dispose(); // after its device: nothing is left to do
        Assert.Single(fake.Calls, c => c == "cuStreamDestroy_v2");
    }

    [Fact]
    public void Memory_that_the_device_lacks_is_a_budget_error_before_any_allocation()
    {
        using var fake = new FakeDriver { TotalBytes = 1000 };
        using CudaDevice device = CudaDevice.Open(fake.Platform(), 0, s_probe);
        string message = Assert.Throws<OutOfMemoryBudgetException>(() => DeviceArena.Allocate(device, 1001, "models/big", new MemoryPlan())).Message;
        Assert.Equal(
            "models/big needs 1,001 bytes on CUDA device 0 (Fake 0), and 1,000 of its 1,000 bytes are free. Use a smaller model or context, the weight type int8, or a "
            + "smaller KV budget.", message);
        Assert.DoesNotContain("cuMemAlloc_v2", fake.Calls);
    }

    [Fact]
    public void Memory_that_another_process_took_meanwhile_is_a_budget_error_too()
    {
        using var fake = new FakeDriver { TotalBytes = 1000, Overstated = 500 };
        using CudaDevice device = CudaDevice.Open(fake.Platform(), 0, s_probe);
        var error = Assert.Throws<OutOfMemoryBudgetException>(() => DeviceArena.Allocate(device, 1400, "models/big", new MemoryPlan()));
        Assert.Equal("cuMemAlloc_v2", Assert.IsType<CudaException>(error.InnerException).Call);
    }

    [Fact]
    public void Arena_cuts_aligned_buffers_lists_them_and_refuses_more_than_was_planned()
    {
        using var fake = new FakeDriver();
        using CudaDevice device = CudaDevice.Open(fake.Platform(), 0, s_probe);
        var plan = new MemoryPlan();
        DeviceArena arena = DeviceArena.Allocate(device, 600, "A test", plan);
        DevicePointer<float> first = arena.Take<float>("test", "first", "[3] f32", 3);
        DevicePointer<byte> second = arena.Take<byte>("test", "second", "[256] u8", 256);
        Assert.Equal(first.Address + 256, second.Address);
        Assert.Equal(512, arena.Used);
        Assert.Equal([12L, 256L], plan.Entries.Select(e => e.Bytes));
        string message = Assert.Throws<OutOfMemoryBudgetException>(() => arena.Take<byte>("test", "third", "[89] u8", 89)).Message;
        Assert.Contains("test/third [89] u8 needs 89 bytes, and 88 of the 600 bytes", message, StringComparison.Ordinal);
        Assert.Equal(88, (int)(arena.Take<byte>("test", "third", "[88] u8", 88).Address - second.Address - 256) + 88);
    }

    [Fact]
    public void Refused_module_names_the_file_and_carries_the_compilers_log()
    {
        using var fake = new FakeDriver { JitError = "ptxas application ptx input, line 9; error: Unknown modifier '.magic'" };
        var error = Assert.Throws<CudaException>(() => CudaDevice.Open(fake.Platform(), 0, s_probe));
        Assert.Equal((218, "CUDA_ERROR_INVALIDPTX", "cuModuleLoadDataEx"), (error.Result, error.Name, error.Call));
        Assert.Contains("cu/probe.ptx cannot be loaded: ptxas application ptx input, line 9; error: Unknown modifier '.magic'", error.Message, StringComparison.Ordinal);
        Assert.Equal("", fake.Leaks);
    }

    [Fact]
    public void Spilling_kernels_are_found()
    {
        using var fake = new FakeDriver { LocalBytes = 48 };
        using CudaDevice device = CudaDevice.Open(fake.Platform(), 0, s_probe);
        Assert.Equal(("probe", 48), (device.Kernels.Spilling.Single().Kernel.EntryPoint, device.Kernels.Spilling.Single().LocalBytes));
    }

    [Fact]
    public void Refused_launch_names_the_kernel_and_its_grid()
    {
        using var fake = new FakeDriver();
        using CudaDevice device = CudaDevice.Open(fake.Platform(), 0, s_probe);
        CudaStream stream = CudaStream.Create(device);
        var error = Assert.Throws<CudaException>(() => new Probe { Seed = default, Scale = 1, Values = default, Count = 0, Grid = (2, 3), Block = 2048 }.Launch(stream));
        Assert.Contains("cuLaunchKernel failed with CUDA_ERROR_INVALIDVALUE (1)", error.Message, StringComparison.Ordinal);
        Assert.Contains("Kernel probe, grid (2, 3, 1), block (2048, 1, 1), 0 bytes of shared memory", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Launch_options_become_launch_attributes()
    {
        using var fake = new FakeDriver();
        using CudaDevice device = CudaDevice.Open(fake.Platform(), 0, s_probe);
        CudaStream stream = CudaStream.Create(device);
        var probe = new Probe { Seed = default, Scale = 1, Values = default, Count = 0, Grid = 1, Block = 32 };
        (probe with { Options = CudaLaunchOptions.Cooperative | CudaLaunchOptions.ProgrammaticSerialization }).Launch(stream);
        Assert.Equal([(CudaLaunchAttributeId.Cooperative, 1), (CudaLaunchAttributeId.ProgrammaticStreamSerialization, 1)], fake.LastAttributes.Select(a => (a.Id, a.Value)));
        Assert.Equal("cuLaunchKernelEx", fake.Calls[^1]);
    }

    [Fact]
    public void Recording_that_fails_leaves_a_usable_stream()
    {
        using var fake = new FakeDriver();
        using CudaDevice device = CudaDevice.Open(fake.Platform(), 0, s_probe);
        CudaStream stream = CudaStream.Create(device);
        Assert.Throws<CudaException>(() => CudaGraph.Capture(stream, s => s.Synchronize())); // not allowed while recording
        Assert.Throws<InvalidDataException>(() => CudaGraph.Capture(stream, _ => throw new InvalidDataException()));
        using (CudaGraph empty = CudaGraph.Capture(stream, _ => { })) empty.Launch(stream);
        stream.Synchronize();
        Assert.Equal("1 Context, 1 Module, 1 Stream", Live(device));
    }

    [Fact]
    public void Staged_copies_of_any_length_arrive()
    {
        using var fake = new FakeDriver();
        using CudaDevice device = CudaDevice.Open(fake.Platform(), 0, s_probe);
        CudaStream stream = CudaStream.Create(device);
        DeviceArena arena = DeviceArena.Allocate(device, 4096, "A test", new MemoryPlan());
        using var staged = new StagedCopy(stream, 48, new MemoryPlan());
        foreach (int count in new[] { 1, 12, 13, 24, 25, 100 })
        {
            int[] values = [.. Enumerable.Range(count, count)], back = new int[count];
            DevicePointer<int> target = arena.Take<int>("test", "values", "[n] i32", count);
            staged.Upload<int>(values, target);
            KernelHarness.Download(stream, target, back, new MemoryPlan());
            Assert.Equal(values, back);
        }
    }

    [Fact]
    public void Launch_and_replay_allocate_nothing()
    {
        using var fake = new FakeDriver();
        CudaDriverTable table = FakeDriver.Table();
        unsafe
        {
            table.cuLaunchKernel = &Nothing;
            table.cuGraphLaunch = &Nothing;
        }

        using CudaDevice device = CudaDevice.Open(CudaPlatform.Over(new CudaDriver(table)), 0, s_probe);
        CudaStream stream = CudaStream.Create(device);
        var probe = new Probe { Seed = default, Scale = 1, Values = default, Count = 0, Grid = 1, Block = 32 };
        using CudaGraph graph = CudaGraph.Capture(stream, s => probe.Launch(s));
        for (int i = 0; i < 100; i++) Both();
        long before = GC.GetAllocatedBytesForCurrentThread();
        for (int i = 0; i < 1000; i++) Both();
        Assert.Equal(before, GC.GetAllocatedBytesForCurrentThread());
        void Both()
        {
            probe.Launch(stream);
            graph.Launch(stream);
        }
    }

    /// <summary>Passes of two kinds take turns: each is enqueued once, recorded once and replayed from then on without a closure.</summary>
    [Fact]
    public void Passes_are_recorded_once_per_bucket_and_replayed_without_allocation()
    {
        using var fake = new FakeDriver();
        CudaDriverTable table = FakeDriver.Table();
        unsafe
        {
            table.cuGraphLaunch = &Nothing;
        }

        using CudaDevice device = CudaDevice.Open(CudaPlatform.Over(new CudaDriver(table)), 0, s_probe);
        using var graphs = new PassGraphs(CudaStream.Create(device), record: true);
        var enqueued = new List<PassBucket>(16);
        Action<PassBucket> enqueue = enqueued.Add;
        List<PassStep> host = [new(PassOperation.Logits, 0, null, default, default)];
        List<PassStep> onDevice = [.. host, new(PassOperation.Sample, 0, null, default, default)];
        PassBucket sampled = new(4, 1, 1, Samples: true, Accepts: false), plain = sampled with { Samples = false };
        for (int i = 0; i < 6; i++) Both();
        Assert.Equal([sampled, plain, sampled, plain], enqueued);
        Assert.Equal(2, graphs.Captured);
        long before = GC.GetAllocatedBytesForCurrentThread();
        for (int i = 0; i < 1000; i++) Both();
        Assert.Equal(before, GC.GetAllocatedBytesForCurrentThread());
        void Both()
        {
            graphs.Run(sampled, onDevice, enqueue);
            graphs.Run(plain, host, enqueue);
        }
    }

    private static string Live(CudaDevice device) =>
        string.Join(", ", Enum.GetValues<CudaHandleKind>().Where(k => device.Live(k) > 0).Select(k => $"{device.Live(k)} {k}"));

    [System.Runtime.InteropServices.UnmanagedCallersOnly]
    private static unsafe CudaResult Nothing(
        nint function, uint gridX, uint gridY, uint gridZ, uint blockX, uint blockY, uint blockZ, uint sharedBytes, nint stream, void** parameters, void** extra) =>
        CudaResult.Success;

    [System.Runtime.InteropServices.UnmanagedCallersOnly]
    private static CudaResult Nothing(nint executable, nint stream) => CudaResult.Success;
}
