using Foretoken.Ptx;

namespace Foretoken.Tests.Ptx;

public class MemoryTests
{
    internal const string Header = ".version 8.0\n.target sm_80\n.address_size 64\n";

    /// <summary>One block of 64 threads of a kernel with parameters po and pi; %o and %i point at the thread's 4-byte element.</summary>
    internal static string Kernel(string body, string declarations = "") => Header + declarations + """
        .visible .entry k(.param .u64 po, .param .u64 pi)
        {
        .reg .pred %p<4>;
        .reg .b16 %h<8>;
        .reg .b32 %r<32>;
        .reg .f32 %f<16>;
        .reg .b64 %rd<16>, %o, %i;
        ld.param.u64 %o, [po];
        ld.param.u64 %i, [pi];
        mov.u32 %r0, %tid.x;
        mul.wide.u32 %rd0, %r0, 4;
        add.s64 %o, %o, %rd0;
        add.s64 %i, %i, %rd0;

        """ + body + "\nret;\n}\n";

    internal static uint[] Run(string text, uint[] input, int threads = 64, int outputs = 64, PtxMachineOptions? options = null, int shared = 0)
    {
        using var machine = new PtxMachine((options ?? new PtxMachineOptions()) with { GlobalBytes = 1 << 20 });
        PtxModule module = machine.LoadModule(text);
        PtxBuffer output = machine.Allocate(outputs * 4, "output"), source = machine.Upload(input, "input");
        machine.Launch(module, "k", 1, threads, shared, output, source);
        return machine.Read<uint>(output);
    }

    private static uint[] Numbers(int count) => [.. Enumerable.Range(0, count).Select(n => (uint)n * 2654435761)];

    [Fact]
    public void Narrow_loads_extend_to_the_register_and_stores_cut()
    {
        uint[] input = Numbers(64);
        uint[] signed = Run(Kernel("ld.global.s8 %r1, [%i+1];\nst.global.u32 [%o], %r1;"), input);
        uint[] unsigned = Run(Kernel("ld.global.u16 %rd1, [%i+2];\nst.global.u32 [%o], %rd1;"), input);
        uint[] half = Run(Kernel("ld.global.s8 %h1, [%i];\ncvt.u32.u16 %r1, %h1;\nst.global.u32 [%o], %r1;"), input);
        uint[] bytes = Run(Kernel("ld.global.u32 %r1, [%i];\nst.global.u32 [%o], 0;\nst.global.u8 [%o+3], %r1;"), input);
        for (int t = 0; t < 64; t++)
        {
            Assert.Equal((uint)(sbyte)(input[t] >> 8), signed[t]);
            Assert.Equal(input[t] >> 16, unsigned[t]);
            Assert.Equal((ushort)(sbyte)input[t], half[t]);
            Assert.Equal(input[t] << 24, bytes[t]);
        }
    }

    [Fact]
    public void Vectors_load_and_store_their_elements_in_order()
    {
        uint[] input = Numbers(256);
        uint[] output = Run(Kernel("""
            mad.lo.u32 %r1, %r0, 12, 0;
            cvt.u64.u32 %rd1, %r1;
            add.s64 %rd2, %i, %rd1;
            add.s64 %rd3, %o, %rd1;
            ld.global.nc.L1::no_allocate.L2::128B.v4.u32 {%r2, %r3, %r4, %r5}, [%rd2];
            st.global.v2.u32 [%rd3], {%r5, %r4};
            st.global.v2.b32 [%rd3+8], {%r3, %r2};
            """), input, outputs: 256);
        for (int t = 0; t < 64; t++)
            Assert.Equal(new[] { input[(4 * t) + 3], input[(4 * t) + 2], input[(4 * t) + 1], input[4 * t] }, output[(4 * t)..((4 * t) + 4)]);
    }

    [Fact]
    public void Constants_globals_locals_and_generic_addresses_reach_their_spaces()
    {
        uint[] input = Numbers(64);
        uint[] output = Run(Kernel("""
            .local .align 4 .b8 depot[16];
            .shared .align 4 .b8 tile[256];
            and.b32 %r1, %r0, 3;
            mul.wide.u32 %rd1, %r1, 4;
            mov.u64 %rd2, table;
            add.s64 %rd3, %rd2, %rd1;
            ld.const.u32 %r2, [%rd3];
            mov.u64 %rd4, depot;
            cvta.local.u64 %rd5, %rd4;
            add.s64 %rd6, %rd5, %rd1;
            st.local.u32 [depot+0], %r0;
            st.u32 [%rd6], %r2;
            mov.u64 %rd7, tile;
            cvta.shared.u64 %rd8, %rd7;
            add.s64 %rd9, %rd8, %rd0;
            ld.local.u32 %r3, [depot+0];
            ld.u32 %r3, [%rd6];
            st.u32 [%rd9], %r3;
            bar.sync 0;
            xor.b32 %r4, %r0, 63;
            mul.wide.u32 %rd10, %r4, 4;
            add.s64 %rd11, %rd7, %rd10;
            ld.shared.u32 %r5, [%rd11];
            ld.global.u32 %r6, [bias+4];
            add.s32 %r5, %r5, %r6;
            st.global.u32 [%o], %r5;
            """, """
            .const .align 4 .b8 table[16] = {10, 0, 0, 0, 20, 0, 0, 0, 30, 0, 0, 0, 40};
            .global .align 4 .u32 bias[2] = {1, 100};

            """), input);
        for (int t = 0; t < 64; t++)
            Assert.Equal((uint)(100 + (10 * (1 + ((t ^ 63) & 3)))), output[t]);
    }

    [Fact]
    public void Calls_are_expanded_with_their_arguments_and_divergent_returns()
    {
        uint[] output = Run(Kernel("""
            {
            .param .b32 a0;
            .param .b32 r0;
            st.param.b32 [a0+0], %r0;
            call.uni (r0), clampit, (a0);
            ld.param.b32 %r1, [r0+0];
            }
            st.global.u32 [%o], %r1;
            """, """
            .func (.param .b32 ret) clampit(.param .b32 x)
            {
            .reg .pred %p<2>;
            .reg .b32 %r<4>;
            ld.param.u32 %r1, [x];
            setp.lt.u32 %p1, %r1, 10;
            @%p1 bra SMALL;
            st.param.b32 [ret+0], 10;
            ret;
            SMALL:
            st.param.b32 [ret+0], %r1;
            ret;
            }

            """), Numbers(64));
        Assert.Equal(Enumerable.Range(0, 64).Select(t => (uint)Math.Min(t, 10)), output);
    }

    [Fact]
    public void Functions_take_registers_and_vector_registers_have_elements()
    {
        uint[] input = Numbers(128);
        uint[] output = Run(Kernel("""
            .reg .v2 .b32 %v;
            mul.wide.u32 %rd1, %r0, 8;
            ld.param.u64 %rd2, [pi];
            add.s64 %rd2, %rd2, %rd1;
            ld.global.v2.u32 %v, [%rd2];
            call (%r3), weigh, (%v.x, 3);
            add.s32 %r3, %r3, %v.y;
            st.global.u32 [%o], %r3;
            """, """
            .func (.reg.u32 out) weigh(.reg.u32 value, .reg .u32 factor)
            {
            mul.lo.u32 value, value, factor;
            add.s32 out, value, 1;
            ret;
            }

            """), input);
        for (int t = 0; t < 64; t++)
            Assert.Equal((input[2 * t] * 3) + 1 + input[(2 * t) + 1], output[t]);
    }

    [Fact]
    public void Divergent_loops_and_nested_branches_reconverge_per_lane()
    {
        // collatz steps of t + 1
        uint[] output = Run(Kernel("""
            add.s32 %r1, %r0, 1;
            mov.u32 %r2, 0;
            LOOP:
            setp.eq.u32 %p1, %r1, 1;
            @%p1 bra DONE;
            and.b32 %r3, %r1, 1;
            setp.eq.u32 %p2, %r3, 0;
            @%p2 bra EVEN;
            mad.lo.u32 %r1, %r1, 3, 1;
            bra.uni NEXT;
            EVEN:
            shr.u32 %r1, %r1, 1;
            NEXT:
            add.s32 %r2, %r2, 1;
            bra LOOP;
            DONE:
            st.global.u32 [%o], %r2;
            """), Numbers(64));
        for (int t = 0; t < 64; t++)
        {
            uint steps = 0;
            for (long n = t + 1; n != 1; steps++)
                n = n % 2 == 0 ? n / 2 : (3 * n) + 1;
            Assert.Equal(steps, output[t]);
        }
    }

    [Fact]
    public void Atomics_return_the_old_value_and_apply_their_operation()
    {
        string Atom(string operation) => Kernel($"""
            .shared .align 4 .b8 cell[8];
            setp.eq.u32 %p1, %r0, 0;
            mov.u32 %r1, 5;
            @%p1 st.shared.u32 [cell], %r1;
            bar.sync 0;
            add.s32 %r2, %r0, 1;
            {operation}
            bar.sync 0;
            ld.shared.u32 %r4, [cell];
            st.global.u32 [%o], %r4;
            """);
        uint[] none = Numbers(64);
        Assert.All(Run(Atom("atom.shared.add.u32 %r3, [cell], %r2;"), none), v => Assert.Equal(5u + (64 * 65 / 2), v));
        Assert.All(Run(Atom("red.shared.max.s32 [cell], %r2;"), none), v => Assert.Equal(64u, v));
        Assert.All(Run(Atom("atom.shared.min.u32 %r3, [cell], %r2;"), none), v => Assert.Equal(1u, v));
        Assert.All(Run(Atom("atom.shared.inc.u32 %r3, [cell], 6;"), none), v => Assert.Equal(6u, v)); // 5 6 0 1 … : 64 steps in a ring of 7
        Assert.All(Run(Atom("atom.shared.dec.u32 %r3, [cell], 6;"), none), v => Assert.Equal(4u, v));
        Assert.All(Run(Atom("atom.shared.xor.b32 %r3, [cell], %r2;"), none), v => Assert.Equal(5u ^ Enumerable.Range(1, 64).Aggregate(0u, (x, n) => x ^ (uint)n), v));
        Assert.All(Run(Atom("atom.shared.cas.b32 %r3, [cell], 5, 77;"), none), v => Assert.Equal(77u, v));
        uint[] old = Run(Kernel("atom.global.add.u32 %r1, [%i], 3;\nst.global.u32 [%o], %r1;"), none);
        Assert.Equal(none, old);
        uint[] sums = Run(Kernel("mov.f32 %f1, 0f3F000000;\natom.global.add.f32 %f2, [%i], %f1;\nld.global.f32 %f3, [%i];\nst.global.f32 [%o], %f3;"), [.. Enumerable.Range(0, 64).Select(n => BitConverter.SingleToUInt32Bits(n))]);
        Assert.Equal(Enumerable.Range(0, 64).Select(n => BitConverter.SingleToUInt32Bits(n + 0.5f)), sums);
    }

    [Fact]
    public void Asynchronous_copies_arrive_when_they_are_waited_for()
    {
        uint[] input = Numbers(256);
        uint[] output = Run(Kernel("""
            .shared .align 16 .b8 tile[2048];
            mad.lo.u32 %r1, %r0, 12, 0;
            cvt.u64.u32 %rd1, %r1;
            add.s64 %rd2, %i, %rd1;
            mov.u32 %r2, tile;
            shl.b32 %r3, %r0, 4;
            add.s32 %r4, %r2, %r3;
            cp.async.cg.shared.global [%r4], [%rd2], 16;
            cp.async.commit_group;
            mov.u32 %r5, 4;
            cp.async.ca.shared.global [%r4+1024], [%rd2], 8, %r5;
            cp.async.commit_group;
            cp.async.wait_group 1;
            bar.sync 0;
            xor.b32 %r6, %r4, 16;
            ld.shared.v4.u32 {%r7, %r8, %r9, %r10}, [%r6];
            cp.async.wait_all;
            ld.shared.v2.u32 {%r11, %r12}, [%r4+1024];
            add.s32 %r10, %r10, %r11;
            add.s32 %r10, %r10, %r12;
            st.global.u32 [%o], %r10;
            """), input);
        for (int t = 0; t < 64; t++)
            Assert.Equal(input[(4 * (t ^ 1)) + 3] + input[4 * t], output[t]); // the second copy reads 4 bytes and writes 4 of them and 4 zeros
    }

    [Fact]
    public void Structures_and_small_types_are_passed_by_their_bytes()
    {
        using var machine = new PtxMachine(new PtxMachineOptions { GlobalBytes = 1 << 20 });
        PtxModule module = machine.LoadModule(Header + """
            .visible .entry k(.param .u64 po, .param .u8 flag, .param .align 8 .b8 s[16], .param .f32 x)
            {
            .reg .b64 %rd<4>;
            .reg .b32 %r<4>;
            .reg .b16 %h<2>;
            .reg .f32 %f<2>;
            ld.param.u64 %rd1, [po];
            ld.param.u8 %h1, [flag];
            cvt.u32.u16 %r1, %h1;
            ld.param.u32 %r2, [s+8];
            ld.param.f32 %f1, [x];
            st.global.u32 [%rd1], %r1;
            st.global.u32 [%rd1+4], %r2;
            st.global.f32 [%rd1+8], %f1;
            ret;
            }
            """);
        PtxBuffer output = machine.Allocate(12);
        byte[] s = new byte[16];
        s[8] = 42;
        machine.Launch(module, "k", 1, 1, 0, output, true, s, 2.5f);
        Assert.Equal([1u, 42u, BitConverter.SingleToUInt32Bits(2.5f)], machine.Read<uint>(output));
        Assert.Equal([0, 8, 16, 32], module.Parameters("k").Select(p => p.Offset));
        var fault = Assert.Throws<PtxFaultException>(() => machine.Launch(module, "k", 1, 1, 0, output, true, s, 2.5));
        Assert.Contains("argument 3", fault.Message, StringComparison.Ordinal);
    }
}
