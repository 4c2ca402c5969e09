using Foretoken.Ptx;
using static Foretoken.Tests.Ptx.MemoryTests;

namespace Foretoken.Tests.Ptx;

public class WarpTests
{
    private static readonly uint[] Input = [.. Enumerable.Range(0, 64).Select(n => (uint)n * 2654435761)];

    [Theory]
    [InlineData("up", 3, 32)]
    [InlineData("up", 5, 8)]
    [InlineData("down", 7, 32)]
    [InlineData("down", 2, 16)]
    [InlineData("bfly", 9, 32)]
    [InlineData("bfly", 3, 4)]
    [InlineData("bfly", 12, 8)]
    [InlineData("idx", 5, 32)]
    [InlineData("idx", 6, 8)]
    public void Shuffles_read_the_lane_that_their_mode_names(string mode, int b, int width)
    {
        int c = ((32 - width) << 8) | (mode == "up" ? 0 : 31);
        string body = $"ld.global.u32 %r1, [%i];\nshfl.sync.{mode}.b32 %r2|%p1, %r1, {b}, {c}, -1;\nselp.u32 %r3, 1, 0, %p1;\n";
        uint[] values = Run(Kernel(body + "st.global.u32 [%o], %r2;"), Input), valid = Run(Kernel(body + "st.global.u32 [%o], %r3;"), Input);
        for (int t = 0; t < 64; t++)
        {
            int lane = t % 32, segment = lane / width * width;
            int j = mode switch { "up" => lane - b, "down" => lane + b, "bfly" => lane ^ b, _ => segment + (b % width) };
            bool inside = mode == "up" ? j >= segment : j < segment + width;
            Assert.Equal(Input[(t / 32 * 32) + (inside ? j : lane)], values[t]);
            Assert.Equal(inside ? 1u : 0, valid[t]);
        }
    }

    [Fact]
    public void Votes_matches_and_reductions_see_the_members()
    {
        const string Odd = "ld.global.u32 %r1, [%i];\nand.b32 %r4, %r1, 1;\nsetp.ne.u32 %p1, %r4, 0;\n";
        uint[] ballot = Run(Kernel(Odd + "vote.sync.ballot.b32 %r2, %p1, -1;\nst.global.u32 [%o], %r2;"), Input);
        uint[] any = Run(Kernel(Odd + "vote.sync.any.pred %p2, %p1, -1;\nselp.u32 %r2, 1, 0, %p2;\nst.global.u32 [%o], %r2;"), Input);
        uint[] all = Run(Kernel(Odd + "vote.sync.all.pred %p2, !%p1, -1;\nselp.u32 %r2, 1, 0, %p2;\nst.global.u32 [%o], %r2;"), Input);
        uint[] match = Run(Kernel(Odd + "and.b32 %r5, %r0, 3;\nmatch.any.sync.b32 %r2, %r5, -1;\nst.global.u32 [%o], %r2;"), Input);
        uint[] same = Run(Kernel(Odd + "shr.u32 %r5, %r0, 5;\nmatch.all.sync.b32 %r2|%p2, %r5, -1;\nst.global.u32 [%o], %r2;"), Input);
        uint[] sum = Run(Kernel(Odd + "redux.sync.add.u32 %r2, %r1, -1;\nst.global.u32 [%o], %r2;"), Input);
        uint[] least = Run(Kernel(Odd + "redux.sync.min.s32 %r2, %r1, -1;\nst.global.u32 [%o], %r2;"), Input);
        for (int t = 0; t < 64; t++)
        {
            uint[] warp = Input[(t / 32 * 32)..((t / 32 * 32) + 32)];
            Assert.Equal(warp.Select((v, n) => (v & 1) << n).Aggregate((x, y) => x | y), ballot[t]);
            Assert.Equal(1u, any[t]);
            Assert.Equal(0u, all[t]);
            Assert.Equal(0x11111111u << (t & 3), match[t]);
            Assert.Equal(uint.MaxValue, same[t]);
            Assert.Equal(warp.Aggregate((x, y) => x + y), sum[t]);
            Assert.Equal((uint)warp.Min(v => (int)v), least[t]);
        }
    }

    [Fact]
    public void Halves_of_a_warp_exchange_under_their_own_masks_in_divergent_code()
    {
        uint[] output = Run(Kernel("""
            and.b32 %r1, %r0, 31;
            setp.lt.u32 %p1, %r1, 16;
            @%p1 bra LOW;
            redux.sync.add.u32 %r2, %r1, 0xFFFF0000;
            bra DONE;
            LOW:
            redux.sync.max.u32 %r2, %r1, 0x0000FFFF;
            DONE:
            bar.warp.sync -1;
            st.global.u32 [%o], %r2;
            """), Input);
        for (int t = 0; t < 64; t++)
            Assert.Equal(t % 32 < 16 ? 15u : (16 + 31) * 8u, output[t]);
    }

    [Fact]
    public void Reducing_barriers_count_the_whole_block()
    {
        uint[] output = Run(Kernel("""
            setp.lt.u32 %p1, %r0, 40;
            { .reg .pred %p1; setp.lt.u32 %p1, %r0, 3; bar.red.popc.u32 %r1, 0, %p1; }
            bar.red.or.pred %p2, 0, %p1;
            bar.red.and.pred %p3, 0, %p1;
            selp.u32 %r2, 100, 0, %p2;
            selp.u32 %r3, 1000, 0, %p3;
            add.s32 %r1, %r1, %r2;
            add.s32 %r1, %r1, %r3;
            st.global.u32 [%o], %r1;
            """), Input);
        Assert.All(output, v => Assert.Equal(103u, v));
    }

    [Fact]
    public void Named_barriers_let_producers_go_on()
    {
        uint[] output = Run(Kernel("""
            .shared .align 4 .b8 tile[128];
            and.b32 %r1, %r0, 31;
            shl.b32 %r2, %r1, 2;
            mov.u32 %r3, tile;
            add.s32 %r3, %r3, %r2;
            setp.lt.u32 %p1, %r0, 32;
            @%p1 bra PRODUCE;
            bar.sync 1, 64;
            ld.shared.u32 %r4, [%r3];
            st.global.u32 [%o], %r4;
            bra DONE;
            PRODUCE:
            add.s32 %r5, %r1, 7;
            st.shared.u32 [%r3], %r5;
            bar.arrive 1, 64;
            st.global.u32 [%o], %r1;
            DONE:
            """), Input);
        for (int t = 0; t < 64; t++)
            Assert.Equal((uint)(t < 32 ? t : t - 32 + 7), output[t]);
    }

    [Fact]
    public void Special_registers_say_where_a_thread_is()
    {
        using var machine = new PtxMachine(new PtxMachineOptions { GlobalBytes = 1 << 20 });
        PtxModule module = machine.LoadModule(Header + """
            .visible .entry k(.param .u64 po)
            {
            .reg .b64 %rd<4>;
            .reg .b32 %r<20>;
            ld.param.u64 %rd1, [po];
            mov.u32 %r1, %tid.x;
            mov.u32 %r2, %tid.y;
            mov.u32 %r3, %ntid.x;
            mov.u32 %r4, %ctaid.y;
            mov.u32 %r5, %nctaid.x;
            mov.u32 %r6, %ctaid.x;
            mad.lo.u32 %r7, %r4, %r5, %r6;
            mad.lo.u32 %r8, %r2, %r3, %r1;
            mad.lo.u32 %r9, %r7, 48, %r8;
            mul.wide.u32 %rd2, %r9, 4;
            add.s64 %rd1, %rd1, %rd2;
            mov.u32 %r10, %laneid;
            mov.u32 %r11, %lanemask_lt;
            popc.b32 %r11, %r11;
            sub.s32 %r10, %r10, %r11;
            mov.u32 %r12, %warpid;
            mad.lo.u32 %r13, %r12, 100, %r10;
            mad.lo.u32 %r13, %r9, 1000, %r13;
            st.global.u32 [%rd1], %r13;
            ret;
            }
            """);
        PtxBuffer output = machine.Allocate(6 * 48 * 4);
        machine.Launch(module, "k", new Dim3(2, 3), new Dim3(12, 4), 0, output);
        Assert.Equal(Enumerable.Range(0, 6 * 48).Select(n => (uint)((n * 1000) + (n % 48 / 32 * 100))), machine.Read<uint>(output));
    }

    [Theory]
    [InlineData(PtxOrder.Ascending)]
    [InlineData(PtxOrder.Descending)]
    [InlineData(PtxOrder.Shuffled)]
    public void Correct_kernels_give_the_same_in_every_order(PtxOrder order)
    {
        string reduce = Kernel("""
            .shared .align 8 .b8 sums[8];
            ld.global.u32 %r1, [%i];
            shfl.sync.bfly.b32 %r2, %r1, 16, 31, -1;
            add.s32 %r1, %r1, %r2;
            shfl.sync.bfly.b32 %r2, %r1, 8, 31, -1;
            add.s32 %r1, %r1, %r2;
            shfl.sync.bfly.b32 %r2, %r1, 4, 31, -1;
            add.s32 %r1, %r1, %r2;
            shfl.sync.bfly.b32 %r2, %r1, 2, 31, -1;
            add.s32 %r1, %r1, %r2;
            shfl.sync.bfly.b32 %r2, %r1, 1, 31, -1;
            add.s32 %r1, %r1, %r2;
            and.b32 %r3, %r0, 31;
            shr.u32 %r4, %r0, 5;
            shl.b32 %r4, %r4, 2;
            mov.u32 %r5, sums;
            add.s32 %r5, %r5, %r4;
            setp.eq.u32 %p1, %r3, 0;
            @%p1 st.shared.u32 [%r5], %r1;
            bar.sync 0;
            ld.shared.v2.u32 {%r6, %r7}, [sums];
            add.s32 %r6, %r6, %r7;
            st.global.u32 [%o], %r6;
            """);
        uint[] output = Run(reduce, Input, options: new PtxMachineOptions { LaneOrder = order, WarpOrder = order, BlockOrder = order });
        Assert.All(output, v => Assert.Equal(Input.Aggregate((x, y) => x + y), v));
    }
}
