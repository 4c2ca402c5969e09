using System.Globalization;
using System.Text;
using Foretoken.Ptx;

namespace Foretoken.Tests.Ptx;

/// <summary>The less frequent shapes of mma.sync against sums over the fragment maps of the PTX manual, and wmma against whole matrices.</summary>
public class MatrixShapeTests
{
    private const string Header90 = ".version 8.0\n.target sm_90\n.address_size 64\n";

    /// <summary>Registers of 4 or 8 bytes: register r of lane l at element 32·r + l of the input; results alike.</summary>
    private static ulong[] Warp(string instruction, ulong[][] sources, int results, int bits, MmaProfile profile = MmaProfile.Ampere)
    {
        var text = new StringBuilder(Header90).Append(CultureInfo.InvariantCulture, $".visible .entry k(.param .u64 po, .param .u64 pi)\n{{\n.reg .b64 %o, %i, %x;\n.reg .b32 %t;\n.reg .b{bits} %s<16>, %d<8>;\n");
        text.Append(CultureInfo.InvariantCulture, $"ld.param.u64 %o, [po];\nld.param.u64 %i, [pi];\nmov.u32 %t, %tid.x;\nmul.wide.u32 %x, %t, {bits / 8};\nadd.s64 %o, %o, %x;\nadd.s64 %i, %i, %x;\n");
        for (int r = 0; r < sources.Length; r++)
            text.Append(CultureInfo.InvariantCulture, $"ld.global.b{bits} %s{r}, [%i+{4 * bits * r}];\n");
        text.Append(instruction).Append('\n');
        for (int r = 0; r < results; r++)
            text.Append(CultureInfo.InvariantCulture, $"st.global.b{bits} [%o+{4 * bits * r}], %d{r};\n");
        using var machine = new PtxMachine(new PtxMachineOptions { GlobalBytes = 1 << 20, ComputeCapability = 90, Mma = profile });
        PtxModule module = machine.LoadModule(text.Append("ret;\n}\n").ToString());
        ulong[] flat = [.. sources.SelectMany(s => s)];
        PtxBuffer output = machine.Allocate(results * 4 * bits), input = bits == 64 ? machine.Upload(flat) : machine.Upload([.. flat.Select(v => (uint)v)]);
        machine.Launch(module, "k", 1, 32, 0, output, input);
        return bits == 64 ? machine.Read<ulong>(output) : [.. machine.Read<uint>(output).Select(v => (ulong)v)];
    }

    private static string List(string name, int first, int count) => "{" + string.Join(", ", Enumerable.Range(first, count).Select(n => $"%{name}{n}")) + "}";

    [Theory]
    [InlineData("m8n8k16", "s8", "u8", "")]
    [InlineData("m16n8k16", "u8", "s8", "")]
    [InlineData("m16n8k16", "s8", "s8", ".satfinite")]
    [InlineData("m8n8k32", "s4", "s4", "")]
    [InlineData("m16n8k32", "u4", "s4", "")]
    [InlineData("m16n8k64", "s4", "u4", ".satfinite")]
    [InlineData("m8n8k128", "b1", "b1", ".xor.popc")]
    [InlineData("m16n8k128", "b1", "b1", ".and.popc")]
    [InlineData("m16n8k256", "b1", "b1", ".xor.popc")]
    public void Narrow_integers_sum_their_products(string shape, string typeA, string typeB, string suffix)
    {
        var random = new Random(5);
        int[] sizes = [.. shape.Split('m', 'n', 'k').Skip(1).Select(n => int.Parse(n, CultureInfo.InvariantCulture))];
        int rows = sizes[0], k = sizes[2], bits = typeA[1] - '0', per = 32 / bits;
        int countA = rows * k * bits / 1024, countB = 8 * k * bits / 1024, countC = rows / 4;
        ulong[][] sources = [.. Enumerable.Range(0, countA + countB + countC).Select(r => Enumerable.Range(0, 32).Select(_ => r >= countA + countB && suffix == ".satfinite" ? int.MaxValue - 3UL : (uint)random.NextInt64()).ToArray())];
        bool popc = suffix.EndsWith("popc", StringComparison.Ordinal);
        ulong[] d = Warp($"mma.sync.aligned.{shape}.row.col{(popc ? "" : suffix)}.s32.{typeA}.{typeB}.s32{(popc ? suffix : "")} {List("d", 0, countC)}, {List("s", 0, countA)}, {List("s", countA, countB)}, {List("s", countA + countB, countC)};", sources, countC, 32);
        int Field(ulong register, int j, string type) => (int)(register >> (j * bits)) << (32 - bits) >> (32 - bits) is var field && type[0] == 's' ? field : field & ((1 << bits) - 1);
        var a = new int[rows, k];
        var b = new int[k, 8];
        for (int lane = 0; lane < 32; lane++)
        {
            for (int i = 0; i < countA * per; i++) // element i of the fragment, as the manual numbers them
            {
                int register = i / per, half = rows == 8 ? 0 : register % 2, step = rows == 8 ? register : register / 2;
                a[(lane / 4) + (8 * half), (lane % 4 * per) + (i % per) + (4 * per * step)] = Field(sources[register][lane], i % per, typeA);
            }

            for (int i = 0; i < countB * per; i++)
                b[(lane % 4 * per) + (i % per) + (4 * per * (i / per)), lane / 4] = Field(sources[countA + (i / per)][lane], i % per, typeB);
        }

        for (int n = 0; n < 32 * countC; n++)
        {
            (int lane, int e) = (n % 32, n / 32);
            (int row, int column) = ((lane / 4) + (8 * (e / 2)), (2 * (lane % 4)) + (e % 2));
            long sum = (int)sources[countA + countB + e][lane];
            for (int i = 0; i < k; i++)
                sum += suffix switch { ".xor.popc" => a[row, i] != b[i, column] ? 1 : 0, ".and.popc" => a[row, i] & b[i, column] & 1, _ => a[row, i] * b[i, column] };
            Assert.Equal((uint)(suffix == ".satfinite" ? Math.Clamp(sum, int.MinValue, int.MaxValue) : sum), d[n]);
        }
    }

    [Theory]
    [InlineData("m8n8k4")]
    [InlineData("m16n8k4")]
    [InlineData("m16n8k8")]
    [InlineData("m16n8k16")]
    public void Doubles_are_fused_in_increasing_k(string shape)
    {
        var random = new Random(6);
        int[] sizes = [.. shape.Split('m', 'n', 'k').Skip(1).Select(n => int.Parse(n, CultureInfo.InvariantCulture))];
        int rows = sizes[0], k = sizes[2], countA = rows * k / 32, countB = k / 4, countC = rows / 4;
        double[][] sources = [.. Enumerable.Range(0, countA + countB + countC).Select(_ => Enumerable.Range(0, 32).Select(_ => random.NextDouble() - 0.5).ToArray())];
        ulong[] d = Warp($"mma.sync.aligned.{shape}.row.col.f64.f64.f64.f64 {List("d", 0, countC)}, {List("s", 0, countA)}, {List("s", countA, countB)}, {List("s", countA + countB, countC)};",
            [.. sources.Select(s => s.Select(BitConverter.DoubleToUInt64Bits).ToArray())], countC, 64);
        for (int n = 0; n < 32 * countC; n++)
        {
            (int lane, int e) = (n % 32, n / 32);
            (int row, int column) = ((lane / 4) + (8 * (e / 2)), (2 * (lane % 4)) + (e % 2));
            double sum = sources[countA + countB + e][lane];
            for (int i = 0; i < k; i++)
            {
                double a = sources[(rows == 8 ? i / 4 : (2 * (i / 4)) + (row / 8))][(row % 8 * 4) + (i % 4)], b = sources[countA + (i / 4)][(column * 4) + (i % 4)];
                sum = Math.FusedMultiplyAdd(a, b, sum);
            }

            Assert.Equal(BitConverter.DoubleToUInt64Bits(sum), d[n]);
        }
    }

    [Fact]
    public void Tf32_of_k4_is_one_block()
    {
        ulong[][] sources = [.. Enumerable.Range(0, 7).Select(r => Enumerable.Range(0, 32).Select(l => (ulong)BitConverter.SingleToUInt32Bits(r < 2 ? (l % 4) + 1 + (100 * r) : r == 2 ? (l / 4) + 1 : 0.5f)).ToArray())];
        ulong[] d = Warp("mma.sync.aligned.m16n8k4.row.col.f32.tf32.tf32.f32 {%d0, %d1, %d2, %d3}, {%s0, %s1}, {%s2}, {%s3, %s4, %s5, %s6};", sources, 4, 32);
        for (int n = 0; n < 128; n++)
            Assert.Equal(0.5f + ((((n / 64) * 400) + 10) * ((2 * (n % 4)) + (n / 32 % 2) + 1)), BitConverter.UInt32BitsToSingle((uint)d[n]));
    }

    /// <summary>D = A·B + C of whole matrices through wmma, with strides and layouts of its own for every matrix.</summary>
    private static byte[] Wmma(string shape, string typeA, string typeB, string typeC, string typeD, string layoutA, string layoutB, byte[] a, byte[] b, byte[] c, int bytesD, (int A, int B, int C, int D) strides, (int A, int B, int C, int D) registers, string suffix = "", bool shared = false)
    {
        int bits = typeD == "f64" ? 64 : 32;
        string types = typeA == "f16" ? $"{typeD}.{typeC}" : $"{typeD}.{typeA}.{typeB}.{typeC}";
        string operation = suffix is ".xor" or ".and" ? $"wmma.mma{suffix}.popc" : "wmma.mma";
        string text = $$"""
            {{Header90}}.visible .entry k(.param .u64 po, .param .u64 pa, .param .u64 pb, .param .u64 pc)
            {
            .reg .b64 %o, %x, %y, %z;
            .reg .b32 %t<8>;
            .reg .b{{bits}} %a<8>, %b<8>, %c<8>, %d<8>;
            .shared .align 32 .b8 tile[8192];
            ld.param.u64 %o, [po];
            ld.param.u64 %x, [pa];
            ld.param.u64 %y, [pb];
            ld.param.u64 %z, [pc];
            wmma.load.a.sync.aligned.{{layoutA}}.{{shape}}.global.{{typeA}} {{List("a", 0, registers.A)}}, [%x], {{strides.A}};
            mov.u32 %t1, {{strides.B}};
            wmma.load.b.sync.aligned.{{layoutB}}.{{shape}}.{{typeB}} {{List("b", 0, registers.B)}}, [%y], %t1;
            wmma.load.c.sync.aligned.row.{{shape}}.global.{{typeC}} {{List("c", 0, registers.C)}}, [%z], {{strides.C}};
            {{operation}}.sync.aligned.{{layoutA}}.{{layoutB}}.{{shape}}.{{types}}{{(suffix is ".xor" or ".and" ? "" : suffix)}} {{List("d", 0, registers.D)}}, {{List("a", 0, registers.A)}}, {{List("b", 0, registers.B)}}, {{List("c", 0, registers.C)}};
            {{(shared ? $"mov.u32 %t2, tile;\nwmma.store.d.sync.aligned.col.{shape}.shared.{typeD} [%t2], {List("d", 0, registers.D)}, 16;\nbar.warp.sync -1;\nwmma.load.c.sync.aligned.col.{shape}.shared.{typeD} {List("d", 0, registers.D)}, [%t2], 16;" : "")}}
            wmma.store.d.sync.aligned.row.{{shape}}.global.{{typeD}} [%o], {{List("d", 0, registers.D)}}, {{strides.D}};
            ret;
            }
            """;
        using var machine = new PtxMachine(new PtxMachineOptions { GlobalBytes = 1 << 20, ComputeCapability = 90 });
        PtxModule module = machine.LoadModule(text);
        PtxBuffer output = machine.Upload(new byte[bytesD]);
        machine.Launch(module, "k", 1, 32, 0, output, machine.Upload(a), machine.Upload(b), machine.Upload(c));
        return machine.Read<byte>(output);
    }

    [Theory]
    [InlineData("m16n16k16", "row", "col", false)]
    [InlineData("m8n32k16", "col", "row", false)]
    [InlineData("m32n8k16", "row", "row", false)]
    [InlineData("m16n16k16", "col", "col", true)]
    public void Wmma_of_halves_multiplies_matrices(string shape, string layoutA, string layoutB, bool shared)
    {
        int[] n = [.. shape.Split('m', 'n', 'k').Skip(1).Select(v => int.Parse(v, CultureInfo.InvariantCulture))];
        int strideA = (layoutA == "row" ? 16 : n[0]) + 8, strideB = (layoutB == "row" ? n[1] : 16) + 8, strideC = n[1] + 4;
        var random = new Random(8);
        Half[] a = [.. Enumerable.Range(0, 40 * 40).Select(_ => (Half)random.Next(-8, 9))], b = [.. Enumerable.Range(0, 40 * 40).Select(_ => (Half)random.Next(-8, 9))];
        float[] c = [.. Enumerable.Range(0, 40 * 40).Select(_ => (float)random.Next(-100, 100))];
        byte[] d = Wmma(shape, "f16", "f16", "f32", "f32", layoutA, layoutB, Bytes(a), Bytes(b), Bytes(c), 40 * 40 * 4, (strideA, strideB, strideC, strideC), (8, 8, 8, 8), shared: shared);
        float[] got = System.Runtime.InteropServices.MemoryMarshal.Cast<byte, float>(d).ToArray();
        for (int e = 0; e < n[0] * n[1]; e++)
        {
            (int row, int column) = (e / n[1], e % n[1]);
            float sum = c[(row * strideC) + column];
            for (int k = 0; k < 16; k++)
                sum += (float)a[layoutA == "row" ? (row * strideA) + k : (k * strideA) + row] * (float)b[layoutB == "row" ? (k * strideB) + column : (column * strideB) + k];
            Assert.Equal(sum, got[(row * strideC) + column]);
        }
    }

    [Fact]
    public void Wmma_of_other_types_multiplies_matrices()
    {
        var random = new Random(9);
        byte[] a = new byte[4096], b = new byte[4096];
        random.NextBytes(a);
        random.NextBytes(b);
        int[] c = [.. Enumerable.Range(0, 1024).Select(_ => random.Next())];
        int[] integers = Ints(Wmma("m32n8k16", "s8", "s8", "s32", "s32", "row", "col", a, b, Bytes(c), 4096, (16, 16, 8, 8), (4, 1, 8, 8)));
        int[] nibbles = Ints(Wmma("m8n8k32", "u4", "u4", "s32", "s32", "row", "col", a, b, Bytes(c), 4096, (32, 32, 8, 8), (1, 1, 2, 2)));
        int[] bits = Ints(Wmma("m8n8k128", "b1", "b1", "s32", "s32", "row", "col", a, b, Bytes(c), 4096, (128, 128, 8, 8), (1, 1, 2, 2), ".xor"));
        for (int e = 0; e < 64; e++)
        {
            (int row, int column) = (e / 8, e % 8);
            Assert.Equal(unchecked(c[e] + Enumerable.Range(0, 16).Sum(k => (sbyte)a[(16 * row) + k] * (sbyte)b[(16 * column) + k])), integers[e]);
            Assert.Equal(unchecked(c[e] + Enumerable.Range(0, 32).Sum(k => (a[(16 * row) + (k / 2)] >> (4 * (k % 2)) & 15) * (b[(16 * column) + (k / 2)] >> (4 * (k % 2)) & 15))), nibbles[e]);
            Assert.Equal(unchecked(c[e] + Enumerable.Range(0, 16).Sum(k => System.Numerics.BitOperations.PopCount((uint)(a[(16 * row) + k] ^ b[(16 * column) + k])))), bits[e]);
        }

        double[] x = [.. Enumerable.Range(0, 64).Select(v => v * 0.25)];
        double[] doubles = System.Runtime.InteropServices.MemoryMarshal.Cast<byte, double>(Wmma("m8n8k4", "f64", "f64", "f64", "f64", "row", "col", Bytes(x), Bytes(x), Bytes(x), 512, (4, 4, 8, 8), (1, 1, 2, 2))).ToArray();
        float[] y = [.. Enumerable.Range(0, 256).Select(v => (float)(v % 17))];
        float[] tf32 = System.Runtime.InteropServices.MemoryMarshal.Cast<byte, float>(Wmma("m16n16k8", "tf32", "tf32", "f32", "f32", "row", "col", Bytes(y), Bytes(y), Bytes(y), 1024, (8, 8, 16, 16), (4, 4, 8, 8))).ToArray();
        for (int e = 0; e < 64; e++)
            Assert.Equal(x[e] + Enumerable.Range(0, 4).Sum(k => x[(e / 8 * 4) + k] * x[(e % 8 * 4) + k]), doubles[e]);
        for (int e = 0; e < 256; e++)
            Assert.Equal(y[e] + Enumerable.Range(0, 8).Sum(k => y[(e / 16 * 8) + k] * y[(e % 16 * 8) + k]), tf32[e]);
    }

    [Fact]
    public void Wmma_with_half_accumulators_rounds_to_halves()
    {
        Half[] a = [.. Enumerable.Range(0, 256).Select(v => (Half)(v % 7))], c = [.. Enumerable.Range(0, 256).Select(_ => (Half)2048)];
        byte[] d = Wmma("m16n16k16", "f16", "f16", "f16", "f16", "row", "col", Bytes(a), Bytes(a), Bytes(c), 512, (16, 16, 16, 16), (8, 8, 4, 4));
        Half[] got = System.Runtime.InteropServices.MemoryMarshal.Cast<byte, Half>(d).ToArray();
        for (int e = 0; e < 256; e++)
        {
            float low = Enumerable.Range(0, 8).Sum(k => (float)a[(e / 16 * 16) + k] * (float)a[(e % 16 * 16) + k]), high = Enumerable.Range(8, 8).Sum(k => (float)a[(e / 16 * 16) + k] * (float)a[(e % 16 * 16) + k]);
            Assert.Equal((Half)((float)(Half)(2048 + low) + high), got[e]); // blocks of eight
        }
    }

    [Theory]
    [InlineData("wmma.load.a.sync.aligned.row.m16n16k16.global.f32 {%r1}, [%i], 16;", "does not go with matrix a")]
    [InlineData("wmma.load.a.sync.aligned.row.m16n16k16.global.f16 {%r1}, [%i], 16;", "8 registers")]
    [InlineData("wmma.load.a.sync.aligned.row.m16n8k16.global.f16 {%r1}, [%i], 16;", "shape")]
    [InlineData("mma.sync.aligned.m8n8k4.row.col.f32.f16.f16.f32 {%r1}, {%r1}, {%r1}, {%r1};", "fragment map")]
    [InlineData("mma.sync.aligned.m16n8k16.row.col.f32.f16.bf16.f32 {%r1}, {%r1}, {%r1}, {%r1};", "do not go together")]
    [InlineData("mma.sync.aligned.m16n8k4.row.col.f64.f64.f64.f64 {%rd1}, {%rd1}, {%rd1}, {%rd1};", "sm_90")]
    public void Shapes_and_types_that_are_not_there_are_refused(string instruction, string message)
    {
        using var machine = new PtxMachine(new PtxMachineOptions { GlobalBytes = 1 << 20 });
        PtxParseException error = Assert.Throws<PtxParseException>(() => machine.LoadModule(MemoryTests.Kernel(instruction)));
        Assert.Contains(message, error.Message, StringComparison.Ordinal);
    }

    private static byte[] Bytes<T>(T[] values)
        where T : unmanaged => System.Runtime.InteropServices.MemoryMarshal.AsBytes(values.AsSpan()).ToArray();

    private static int[] Ints(byte[] bytes) => System.Runtime.InteropServices.MemoryMarshal.Cast<byte, int>(bytes).ToArray();
}
