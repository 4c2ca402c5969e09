using Foretoken.Backends.Cpu.Emitter;

namespace Foretoken.Tests.Backends.Cpu;

/// <summary>
/// Every instruction against the GNU tools. The table's bytes and texts are the output of
/// <c>as -msyntax=intel -mnaked-reg -o a.o a.s; objdump -d -M intel --insn-width=16 a.o</c> (binutils 2.40) for a file with the instructions of the left column.
/// </summary>
public class AssemblerTests
{
    private static readonly (string Text, string Bytes, Action<Assembler> Write)[] s_instructions =
    [
        ("mov rax,r9", "4C89C8", a => a.Mov(Gpr.Rax, Gpr.R9)),
        ("mov r12,rdi", "4989FC", a => a.Mov(Gpr.R12, Gpr.Rdi)),
        ("mov rax,QWORD PTR [rdi+0x20]", "488B4720", a => a.Mov(Gpr.Rax, new Address(Gpr.Rdi, 32))),
        ("mov r8,QWORD PTR [rsp+0x8]", "4C8B442408", a => a.Mov(Gpr.R8, new Address(Gpr.Rsp, 8))),
        ("mov rdx,QWORD PTR [r13+0x0]", "498B5500", a => a.Mov(Gpr.Rdx, new Address(Gpr.R13))),
        ("mov rdx,QWORD PTR [r12+0x1000]", "498B942400100000", a => a.Mov(Gpr.Rdx, new Address(Gpr.R12, 4096))),
        ("mov ecx,0x7", "B907000000", a => a.Mov(Gpr.Rcx, 7u)),
        ("mov r10d,0xf0f0f0f", "41BA0F0F0F0F", a => a.Mov(Gpr.R10, 0x0F0F0F0Fu)),
        ("movsxd rcx,DWORD PTR [rdi+0x30]", "48634F30", a => a.Movsxd(Gpr.Rcx, new Address(Gpr.Rdi, 48))),
        ("lea r11,[r10+r9*2]", "4F8D1C4A", a => a.Lea(Gpr.R11, new Address(Gpr.R10, Gpr.R9, 2))),
        ("lea rbp,[rbx+r9*8-0xc8]", "4A8DACCB38FFFFFF", a => a.Lea(Gpr.Rbp, new Address(Gpr.Rbx, Gpr.R9, 8, -200))),
        ("add rbp,r9", "4C01CD", a => a.Add(Gpr.Rbp, Gpr.R9)),
        ("add r8,QWORD PTR [rdi+0x38]", "4C034738", a => a.Add(Gpr.R8, new Address(Gpr.Rdi, 56))),
        ("or rax,rdx", "4809D0", a => a.Or(Gpr.Rax, Gpr.Rdx)),
        ("shl rdx,0x20", "48C1E220", a => a.Shl(Gpr.Rdx, 32)),
        ("add rax,0x200", "480500020000", a => a.Add(Gpr.Rax, 512)),
        ("add r8,0x240", "4981C040020000", a => a.Add(Gpr.R8, 576)),
        ("add rdx,0x20", "4883C220", a => a.Add(Gpr.Rdx, 32)),
        ("add r11,0xffffffffffffff80", "4983C380", a => a.Add(Gpr.R11, -128)),
        ("dec rcx", "48FFC9", a => a.Dec(Gpr.Rcx)),
        ("push rbx", "53", a => a.Push(Gpr.Rbx)),
        ("push r12", "4154", a => a.Push(Gpr.R12)),
        ("pop rbp", "5D", a => a.Pop(Gpr.Rbp)),
        ("pop r15", "415F", a => a.Pop(Gpr.R15)),
        ("ret", "C3", a => a.Ret()),
        ("xgetbv", "0F01D0", a => a.Xgetbv()),
        ("vzeroupper", "C5F877", a => a.Vzeroupper()),
        ("prefetcht0 BYTE PTR [r8+0x40]", "410F184840", a => a.Prefetcht0(new Address(Gpr.R8, 64))),
        ("prefetcht0 BYTE PTR [rsi+0x200]", "0F188E00020000", a => a.Prefetcht0(new Address(Gpr.Rsi, 512))),
        ("vmovups zmm28,ZMMWORD PTR [rax+0x1c0]", "62617C48106007", a => a.Vmovups(new Zmm(28), new Address(Gpr.Rax, 448))),
        ("vmovups zmm3,ZMMWORD PTR [r12]", "62D17C48101C24", a => a.Vmovups(new Zmm(3), new Address(Gpr.R12))),
        ("vmovups zmm17,ZMMWORD PTR [r13+0x64]", "62C17C48108D64000000", a => a.Vmovups(new Zmm(17), new Address(Gpr.R13, 100))),
        ("vmovups ZMMWORD PTR [rax+0x40],zmm31", "62617C48117801", a => a.Vmovups(new Address(Gpr.Rax, 64), new Zmm(31))),
        ("vmovups ZMMWORD PTR [r11+r9*4+0x2000],zmm8", "62117C4811848B00200000", a => a.Vmovups(new Address(Gpr.R11, Gpr.R9, 4, 8192), new Zmm(8))),
        ("vpbroadcastd zmm0,DWORD PTR [rsi+0x24]", "62F27D48584609", a => a.Vpbroadcastd(new Zmm(0), new Address(Gpr.Rsi, 36))),
        ("vpbroadcastd zmm20,DWORD PTR [rbp+r9*2+0x24]", "62A27D4858644D09", a => a.Vpbroadcastd(new Zmm(20), new Address(Gpr.Rbp, Gpr.R9, 2, 36))),
        ("vpbroadcastd zmm20,DWORD PTR [rbx+0x25]", "62E27D4858A325000000", a => a.Vpbroadcastd(new Zmm(20), new Address(Gpr.Rbx, 37))),
        ("vpbroadcastd zmm31,eax", "62627D487CF8", a => a.Vpbroadcastd(new Zmm(31), Gpr.Rax)),
        ("vpbroadcastd zmm9,r14d", "62527D487CCE", a => a.Vpbroadcastd(new Zmm(9), Gpr.R14)),
        ("vpdpbusd zmm13,zmm28,DWORD BCST [r11+r9*1+0x1c]", "62121D50506C0B07", a => a.VpdpbusdBroadcast(new Zmm(13), new Zmm(28), new Address(Gpr.R11, Gpr.R9, 1, 28))),
        ("vpdpbusd zmm1,zmm2,DWORD BCST [rsi+0x1fc]", "62F26D58504E7F", a => a.VpdpbusdBroadcast(new Zmm(1), new Zmm(2), new Address(Gpr.Rsi, 508))),
        ("vpdpbusd zmm1,zmm2,DWORD BCST [rsi+0x200]", "62F26D58508E00020000", a => a.VpdpbusdBroadcast(new Zmm(1), new Zmm(2), new Address(Gpr.Rsi, 512))),
        ("vpdpbusd zmm1,zmm2,DWORD BCST [rsi-0x200]", "62F26D58504E80", a => a.VpdpbusdBroadcast(new Zmm(1), new Zmm(2), new Address(Gpr.Rsi, -512))),
        ("vpdpbusd zmm13,zmm28,zmm26", "62121D4050EA", a => a.Vpdpbusd(new Zmm(13), new Zmm(28), new Zmm(26))),
        ("vpdpbusd zmm1,zmm2,zmm3", "62F26D4850CB", a => a.Vpdpbusd(new Zmm(1), new Zmm(2), new Zmm(3))),
        ("vpdpwssd zmm13,zmm18,zmm20", "62326D4052EC", a => a.Vpdpwssd(new Zmm(13), new Zmm(18), new Zmm(20))),
        ("vpdpwssd zmm1,zmm2,zmm3", "62F26D4852CB", a => a.Vpdpwssd(new Zmm(1), new Zmm(2), new Zmm(3))),
        ("vpmovsxbw zmm16,YMMWORD PTR [rax]", "62E27D482000", a => a.Vpmovsxbw(new Zmm(16), new Address(Gpr.Rax))),
        ("vpmovsxbw zmm19,YMMWORD PTR [r11+0x60]", "62C27D48205B03", a => a.Vpmovsxbw(new Zmm(19), new Address(Gpr.R11, 96))),
        ("vpmovsxbw zmm3,YMMWORD PTR [rsi+0x11]", "62F27D48209E11000000", a => a.Vpmovsxbw(new Zmm(3), new Address(Gpr.Rsi, 17))),
        ("vdpbf16ps zmm7,zmm30,DWORD BCST [r10+0x3c]", "62D20E50527A0F", a => a.Vdpbf16psBroadcast(new Zmm(7), new Zmm(30), new Address(Gpr.R10, 60))),
        ("vcvtph2ps zmm29,YMMWORD PTR [rdx+0x20]", "62627D48136A01", a => a.Vcvtph2ps(new Zmm(29), new Address(Gpr.Rdx, 32))),
        ("vcvtph2ps zmm5,YMMWORD PTR [r10+0x10]", "62D27D4813AA10000000", a => a.Vcvtph2ps(new Zmm(5), new Address(Gpr.R10, 16))),
        ("vpmovsxwd zmm29,YMMWORD PTR [rdx]", "62627D48232A", a => a.Vpmovsxwd(new Zmm(29), new Address(Gpr.Rdx))),
        ("vpmovsxwd zmm2,YMMWORD PTR [r9+0x60]", "62D27D48235103", a => a.Vpmovsxwd(new Zmm(2), new Address(Gpr.R9, 96))),
        ("vpmovzxbd zmm16,XMMWORD PTR [rdx+0x30]", "62E27D48314203", a => a.Vpmovzxbd(new Zmm(16), new Address(Gpr.Rdx, 48))),
        ("vpmovsxbd zmm16,XMMWORD PTR [rdx+0x30]", "62E27D48214203", a => a.Vpmovsxbd(new Zmm(16), new Address(Gpr.Rdx, 48))),
        ("vcvtdq2ps zmm13,zmm26", "62117C485BEA", a => a.Vcvtdq2ps(new Zmm(13), new Zmm(26))),
        ("vaddps zmm3,zmm19,zmm30", "6291644058DE", a => a.Vaddps(new Zmm(3), new Zmm(19), new Zmm(30))),
        ("vmulps zmm31,zmm1,zmm21", "6221744859FD", a => a.Vmulps(new Zmm(31), new Zmm(1), new Zmm(21))),
        ("vmulps zmm30,zmm29,DWORD BCST [rbx+0x20]", "62611450597308", a => a.VmulpsBroadcast(new Zmm(30), new Zmm(29), new Address(Gpr.Rbx, 32))),
        ("vfmadd231ps zmm27,zmm13,zmm30", "62021548B8DE", a => a.Vfmadd231ps(new Zmm(27), new Zmm(13), new Zmm(30))),
        ("vfmadd231ps zmm27,zmm13,DWORD BCST [rsi+r9*2+0x4]", "62221558B85C4E01", a => a.Vfmadd231psBroadcast(new Zmm(27), new Zmm(13), new Address(Gpr.Rsi, Gpr.R9, 2, 4))),
        ("vpaddd zmm3,zmm19,zmm30", "62916540FEDE", a => a.Vpaddd(new Zmm(3), new Zmm(19), new Zmm(30))),
        ("vpandd zmm14,zmm15,zmm31", "62110548DBF7", a => a.Vpandd(new Zmm(14), new Zmm(15), new Zmm(31))),
        ("vpord zmm14,zmm15,zmm31", "62110548EBF7", a => a.Vpord(new Zmm(14), new Zmm(15), new Zmm(31))),
        ("vpxord zmm19,zmm19,zmm19", "62A16540EFDB", a => a.Vpxord(new Zmm(19), new Zmm(19), new Zmm(19))),
        ("vmovaps zmm3,zmm21", "62B17C4828DD", a => a.Vmovaps(new Zmm(3), new Zmm(21))),
        ("vmulps zmm6{k1}{z},zmm5,ZMMWORD PTR [r9]", "62D154C95931", a => a.VmulpsMasked(new Zmm(6), Mask.K1, new Zmm(5), new Address(Gpr.R9))),
        ("vaddps zmm2,zmm1,zmm18", "62B1744858D2", a => a.Vaddps(new Zmm(2), new Zmm(1), new Zmm(18))),
        ("vaddps zmm0,zmm29,ZMMWORD PTR [rsi]", "62F114405806", a => a.Vaddps(new Zmm(0), new Zmm(29), new Address(Gpr.Rsi))),
        ("vaddps zmm17,zmm2,ZMMWORD PTR [r13+0x40]", "62C16C48584D01", a => a.Vaddps(new Zmm(17), new Zmm(2), new Address(Gpr.R13, 64))),
        ("vmaxps zmm4,zmm14,ZMMWORD PTR [rbx+0x80]", "62F10C485F6302", a => a.Vmaxps(new Zmm(4), new Zmm(14), new Address(Gpr.Rbx, 128))),
        ("kmovw k2,k1", "C5F890D1", a => a.Kmovw(Mask.K2, Mask.K1)),
        ("vcmpnltps k1,zmm0,zmm27", "62917C48C2CB05", a => a.Vcmpnltps(Mask.K1, new Zmm(0), new Zmm(27))),
        ("vcmpnltps k2,zmm30,zmm9", "62D10C40C2D105", a => a.Vcmpnltps(Mask.K2, new Zmm(30), new Zmm(9))),
        ("vscalefps zmm5{k1}{z},zmm3,zmm2", "62F265C92CEA", a => a.VscalefpsMasked(new Zmm(5), Mask.K1, new Zmm(3), new Zmm(2))),
        ("vscalefps zmm25{k2}{z},zmm13,zmm22", "622215CA2CCE", a => a.VscalefpsMasked(new Zmm(25), Mask.K2, new Zmm(13), new Zmm(22))),
        ("vpaddd zmm7,zmm7,zmm6", "62F14548FEFE", a => a.Vpaddd(new Zmm(7), new Zmm(7), new Zmm(6))),
        ("vpmaxud zmm8,zmm8,zmm6", "62723D483FC6", a => a.Vpmaxud(new Zmm(8), new Zmm(8), new Zmm(6))),
        ("vpmaxud zmm28,zmm18,zmm26", "62026D403FE2", a => a.Vpmaxud(new Zmm(28), new Zmm(18), new Zmm(26))),
        ("vpmovdw YMMWORD PTR [r10],zmm0", "62D27E483302", a => a.Vpmovdw(new Address(Gpr.R10), new Zmm(0))),
        ("vpmovdw YMMWORD PTR [r10+0x60],zmm20", "62C27E48336203", a => a.Vpmovdw(new Address(Gpr.R10, 96), new Zmm(20))),
        ("vfmadd213ps zmm3,zmm0,zmm22", "62B27D48A8DE", a => a.Vfmadd213ps(new Zmm(3), new Zmm(0), new Zmm(22))),
        ("vfmadd213ps zmm3,zmm0,ZMMWORD PTR [r15+0x10c0]", "62D27D48A85F43", a => a.Vfmadd213ps(new Zmm(3), new Zmm(0), new Address(Gpr.R15, 4288))),
        ("vfmadd231ps zmm0,zmm1,ZMMWORD PTR [r9]", "62D27548B801", a => a.Vfmadd231ps(new Zmm(0), new Zmm(1), new Address(Gpr.R9))),
        ("vpslld zmm29,zmm29,0xd", "6291154072F50D", a => a.Vpslld(new Zmm(29), new Zmm(29), 13)),
        ("vpsrld zmm22,zmm6,0x4", "62F14D4072D604", a => a.Vpsrld(new Zmm(22), new Zmm(6), 4)),
    ];

    [Fact]
    public void Instructions_have_the_bytes_of_the_gnu_assembler()
    {
        foreach ((string text, string bytes, Action<Assembler> write) in s_instructions)
        {
            var a = new Assembler();
            write(a);
            Assert.Equal($"{text}: {bytes}", $"{text}: {Convert.ToHexString(a.ToArray())}");
        }
    }

    [Fact]
    public void A_jump_back_is_short_where_it_can_be()
    {
        var near = new Assembler();
        near.Dec(Gpr.Rcx);
        near.Jnz(0); // as: top: dec rcx; jnz top
        Assert.Equal("48FFC975FB", Convert.ToHexString(near.ToArray()));
        var far = new Assembler();
        for (int i = 0; i < 64; i++) far.Dec(Gpr.Rcx);
        far.Jnz(0);
        Assert.Equal("0F853AFFFFFF", Convert.ToHexString(far.ToArray().AsSpan(192)));
    }

    [Fact]
    public void Padding_reaches_the_boundary_with_whole_instructions()
    {
        for (int before = 0; before < 64; before++)
        {
            var a = new Assembler();
            for (int i = 0; i < before; i++) a.Ret();
            a.Align(64);
            Assert.Equal(before == 0 ? 0 : 64, a.Position);
        }
    }

    [Fact]
    public void Operands_that_have_no_encoding_are_refused()
    {
        Assert.Throws<ArgumentException>(() => new Address(Gpr.Rax, Gpr.Rsp, 1));
        Assert.Throws<ArgumentOutOfRangeException>(() => new Address(Gpr.Rax, Gpr.Rcx, 3));
        Assert.Throws<ArgumentOutOfRangeException>(() => new Zmm(32));
    }
}
