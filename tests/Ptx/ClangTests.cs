using Foretoken.Ptx;

namespace Foretoken.Tests.Ptx;

/// <summary>Whole programs of clang's making (Samples/language.cu) against the same in C#.</summary>
public class ClangTests
{
    private static string Source()
    {
        using Stream stream = typeof(ClangTests).Assembly.GetManifestResourceStream("ptx/language.ptx")!;
        using var reader = new StreamReader(stream);
        return reader.ReadToEnd();
    }

    private static float Poly(float[] c, int n)
    {
        float r = 0;
        for (int i = n - 1; i >= 0; i--)
            r = MathF.FusedMultiplyAdd(r, 0.5f, c[i]);
        return n > 4 ? r : -r;
    }

    [Theory]
    [InlineData(PtxOrder.Lockstep)]
    [InlineData(PtxOrder.Descending)]
    public void Calls_local_arrays_switches_and_wide_integers_compute_what_the_source_says(PtxOrder order)
    {
        using var machine = new PtxMachine(new PtxMachineOptions { GlobalBytes = 1 << 20, LaneOrder = order });
        PtxModule module = machine.LoadModule(Source(), "language.ptx");
        PtxBuffer floats = machine.Allocate(64 * 4), words = machine.Allocate(64 * 8);
        var p = new byte[24];
        float[] a = [0.25f, -1.5f, 3];
        const ulong k = 0xFEDCBA9876543210;
        Buffer.BlockCopy(a, 0, p, 0, 12);
        BitConverter.GetBytes(-7).CopyTo(p, 12);
        BitConverter.GetBytes(k).CopyTo(p, 16);
        machine.Launch(module, "language", 1, 64, 0, floats, words, p, (short)-11);
        float[] f = machine.Read<float>(floats);
        ulong[] w = machine.Read<ulong>(words);
        float[] table = [1, 2, 3, 4, 0, 0, 0, 0];
        for (int t = 0; t < 64; t++)
        {
            var c = new float[8];
            for (int i = 0; i < 8; i++)
                c[(i + t) & 7] = a[i % 3] + i;
            float v = Poly(c, (t & 7) + 1);
            v = (t % 7) switch { 0 => v + 1, 1 => v * 2, 2 => v - 3, 3 => v / 3, 4 => MathF.Sqrt(v * v), 5 => v > 0 ? v : -v, _ => 77 };
            Assert.Equal(v + table[t & 7], f[t]);
            UInt128 wide = unchecked(((UInt128)k * (uint)t) + ((UInt128)(uint)t << 70) - k), product = (UInt128)(k + (uint)t) * (((ulong)t * (uint)t) + 1);
            Assert.Equal((ulong)(product >> 64) ^ (ulong)product ^ (ulong)(wide >> 64) ^ (ulong)wide, w[t]);
        }
    }

    [Fact]
    public void Block_sum_adds_in_the_order_of_its_shuffles()
    {
        using var machine = new PtxMachine(new PtxMachineOptions { GlobalBytes = 1 << 20 });
        PtxModule module = machine.LoadModule(Source(), "language.ptx");
        float[] x = [.. Enumerable.Range(0, 1000).Select(i => MathF.Sin(i))];
        PtxBuffer y = machine.Allocate(4), input = machine.Upload(x);
        machine.Launch(module, "block_sum", 1, 256, 0, y, input, 1000);
        var lanes = new float[256];
        for (int i = 0; i < 1000; i++)
            lanes[i % 256] += x[i];
        float total = 0;
        for (int warp = 0; warp < 8; warp++)
        {
            float[] s = lanes[(warp * 32)..((warp + 1) * 32)];
            for (int o = 16; o > 0; o >>= 1)
                s = [.. s.Select((v, n) => v + s[n ^ o])];
            total += s[0];
        }

        Assert.Equal(total, machine.Read<float>(y)[0]);
        Assert.Equal(6, machine.Read<int>(module.Variable("finished")!.Value.Address, 1)[0]);
    }
}
