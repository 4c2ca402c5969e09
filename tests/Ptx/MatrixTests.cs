using System.Globalization;
using System.Text;
using Foretoken.Ptx;

namespace Foretoken.Tests.Ptx;

public class MatrixTests
{
    /// <summary>Loads registers from the input (register r of lane l at word 32·r + l), runs a warp-wide instruction, stores the results alike.</summary>
    private static uint[] RunWarp(string instruction, uint[][] sources, int results, PtxMachineOptions? options = null)
    {
        var body = new StringBuilder();
        for (int r = 0; r < sources.Length; r++)
            body.Append(CultureInfo.InvariantCulture, $"ld.global.u32 %s{r}, [%i+{128 * r}];\n");
        body.Append(instruction).Append('\n');
        for (int r = 0; r < results; r++)
            body.Append(CultureInfo.InvariantCulture, $"st.global.u32 [%o+{128 * r}], %d{r};\n");
        string text = MemoryTests.Kernel(".reg .b32 %s<16>, %d<8>;\n" + body);
        return MemoryTests.Run(text, [.. sources.SelectMany(s => s)], 32, 32 * Math.Max(results, 1), options);
    }

    private static (int Row, int K) A16(int lane, int i) => ((lane >> 2) + (8 * ((i >> 1) & 1)), (2 * (lane & 3)) + (i & 1) + (8 * (i >> 2)));

    private static (int K, int Column) B16(int lane, int i) => ((2 * (lane & 3)) + (i & 1) + (8 * (i >> 1)), lane >> 2);

    private static (int Row, int Column) C(int lane, int i) => ((lane >> 2) + (8 * (i >> 1)), (2 * (lane & 3)) + (i & 1));

    private static float Brain(ushort bits) => BitConverter.UInt32BitsToSingle((uint)bits << 16);

    private static float Half(ushort bits) => (float)BitConverter.UInt16BitsToHalf(bits);

    /// <summary>
    /// ptx.md §1 in whole numbers: every term of a block is cut toward zero below 2^(E−F), summed, and cut to 24 bits. Exponents are those of the operands'
    /// fields.
    /// </summary>
    private static float Reference(float[] a, float[] b, int[] exponents, float c, int block, int bits)
    {
        for (int first = 0; first < a.Length; first += block)
        {
            int largest = int.MinValue;
            for (int k = first; k < first + block; k++)
            {
                if (a[k] != 0 && b[k] != 0)
                    largest = Math.Max(largest, exponents[k]);
            }

            if (c != 0)
                largest = Math.Max(largest, Math.Max(Math.ILogB(c), -126));
            if (largest == int.MinValue)
                continue;
            int unit = largest - bits;
            System.Numerics.BigInteger sum = Cut(Exact.Of(c), unit);
            for (int k = first; k < first + block; k++)
                sum += Cut(Exact.Of(a[k]) * Exact.Of(b[k]), unit);
            c = sum.IsZero ? 0 : new Exact(sum, unit).Single(Exact.Mode.Zero);
        }

        return c;
    }

    private static System.Numerics.BigInteger Cut(Exact value, int unit)
    {
        System.Numerics.BigInteger magnitude = System.Numerics.BigInteger.Abs(value.Mantissa);
        int shift = value.Exponent - unit;
        magnitude = shift >= 0 ? magnitude << shift : magnitude >> -shift;
        return value.Mantissa.Sign < 0 ? -magnitude : magnitude;
    }

    [Theory]
    [InlineData("bf16", MmaProfile.Ampere, 8, 24)]
    [InlineData("bf16", MmaProfile.Hopper, 16, 25)]
    [InlineData("f16", MmaProfile.Ampere, 8, 24)]
    [InlineData("f16", MmaProfile.Hopper, 16, 25)]
    public void Products_of_sixteen_bit_floats_have_the_bits_of_their_profile(string type, MmaProfile profile, int block, int bits)
    {
        var random = new Random(7);
        bool brain = type == "bf16";
        for (int round = 0; round < 6; round++)
        {
            ushort Draw()
            {
                float value = (float)((random.NextDouble() - 0.5) * Math.ScaleB(1, random.Next(-round * 2, (round * 2) + 1)));
                return random.Next(16) == 0 ? (ushort)0 : brain ? (ushort)(BitConverter.SingleToUInt32Bits(value) >> 16) : BitConverter.HalfToUInt16Bits((Half)value);
            }

            var a = new ushort[16, 16];
            var b = new ushort[16, 8];
            var c = new float[16, 8];
            foreach (int n in Enumerable.Range(0, 256))
                a[n / 16, n % 16] = Draw();
            foreach (int n in Enumerable.Range(0, 128))
                (b[n / 8, n % 8], c[n / 8, n % 8]) = (Draw(), random.Next(4) == 0 ? 0 : (float)((random.NextDouble() - 0.5) * Math.ScaleB(1, random.Next(-8, 8))));
            uint[][] sources = [.. Enumerable.Range(0, 10).Select(_ => new uint[32])];
            for (int lane = 0; lane < 32; lane++)
            {
                for (int i = 0; i < 8; i++)
                    sources[i / 2][lane] |= (uint)a[A16(lane, i).Row, A16(lane, i).K] << (16 * (i & 1));
                for (int i = 0; i < 4; i++)
                    sources[4 + (i / 2)][lane] |= (uint)b[B16(lane, i).K, B16(lane, i).Column] << (16 * (i & 1));
                for (int i = 0; i < 4; i++)
                    sources[6 + i][lane] = BitConverter.SingleToUInt32Bits(c[C(lane, i).Row, C(lane, i).Column]);
            }

            uint[] d = RunWarp($"mma.sync.aligned.m16n8k16.row.col.f32.{type}.{type}.f32 {{%d0, %d1, %d2, %d3}}, {{%s0, %s1, %s2, %s3}}, {{%s4, %s5}}, {{%s6, %s7, %s8, %s9}};", sources, 4, new PtxMachineOptions { Mma = profile });
            for (int n = 0; n < 128; n++)
            {
                (int lane, int i) = (n / 4, n % 4);
                (int row, int column) = C(lane, i);
                ushort[] x = [.. Enumerable.Range(0, 16).Select(k => a[row, k])], y = [.. Enumerable.Range(0, 16).Select(k => b[k, column])];
                Func<ushort, float> value = brain ? Brain : Half;
                int Exponent(ushort v) => brain ? Math.Max(v >> 7 & 255, 1) - 127 : Math.Max(v >> 10 & 31, 1) - 15;
                float expected = Reference([.. x.Select(value)], [.. y.Select(value)], [.. x.Zip(y, (p, q) => Exponent(p) + Exponent(q))], c[row, column], block, bits);
                Assert.Equal(BitConverter.SingleToUInt32Bits(expected), d[(32 * i) + lane]);
            }
        }
    }

    [Fact]
    public void Products_with_infinities_give_infinity_or_the_canonical_NaN()
    {
        uint[][] sources = [.. Enumerable.Range(0, 10).Select(r => Enumerable.Repeat(r < 6 ? 0x3F803F80u : 0u, 32).ToArray())];
        sources[0][0] = 0x3F807F80; // A[0, 0] = ∞
        sources[4][4] = 0x3F800000; // B[0, 1] = 0
        uint[] d = RunWarp("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%d0, %d1, %d2, %d3}, {%s0, %s1, %s2, %s3}, {%s4, %s5}, {%s6, %s7, %s8, %s9};", sources, 4);
        Assert.Equal(0x7F800000u, d[0]); // row 0, column 0
        Assert.Equal(0x7FFFFFFFu, d[32]); // row 0, column 1: ∞·0
        Assert.Equal(BitConverter.SingleToUInt32Bits(16), d[4]); // row 1
    }

    [Theory]
    [InlineData("s8", "s8", "")]
    [InlineData("u8", "s8", "")]
    [InlineData("u8", "u8", ".satfinite")]
    public void Integer_products_are_exact(string typeA, string typeB, string saturate)
    {
        var random = new Random(3);
        uint[][] sources = [.. Enumerable.Range(0, 10).Select(_ => Enumerable.Range(0, 32).Select(_ => (uint)random.NextInt64()).ToArray())];
        uint[] d = RunWarp($"mma.sync.aligned.m16n8k32.row.col{saturate}.s32.{typeA}.{typeB}.s32 {{%d0, %d1, %d2, %d3}}, {{%s0, %s1, %s2, %s3}}, {{%s4, %s5}}, {{%s6, %s7, %s8, %s9}};", sources, 4);
        var a = new int[16, 32];
        var b = new int[32, 8];
        for (int lane = 0; lane < 32; lane++)
        {
            int g = lane >> 2, t = lane & 3;
            for (int i = 0; i < 16; i++)
                a[g + (8 * ((i >> 2) & 1)), (4 * t) + (i & 3) + (16 * (i >> 3))] = Byte(sources[i / 4][lane] >> (8 * (i & 3)), typeA);
            for (int i = 0; i < 8; i++)
                b[(4 * t) + (i & 3) + (16 * (i >> 2)), g] = Byte(sources[4 + (i / 4)][lane] >> (8 * (i & 3)), typeB);
        }

        for (int n = 0; n < 128; n++)
        {
            (int lane, int i) = (n / 4, n % 4);
            (int row, int column) = C(lane, i);
            long sum = (int)sources[6 + i][lane];
            for (int k = 0; k < 32; k++)
                sum += a[row, k] * b[k, column];
            Assert.Equal((uint)(saturate.Length > 0 ? Math.Clamp(sum, int.MinValue, int.MaxValue) : sum), d[(32 * i) + lane]);
        }
    }

    private static int Byte(uint value, string type) => type == "s8" ? (sbyte)value : (byte)value;

    [Theory]
    [InlineData(4, "")]
    [InlineData(2, "")]
    [InlineData(4, ".trans")]
    [InlineData(1, ".trans")]
    public void Matrices_are_loaded_row_by_row_and_transposed(int count, string trans)
    {
        // shared memory holds the half-words 0, 1, 2, …; lane l names row 31 − l, so that every matrix's rows come in reverse
        string registers = string.Join(", ", Enumerable.Range(0, count).Select(n => $"%d{n}"));
        uint[] d = RunWarp($$"""
            .shared .align 16 .b8 tile[512];
            mov.u32 %r1, tile;
            shl.b32 %r2, %r0, 4;
            add.s32 %r3, %r1, %r2;
            shl.b32 %r4, %r0, 3;
            mad.lo.u32 %r5, %r4, 65537, 0x00010000;
            add.s32 %r6, %r5, 0x00020002;
            add.s32 %r7, %r6, 0x00020002;
            add.s32 %r8, %r7, 0x00020002;
            st.shared.v4.u32 [%r3], {%r5, %r6, %r7, %r8};
            bar.warp.sync -1;
            sub.s32 %r9, 31, %r0;
            shl.b32 %r9, %r9, 4;
            add.s32 %r9, %r9, %r1;
            ldmatrix.sync.aligned.m8n8.x{{count}}{{trans}}.shared.b16 {{{registers}}}, [%r9];
            """, [new uint[32]], count);
        for (int m = 0; m < count; m++)
        {
            for (int lane = 0; lane < 32; lane++)
            {
                int g = lane >> 2, t = lane & 3;
                uint Element(int row, int column) => (uint)(((31 - ((8 * m) + row)) * 8) + column);
                uint low = trans.Length > 0 ? Element(2 * t, g) : Element(g, 2 * t), high = trans.Length > 0 ? Element((2 * t) + 1, g) : Element(g, (2 * t) + 1);
                Assert.Equal(low | (high << 16), d[(32 * m) + lane]);
            }
        }
    }

    [Fact]
    public void A_matrix_moves_to_its_transpose()
    {
        uint[] source = [.. Enumerable.Range(0, 32).Select(l => (uint)((2 * l) | (((2 * l) + 1) << 16)))]; // row-major 0 … 63
        uint[] d = RunWarp("movmatrix.sync.aligned.m8n8.trans.b16 %d0, %s0;", [source], 1);
        for (int lane = 0; lane < 32; lane++)
        {
            int g = lane >> 2, t = lane & 3;
            Assert.Equal((uint)((16 * t) + g) | (uint)((16 * t) + 8 + g) << 16, d[lane]);
        }
    }

    [Fact]
    public void Tf32_products_run_in_blocks_of_four_and_ignore_low_bits()
    {
        uint[][] sources = [.. Enumerable.Range(0, 10).Select(_ => new uint[32])];
        for (int i = 0; i < 4; i++)
        {
            for (int lane = 0; lane < 32; lane++)
            {
                int row = (lane >> 2) + (8 * (i & 1)), k = (lane & 3) + (4 * (i >> 1));
                sources[i][lane] = BitConverter.SingleToUInt32Bits(row == 0 ? (k == 4 ? 1 : MathF.ScaleB(1, -25)) : 3) | 0x1FFF;
            }
        }

        foreach (int r in new[] { 4, 5 })
            Array.Fill(sources[r], 0x3F800000u);
        uint[] d = RunWarp("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%d0, %d1, %d2, %d3}, {%s0, %s1, %s2, %s3}, {%s4, %s5}, {%s6, %s7, %s8, %s9};", sources, 4);
        Assert.Equal(1 + MathF.ScaleB(1, -23), BitConverter.UInt32BitsToSingle(d[0])); // k 0–3 add up to 2^−23 first; beside 1 the other three are cut
        Assert.Equal(24f, BitConverter.UInt32BitsToSingle(d[4]));
    }
}
