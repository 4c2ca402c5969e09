using System.Buffers.Binary;

namespace Foretoken.Backends.Cpu.Emitter;

/// <summary>
/// Writes x64 machine code for the few instructions that the emitted kernels need. One method per instruction, named as in the processor manuals
/// (Intel SDM volume 2, AMD64 APM volumes 3 and 4); operands come in the order of Intel's syntax, destination first. Encodings are the shortest ones,
/// as the GNU assembler chooses them: the tests hold every instruction to its output.
/// </summary>
internal sealed partial class Assembler
{
    private readonly List<byte> _code = [];

    /// <summary>Bytes written so far.</summary>
    public int Position => _code.Count;

    public byte[] ToArray() => [.. _code];

    /// <summary>mov r64, r64</summary>
    public void Mov(Gpr destination, Gpr source) => General(0x89, (int)source, (int)destination);

    /// <summary>mov r64, [memory]</summary>
    public void Mov(Gpr destination, Address source) => General(0x8B, (int)destination, source);

    /// <summary>mov r32, imm32: the upper half becomes zero.</summary>
    public void Mov(Gpr destination, uint value)
    {
        if ((int)destination >= 8) _code.Add(0x41);
        _code.Add((byte)(0xB8 | (int)destination & 7));
        Write32(unchecked((int)value));
    }

    /// <summary>movsxd r64, dword [memory]</summary>
    public void Movsxd(Gpr destination, Address source) => General(0x63, (int)destination, source);

    /// <summary>lea r64, [memory]</summary>
    public void Lea(Gpr destination, Address address) => General(0x8D, (int)destination, address);

    /// <summary>add r64, r64</summary>
    public void Add(Gpr destination, Gpr source) => General(0x01, (int)source, (int)destination);

    /// <summary>add r64, [memory]</summary>
    public void Add(Gpr destination, Address source) => General(0x03, (int)destination, source);

    /// <summary>or r64, r64</summary>
    public void Or(Gpr destination, Gpr source) => General(0x09, (int)source, (int)destination);

    /// <summary>shl r64, imm8</summary>
    public void Shl(Gpr destination, byte count)
    {
        General(0xC1, 4, (int)destination);
        _code.Add(count);
    }

    /// <summary>add r64, imm</summary>
    public void Add(Gpr destination, int value)
    {
        bool small = value is >= sbyte.MinValue and <= sbyte.MaxValue;
        if (!small && destination == Gpr.Rax) // the accumulator has a form without an operand byte
        {
            _code.Add(0x48);
            _code.Add(0x05);
            Write32(value);
            return;
        }

        General(small ? (byte)0x83 : (byte)0x81, 0, (int)destination);
        if (small) _code.Add(unchecked((byte)value));
        else Write32(value);
    }

    /// <summary>dec r64</summary>
    public void Dec(Gpr register) => General(0xFF, 1, (int)register);

    /// <summary>push r64</summary>
    public void Push(Gpr register)
    {
        if ((int)register >= 8) _code.Add(0x41);
        _code.Add((byte)(0x50 | (int)register & 7));
    }

    /// <summary>pop r64</summary>
    public void Pop(Gpr register)
    {
        if ((int)register >= 8) _code.Add(0x41);
        _code.Add((byte)(0x58 | (int)register & 7));
    }

    /// <summary>jnz to a position that has been written already.</summary>
    public void Jnz(int target)
    {
        int near = target - (Position + 2);
        if (near >= sbyte.MinValue)
        {
            _code.Add(0x75);
            _code.Add(unchecked((byte)near));
            return;
        }

        _code.Add(0x0F);
        _code.Add(0x85);
        Write32(target - (Position + 4));
    }

    public void Ret() => _code.Add(0xC3);

    /// <summary>xgetbv: edx:eax = extended control register ecx</summary>
    public void Xgetbv() => _code.AddRange([0x0F, 0x01, 0xD0]);

    /// <summary>kmovw k, k</summary>
    public void Kmovw(Mask destination, Mask source) => _code.AddRange([0xC5, 0xF8, 0x90, (byte)(0xC0 | (int)destination << 3 | (int)source)]);

    /// <summary>vzeroupper: before returning to code that may use SSE encodings.</summary>
    public void Vzeroupper() => _code.AddRange([0xC5, 0xF8, 0x77]);

    /// <summary>prefetcht0 [memory]: into all cache levels.</summary>
    public void Prefetcht0(Address address) => Prefetch(1, address);

    /// <summary>Fills up with no-operations to a multiple of <paramref name="alignment"/> bytes, a power of two.</summary>
    public void Align(int alignment)
    {
        while ((Position & (alignment - 1)) != 0)
        {
            int missing = Math.Min(alignment - (Position & (alignment - 1)), Nops.Length);
            _code.AddRange(Nops[missing - 1]);
        }
    }

    // The no-operations of 1 to 9 bytes that the processor manuals recommend.
    private static readonly byte[][] Nops =
    [
        [0x90], [0x66, 0x90], [0x0F, 0x1F, 0x00], [0x0F, 0x1F, 0x40, 0x00], [0x0F, 0x1F, 0x44, 0x00, 0x00], [0x66, 0x0F, 0x1F, 0x44, 0x00, 0x00],
        [0x0F, 0x1F, 0x80, 0, 0, 0, 0], [0x0F, 0x1F, 0x84, 0x00, 0, 0, 0, 0], [0x66, 0x0F, 0x1F, 0x84, 0x00, 0, 0, 0, 0],
    ];

    private void Prefetch(int hint, Address address)
    {
        int index = address.Index is { } i ? (int)i : 0;
        int rex = (index >> 3) << 1 | (int)address.Base >> 3;
        if (rex != 0) _code.Add((byte)(0x40 | rex));
        _code.Add(0x0F);
        _code.Add(0x18);
        Operand(hint, address, 1);
    }

    /// <summary>REX.W opcode /reg with a register operand.</summary>
    private void General(byte opcode, int reg, int rm)
    {
        _code.Add((byte)(0x48 | (reg >> 3) << 2 | rm >> 3));
        _code.Add(opcode);
        _code.Add((byte)(0xC0 | (reg & 7) << 3 | rm & 7));
    }

    /// <summary>REX.W opcode /reg with a memory operand.</summary>
    private void General(byte opcode, int reg, Address memory)
    {
        int index = memory.Index is { } i ? (int)i : 0;
        _code.Add((byte)(0x48 | (reg >> 3) << 2 | (index >> 3) << 1 | (int)memory.Base >> 3));
        _code.Add(opcode);
        Operand(reg, memory, 1);
    }

    /// <summary>ModRM, SIB and displacement of a memory operand.</summary>
    /// <param name="reg">The register or opcode extension beside it.</param>
    /// <param name="memory">The operand.</param>
    /// <param name="unit">EVEX counts an 8-bit displacement in units of the memory access (disp8·N); 1 elsewhere.</param>
    private void Operand(int reg, Address memory, int unit)
    {
        int low = (int)memory.Base & 7, displacement = memory.Displacement;
        bool sib = memory.Index is not null || low == 4; // rsp and r12 as a base need a SIB byte
        bool scaled = displacement % unit == 0 && displacement / unit is >= sbyte.MinValue and <= sbyte.MaxValue;
        int mode = displacement == 0 && low != 5 ? 0 : scaled ? 1 : 2; // rbp and r13 as a base need a displacement
        _code.Add((byte)(mode << 6 | (reg & 7) << 3 | (sib ? 4 : low)));
        if (sib)
        {
            int index = memory.Index is { } i ? (int)i & 7 : 4;
            int scale = memory.Scale switch { 2 => 1, 4 => 2, 8 => 3, _ => 0 };
            _code.Add((byte)(scale << 6 | index << 3 | low));
        }

        if (mode == 1) _code.Add(unchecked((byte)(displacement / unit)));
        else if (mode == 2) Write32(displacement);
    }

    private void Write32(int value)
    {
        Span<byte> bytes = stackalloc byte[4];
        BinaryPrimitives.WriteInt32LittleEndian(bytes, value);
        _code.AddRange(bytes);
    }
}
