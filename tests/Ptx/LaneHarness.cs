using System.Globalization;
using System.Text;
using Foretoken.Ptx;

namespace Foretoken.Tests.Ptx;

/// <summary>
/// Runs instructions over lanes of random and special values and holds every lane against a scalar definition. Instructions are written with %d, %a, %b, %c
/// for the registers and @G where a guard may stand; each runs once on whole warps and once with every third lane guarded off, which must keep its old value.
/// </summary>
internal static class LaneHarness
{
    private const int Threads = 96, Rounds = 8; // three warps
    private const ulong Old = 0x1234_5678_9ABC_DEF0;

    private static readonly ulong[] Specials =
    [
        0, 1, 2, 3, 7, 31, 32, 33, 63, 64, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0x7FFFFFFFFFFFFFFF, 0x8000000000000000, ulong.MaxValue,
        0x3F800000, 0xBF800000, 0x7F800000, 0xFF800000, 0x7FC00000, 0x00000001, 0x007FFFFF, 0x00800000, 0x7F7FFFFF, 0x4B000001, 0x3F000000, 0x3FC00000, 0x40200000, 0x4F000000, 0xCF000000,
        0x3FF0000000000000, 0xBFF0000000000000, 0x7FF0000000000000, 0x7FF8000000000000, 0x3C003C00, 0x7C007C00, 0x0400, 0x03FF,
    ];

    /// <param name="Text">Semicolon-separated instructions with @G before each that writes %d.</param>
    /// <param name="D">Bits of %d; 1: the instruction sets %p, whose value is compared as 0 or 1.</param>
    /// <param name="Value">The definition; comes masked to the bits of d.</param>
    /// <param name="IsNaN">Results for which any NaN will do.</param>
    public sealed record Case(string Text, int D, int A, int B, int C, Func<ulong, ulong, ulong, ulong> Value, Func<ulong, bool>? IsNaN = null)
    {
        /// <summary>For approximations: whether a result is near enough, given a.</summary>
        public Func<ulong, ulong, bool>? Near { get; init; }
    }

    public static ulong Mask(int bits) => bits >= 64 ? ulong.MaxValue : (1UL << bits) - 1;

    public static void Check(IReadOnlyList<Case> cases, Func<Random, int, ulong>? draw = null)
    {
        using var machine = new PtxMachine(new PtxMachineOptions { GlobalBytes = 16 << 20, Threads = 1 });
        var text = new StringBuilder(".version 8.0\n.target sm_80\n.address_size 64\n");
        for (int n = 0; n < cases.Count; n++)
            Kernel(text, n, cases[n]);
        PtxModule module = machine.LoadModule(text.ToString());
        var random = new Random(12345);
        for (int n = 0; n < cases.Count; n++)
        {
            Case c = cases[n];
            const int count = Threads * Rounds;
            ulong[] a = Inputs(random, count, c.A, draw), b = Inputs(random, count, c.B, draw), third = Inputs(random, count, c.C, draw);
            for (int t = 0; t < count; t++) // equal and opposite pairs: ties, and zeros of either sign
            {
                if (random.Next(6) == 0)
                    b[t] = (a[t] ^ (random.Next(2) == 0 ? 0 : 1UL << (c.A - 1))) & Mask(c.B);
            }

            PtxBuffer output = machine.Allocate(count * 8), pa = machine.Upload(a), pb = machine.Upload(b), pc = machine.Upload(third);
            foreach (bool guarded in new[] { false, true })
            {
                machine.Launch(module, $"k{n}{(guarded ? "g" : "")}", Rounds, Threads, 0, output, pa, pb, pc);
                ulong[] d = machine.Read<ulong>(output);
                for (int t = 0; t < count; t++)
                {
                    bool runs = !guarded || t % Threads % 3 != 0;
                    ulong expected = runs ? c.Value(a[t], b[t], third[t]) & Mask(c.D) : Old & Mask(c.D);
                    bool sameNaN = runs && c.IsNaN is { } isNaN && isNaN(expected) && isNaN(d[t]);
                    bool near = runs && c.Near is { } isNear && isNear(d[t], a[t]);
                    Assert.True(d[t] == expected || sameNaN || near, string.Create(CultureInfo.InvariantCulture,
                        $"{c.Text}: a=0x{a[t]:x} b=0x{b[t]:x} c=0x{third[t]:x} gave 0x{d[t]:x}, not 0x{expected:x} (thread {t}, guarded {guarded})"));
                }
            }

            foreach (PtxBuffer buffer in new[] { output, pa, pb, pc })
                machine.Free(buffer);
        }
    }

    private static ulong[] Inputs(Random random, int count, int bits, Func<Random, int, ulong>? draw)
    {
        var values = new ulong[count];
        for (int i = 0; i < count; i++)
        {
            ulong value = random.Next(4) == 0 ? Specials[random.Next(Specials.Length)] : draw is not null && random.Next(3) > 0 ? draw(random, bits) : (ulong)random.NextInt64() ^ (ulong)random.NextInt64() << 1;
            values[i] = value & Mask(Math.Max(bits, 1));
        }

        return values;
    }

    private static void Kernel(StringBuilder text, int n, Case c)
    {
        foreach (bool guarded in new[] { false, true })
        {
            text.Append(CultureInfo.InvariantCulture, $".visible .entry k{n}{(guarded ? "g" : "")}(.param .u64 pd, .param .u64 pa, .param .u64 pb, .param .u64 pc)\n{{\n");
            text.Append(CultureInfo.InvariantCulture, $".reg .pred %p, %q, %g;\n.reg .b{Math.Max(c.D, 16)} %d;\n.reg .b{c.A} %a;\n.reg .b{c.B} %b;\n.reg .b{c.C} %c;\n");
            text.Append(".reg .b64 %o, %x, %y, %z, %i, %r;\n.reg .b32 %t, %u, %v, %m;\n");
            text.Append("mov.u32 %t, %tid.x;\nmov.u32 %u, %ctaid.x;\nmov.u32 %v, %ntid.x;\nmad.lo.u32 %u, %u, %v, %t;\nmul.wide.u32 %i, %u, 8;\n");
            text.Append("ld.param.u64 %o, [pd];\nld.param.u64 %x, [pa];\nld.param.u64 %y, [pb];\nld.param.u64 %z, [pc];\nadd.s64 %o, %o, %i;\nadd.s64 %x, %x, %i;\nadd.s64 %y, %y, %i;\nadd.s64 %z, %z, %i;\n");
            text.Append(CultureInfo.InvariantCulture, $"ld.global.b{c.A} %a, [%x];\nld.global.b{c.B} %b, [%y];\nld.global.b{c.C} %c, [%z];\n");
            text.Append(CultureInfo.InvariantCulture, $"mov.b64 %r, {Old & Mask(Math.Max(c.D, 1))};\n");
            text.Append(c.D == 64 ? "mov.b64 %d, %r;\n" : c.D == 1 ? "setp.ne.s64 %p, %r, 0;\n" : $"cvt.u{Math.Max(c.D, 16)}.u64 %d, %r;\n");
            text.Append("rem.u32 %m, %t, 3;\nsetp.ne.u32 %g, %m, 0;\n");
            text.Append(c.Text.Replace("@G", guarded ? "@%g" : "", StringComparison.Ordinal)).Append(";\n");
            text.Append(c.D switch { 1 => "selp.b64 %r, 1, 0, %p;\n", 64 => "mov.b64 %r, %d;\n", _ => $"cvt.u64.u{Math.Max(c.D, 16)} %r, %d;\n" });
            text.Append("st.global.u64 [%o], %r;\nret;\n}\n");
        }
    }
}
