using Foretoken.Ptx;
using static Foretoken.Tests.Ptx.MemoryTests;

namespace Foretoken.Tests.Ptx;

/// <summary>Correct programs of every common pattern, which must pass in every order without an alarm, and the same with a planted mistake, which must not.</summary>
public class SynchronisationTests
{
    private static readonly uint[] Input = [.. Enumerable.Range(0, 64).Select(n => ((uint)n * 40503) & 0xFFFF)];

    public static TheoryData<PtxOrder> Orders => [PtxOrder.Lockstep, PtxOrder.Ascending, PtxOrder.Descending, PtxOrder.Shuffled];

    private static PtxMachineOptions In(PtxOrder order) => new() { LaneOrder = order, WarpOrder = order == PtxOrder.Lockstep ? PtxOrder.Ascending : order, InstructionLimit = 1 << 22 };

    private static PtxFaultException Fault(string body, PtxFaultKind kind, PtxMachineOptions? options = null, string text = "", int threads = 64)
    {
        PtxFaultException fault = Assert.Throws<PtxFaultException>(() => Run(Kernel(body), Input, threads, options: options));
        Assert.True(fault.Kind == kind, $"{kind} expected: {fault.Message}");
        Assert.Contains(text, fault.Message, StringComparison.Ordinal);
        return fault;
    }

    /// <summary>Sums of a warp through shared memory, a word a lane.</summary>
    private const string WarpSum = """
        .shared .align 4 .b8 tile[256];
        mov.u32 %r1, tile;
        shl.b32 %r2, %r0, 2;
        add.s32 %r1, %r1, %r2;
        and.b32 %r3, %r0, 31;
        ld.global.u32 %r4, [%i];
        st.shared.u32 [%r1], %r4;
        mov.u32 %r5, 16;
        AGAIN:
        bar.warp.sync -1;
        add.s32 %r6, %r3, %r5;
        mov.u32 %r8, 0;
        setp.lt.u32 %p1, %r6, 32;
        shl.b32 %r7, %r5, 2;
        add.s32 %r7, %r7, %r1;
        @%p1 ld.shared.u32 %r8, [%r7];
        AFTER_READ
        add.s32 %r4, %r4, %r8;
        st.shared.u32 [%r1], %r4;
        shr.u32 %r5, %r5, 1;
        setp.ne.u32 %p2, %r5, 0;
        @%p2 bra AGAIN;
        bar.warp.sync -1;
        sub.s32 %r7, %r1, %r2;
        and.b32 %r9, %r0, 32;
        shl.b32 %r9, %r9, 2;
        add.s32 %r7, %r7, %r9;
        ld.shared.u32 %r4, [%r7];
        st.global.u32 [%o], %r4;
        """;

    [Theory]
    [MemberData(nameof(Orders))]
    public void Warp_sums_through_shared_memory_need_both_their_barriers(PtxOrder order)
    {
        string right = WarpSum.Replace("AFTER_READ", "bar.warp.sync -1;", StringComparison.Ordinal);
        uint[] output = Run(Kernel(right), Input, options: In(order));
        for (int t = 0; t < 64; t++)
            Assert.Equal((uint)Input[(t / 32 * 32)..((t / 32 * 32) + 32)].Sum(v => v), output[t]);
        Fault(WarpSum.Replace("AFTER_READ", "", StringComparison.Ordinal), PtxFaultKind.SharedRace, In(order)); // a word is overwritten that the neighbour may still read
        Fault(right.Replace("AGAIN:\n    bar.warp.sync -1;", "AGAIN:", StringComparison.Ordinal).Replace("AGAIN:\nbar.warp.sync -1;", "AGAIN:", StringComparison.Ordinal), PtxFaultKind.SharedRace, In(order) with { CheckInitialised = false });
    }

    [Fact]
    public void Overwriting_what_another_lane_read_needs_a_warp_barrier()
    {
        const string Body = """
            .shared .align 4 .b8 tile[256];
            mov.u32 %r1, tile;
            shl.b32 %r2, %r0, 2;
            add.s32 %r1, %r1, %r2;
            xor.b32 %r3, %r2, 4;
            mov.u32 %r4, tile;
            add.s32 %r3, %r3, %r4;
            st.shared.u32 [%r1], %r0;
            bar.warp.sync -1;
            ld.shared.u32 %r5, [%r3];
            BARRIER
            st.shared.u32 [%r1], %r5;
            st.global.u32 [%o], %r5;
            """;
        Run(Kernel(Body.Replace("BARRIER", "bar.warp.sync -1;", StringComparison.Ordinal)), Input);
        Fault(Body.Replace("BARRIER", "", StringComparison.Ordinal), PtxFaultKind.SharedRace, text: "read by another lane of this warp");
    }

    /// <summary>Two tiles in turns: the next is copied while this one is used.</summary>
    private const string DoubleBuffer = """
        .shared .align 16 .b8 tiles[2048];
        shl.b32 %r1, %r0, 4;
        mov.u32 %r2, tiles;
        add.s32 %r3, %r2, %r1;
        mov.u32 %r10, 0;
        mov.u32 %r11, 0;
        ld.param.u64 %i, [pi];
        cp.async.cg.shared.global [%r3], [%i], 16;
        cp.async.commit_group;
        LOOP:
        add.s32 %r12, %r11, 1;
        and.b32 %r13, %r12, 1;
        shl.b32 %r13, %r13, 10;
        add.s32 %r14, %r3, %r13;
        setp.lt.u32 %p1, %r12, 4;
        mul.wide.u32 %rd1, %r12, 16;
        add.s64 %rd1, %rd1, %i;
        @%p1 cp.async.cg.shared.global [%r14], [%rd1], 16;
        cp.async.commit_group;
        cp.async.wait_group PENDING;
        BEFORE
        and.b32 %r15, %r11, 1;
        shl.b32 %r15, %r15, 10;
        xor.b32 %r16, %r1, 512;
        add.s32 %r16, %r16, %r15;
        add.s32 %r16, %r16, %r2;
        ld.shared.v4.u32 {%r17, %r18, %r19, %r20}, [%r16];
        add.s32 %r10, %r10, %r17;
        add.s32 %r10, %r10, %r20;
        AFTER
        mov.u32 %r11, %r12;
        setp.lt.u32 %p2, %r11, 4;
        @%p2 bra LOOP;
        st.global.u32 [%o], %r10;
        """;

    private static string Copies(string pending, string before, string after) =>
        DoubleBuffer.Replace("PENDING", pending, StringComparison.Ordinal).Replace("BEFORE", before, StringComparison.Ordinal).Replace("AFTER", after, StringComparison.Ordinal);

    [Theory]
    [MemberData(nameof(Orders))]
    public void Double_buffered_copies_pass_and_every_missing_wait_shows(PtxOrder order)
    {
        uint expected = (uint)Enumerable.Range(0, 4).Sum(n => Input[4 * n] + Input[(4 * n) + 3]);
        Assert.All(Run(Kernel(Copies("1", "bar.sync 0;", "bar.sync 0;")), Input, options: In(order)), v => Assert.Equal(expected, v));
        Fault(Copies("2", "bar.sync 0;", "bar.sync 0;"), PtxFaultKind.SharedRace, In(order), "not waited for");
        Fault(Copies("1", "", "bar.sync 0;"), PtxFaultKind.SharedRace, In(order) with { CheckInitialised = false });
        Fault(Copies("1", "bar.sync 0;", ""), PtxFaultKind.SharedRace, In(order));
    }

    [Theory]
    [MemberData(nameof(Orders))]
    public void Barrier_objects_hold_back_readers_until_all_arrived(PtxOrder order)
    {
        const string Body = """
            .shared .align 8 .b64 gate;
            .shared .align 4 .b8 tile[256];
            setp.eq.u32 %p1, %r0, 0;
            @%p1 mbarrier.init.shared.b64 [gate], 64;
            FIRST
            shl.b32 %r1, %r0, 2;
            mov.u32 %r2, tile;
            add.s32 %r3, %r2, %r1;
            ld.global.u32 %r4, [%i];
            st.shared.u32 [%r3], %r4;
            mbarrier.arrive.shared.b64 %rd1, [gate];
            mbarrier.pending_count.b64 %r9, %rd1;
            WAIT:
            mbarrier.test_wait.shared.b64 %p2, [gate], %rd1;
            @!%p2 bra WAIT;
            xor.b32 %r5, %r1, 252;
            add.s32 %r5, %r5, %r2;
            ld.shared.u32 %r6, [%r5];
            mbarrier.arrive.shared.b64 %rd1, [gate], 1;
            SECOND:
            mbarrier.test_wait.parity.shared.b64 %p2, [gate], 1;
            @!%p2 bra SECOND;
            st.shared.u32 [%r3], %r9;
            st.global.u32 [%o], %r6;
            """;
        string right = Body.Replace("FIRST", "bar.sync 0;", StringComparison.Ordinal);
        uint[] output = Run(Kernel(right), Input, options: In(order));
        for (int t = 0; t < 64; t++)
            Assert.Equal(Input[t ^ 63], output[t]);
        Fault(right.Replace("@!%p2 bra WAIT;", "", StringComparison.Ordinal), PtxFaultKind.SharedRace, In(order) with { CheckInitialised = false });
        Fault(right.Replace("[gate], 64", "[gate], 65", StringComparison.Ordinal), PtxFaultKind.InstructionLimit, In(order) with { InstructionLimit = 1 << 15 }, "waits for what never comes");
        Fault(right.Replace("[gate], 64", "[gate], 3", StringComparison.Ordinal).Replace("shared.b64 %rd1, [gate];", "shared.b64 %rd1, [gate], 7;", StringComparison.Ordinal), PtxFaultKind.IllegalInstruction, In(order), "7 arrivals at a barrier object that waits for 3");
        Fault("st.shared.u64 [gate], 0;\nbar.sync 0;\n mbarrier.arrive.shared.b64 %rd1, [gate];".Insert(0, ".shared .align 8 .b64 gate;\n"), PtxFaultKind.IllegalInstruction, text: "no barrier object", threads: 1);
    }

    [Theory]
    [MemberData(nameof(Orders))]
    public void Copies_arrive_at_barrier_objects(PtxOrder order)
    {
        uint[] output = Run(Kernel("""
            .shared .align 8 .b64 gate;
            .shared .align 16 .b8 tile[256];
            setp.eq.u32 %p1, %r0, 0;
            @%p1 mbarrier.init.shared.b64 [gate], 64;
            bar.sync 0;
            shl.b32 %r1, %r0, 2;
            mov.u32 %r2, tile;
            add.s32 %r3, %r2, %r1;
            cp.async.ca.shared.global [%r3], [%i], 4;
            cp.async.mbarrier.arrive.noinc.shared.b64 [gate];
            WAIT:
            mbarrier.test_wait.parity.shared.b64 %p2, [gate], 0;
            @!%p2 bra WAIT;
            xor.b32 %r5, %r1, 252;
            add.s32 %r5, %r5, %r2;
            ld.shared.u32 %r6, [%r5];
            st.global.u32 [%o], %r6;
            """), Input, options: In(order));
        for (int t = 0; t < 64; t++)
            Assert.Equal(Input[t ^ 63], output[t]);
    }

    [Theory]
    [MemberData(nameof(Orders))]
    public void Locks_of_lanes_and_warps_let_everybody_in(PtxOrder order)
    {
        const string Body = """
            .shared .align 4 .b8 lock[8];
            setp.eq.u32 %p1, %r0, 0;
            mov.u32 %r1, 0;
            @%p1 st.shared.u32 [lock], %r1;
            @%p1 st.shared.u32 [lock+4], %r1;
            bar.sync 0;
            TRY:
            atom.shared.cas.b32 %r2, [lock], 0, 1;
            setp.ne.u32 %p2, %r2, 0;
            @%p2 bra TRY;
            membar.cta;
            ld.shared.u32 %r3, [lock+4];
            add.u32 %r3, %r3, 1;
            st.shared.u32 [lock+4], %r3;
            FENCE
            atom.shared.exch.b32 %r4, [lock], 0;
            bar.sync 0;
            ld.shared.u32 %r5, [lock+4];
            st.global.u32 [%o], %r5;
            """;
        Assert.All(Run(Kernel(Body.Replace("FENCE", "membar.cta;", StringComparison.Ordinal)), Input, options: In(order)), v => Assert.Equal(64u, v));
    }

    [Theory]
    [MemberData(nameof(Orders))]
    public void Barriers_without_aligned_may_stand_in_both_branches(PtxOrder order)
    {
        const string Body = """
            .shared .align 4 .b8 tile[256];
            shl.b32 %r1, %r0, 2;
            mov.u32 %r2, tile;
            add.s32 %r3, %r2, %r1;
            st.shared.u32 [%r3], %r0;
            and.b32 %r4, %r0, 1;
            setp.eq.u32 %p1, %r4, 0;
            @%p1 bra EVEN;
            barrier.sync 0;
            bra END;
            EVEN:
            barrier.sync OTHER;
            END:
            xor.b32 %r5, %r1, 252;
            add.s32 %r5, %r5, %r2;
            ld.shared.u32 %r6, [%r5];
            st.global.u32 [%o], %r6;
            """;
        Assert.Equal(Enumerable.Range(0, 64).Select(t => (uint)(t ^ 63)), Run(Kernel(Body.Replace("OTHER", "0", StringComparison.Ordinal)), Input, options: In(order)));
        Fault(Body.Replace("OTHER", "1", StringComparison.Ordinal), PtxFaultKind.DivergentBarrier, In(order));
        Fault(Body.Replace("barrier.sync OTHER", "barrier.sync.aligned 0", StringComparison.Ordinal), PtxFaultKind.DivergentBarrier, In(order));
    }

    [Fact]
    public void Flags_without_fences_are_a_race()
    {
        const string Body = """
            .shared .align 4 .b8 box[8];
            setp.eq.u32 %p1, %r0, 0;
            mov.u32 %r1, 0;
            @%p1 st.shared.u32 [box], %r1;
            bar.sync 0;
            setp.lt.u32 %p2, %r0, 32;
            @%p2 bra WRITE;
            WAIT:
            ld.volatile.shared.u32 %r2, [box];
            setp.eq.u32 %p3, %r2, 0;
            @%p3 bra WAIT;
            FENCE
            ld.shared.u32 %r3, [box+4];
            st.global.u32 [%o], %r3;
            bra END;
            WRITE:
            @%p1 st.shared.u32 [box+4], 77;
            FENCE
            @%p1 st.volatile.shared.u32 [box], 1;
            st.global.u32 [%o], 77;
            END:
            """;
        PtxMachineOptions late = new() { WarpOrder = PtxOrder.Descending, InstructionLimit = 1 << 22 };
        Assert.All(Run(Kernel(Body.Replace("FENCE", "fence.acq_rel.cta;", StringComparison.Ordinal)), Input, options: late), v => Assert.Equal(77u, v));
        Fault(Body.Replace("FENCE", "", StringComparison.Ordinal), PtxFaultKind.SharedRace, late, "was written by warp 0 lane 0");
    }

    [Fact]
    public void Old_code_with_volatile_accesses_and_no_warp_barriers_passes_in_lockstep()
    {
        string body = WarpSum.Replace("AFTER_READ", "", StringComparison.Ordinal).Replace("bar.warp.sync -1;", "", StringComparison.Ordinal)
            .Replace("ld.shared", "ld.volatile.shared", StringComparison.Ordinal).Replace("st.shared", "st.volatile.shared", StringComparison.Ordinal);
        Assert.Equal((uint)Input[..32].Sum(v => v), Run(Kernel(body), Input)[0]);
    }

    [Fact]
    public void A_million_warp_barriers_wear_out_no_clock()
    {
        uint[] output = Run(Kernel("""
            .shared .align 4 .b8 tile[256];
            shl.b32 %r1, %r0, 2;
            mov.u32 %r2, tile;
            add.s32 %r3, %r2, %r1;
            xor.b32 %r4, %r1, 4;
            add.s32 %r4, %r4, %r2;
            mov.u32 %r5, 0;
            LOOP:
            bar.warp.sync -1;
            add.u32 %r5, %r5, 1;
            setp.lt.u32 %p1, %r5, 1050000;
            @%p1 bra LOOP;
            st.shared.u32 [%r3], %r0;
            bar.warp.sync -1;
            ld.shared.u32 %r6, [%r4];
            st.global.u32 [%o], %r6;
            """), Input);
        Assert.Equal(Enumerable.Range(0, 64).Select(t => (uint)(t ^ 1)), output);
    }

    [Fact]
    public void Endless_loops_name_the_line_where_they_turn()
    {
        PtxMachineOptions few = new() { InstructionLimit = 100_000 };
        Fault("L:\nadd.u32 %r1, %r0, 1;\nbra L;", PtxFaultKind.InstructionLimit, few, "endless");
        Fault("L:\nbar.sync 0;\nbra L;", PtxFaultKind.InstructionLimit, few, "at module.ptx(");
        Fault("L:\nld.volatile.global.u32 %r1, [%i];\nsetp.ne.u32 %p1, %r1, 99;\n@%p1 bra L;", PtxFaultKind.InstructionLimit, few);
    }

    [Fact]
    public void Local_memory_is_checked_thread_by_thread()
    {
        const string Local = ".local .align 8 .b8 stack[16];\nmov.u64 %rd1, stack;\n";
        Fault(Local + "ld.local.u32 %r1, [%rd1+4];", PtxFaultKind.UninitialisedMemory, text: "local read");
        Fault(Local + "setp.eq.u32 %p1, %r0, 5;\n@!%p1 st.local.u32 [%rd1], %r0;\nld.local.u32 %r1, [%rd1];", PtxFaultKind.UninitialisedMemory, text: "thread (5,0,0)");
        Fault(Local + "st.local.u32 [%rd1+16], %r0;", PtxFaultKind.OutOfBounds);
        Fault(Local + "st.local.u32 [%rd1+2], %r0;", PtxFaultKind.Misaligned);
        uint[] output = Run(Kernel(Local + "st.local.u32 [%rd1], %r0;\nst.local.u8 [%rd1+4], %r0;\nld.local.v2.u32 {%r1, %r2}, [%rd1];\nst.global.u32 [%o], %r1;"), Input); // padding of a structure comes along
        Assert.Equal(Enumerable.Range(0, 64).Select(n => (uint)n), output);
    }

    [Theory]
    [InlineData("ld.param.u32 %r1, [pi+8];", PtxFaultKind.OutOfBounds)]
    [InlineData("ld.param.u32 %r1, [pi+2];", PtxFaultKind.Misaligned)]
    [InlineData("ld.const.u32 %r1, [table+16];", PtxFaultKind.OutOfBounds)]
    [InlineData("ld.const.u64 %rd1, [table+4];", PtxFaultKind.Misaligned)]
    [InlineData("cp.async.cg.shared.global [tile], [%i+4], 16;", PtxFaultKind.Misaligned)]
    [InlineData("cp.async.ca.shared.global [tile+2], [%i], 4;", PtxFaultKind.Misaligned)]
    [InlineData("cp.async.ca.shared.global [tile+16], [%i], 4;", PtxFaultKind.OutOfBounds)]
    [InlineData("cp.async.ca.shared.global [tile], [%o], 4;", PtxFaultKind.UninitialisedMemory)]
    [InlineData("atom.global.add.u32 %r1, [%i+1], 1;", PtxFaultKind.Misaligned)]
    [InlineData("red.shared.add.u32 [tile+16], 1;", PtxFaultKind.OutOfBounds)]
    [InlineData("atom.shared.add.u32 %r1, [tile], 1;", PtxFaultKind.UninitialisedMemory)]
    [InlineData("cvta.shared.u64 %rd1, 16;\nst.u32 [%rd1], 0;", PtxFaultKind.OutOfBounds)]
    public void Every_space_and_kind_of_access_is_checked(string instruction, PtxFaultKind kind)
    {
        string text = Kernel(".shared .align 16 .b8 tile[16];\nsetp.eq.u32 %p1, %r0, 0;\n" + instruction, ".const .align 8 .b32 table[4] = {1, 2, 3, 4};\n");
        PtxFaultException fault = Assert.Throws<PtxFaultException>(() => Run(text, Input, 1));
        Assert.True(fault.Kind == kind, fault.Message);
    }
}
