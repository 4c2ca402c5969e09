using System.Runtime.InteropServices;
using System.Text;
using Foretoken.Ptx;
using Foretoken.Ptx.Driver;

namespace Foretoken.Tests.Ptx;

public sealed unsafe class DriverTests
{
    private const string AddOne = MemoryTests.Header + """
        .visible .entry add_one(.param .u64 p, .param .u32 n)
        {
        .reg .pred %p1;
        .reg .b32 %r<8>;
        .reg .b64 %rd<4>;
        ld.param.u64 %rd1, [p];
        ld.param.u32 %r1, [n];
        mov.u32 %r2, %ctaid.x;
        mov.u32 %r3, %ntid.x;
        mov.u32 %r4, %tid.x;
        mad.lo.s32 %r5, %r2, %r3, %r4;
        setp.ge.u32 %p1, %r5, %r1;
        @%p1 ret;
        mul.wide.u32 %rd2, %r5, 4;
        add.s64 %rd1, %rd1, %rd2;
        ld.global.u32 %r6, [%rd1];
        add.s32 %r6, %r6, 1;
        st.global.u32 [%rd1], %r6;
        ret;
        }
        """;

    private static readonly PtxMachineOptions Small = new() { GlobalBytes = 1 << 20 };

#pragma warning disable CS0649 // PtxDriver.Fill writes the fields
    /// <summary>The calls as a program makes them.</summary>
    private struct Table
    {
        public delegate* unmanaged<uint, int> cuInit;
        public delegate* unmanaged<nint*, int, int> cuDevicePrimaryCtxRetain;
        public delegate* unmanaged<int, int> cuDevicePrimaryCtxRelease_v2;
        public delegate* unmanaged<nint, int> cuCtxSetCurrent;
        public delegate* unmanaged<ulong*, nuint, int> cuMemAlloc_v2;
        public delegate* unmanaged<ulong, int> cuMemFree_v2;
        public delegate* unmanaged<void**, nuint, uint, int> cuMemHostAlloc;
        public delegate* unmanaged<void*, int> cuMemFreeHost;
        public delegate* unmanaged<ulong, void*, nuint, nint, int> cuMemcpyHtoDAsync_v2;
        public delegate* unmanaged<void*, ulong, nuint, nint, int> cuMemcpyDtoHAsync_v2;
        public delegate* unmanaged<nint*, uint, int> cuStreamCreate;
        public delegate* unmanaged<nint, int> cuStreamDestroy_v2;
        public delegate* unmanaged<nint, int> cuStreamSynchronize;
        public delegate* unmanaged<nint, int> cuStreamQuery;
        public delegate* unmanaged<nint*, byte*, uint, int*, void**, int> cuModuleLoadDataEx;
        public delegate* unmanaged<nint, int> cuModuleUnload;
        public delegate* unmanaged<nint*, nint, byte*, int> cuModuleGetFunction;
        public delegate* unmanaged<int*, int, nint, int> cuFuncGetAttribute;
        public delegate* unmanaged<nint, uint, uint, uint, uint, uint, uint, uint, nint, void**, void**, int> cuLaunchKernel;
        public delegate* unmanaged<nint, int, int> cuStreamBeginCapture_v2;
        public delegate* unmanaged<nint, nint*, int> cuStreamEndCapture;
        public delegate* unmanaged<nint*, nint, ulong, int> cuGraphInstantiateWithFlags;
        public delegate* unmanaged<nint, nint, int> cuGraphLaunch;
        public delegate* unmanaged<nint, int> cuGraphExecDestroy;
        public delegate* unmanaged<nint, int> cuGraphDestroy;
    }
#pragma warning restore CS0649

    /// <summary>A program: counts up 100 numbers once directly and three times by a graph. Returns the first error, after giving everything back.</summary>
    private static int CountUp(int[] numbers)
    {
        Table t = PtxDriver.Fill<Table>();
        nint context = 0, stream = 0, module = 0, function = 0, graph = 0, executable = 0;
        ulong device = 0;
        void* host = null;
        nuint bytes = (nuint)numbers.Length * sizeof(int);
        uint n = (uint)numbers.Length;
        int error = t.cuInit(0);
        void Do(int result) => error = error == 0 ? result : error;
        if (error == 0) Do(t.cuDevicePrimaryCtxRetain(&context, 0));
        if (error == 0) Do(t.cuCtxSetCurrent(context));
        if (error == 0) Do(t.cuStreamCreate(&stream, 1));
        if (error == 0) Do(t.cuMemAlloc_v2(&device, bytes));
        if (error == 0) Do(t.cuMemHostAlloc(&host, bytes, 0));
        fixed (byte* image = Encoding.UTF8.GetBytes(AddOne + "\0"), name = "add_one\0"u8)
        {
            if (error == 0) Do(t.cuModuleLoadDataEx(&module, image, 0, null, null));
            if (error == 0) Do(t.cuModuleGetFunction(&function, module, name));
        }

        void** arguments = stackalloc void*[] { &device, &n };
        if (error == 0) numbers.CopyTo(new Span<int>(host, numbers.Length));
        if (error == 0) Do(t.cuMemcpyHtoDAsync_v2(device, host, bytes, stream));
        if (error == 0) Do(t.cuLaunchKernel(function, 2, 1, 1, 64, 1, 1, 0, stream, arguments, null));
        if (error == 0) Do(t.cuStreamBeginCapture_v2(stream, 1));
        bool capturing = error == 0;
        if (error == 0) Do(t.cuLaunchKernel(function, 2, 1, 1, 64, 1, 1, 0, stream, arguments, null));
        if (capturing) Do(t.cuStreamEndCapture(stream, &graph));
        if (error == 0) Do(t.cuGraphInstantiateWithFlags(&executable, graph, 0));
        for (int repeat = 0; repeat < 3; repeat++)
            if (error == 0) Do(t.cuGraphLaunch(executable, stream));
        if (error == 0) Do(t.cuMemcpyDtoHAsync_v2(host, device, bytes, stream));
        if (error == 0) Do(t.cuStreamSynchronize(stream));
        if (error == 0) new Span<int>(host, numbers.Length).CopyTo(numbers);
        if (executable != 0) Do(t.cuGraphExecDestroy(executable));
        if (graph != 0) Do(t.cuGraphDestroy(graph));
        if (module != 0) Do(t.cuModuleUnload(module));
        if (host != null) Do(t.cuMemFreeHost(host));
        if (device != 0) Do(t.cuMemFree_v2(device));
        if (stream != 0) Do(t.cuStreamDestroy_v2(stream));
        if (context != 0) Do(t.cuDevicePrimaryCtxRelease_v2(0));
        return error;
    }

    [Fact]
    public void A_program_runs_kernels_and_graphs_and_leaks_nothing()
    {
        using var driver = new PtxDriver(Small);
        int[] numbers = [.. Enumerable.Range(0, 100)];
        Assert.Equal(CuResult.Success, CountUp(numbers));
        Assert.Equal(Enumerable.Range(4, 100), numbers);
        Assert.Equal(["add_one", "add_one", "add_one", "add_one"], driver.Launches);
        Assert.Empty(driver.Leaks);
        Assert.Empty(driver.Machine.LiveAllocations);
        Assert.Equal(4 * 400, driver.Machine.Counters["add_one"].GlobalLoadBytes);
    }

    [Theory]
    [InlineData(CuResult.OutOfMemory)]
    [InlineData(CuResult.IllegalAddress)]
    public void A_fault_at_any_call_reaches_the_caller_and_nothing_leaks(int fault)
    {
        using var counting = new PtxDriver(Small);
        CountUp(new int[100]);
        for (long call = 1; call <= counting.Calls; call++)
        {
            using var driver = new PtxDriver(Small) { FaultAtCall = call, FaultResult = fault };
            Assert.Equal(fault, CountUp(new int[100]));
            Assert.True(driver.Leaks.Count == 0, $"call {call}: {string.Join(", ", driver.Leaks)}");
        }
    }

    [Fact]
    public void Work_waits_for_a_synchronisation()
    {
        using var driver = new PtxDriver(Small);
        Table t = Start();
        nint stream = 0;
        ulong device = 0;
        void* host = null;
        Assert.Equal(0, t.cuStreamCreate(&stream, 1));
        Assert.Equal(0, t.cuMemAlloc_v2(&device, 4));
        Assert.Equal(0, t.cuMemHostAlloc(&host, 4, 0));
        *(int*)host = 7;
        Assert.Equal(0, t.cuMemcpyHtoDAsync_v2(device, host, 4, stream));
        *(int*)host = 8; // too early: pinned memory is read when the copy runs
        Assert.Equal(CuResult.NotReady, t.cuStreamQuery(stream));
        Assert.Equal(CuResult.Success, t.cuStreamQuery(stream));
        Assert.Equal(8, driver.Machine.Read<int>(device, 1)[0]);
    }

    [Fact]
    public void A_module_that_is_not_understood_says_so_in_the_log()
    {
        using var driver = new PtxDriver(Small);
        Table t = Start();
        nint module = 0;
        byte* log = stackalloc byte[256];
        int* options = stackalloc int[] { 5, 6 };
        void** values = stackalloc void*[] { log, (void*)(nint)256 };
        fixed (byte* image = Encoding.UTF8.GetBytes(AddOne.Replace("mad.lo.s32", "mad.low.s32", StringComparison.Ordinal) + "\0"))
            Assert.Equal(CuResult.InvalidPtx, t.cuModuleLoadDataEx(&module, image, 2, options, values));
        string text = Marshal.PtrToStringUTF8((nint)log)!;
        Assert.Contains("mad.low.s32", text, StringComparison.Ordinal);
        Assert.Equal(text.Length, (int)(nint)values[1]);
        Assert.Equal(0, module);
    }

    [Fact]
    public void A_kernel_fault_sticks_to_the_context()
    {
        using var driver = new PtxDriver(Small);
        Table t = Start();
        nint stream = 0, module = 0, function = 0;
        ulong device = 0;
        t.cuStreamCreate(&stream, 1);
        t.cuMemAlloc_v2(&device, 64);
        fixed (byte* image = Encoding.UTF8.GetBytes(AddOne + "\0"), name = "add_one\0"u8)
        {
            Assert.Equal(0, t.cuModuleLoadDataEx(&module, image, 0, null, null));
            Assert.Equal(0, t.cuModuleGetFunction(&function, module, name));
        }

        ulong wild = device + (1 << 12);
        uint n = 16;
        void** arguments = stackalloc void*[] { &wild, &n };
        Assert.Equal(CuResult.Success, t.cuLaunchKernel(function, 1, 1, 1, 32, 1, 1, 0, stream, arguments, null));
        Assert.Equal(CuResult.IllegalAddress, t.cuStreamSynchronize(stream)); // late, as on a device
        Assert.Equal(CuResult.IllegalAddress, t.cuMemAlloc_v2(&device, 64));
        Assert.Contains("add_one", driver.LastFault!.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Captures_forbid_waiting_and_allocating()
    {
        using var driver = new PtxDriver(Small);
        Table t = Start();
        nint stream = 0, graph = 1;
        ulong device = 0;
        t.cuStreamCreate(&stream, 1);
        Assert.Equal(CuResult.CaptureImplicit, t.cuStreamBeginCapture_v2(0, 1));
        Assert.Equal(CuResult.Success, t.cuStreamBeginCapture_v2(stream, 1));
        Assert.Equal(CuResult.CaptureUnsupported, t.cuStreamSynchronize(stream));
        Assert.Equal(CuResult.CaptureInvalidated, t.cuStreamEndCapture(stream, &graph));
        Assert.Equal(0, graph);
        Assert.Equal(CuResult.Success, t.cuStreamBeginCapture_v2(stream, 1));
        Assert.Equal(CuResult.CaptureUnsupported, t.cuMemAlloc_v2(&device, 16));
        Assert.Equal(CuResult.CaptureInvalidated, t.cuStreamEndCapture(stream, &graph));
        Assert.Equal(CuResult.Success, t.cuMemAlloc_v2(&device, 16));
    }

    private static Table Start()
    {
        Table t = PtxDriver.Fill<Table>();
        nint context = 0;
        Assert.Equal(CuResult.NotInitialized, t.cuDevicePrimaryCtxRetain(&context, 0));
        Assert.Equal(0, t.cuInit(0));
        Assert.Equal(0, t.cuDevicePrimaryCtxRetain(&context, 0));
        Assert.Equal(0, t.cuCtxSetCurrent(context));
        return t;
    }
}
