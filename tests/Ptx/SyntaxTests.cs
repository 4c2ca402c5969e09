using System.Globalization;
using System.Text.RegularExpressions;
using Foretoken.Ptx;
using static Foretoken.Tests.Ptx.MemoryTests;

namespace Foretoken.Tests.Ptx;

/// <summary>What PTX text may look like, whoever wrote it.</summary>
public class SyntaxTests
{
    private static readonly uint[] Input = [.. Enumerable.Range(0, 64).Select(n => (uint)n)];

    private static uint One(string body, string declarations = "") => Run(Kernel(body + "\nst.global.u32 [%o], %r1;", declarations), Input)[0];

    [Theory]
    [InlineData("(1 + 2) * 4", 12)]
    [InlineData("-7 / 2", -3)]
    [InlineData("-7 % 3", -1)]
    [InlineData("-8 >> 1", -4)]
    [InlineData("0x10 | 0b101", 21)]
    [InlineData("017 ^ 1", 14)]
    [InlineData("~0 & 0xFF", 255)]
    [InlineData("1 << 4 + 1", 32)]
    [InlineData("3 > 2 ? 10 : 20", 10)]
    [InlineData("(2 == 3) || !0", 1)]
    [InlineData("1 && 0", 0)]
    [InlineData("WARP_SZ - 1", 31)]
    [InlineData("0xFFFFFFFFFFFFFFFFU / 0x8000000000000000", 1)]
    [InlineData("-1 < 1", 1)]
    [InlineData("-1 < 1U", 0)]
    [InlineData("(.s64)0xFFFFFFFFFFFFFFFF < 0", 1)]
    [InlineData("- - 5", 5)]
    public void Constant_expressions_have_the_value_that_C_gives_them(string expression, int value) => Assert.Equal((uint)value, One($"mov.u32 %r1, {expression};"));

    [Theory]
    [InlineData("mov.u32 %r1, 1 / 0;", "divided by zero")]
    [InlineData("mov.u32 %r1, 1.5;", "float literal")]
    [InlineData("mov.u32 %r1, (1 + 2;", "')' expected")]
    [InlineData("add.s32 %r1, %r2, 0f3F800000 + 1;", "stand alone")]
    [InlineData("ld.global.u32 %r1, [%i+4;", "']' expected")]
    [InlineData("add %r1, %r2, %r3;", "unknown instruction 'add'")]
    [InlineData("selp %r1, %r2, %r3, %p1;", "names no type")]
    [InlineData("ld.global %r1, [%i];", "names no type")]
    [InlineData("ld.global.v4.u64 {%rd1, %rd2, %rd3, %rd4}, [%i];", "16 bytes")]
    [InlineData("and.f32 %f1, %f2, %f3;", "and.f32")]
    [InlineData("shl.s32 %r1, %r2, 1;", "shl.s32")]
    [InlineData("set.lt.ftz.u32.s32 %r1, %r2, %r3;", "no instruction of PTX")]
    [InlineData("setp.lo.s32 %p1, %r2, %r3;", "no instruction of PTX")]
    [InlineData("setp.num.u32 %p1, %r2, %r3;", "no instruction of PTX")]
    [InlineData("min.sat.f32 %f1, %f2, %f3;", "no instruction of PTX")]
    [InlineData("add.approx.f32 %f1, %f2, %f3;", "no instruction of PTX")]
    [InlineData("sin.f32 %f1, %f2;", "needs .approx")]
    [InlineData("cvt.rn.relu.f32.f64 %f1, %rd1;", "no instruction of PTX")]
    [InlineData("red.global.cas.b32 [%i], %r1, %r2;", "no instruction of PTX")]
    [InlineData("atom.global.add.noftz.bf16x2 %r1, [%i], %r2;", "sm_90")]
    [InlineData("barrier.cluster.arrive;", "clusters are not supported")]
    [InlineData("mbarrier.arrive.expect_tx.shared.b64 %rd1, [%r1], 4;", "bulk copies")]
    [InlineData("cp.async.bulk.shared.global [%r1], [%rd1], 16, [%r2];", "unknown instruction 'cp.async.bulk.shared.global'")]
    [InlineData("wgmma.fence.sync.aligned;", "unknown instruction")]
    [InlineData("tex.2d.v4.f32.s32 {%f1, %f2, %f3, %f4}, [tx, {%r1, %r2}];", "unknown instruction 'tex")]
    [InlineData("brx.idx %r1, NOWHERE;", "'NOWHERE' is not defined")]
    [InlineData("call nosuch;", "no body")]
    [InlineData(".reg .b32 %x<99999999>;", "registers")]
    [InlineData(".shared .align 3 .b8 t[4];", "power of two")]
    [InlineData(".shared .b8 t[99999999999];", "an array")]
    [InlineData(".local .b8 t[600000];", "local memory")]
    [InlineData("mov.u64 %rd1, k;", "'k' is not defined")]
    public void Mistakes_are_errors_with_their_line(string line, string message)
    {
        using var machine = new PtxMachine(new PtxMachineOptions { GlobalBytes = 1 << 20 });
        string text = Kernel("mov.u32 %r2, 0;\n" + line);
        PtxParseException error = Assert.Throws<PtxParseException>(() => machine.LoadModule(text));
        Assert.Contains(message, error.Message, StringComparison.Ordinal);
        Assert.Equal(Array.FindIndex(text.Split('\n'), l => l.Contains(line, StringComparison.Ordinal)) + 1, error.Line);
        Assert.Empty(machine.LiveAllocations);
    }

    [Fact]
    public void Variables_take_sizes_from_values_and_fill_rows_with_zeros()
    {
        using var machine = new PtxMachine(new PtxMachineOptions { GlobalBytes = 1 << 20 });
        PtxModule module = machine.LoadModule(Header + """
            .global .u32 open[] = {1, 2, 3};
            .global .u16 rows[2][3] = {{1}, {4, 5, 6}};
            .global .v4 .f32 vectors[2] = {{1.0, 2.0, 3.0, 4.0}, {5.0}};
            .global .align 8 .u64 pointers[2] = {open+4, generic(rows)+6};
            .const .s8 small[4] = {-1, 5 == 0, 2, 3};
            .visible .entry k() { ret; }
            """);
        Assert.Equal([1u, 2u, 3u], machine.Read<uint>(module.Variable("open")!.Value.Address, 3));
        Assert.Equal([1, 0, 0, 4, 5, 6], machine.Read<ushort>(module.Variable("rows")!.Value.Address, 6));
        Assert.Equal([1, 2, 3, 4, 5, 0, 0, 0], machine.Read<float>(module.Variable("vectors")!.Value.Address, 8));
        Assert.Equal([module.Variable("open")!.Value.Address + 4, module.Variable("rows")!.Value.Address + 6], machine.Read<ulong>(module.Variable("pointers")!.Value.Address, 2));
        module.Dispose();
        Assert.Empty(machine.LiveAllocations);
    }

    [Theory]
    [InlineData(".global .u32 x; .global .u32 x;", "'x' is defined twice")]
    [InlineData(".global .u32 x[2] = {1, 2, 3};", "3 initial values for 2 elements")]
    [InlineData(".global .u32 x[2][2] = {{1, 2, 3}};", "3 initial values for 2 elements")]
    [InlineData(".global .f32 x = 1;", "an integer for an element of .f32")]
    [InlineData(".global .u32 x = nosuch;", "'nosuch' is not defined")]
    [InlineData(".global .u32 x[];", "neither size nor values")]
    [InlineData(".extern .global .u32 x;", "extern")]
    [InlineData(".const .b8 x[70000];", "constant memory")]
    [InlineData(".visible .entry k() { ret; }", "'k' is defined twice")]
    [InlineData(".func f() { ret; } .alias g, f;", "'.alias' is not supported")]
    [InlineData(".tex .u64 t;", "unknown directive '.tex'")]
    public void Module_variables_that_cannot_be_are_refused_and_nothing_stays(string declarations, string message)
    {
        using var machine = new PtxMachine(new PtxMachineOptions { GlobalBytes = 1 << 20 });
        PtxParseException error = Assert.Throws<PtxParseException>(() => machine.LoadModule(Header + ".global .u32 before;\n" + declarations + "\n.visible .entry k() { ret; }"));
        Assert.Contains(message, error.Message, StringComparison.Ordinal);
        Assert.Empty(machine.LiveAllocations);
    }

    [Fact]
    public void Vector_registers_move_as_a_whole_and_by_elements()
    {
        Assert.Equal(0x00040003u, One("""
            .reg .v4 .u16 %v;
            .reg .v2 .b16 %w<2>;
            mov.v4.u16 %v, {1, 2, 3, 4};
            mov.v4.u16 %v, {%v.w, %v.z, %v.y, %v.x};
            mov.v2.u16 %w1, {%v.y, %v.x};
            mov.b32 %r1, %w1;
            """));
    }

    [Fact]
    public void Functions_have_variables_predicates_and_vectors_of_their_own()
    {
        const string Function = """
            .func (.reg .u32 %y, .reg .pred %q) next(.reg .v2 .u32 %x)
            {
            .global .u32 calls = 40;
            .const .u32 one = 1;
            .reg .u32 %a, %b;
            ld.const.u32 %b, [one];
            atom.global.add.u32 %a, [calls], %b;
            add.u32 %y, %x.x, %x.y;
            setp.gt.u32 %q, %a, 40;
            ret;
            }

            """;
        uint[] output = Run(Kernel("""
            .reg .v2 .u32 %v;
            mov.v2.u32 %v, {%r0, 7};
            call (%r1, %p1), next, (%v);
            @!%p1 add.u32 %r1, %r1, 1000;
            st.global.u32 [%o], %r1;
            """, Function), Input);
        Assert.Equal(1007u, output[0]);
        Assert.Equal(Enumerable.Range(1, 63).Select(n => (uint)n + 7), output[1..]);
    }

    [Fact]
    public void Indexed_branches_reach_their_targets()
    {
        const string Body = """
            and.b32 %r1, %r0, MASK;
            T: .branchtargets A, B, C;
            setp.lt.u32 %p1, %r0, 60;
            @%p1 brx.idx %r1, T;
            mov.u32 %r2, 7;
            bra END;
            A:
            mov.u32 %r2, 10;
            bra END;
            B:
            mov.u32 %r2, 11;
            bra END;
            C:
            mov.u32 %r2, 12;
            END:
            st.global.u32 [%o], %r2;
            """;
        foreach (PtxOrder order in new[] { PtxOrder.Lockstep, PtxOrder.Shuffled })
        {
            uint[] output = Run(Kernel(Body.Replace("MASK", "1", StringComparison.Ordinal)), Input, options: new PtxMachineOptions { LaneOrder = order });
            Assert.Equal(Enumerable.Range(0, 64).Select(n => n >= 60 ? 7u : 10u + ((uint)n & 1)), output);
        }

        PtxFaultException fault = Assert.Throws<PtxFaultException>(() => Run(Kernel(Body.Replace("MASK", "3", StringComparison.Ordinal)), Input));
        Assert.Contains("beyond its targets", fault.Message, StringComparison.Ordinal);
        Assert.Contains("thread (3,0,0)", fault.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Calls_through_pointers_reach_the_function_that_each_lane_names()
    {
        const string Functions = """
            .func (.param .b32 out) twice(.param .b32 in);
            .func (.param .b32 out) next(.param .b32 in);
            .func (.param .b32 out) twice(.param .b32 in) { .reg .u32 %a; ld.param.u32 %a, [in]; add.u32 %a, %a, %a; st.param.u32 [out], %a; ret; }
            .func (.param .b32 out) next(.param .b32 in) { .reg .u32 %a; ld.param.u32 %a, [in]; add.u32 %a, %a, 1; st.param.u32 [out], %a; ret; }
            .func (.param .b32 out) other(.param .b64 in) { st.param.u32 [out], 0; ret; }
            .global .u64 functions[3] = {twice, next, other};

            """;
        const string Body = """
            and.b32 %r1, %r0, 1;
            WRONG
            mul.wide.u32 %rd1, %r1, 8;
            mov.u64 %rd2, functions;
            add.s64 %rd1, %rd1, %rd2;
            ld.global.u64 %rd3, [%rd1];
            { .param .b32 argument;
              .param .b32 result;
              st.param.u32 [argument], %r0;
              prototype: .callprototype (.param .b32 _) _ (.param .b32 _);
              call (result), %rd3, (argument), prototype;
              ld.param.u32 %r2, [result]; }
            st.global.u32 [%o], %r2;
            """;
        Assert.Equal(Enumerable.Range(0, 64).Select(n => (uint)(n % 2 == 0 ? 2 * n : n + 1)), Run(Kernel(Body.Replace("WRONG", "", StringComparison.Ordinal), Functions), Input));
        PtxFaultException fault = Assert.Throws<PtxFaultException>(() => Run(Kernel(Body.Replace("WRONG", "add.u32 %r1, %r1, 1;", StringComparison.Ordinal), Functions), Input));
        Assert.Contains("a pointer to no function", fault.Message, StringComparison.Ordinal);
        Assert.Contains("thread (1,0,0)", fault.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Failed_assertions_and_recursion_say_so()
    {
        const string Assert_ = ".extern .func __assertfail (.param .b64 a, .param .b64 b, .param .b32 c, .param .b64 d, .param .b64 e);\n";
        PtxFaultException fault = Assert.Throws<PtxFaultException>(() => Run(Kernel("""
            setp.eq.u32 %p1, %r0, 9;
            @!%p1 bra FINE;
            { .param .b64 a; .param .b32 c;
              st.param.u64 [a], 0;
              st.param.u32 [c], 0;
              call.uni __assertfail, (a, a, c, a, a); }
            FINE:
            """, Assert_), Input));
        Assert.Contains("assertion", fault.Message, StringComparison.Ordinal);
        Assert.Contains("thread (9,0,0)", fault.Message, StringComparison.Ordinal);
        PtxParseException recursion = Assert.Throws<PtxParseException>(() => Run(Kernel("call f;", ".func f() { call g; ret; }\n.func g() { call f; ret; }\n".Replace(".func f() {", ".func g();\n.func f() {", StringComparison.Ordinal)), Input));
        Assert.Contains("'f' calls itself", recursion.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void What_is_disposed_or_impossible_is_refused_before_it_runs()
    {
        var machine = new PtxMachine(new PtxMachineOptions { GlobalBytes = 1 << 20 });
        PtxModule module = machine.LoadModule(Kernel("")), unloaded = machine.LoadModule(Kernel("")); // two modules, one after the other
        PtxBuffer buffer = machine.Upload(new uint[64]);
        Assert.Throws<ArgumentException>(() => machine.Launch(module, "k", 1, 32, 0, buffer, null!));
        Assert.Throws<PtxFaultException>(() => machine.Launch(module, "k", new Dim3(int.MaxValue, 65535, 65535), 32, 0, buffer, buffer));
        unloaded.Dispose();
        Assert.Throws<ObjectDisposedException>(() => machine.Launch(unloaded, "k", 1, 32, 0, buffer, buffer));
        machine.Dispose();
        Assert.Throws<ObjectDisposedException>(() => machine.Read<uint>(buffer));
        Assert.Throws<ObjectDisposedException>(() => machine.Launch(module, "k", 1, 32, 0, buffer, buffer));
        Assert.Throws<ArgumentOutOfRangeException>(() => new PtxMachine(new PtxMachineOptions { GlobalBytes = -1 }));
    }

    [Fact]
    public void Registers_take_offsets_and_cp_async_variables()
    {
        Assert.Equal(12u, One("mov.u32 %r2, 5;\nadd.u32 %r1, %r2 + 3, %r2 - 1;"));
        Assert.Equal(33u, One("""
            .shared .align 16 .b32 tile[4];
            setp.eq.u32 %p1, %r0, 0;
            @%p1 cp.async.ca.shared.global [tile+4], [source+8], 4;
            cp.async.wait_all;
            bar.sync 0;
            ld.shared.u32 %r1, [tile+4];
            """, ".global .u32 source[3] = {11, 22, 33};\n"));
    }

    [Fact]
    public void Lines_files_sections_and_pragmas_are_passed_over()
    {
        Assert.Equal(3u, One("""
            .loc 1 5 3
            .pragma "nounroll";
            mov.u32 %r1, 3; // a comment ; }
            /* another
               one */
            .loc 1 6 3, function_name $L__info_string0, inlined_at 1 2 3
            """, "\t.file 1 \"a.cu\"\n.section .debug_abbrev { .b8 1\n.b8 2 }\n.pragma \"x\";\n"));
    }

    /// <summary>Broken text of every kind: an error of the machine's own, whatever the mutation.</summary>
    [Fact]
    public void Mutated_text_never_crashes_the_machine()
    {
        var random = new Random(20);
        string[] sources = [Kernel("""
            .shared .align 16 .b8 tile[256];
            .reg .v2 .b16 %v;
            setp.lt.and.u32 %p1|%p2, %r0, 5, !%p3;
            mov.b32 {%h1, %h2}, %r0;
            ld.global.nc.v2.u32 {%r1, %r2}, [%i+8];
            @%p1 bra L;
            shfl.sync.bfly.b32 %r3|%p3, %r1, 1, 31, -1;
            L:
            mad.lo.u32 %r4, %r0, (1 + 3) * 4, 0;
            cvt.rn.bf16x2.f32 %r5, %f1, 0f3F800000;
            mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%f1, %f2, %f3, %f4}, {%r1, %r1, %r1, %r1}, {%r1, %r2}, {%f1, %f2, %f3, %f4};
            call (%r1), f, (%r4);
            """, ".global .align 4 .u32 g[2][2] = {{1, 2}, {g+4, 0xFF(g)}};\n.func (.reg .u32 %y) f(.reg .u32 %x) { mov.u32 %y, %x; ret; }\n")];
        int refused = 0;
        for (int n = 0; n < 1500; n++)
        {
            List<string> tokens = [.. Regex.Matches(sources[0], @"[.%$\w]+|\s+|[^\s\w]").Select(m => m.Value)];
            for (int edits = random.Next(1, 4); edits > 0; edits--)
            {
                int at = random.Next(tokens.Count);
                if (random.Next(3) == 0)
                    tokens.RemoveAt(at);
                else if (random.Next(12) == 0)
                    tokens.RemoveRange(at, tokens.Count - at);
                else
                    tokens[at] = random.Next(2) == 0 ? tokens[random.Next(tokens.Count)] : new[] { "-1", "{", "(", "[", "99999999999999999999", "_", "!", "|", ".pred", ".b128", "0x", "?", "/*" }[random.Next(13)];
                if (tokens.Count == 0)
                    break;
            }

            using var machine = new PtxMachine(new PtxMachineOptions { GlobalBytes = 1 << 16 });
            try
            {
                machine.LoadModule(string.Concat(tokens));
            }
            catch (PtxParseException)
            {
                refused++;
                Assert.Empty(machine.LiveAllocations);
            }
        }

        Assert.InRange(refused, 1000, 1499);
    }
}
