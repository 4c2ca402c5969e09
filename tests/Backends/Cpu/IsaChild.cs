using System.Runtime.InteropServices;
using System.Runtime.Intrinsics.X86;
using System.Security.Cryptography;
using Foretoken.Backends;
using Foretoken.Backends.Cpu;
using Foretoken.Backends.Cpu.Emitter;
using Xunit.Sdk;

namespace Foretoken.Tests.Backends.Cpu;

/// <summary>
/// Entry point of a child process that <see cref="IsaSwitchTests"/> starts with instruction sets switched off. It asserts that they are off, runs the
/// kernel tests on what is left, and prints digests.
/// </summary>
internal static class IsaChild
{
    public const string Command = "isa-child";

    public static int Main(string[] args)
    {
        if (args.Length != 2 || args[0] != Command)
        {
            Console.Error.WriteLine("Run these tests with dotnet test.");
            return 2;
        }

        try
        {
            AssertSwitchedOff(args[1]);
            RunKernelTests();
            foreach (string digest in Digests()) Console.WriteLine(digest);
            return 0;
        }
        catch (XunitException e)
        {
            Console.Error.WriteLine(e);
            return 1;
        }
    }

    /// <summary>Digests of whole models per type of weights, and of attention per type of keys and values.</summary>
    public static IEnumerable<string> Digests() =>
        [.. Enum.GetValues<WeightType>().Select(Digest), .. Enum.GetValues<KvType>().Select(type => $"attention {type} {CpuAttentionInvarianceTests.Digest(type):X}")];

    /// <summary>A digest of the logits of a small model at the best level of this process.</summary>
    private static string Digest(WeightType type)
    {
        using var rig = new CpuRig(type, KvType.BF16);
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        foreach (float[] row in CpuBackendTests.Run(rig, CpuBackendTests.Tokens(6, 50), 11)) hash.AppendData(MemoryMarshal.AsBytes<float>(row));
        return $"{type} {Convert.ToHexString(hash.GetHashAndReset())}";
    }

    private static void AssertSwitchedOff(string mode)
    {
        Assert.False(EmitterSupport.IsSupported, "the emitter is on");
        if (mode == "without-emitter")
        {
            Assert.Equal("switched off by FORETOKEN_EMITTER", EmitterSupport.WhyNot);
            return;
        }

        Assert.False(Avx512F.IsSupported, "AVX-512 is on");
        if (mode != "avx2") Assert.False(AvxVnni.IsSupported, "AVX-VNNI is on");
        if (mode != "portable") return;
        Assert.False(Avx2.IsSupported, "AVX2 is on");
        Assert.False(Fma.IsSupported, "FMA is on");
        Assert.Equal(IsaLevel.Portable, IsaLevels.Best);
    }

    private static void RunKernelTests()
    {
        string level = IsaLevels.Best.ToString();
        using var tests = new PanelProductTests();
        foreach (WeightType type in Enum.GetValues<WeightType>())
        {
            tests.Products_equal_the_scalar_contract_bit_for_bit(level, type);
            tests.Bits_of_a_row_do_not_depend_on_the_rows_beside_it(level, type);
            tests.Rows_are_read_back_as_they_are_stored(type);
        }

        new Numerics.VectorMathTests().Exp_has_the_same_bits_at_every_width_and_lane();
    }
}
