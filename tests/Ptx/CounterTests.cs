using Foretoken.Ptx;
using static Foretoken.Tests.Ptx.MemoryTests;

namespace Foretoken.Tests.Ptx;

public class CounterTests
{
    private static PtxCounters Count(string body, int threads = 32, int inputs = 4096)
    {
        using var machine = new PtxMachine(new PtxMachineOptions { GlobalBytes = 1 << 20 });
        PtxModule module = machine.LoadModule(Kernel(body));
        PtxBuffer output = machine.Allocate(4096), source = machine.Upload(new uint[inputs]);
        return machine.Launch(module, "k", 1, threads, 0, output, source);
    }

    [Theory]
    [InlineData(4, 4)] // neighbours: 128 bytes in 4 sectors
    [InlineData(8, 8)]
    [InlineData(32, 32)] // one sector a lane
    [InlineData(256, 32)]
    [InlineData(0, 1)] // all the same word
    public void Sectors_are_counted_once_per_warp_instruction(int stride, int sectors)
    {
        PtxCounters counters = Count($"ld.param.u64 %i, [pi];\nmul.wide.u32 %rd1, %r0, {stride};\nadd.s64 %i, %i, %rd1;\nld.global.u32 %r1, [%i];\nst.global.u32 [%o], %r1;");
        Assert.Equal(sectors, counters.GlobalLoadSectors);
        Assert.Equal(128, counters.GlobalLoadBytes);
        Assert.Equal(4, counters.GlobalStoreSectors);
        Assert.Equal(128, counters.GlobalStoreBytes);
    }

    [Fact]
    public void Vector_loads_of_neighbours_waste_nothing()
    {
        PtxCounters counters = Count("mad.lo.u32 %r1, %r0, 12, 0;\ncvt.u64.u32 %rd1, %r1;\nadd.s64 %rd2, %i, %rd1;\nld.global.v4.u32 {%r2, %r3, %r4, %r5}, [%rd2];\nst.global.u32 [%o], %r2;");
        Assert.Equal(512, counters.GlobalLoadBytes);
        Assert.Equal(16, counters.GlobalLoadSectors);
    }

    [Theory]
    [InlineData(4, 0)]
    [InlineData(8, 1)]
    [InlineData(128, 31)]
    [InlineData(132, 0)] // padded rows
    [InlineData(0, 0)] // broadcast
    public void Bank_conflicts_are_the_passes_beyond_the_first(int stride, int conflicts)
    {
        PtxCounters counters = Count($".shared .align 16 .b8 tile[8192];\nmov.u32 %r1, tile;\nmad.lo.u32 %r2, %r0, {stride}, %r1;\nst.shared.u32 [%r2], 0;");
        Assert.Equal(conflicts, counters.SharedBankConflicts);
        Assert.Equal(1, counters.SharedAccesses);
    }

    [Fact]
    public void Instructions_are_counted_by_warps_and_lanes()
    {
        PtxCounters counters = Count("setp.lt.u32 %p1, %r0, 8;\n@%p1 st.global.u32 [%o], %r0;", threads: 40);
        Assert.Equal(2 * 9, counters.WarpInstructions); // six of the frame, two here, ret
        Assert.Equal((40 * 8) + 8, counters.LaneInstructions);
        Assert.Equal(32, counters.GlobalStoreBytes);
        Assert.Equal(1, counters.Blocks);
    }

    [Fact]
    public void What_stands_for_no_instruction_is_not_counted()
    {
        // six of the frame and ret, as above; setp, two guarded mov, st, whose registers are tracked; mad.lo.cc and addc; an offset; add of %laneid; the call, its add and ret
        const string Function = ".func (.reg .u32 %y) f(.reg .u32 %x)\n{\nadd.u32 %y, %x, 1;\nret;\n}\n";
        using var machine = new PtxMachine(new PtxMachineOptions { GlobalBytes = 1 << 20 });
        PtxModule module = machine.LoadModule(Kernel("""
            setp.lt.u32 %p1, %r0, 5;
            @%p1 mov.u32 %r1, 3;
            @!%p1 mov.u32 %r1, 4;
            st.global.u32 [%o], %r1;
            mad.lo.cc.u32 %r2, %r0, %r0, %r0;
            addc.u32 %r3, %r0, 0;
            add.u32 %r4, %r0 + 7, %laneid;
            call (%r5), f, (%r4);
            """, Function));
        PtxCounters counters = machine.Launch(module, "k", 1, 32, 0, machine.Allocate(128), machine.Upload(new uint[32]));
        Assert.Equal(7 + 4 + 2 + 1 + 3, counters.WarpInstructions);
        Assert.Equal((32 * (7 + 2 + 1 + 2 + 1 + 3)) , counters.LaneInstructions); // the two guarded moves share the lanes
    }

    [Theory]
    [InlineData(8, "v2", 8, 0)] // half a warp at a time
    [InlineData(8, "v2", 16, 2)] // 16 lanes two words apart: two passes in each half
    [InlineData(16, "v4", 16, 0)] // a quarter at a time
    [InlineData(16, "v4", 32, 4)]
    [InlineData(16, "v4", 0, 0)]
    public void Vector_accesses_conflict_within_their_phases(int bytes, string vector, int stride, int conflicts)
    {
        string registers = bytes == 8 ? "{%r0, %r0}" : "{%r0, %r0, %r0, %r0}";
        PtxCounters counters = Count($".shared .align 16 .b8 tile[1024];\nmov.u32 %r1, tile;\nmad.lo.u32 %r2, %r0, {stride}, %r1;\nmov.u32 %r3, 0;\nst.shared.{vector}.u32 [%r2], {registers.Replace("%r0", "%r3", StringComparison.Ordinal)};");
        Assert.Equal(conflicts, counters.SharedBankConflicts);
    }

    [Fact]
    public void Copies_count_the_bytes_that_they_read()
    {
        PtxCounters counters = Count(".shared .align 16 .b8 tile[512];\nmov.u32 %r1, tile;\nshl.b32 %r2, %r0, 4;\nadd.s32 %r1, %r1, %r2;\nld.param.u64 %i, [pi];\ncvt.u64.u32 %rd1, %r2;\nadd.s64 %i, %i, %rd1;\n"
            + "setp.lt.u32 %p1, %r0, 16;\nselp.u32 %r3, 12, 0, %p1;\ncp.async.cg.shared.global [%r1], [%i], 16, %r3;\ncp.async.wait_all;");
        Assert.Equal(16 * 12, counters.GlobalLoadBytes);
        Assert.Equal(8, counters.GlobalLoadSectors); // 16 lanes of 16 bytes; the others read nothing
        Assert.Equal(0, counters.SharedBankConflicts);
    }

    [Fact]
    public void Matrix_operations_and_atomics_are_counted()
    {
        PtxCounters counters = Count("""
            mov.u32 %r1, 0;
            mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%r2, %r3, %r4, %r5}, {%r1, %r1, %r1, %r1}, {%r1, %r1}, {%r1, %r1, %r1, %r1};
            red.global.add.u32 [%i], %r2;
            """);
        Assert.Equal(1, counters.MmaInstructions);
        Assert.Equal(16 * 8 * 16, counters.MmaMultiplyAdds);
        Assert.Equal(32, counters.GlobalAtomics);
    }
}
