namespace Foretoken.Backends.Cpu.Emitter;

/// <summary>
/// Instructions with the EVEX prefix, 512 bits wide:
/// <code>
/// 62 | R̄ X̄ B̄ R̄' 0 m m m | W v̄ v̄ v̄ v̄ 1 p p | z L' L b V̄' a a a | opcode | ModRM …
/// </code>
/// mmm selects the opcode map (1: 0F, 2: 0F 38), pp a legacy prefix (1: 66, 2: F3), L'L = 2 is 512 bits, b broadcasts a 32-bit memory operand.
/// With a mask (aaa: k1 to k7) and z, lanes whose bit is not set become zero.
/// </summary>
internal sealed partial class Assembler
{
    private const int Map0F = 1, Map0F38 = 2;
    private const int NoPrefix = 0, Prefix66 = 1, PrefixF3 = 2;
    private const int Full = 64, Half = 32, Quarter = 16, Element = 4; // bytes that a memory operand reads: the unit of its 8-bit displacement

    /// <summary>vmovups zmm, [memory]</summary>
    public void Vmovups(Zmm destination, Address source) => Evex(Map0F, NoPrefix, 0x10, destination.Index, 0, source, Full);

    /// <summary>vmovups [memory], zmm</summary>
    public void Vmovups(Address destination, Zmm source) => Evex(Map0F, NoPrefix, 0x11, source.Index, 0, destination, Full);

    /// <summary>vmovaps zmm, zmm</summary>
    public void Vmovaps(Zmm destination, Zmm source) => Evex(Map0F, NoPrefix, 0x28, destination.Index, 0, source.Index);

    /// <summary>vpbroadcastd zmm, dword [memory]</summary>
    public void Vpbroadcastd(Zmm destination, Address source) => Evex(Map0F38, Prefix66, 0x58, destination.Index, 0, source, Element);

    /// <summary>vpbroadcastd zmm, r32</summary>
    public void Vpbroadcastd(Zmm destination, Gpr source) => Evex(Map0F38, Prefix66, 0x7C, destination.Index, 0, (int)source);

    /// <summary>vpdpbusd zmm, zmm, dword [memory]{1to16}: adds four products of unsigned bytes of <paramref name="a"/> and signed bytes of memory per lane.</summary>
    public void VpdpbusdBroadcast(Zmm sum, Zmm a, Address b) => Evex(Map0F38, Prefix66, 0x50, sum.Index, a.Index, b, Element, broadcast: true);

    /// <summary>vpdpbusd zmm, zmm, zmm: the same with bytes in a register.</summary>
    public void Vpdpbusd(Zmm sum, Zmm a, Zmm b) => Evex(Map0F38, Prefix66, 0x50, sum.Index, a.Index, b.Index);

    /// <summary>vpdpwssd zmm, zmm, zmm: adds the two products of signed words per lane.</summary>
    public void Vpdpwssd(Zmm sum, Zmm a, Zmm b) => Evex(Map0F38, Prefix66, 0x52, sum.Index, a.Index, b.Index);

    /// <summary>vpmovsxbw zmm, ymmword [memory]: 32 bytes to signed words.</summary>
    public void Vpmovsxbw(Zmm destination, Address source) => Evex(Map0F38, Prefix66, 0x20, destination.Index, 0, source, Half);

    /// <summary>vdpbf16ps zmm, zmm, dword [memory]{1to16}: adds two products of bfloat16 pairs per lane; denormals count as zero.</summary>
    public void Vdpbf16psBroadcast(Zmm sum, Zmm a, Address b) => Evex(Map0F38, PrefixF3, 0x52, sum.Index, a.Index, b, Element, broadcast: true);

    /// <summary>vcvtph2ps zmm, ymmword [memory]: sixteen halves to floats.</summary>
    public void Vcvtph2ps(Zmm destination, Address source) => Evex(Map0F38, Prefix66, 0x13, destination.Index, 0, source, Half);

    /// <summary>vpmovsxwd zmm, ymmword [memory]: sixteen words to signed dwords.</summary>
    public void Vpmovsxwd(Zmm destination, Address source) => Evex(Map0F38, Prefix66, 0x23, destination.Index, 0, source, Half);

    /// <summary>vpmovzxbd zmm, xmmword [memory]: sixteen bytes to unsigned dwords.</summary>
    public void Vpmovzxbd(Zmm destination, Address source) => Evex(Map0F38, Prefix66, 0x31, destination.Index, 0, source, Quarter);

    /// <summary>vpmovsxbd zmm, xmmword [memory]: sixteen bytes to signed dwords.</summary>
    public void Vpmovsxbd(Zmm destination, Address source) => Evex(Map0F38, Prefix66, 0x21, destination.Index, 0, source, Quarter);

    /// <summary>vcvtdq2ps zmm, zmm</summary>
    public void Vcvtdq2ps(Zmm destination, Zmm source) => Evex(Map0F, NoPrefix, 0x5B, destination.Index, 0, source.Index);

    /// <summary>vaddps zmm, zmm, zmm</summary>
    public void Vaddps(Zmm destination, Zmm a, Zmm b) => Evex(Map0F, NoPrefix, 0x58, destination.Index, a.Index, b.Index);

    /// <summary>vmulps zmm, zmm, zmm</summary>
    public void Vmulps(Zmm destination, Zmm a, Zmm b) => Evex(Map0F, NoPrefix, 0x59, destination.Index, a.Index, b.Index);

    /// <summary>vmulps zmm, zmm, dword [memory]{1to16}</summary>
    public void VmulpsBroadcast(Zmm destination, Zmm a, Address b) => Evex(Map0F, NoPrefix, 0x59, destination.Index, a.Index, b, Element, broadcast: true);

    /// <summary>vmulps zmm{k}{z}, zmm, [memory]</summary>
    public void VmulpsMasked(Zmm destination, Mask mask, Zmm a, Address b) => Evex(Map0F, NoPrefix, 0x59, destination.Index, a.Index, b, Full, mask: mask);

    /// <summary>vaddps zmm, zmm, [memory]</summary>
    public void Vaddps(Zmm destination, Zmm a, Address b) => Evex(Map0F, NoPrefix, 0x58, destination.Index, a.Index, b, Full);

    /// <summary>vmaxps zmm, zmm, [memory]: the second where one is not a number</summary>
    public void Vmaxps(Zmm destination, Zmm a, Address b) => Evex(Map0F, NoPrefix, 0x5F, destination.Index, a.Index, b, Full);

    /// <summary>vcmpnltps k, zmm, zmm: lanes where a is not less than b, those that are not numbers included</summary>
    public void Vcmpnltps(Mask destination, Zmm a, Zmm b)
    {
        Evex(Map0F, NoPrefix, 0xC2, (int)destination, a.Index, b.Index);
        _code.Add(5);
    }

    /// <summary>vscalefps zmm{k}{z}, zmm, zmm: a · 2^b for whole b</summary>
    public void VscalefpsMasked(Zmm destination, Mask mask, Zmm a, Zmm b) => Evex(Map0F38, Prefix66, 0x2C, destination.Index, a.Index, b.Index, mask);

    /// <summary>vpaddd zmm, zmm, zmm</summary>
    public void Vpaddd(Zmm destination, Zmm a, Zmm b) => Evex(Map0F, Prefix66, 0xFE, destination.Index, a.Index, b.Index);

    /// <summary>vpmaxud zmm, zmm, zmm</summary>
    public void Vpmaxud(Zmm destination, Zmm a, Zmm b) => Evex(Map0F38, Prefix66, 0x3F, destination.Index, a.Index, b.Index);

    /// <summary>vpmovdw ymmword [memory], zmm: the lower word of each lane</summary>
    public void Vpmovdw(Address destination, Zmm source) => Evex(Map0F38, PrefixF3, 0x33, source.Index, 0, destination, Half);

    /// <summary>vfmadd213ps zmm, zmm, zmm: a = a · b + c, rounded once</summary>
    public void Vfmadd213ps(Zmm a, Zmm b, Zmm c) => Evex(Map0F38, Prefix66, 0xA8, a.Index, b.Index, c.Index);

    /// <summary>vfmadd213ps zmm, zmm, [memory]: a = a · b + memory, rounded once</summary>
    public void Vfmadd213ps(Zmm a, Zmm b, Address c) => Evex(Map0F38, Prefix66, 0xA8, a.Index, b.Index, c, Full);

    /// <summary>vfmadd231ps zmm, zmm, [memory]</summary>
    public void Vfmadd231ps(Zmm sum, Zmm a, Address b) => Evex(Map0F38, Prefix66, 0xB8, sum.Index, a.Index, b, Full);

    /// <summary>vfmadd231ps zmm, zmm, zmm: sum += a · b, rounded once</summary>
    public void Vfmadd231ps(Zmm sum, Zmm a, Zmm b) => Evex(Map0F38, Prefix66, 0xB8, sum.Index, a.Index, b.Index);

    /// <summary>vfmadd231ps zmm, zmm, dword [memory]{1to16}</summary>
    public void Vfmadd231psBroadcast(Zmm sum, Zmm a, Address b) => Evex(Map0F38, Prefix66, 0xB8, sum.Index, a.Index, b, Element, broadcast: true);

    /// <summary>vpandd zmm, zmm, zmm</summary>
    public void Vpandd(Zmm destination, Zmm a, Zmm b) => Evex(Map0F, Prefix66, 0xDB, destination.Index, a.Index, b.Index);

    /// <summary>vpord zmm, zmm, zmm</summary>
    public void Vpord(Zmm destination, Zmm a, Zmm b) => Evex(Map0F, Prefix66, 0xEB, destination.Index, a.Index, b.Index);

    /// <summary>vpxord zmm, zmm, zmm</summary>
    public void Vpxord(Zmm destination, Zmm a, Zmm b) => Evex(Map0F, Prefix66, 0xEF, destination.Index, a.Index, b.Index);

    /// <summary>vpslld zmm, zmm, imm8</summary>
    public void Vpslld(Zmm destination, Zmm source, byte count) => EvexShift(0x72, 6, destination, source, count);

    /// <summary>vpsrld zmm, zmm, imm8</summary>
    public void Vpsrld(Zmm destination, Zmm source, byte count) => EvexShift(0x72, 2, destination, source, count);

    /// <summary>The shifts by a constant keep their opcode extension in ModRM.reg and their destination in vvvv.</summary>
    private void EvexShift(byte opcode, int extension, Zmm destination, Zmm source, byte count)
    {
        Evex(Map0F, Prefix66, opcode, extension, destination.Index, source.Index);
        _code.Add(count);
    }

    private void Evex(int map, int prefix, byte opcode, int reg, int vvvv, int rm, Mask mask = Mask.None)
    {
        EvexPrefix(map, prefix, reg, vvvv, rm >> 4 & 1, rm >> 3 & 1, broadcast: false, mask);
        _code.Add(opcode);
        _code.Add((byte)(0xC0 | (reg & 7) << 3 | rm & 7));
    }

    private void Evex(int map, int prefix, byte opcode, int reg, int vvvv, Address memory, int unit, bool broadcast = false, Mask mask = Mask.None)
    {
        int index = memory.Index is { } i ? (int)i : 0;
        EvexPrefix(map, prefix, reg, vvvv, index >> 3 & 1, (int)memory.Base >> 3 & 1, broadcast, mask);
        _code.Add(opcode);
        Operand(reg, memory, unit);
    }

    private void EvexPrefix(int map, int prefix, int reg, int vvvv, int x, int b, bool broadcast, Mask mask)
    {
        _code.Add(0x62);
        _code.Add((byte)((~reg >> 3 & 1) << 7 | (~x & 1) << 6 | (~b & 1) << 5 | (~reg >> 4 & 1) << 4 | map));
        _code.Add((byte)((~vvvv & 15) << 3 | 4 | prefix));
        _code.Add((byte)((mask == Mask.None ? 0 : 1) << 7 | 2 << 5 | (broadcast ? 1 : 0) << 4 | (~vvvv >> 4 & 1) << 3 | (int)mask));
    }
}
