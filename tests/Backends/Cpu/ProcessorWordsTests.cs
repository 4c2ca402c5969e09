using System.Runtime.InteropServices;
using Foretoken.Backends.Cpu.Emitter;

namespace Foretoken.Tests.Backends.Cpu;

/// <summary>The decision on emitted code, on processors and systems that are not here.</summary>
public sealed class ProcessorWordsTests
{
    private const ulong Saved = 0b1110_0111; // x87, SSE, AVX, opmask, both halves of the 512-bit registers

    // F, DQ, BW and VL; VNNI; BF16: a server core of 2020 and later
    private static readonly ProcessorWords s_whole = new()
    {
        HighestLeaf = 0x20, Leaf1Ecx = 1 << 27 | 1 << 28, Leaf7Eax = 2, Leaf7Ebx = 1 << 16 | 1 << 17 | 1 << 30 | 1 << 31, Leaf7Ecx = 1 << 11, Leaf7Subleaf1Eax = 1 << 5,
    };

    [Fact]
    public void Emitted_code_runs_where_the_processor_has_the_instructions_and_the_system_saves_the_registers()
    {
        Assert.Null(s_whole.WhyNotEmit(() => Saved));
        Assert.True(s_whole.HasBFloat16);
        Assert.Null(s_whole.WhyNotEmit(() => ulong.MaxValue)); // more state than we know of
    }

    [Theory]
    [InlineData(0b0000_0011ul)] // x87 and SSE: no AVX at all
    [InlineData(0b0000_0111ul)] // a system that knows AVX only
    [InlineData(0b0010_0111ul)] // opmask alone
    [InlineData(0b0110_0111ul)] // without zmm 16 to 31
    [InlineData(0b1010_0111ul)] // without the upper halves
    [InlineData(0b1100_0111ul)] // without opmask
    [InlineData(0b1110_0011ul)] // without AVX
    [InlineData(0b1110_0101ul)] // without SSE
    [InlineData(0ul)]
    public void System_that_does_not_save_all_512_bit_state_has_no_emitted_code_though_the_processor_has_the_instructions(ulong state) =>
        Assert.Equal("the system does not save the 512-bit registers", s_whole.WhyNotEmit(() => state));

    [Fact]
    public void State_register_is_not_read_where_the_system_does_not_announce_it_or_instructions_are_missing()
    {
        static ulong? Fail() => throw new InvalidOperationException("XGETBV would fault here, or is not needed.");
        Assert.Equal("the system does not report its register state (OSXSAVE)", (s_whole with { Leaf1Ecx = ~(1 << 27) }).WhyNotEmit(Fail));
        Assert.Equal("the processor reports no extended features", (s_whole with { HighestLeaf = 6 }).WhyNotEmit(Fail));
        Assert.Equal("no AVX512_VNNI", (s_whole with { Leaf7Ecx = ~(1 << 11) }).WhyNotEmit(Fail));
        foreach ((string name, int bit) in new[] { ("AVX512F", 16), ("AVX512DQ", 17), ("AVX512BW", 30), ("AVX512VL", 31) })
            Assert.Equal($"no {name}", (s_whole with { Leaf7Ebx = ~(1 << bit) }).WhyNotEmit(Fail));
    }

    [Fact]
    public void System_without_executable_memory_has_no_emitted_code() =>
        Assert.Equal("the system refuses executable memory", s_whole.WhyNotEmit(() => null));

    [Fact]
    public void Bfloat16_pairs_need_their_bit_and_the_leaf_that_holds_it()
    {
        Assert.False((s_whole with { Leaf7Subleaf1Eax = ~(1 << 5) }).HasBFloat16);
        Assert.False((s_whole with { Leaf7Eax = 0 }).HasBFloat16); // subleaf 1 does not exist: what stands there means nothing
        Assert.False((s_whole with { HighestLeaf = 6 }).HasBFloat16);
    }

    [Fact]
    public void This_processor_is_read_as_the_system_lists_it()
    {
        if (!OperatingSystem.IsLinux() || RuntimeInformation.ProcessArchitecture != Architecture.X64) return;
        string flags = File.ReadLines("/proc/cpuinfo").First(l => l.StartsWith("flags", StringComparison.Ordinal)) + " ";
        var words = ProcessorWords.Read();
        bool all = new[] { "avx512f", "avx512dq", "avx512bw", "avx512vl", "avx512_vnni" }.All(f => flags.Contains($" {f} ", StringComparison.Ordinal));
        if (all) Assert.Null(words.WhyNotEmit(() => Saved)); // the system lists what it saves, and may hide what the processor has
        if (flags.Contains(" avx512_bf16 ", StringComparison.Ordinal)) Assert.True(words.HasBFloat16);
    }
}
