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
