using Foretoken.Ptx;
using static Foretoken.Tests.Ptx.MemoryTests;

namespace Foretoken.Tests.Ptx;

/// <summary>Kernels with a known mistake: the machine must find each.</summary>
public class FaultTests
{
    private static readonly uint[] Input = new uint[64];

    private static PtxFaultException Fault(string body, PtxFaultKind kind, PtxMachineOptions? options = null, int threads = 64)
    {
        PtxFaultException fault = Assert.Throws<PtxFaultException>(() => Run(Kernel(body), Input, threads, options: options));
        Assert.True(fault.Kind == kind, $"{kind} expected: {fault.Message}");
        return fault;
    }

    [Fact]
    public void Accesses_past_the_end_name_the_line_the_thread_and_the_distance()
    {
        PtxFaultException fault = Fault("ld.global.u32 %r1, [%i+4];\nst.global.u32 [%o], %r1;", PtxFaultKind.OutOfBounds);
        Assert.Contains("thread (63,0,0)", fault.Message, StringComparison.Ordinal);
        Assert.Contains("0 bytes past the end of the 256 bytes of 'input'", fault.Message, StringComparison.Ordinal);
        Assert.Contains("ld.global.u32 %r1, [%i+4];", fault.Message, StringComparison.Ordinal);
        Fault("st.global.u32 [%o+-4], %r0;", PtxFaultKind.OutOfBounds);
        Fault(".shared .align 4 .b8 tile[128];\nmov.u32 %r1, tile;\nadd.s32 %r1, %r1, 128;\nst.shared.u32 [%r1], %r0;", PtxFaultKind.OutOfBounds);
        Fault("mov.u64 %rd1, 64;\nld.global.u32 %r1, [%rd1];", PtxFaultKind.OutOfBounds);
    }

    [Fact]
    public void Vector_accesses_must_be_aligned_to_their_whole_size() =>
        Fault("ld.global.v4.u32 {%r1, %r2, %r3, %r4}, [%i];", PtxFaultKind.Misaligned);

    [Fact]
    public void Freed_buffers_are_gone()
    {
        using var machine = new PtxMachine(new PtxMachineOptions { GlobalBytes = 1 << 20 });
        PtxModule module = machine.LoadModule(Kernel("st.global.u32 [%o], %r0;"));
        PtxBuffer output = machine.Allocate(256);
        machine.Free(output);
        Assert.Equal(PtxFaultKind.OutOfBounds, Assert.Throws<PtxFaultException>(() => machine.Launch(module, "k", 1, 64, 0, output, output)).Kind);
        Assert.Throws<PtxFaultException>(() => machine.Free(output));
        Assert.Empty(machine.LiveAllocations);
    }

    [Fact]
    public void Unwritten_memory_and_registers_must_not_be_read()
    {
        Fault("ld.global.u32 %r1, [%o];", PtxFaultKind.UninitialisedMemory);
        Fault(".shared .align 4 .b8 tile[256];\nmov.u32 %r1, tile;\nld.shared.u32 %r2, [%r1];", PtxFaultKind.UninitialisedMemory);
        Fault("add.s32 %r2, %r1, 1;", PtxFaultKind.UninitialisedRegister);
        PtxFaultException partly = Fault("setp.lt.u32 %p1, %r0, 5;\n@%p1 mov.u32 %r1, 3;\nst.global.u32 [%o], %r1;", PtxFaultKind.UninitialisedRegister);
        Assert.Contains("thread (5,0,0)", partly.Message, StringComparison.Ordinal);
        Run(Kernel("setp.lt.u32 %p1, %r0, 5;\n@%p1 mov.u32 %r1, 3;\n@!%p1 mov.u32 %r1, 4;\nst.global.u32 [%o], %r1;"), Input); // every lane wrote it: fine
    }

    private const string Tile = ".shared .align 4 .b8 tile[512];\nmov.u32 %r1, tile;\nshl.b32 %r2, %r0, 2;\nadd.s32 %r1, %r1, %r2;\nxor.b32 %r3, %r2, ";

    [Theory]
    [InlineData(128, "was read by warps")] // the other warp's words
    [InlineData(4, "written by warp")] // the neighbour lane's
    public void Reads_of_what_another_thread_wrote_need_a_barrier(int distance, string text)
    {
        string body = $"{Tile}{distance};\nmov.u32 %r4, tile;\nadd.s32 %r4, %r4, %r3;\nst.shared.u32 [%r1], %r0;\nBARRIER\nld.shared.u32 %r5, [%r4];\nst.global.u32 [%o], %r5;";
        PtxFaultKind kind = distance == 128 ? PtxFaultKind.UninitialisedMemory : PtxFaultKind.SharedRace;
        PtxFaultException fault = Assert.Throws<PtxFaultException>(() => Run(Kernel(body.Replace("BARRIER", "", StringComparison.Ordinal)), Input));
        Assert.Equal(kind, fault.Kind); // the first warp reads before the second ever ran
        fault = Fault(body.Replace("BARRIER", "", StringComparison.Ordinal), distance == 128 ? PtxFaultKind.SharedRace : kind, new PtxMachineOptions { CheckInitialised = false, WarpOrder = PtxOrder.Descending });
        Assert.Contains(text, fault.Message, StringComparison.Ordinal);
        uint[] fine = Run(Kernel(body.Replace("BARRIER", distance == 4 ? "bar.warp.sync -1;" : "bar.sync 0;", StringComparison.Ordinal)), Input);
        Assert.Equal(Enumerable.Range(0, 64).Select(t => (uint)(t ^ (distance / 4))), fine);
    }

    [Fact]
    public void Overwriting_what_others_still_read_is_a_race()
    {
        string body = $"{Tile}128;\nmov.u32 %r4, tile;\nadd.s32 %r4, %r4, %r3;\nst.shared.u32 [%r1], %r0;\nbar.sync 0;\nld.shared.u32 %r5, [%r4];\nBARRIER\nadd.s32 %r6, %r5, 100;\nst.shared.u32 [%r1], %r6;\nst.global.u32 [%o], %r5;";
        Fault(body.Replace("BARRIER", "", StringComparison.Ordinal), PtxFaultKind.SharedRace);
        Run(Kernel(body.Replace("BARRIER", "bar.sync 0;", StringComparison.Ordinal)), Input);
    }

    [Fact]
    public void Copies_that_nobody_waited_for_must_not_be_read()
    {
        const string Copy = ".shared .align 16 .b8 tile[1024];\nmov.u32 %r1, tile;\nshl.b32 %r2, %r0, 2;\nadd.s32 %r1, %r1, %r2;\ncp.async.ca.shared.global [%r1], [%i], 4;\ncp.async.commit_group;\n";
        Fault(Copy + "ld.shared.u32 %r5, [%r1];\nst.global.u32 [%o], %r5;", PtxFaultKind.SharedRace);
        Fault(Copy + "cp.async.wait_group 1;\nld.shared.u32 %r5, [%r1];\nst.global.u32 [%o], %r5;", PtxFaultKind.SharedRace);
        Fault(Copy + "bar.sync 0;\nld.shared.u32 %r5, [%r1];\nst.global.u32 [%o], %r5;", PtxFaultKind.SharedRace);
        Run(Kernel(Copy + "cp.async.wait_group 0;\nld.shared.u32 %r5, [%r1];\nst.global.u32 [%o], %r5;"), Input);
    }

    [Fact]
    public void Read_only_data_must_not_be_written_by_the_same_launch()
    {
        Fault("ld.global.nc.u32 %r1, [%i];\nst.global.u32 [%i], %r1;", PtxFaultKind.ReadOnlyData);
        Fault("ld.global.u32 %r1, [%i];\nst.global.u32 [%i], %r1;\nld.global.nc.u32 %r2, [%i];", PtxFaultKind.ReadOnlyData);
        Run(Kernel("ld.global.nc.u32 %r1, [%i];\nst.global.u32 [%o], %r1;\nld.global.u32 %r2, [%o];"), Input);
        using var machine = new PtxMachine(new PtxMachineOptions { GlobalBytes = 1 << 20 });
        PtxModule module = machine.LoadModule(Kernel("ld.global.nc.u32 %r1, [%i];\nst.global.u32 [%o], %r1;"));
        PtxBuffer a = machine.Upload(new uint[64]), b = machine.Upload(new uint[64]);
        machine.Launch(module, "k", 1, 64, 0, a, b);
        machine.Launch(module, "k", 1, 64, 0, b, a); // the marks last for one launch
    }

    [Fact]
    public void Barriers_must_be_reached_by_all()
    {
        Fault("setp.lt.u32 %p1, %r0, 5;\n@%p1 bar.sync 0;", PtxFaultKind.DivergentBarrier);
        Fault("setp.lt.u32 %p1, %r0, 5;\n@%p1 bra L;\nbar.sync 0;\nbra E;\nL:\nbar.sync 0;\nE:", PtxFaultKind.DivergentBarrier);
        Fault("setp.lt.u32 %p1, %r0, 5;\n@%p1 bra L;\nbar.warp.sync -1;\nbra E;\nL:\nshfl.sync.idx.b32 %r1, %r0, 0, 31, -1;\nE:", PtxFaultKind.DivergentBarrier);
        PtxFaultException deadlock = Fault("setp.lt.u32 %p1, %r0, 32;\n@%p1 bra L;\nbar.sync 1;\nbra E;\nL:\nbar.sync 2;\nE:", PtxFaultKind.Deadlock);
        Assert.Contains("warp 0 in line 22, warp 1 in line 19", deadlock.Message, StringComparison.Ordinal);
        Run(Kernel("setp.lt.u32 %p1, %r0, 32;\n@%p1 ret;\nbar.sync 0;\nst.global.u32 [%o], %r0;"), Input); // the others exited
    }

    [Fact]
    public void Traps_endless_loops_and_bad_operands_end_the_launch()
    {
        Fault("setp.eq.u32 %p1, %r0, 40;\n@%p1 trap;", PtxFaultKind.IllegalInstruction);
        Fault("L:\nbra L;", PtxFaultKind.InstructionLimit, new PtxMachineOptions { InstructionLimit = 100_000 });
        Fault("shfl.sync.idx.b32 %r1, %r0, 0, 31, 1;", PtxFaultKind.IllegalInstruction);
        Fault("bar.sync 16;", PtxFaultKind.IllegalInstruction);
        Fault("setp.lt.u32 %p1, %r0, 5;\n@%p1 bra.uni L;\nL:", PtxFaultKind.IllegalInstruction);
    }

    [Fact]
    public void Launches_beyond_the_limits_are_refused()
    {
        using var machine = new PtxMachine(new PtxMachineOptions { GlobalBytes = 1 << 20 });
        PtxModule module = machine.LoadModule(Header + ".visible .entry k() .maxntid 64, 1, 1 { ret; }");
        machine.Launch(module, "k", 1, 64, 0);
        foreach ((Dim3 grid, Dim3 block, int shared) in new (Dim3, Dim3, int)[] { (1, 65, 0), (0, 1, 0), (1, 1, 200_000), (new Dim3(1, 70_000), 1, 0), (1, new Dim3(1, 1, 65), 0) })
            Assert.Equal(PtxFaultKind.InvalidLaunch, Assert.Throws<PtxFaultException>(() => machine.Launch(module, "k", grid, block, shared)).Kind);
        Assert.Contains("k", Assert.Throws<ArgumentException>(() => machine.Launch(module, "nosuch", 1, 1, 0)).Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("frobnicate.b32 %r1, %r2;", "unknown instruction 'frobnicate.b32'")]
    [InlineData("add.s32.wobble %r1, %r2, %r3;", "unknown")]
    [InlineData("ld.global.zz.u32 %r1, [%rd1];", "unknown modifier '.zz'")]
    [InlineData("add.s32 %r1, %r2;", "operands")]
    [InlineData("add.s32 %r1, %rd2, %r3;", "64 bits")]
    [InlineData("add.s32 %r1, %nope, %r3;", "'%nope' is not defined")]
    [InlineData("mma.sync.aligned.m8n8k4.row.col.f32.f16.f16.f32 {%r1}, {%r1}, {%r1}, {%r1};", "fragment map")]
    [InlineData("bra NOWHERE;", "'NOWHERE' is not defined")]
    [InlineData("cvt.rn.e4m3x2.f32 %h1, %f1, %f2;", "sm_89")]
    [InlineData("fma.f32 %f1, %f2, %f3, %f4;", "rounding")]
    public void What_is_not_understood_is_an_error_with_its_line(string instruction, string message)
    {
        using var machine = new PtxMachine(new PtxMachineOptions { GlobalBytes = 1 << 20 });
        string text = Kernel("mov.u32 %r2, 0;\n" + instruction);
        PtxParseException error = Assert.Throws<PtxParseException>(() => machine.LoadModule(text));
        Assert.Contains(message, error.Message, StringComparison.Ordinal);
        Assert.Equal(Array.FindIndex(text.Split('\n'), l => l.Contains(instruction, StringComparison.Ordinal)) + 1, error.Line);
    }
}
