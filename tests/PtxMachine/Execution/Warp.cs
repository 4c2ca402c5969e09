using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace Foretoken.Ptx.Execution;

internal enum WarpStatus : byte { Ready, AtBarrier, Exited }

/// <summary>
/// 32 lanes that run in lockstep wherever they can. Lanes are kept in groups with a common program counter (ptx.md §3: each lane has its own and any order of
/// runnable groups is legal). The reconverging order always runs the group that is furthest behind and merges groups that meet; the independent orders run
/// one lane after the other as far as it gets, which exposes code that counts on lockstep.
/// </summary>
internal sealed unsafe partial class Warp
{
    public const int Lanes = 32;
    private readonly int[] _pc = new int[Lanes];
    private readonly uint[] _mask = new uint[Lanes];
    private readonly bool[] _waits = new bool[Lanes];
    private int _groups;

    public Warp(Block block, int index)
    {
        Block = block;
        Index = index;
    }

    public Block Block { get; }
    public int Index { get; }
    public byte* Registers; // see Instruction
    public byte* Constants;
    public uint* Predicates;
    public uint* Initialised; // one word of lanes per tracked register
    public ulong* Address; // [32] addresses of the running memory instruction
    public byte* Local; // [32, local bytes of the kernel]
    public byte* LocalWritten; // [32, local bytes of the kernel] 1: written
    public uint Initial; // lanes that the block has
    public uint Live; // lanes that have not exited
    public WarpStatus Status;
    public Instruction* BarrierInstruction;

    /// <summary>The pointer of a source or destination operand.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public byte* At(int operand)
    {
        byte* origin = operand < 0 ? Constants : Registers;
        return origin + (operand & int.MaxValue);
    }

    /// <summary>Lanes in which a predicate operand holds.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public uint Predicate(int operand) => Predicates[operand & int.MaxValue] ^ (uint)(operand >> 31);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void SetPredicate(int operand, uint lanes, uint exec) => Predicates[operand] = (Predicates[operand] & ~exec) | (lanes & exec);

    public void Start(uint lanes)
    {
        Initial = Live = lanes;
        Status = lanes == 0 ? WarpStatus.Exited : WarpStatus.Ready;
        _executed = 0;
        _fair = Polled = false;
        _groups = 0;
        if (Block.Launch.Options.LaneOrder == PtxOrder.Lockstep)
        {
            Add(0, lanes);
            return;
        }

        for (int lane = 0; lane < Lanes; lane++)
        {
            if ((lanes >> lane & 1) != 0)
                Add(0, 1u << lane);
        }
    }

    private void Add(int pc, uint lanes)
    {
        _pc[_groups] = pc;
        _mask[_groups] = lanes;
        _waits[_groups++] = false;
    }

    private void Remove(int g)
    {
        _groups--;
        for (int i = g; i < _groups; i++)
            (_pc[i], _mask[i], _waits[i]) = (_pc[i + 1], _mask[i + 1], _waits[i + 1]);
    }

    /// <summary>Runs until the warp exits, waits at a barrier, or has used its turn.</summary>
    public void Run(long turn)
    {
        Status = WarpStatus.Ready;
        _turn = turn;
        _rounds = 0;
        bool lockstep = Block.Launch.Options.LaneOrder == PtxOrder.Lockstep;
        while (_turn > 0 && Status == WarpStatus.Ready)
        {
            Merge(lockstep);
            int g = Choose(lockstep);
            if (g < 0)
            {
                if (_groups == 0)
                    Status = WarpStatus.Exited;
                else if (!ReleaseWaiting())
                    throw Stuck();
                continue;
            }

            int pc = _pc[g];
            uint mask = _mask[g];
            Remove(g);
            RunGroup(pc, mask, lockstep && !_fair ? Limit() : int.MaxValue);
        }

        _fair = Polled && !_fair;
        Polled = false;
        if (Status != WarpStatus.Exited && _groups > 0 && _executed > Block.Launch.Options.InstructionLimit)
            throw Block.Fault(PtxFaultKind.InstructionLimit, this, Block.Launch.Kernel.Code + _pc[0], _mask[0],
                $"the warp ran more than {Block.Launch.Options.InstructionLimit:N0} instructions ({nameof(PtxMachineOptions.InstructionLimit)}) and is still here: an endless loop, or one that waits for what never comes");
    }

    /// <summary>The warp waits for others (a failed test of a barrier object, nanosleep): its turn ends with the running instruction.</summary>
    public void EndTurn() => _turn = 0;

    private long _turn; // instructions left
    private long _executed;
    private bool _fair; // this turn goes to any group
    private int _rounds; // of loops with polls
    private const int MaxRounds = 64;
    public bool Polled; // an atomic or volatile access lies in this turn: perhaps a loop that waits for lanes further on

    private int Limit()
    {
        int limit = int.MaxValue;
        for (int i = 0; i < _groups; i++)
            limit = Math.Min(limit, _pc[i]);
        return limit;
    }

    /// <summary>Merges groups at the same place: all in lockstep, those that wait otherwise. A group that grew looks again at what it waits for.</summary>
    private void Merge(bool lockstep)
    {
        for (int i = 0; i < _groups; i++)
        {
            for (int j = _groups - 1; j > i; j--)
            {
                if (_pc[i] != _pc[j] || !(lockstep || (_waits[i] && _waits[j])))
                    continue;
                _mask[i] |= _mask[j];
                _waits[i] = false;
                Remove(j);
            }
        }
    }

    private int Choose(bool lockstep)
    {
        int best = -1;
        if (lockstep)
        {
            int runnable = 0;
            for (int i = 0; i < _groups; i++)
            {
                if (!_waits[i] && (best < 0 || (_fair ? Block.Random(++runnable + 1) == 0 : _pc[i] < _pc[best])))
                    best = i;
            }

            return best;
        }

        PtxOrder order = Block.Launch.Options.LaneOrder;
        int count = 0;
        for (int i = 0; i < _groups; i++)
        {
            if (_waits[i])
                continue;
            count++;
            bool better = order switch
            {
                PtxOrder.Descending => best < 0 || _mask[i] > _mask[best],
                PtxOrder.Shuffled => Block.Random(count) == 0,
                _ => best < 0 || BitOperations.TrailingZeroCount(_mask[i]) < BitOperations.TrailingZeroCount(_mask[best]),
            };
            if (better)
                best = i;
        }

        return best;
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void RunGroup(int pc, uint mask, int limit)
    {
        Instruction* code = Block.Launch.Kernel.Code;
        long lanes = 0, steps = 0, uncounted = 0;
        do
        {
            Instruction* i = code + pc;
            uint exec = mask & Predicate(i->Guard);
            steps++;
            if (i->Kind == StepKind.Plain)
            {
                if (exec != 0)
                {
                    i->Run(this, i, exec);
                    lanes += i->Uncounted ? 0 : BitOperations.PopCount(exec);
                }

                uncounted += i->Uncounted ? 1 : 0;
                pc++;
            }
            else
            {
                lanes += i->Uncounted ? 0 : BitOperations.PopCount(exec);
                uncounted += i->Uncounted ? 1 : 0;
                if (!Control(i, ref pc, ref mask, exec, ref limit))
                {
                    pc = -1;
                    break;
                }
            }
        }
        while (pc < limit && steps < _turn);
        Block.Counters.LaneInstructions += lanes;
        Block.Counters.WarpInstructions += steps - uncounted;
        _turn -= steps;
        _executed += steps;
        if (pc >= 0)
            Add(pc, mask);
    }

    /// <summary>False: the group is gone, or was put back waiting.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private bool Control(Instruction* i, ref int pc, ref uint mask, uint exec, ref int limit)
    {
        switch (i->Kind)
        {
            case StepKind.Branch:
                if (i->Flag && exec != 0 && exec != mask)
                    throw Block.Fault(PtxFaultKind.IllegalInstruction, this, i, exec, "a .uni branch diverges");
                if (Polled && i->Target <= pc && ++_rounds > MaxRounds)
                    EndTurn(); // after this step: others may have what the loop waits for
                if (exec == mask)
                {
                    pc = i->Target;
                    return true;
                }

                if (exec != 0)
                {
                    mask &= ~exec;
                    Add(i->Target, exec);
                    if (Block.Launch.Options.LaneOrder == PtxOrder.Lockstep)
                        limit = Math.Min(limit, i->Target);
                }

                pc++;
                return true;
            case StepKind.Exit:
                Live &= ~exec;
                mask &= ~exec;
                pc++;
                for (int g = 0; g < _groups; g++)
                    _waits[g] = false; // what they wait for may have exited
                return mask != 0;
            case StepKind.WarpSync:
                return Synchronise(i, ref pc, ref mask, exec);
            case StepKind.Barrier:
                return AtBarrier(i, ref pc, ref mask, exec);
            default:
                if (exec != 0)
                    throw Block.Fault(PtxFaultKind.IllegalInstruction, this, i, exec, TrapText(i->Mode));
                pc++;
                return true;
        }
    }

    private static string TrapText(int mode) => mode switch
    {
        Decoding.KernelDecoder.BadIndex => "an indexed branch with an index beyond its targets",
        Decoding.KernelDecoder.BadPointer => "a call through a pointer to no function that takes these arguments and is not being called already",
        Decoding.KernelDecoder.Assertion => "an assertion of the kernel failed",
        _ => "the kernel executed trap",
    };

    private bool Synchronise(Instruction* i, ref int pc, ref uint mask, uint exec)
    {
        if (exec == 0)
        {
            pc++;
            return true;
        }

        uint required = i->Aligned ? Live : Members(i, exec);
        if ((required & Live & ~exec) != 0)
        {
            Wait(ref pc, mask, exec);
            return false;
        }

        if (i->Aligned && exec != Initial)
            throw Block.Fault(PtxFaultKind.DivergentBarrier, this, i, exec, "an .aligned operation after some lanes of the warp exited");
        if (i->Aligned && Initial != uint.MaxValue)
            throw Block.Fault(PtxFaultKind.DivergentBarrier, this, i, exec, "an .aligned operation in a warp of fewer than 32 threads");
        i->Run(this, i, exec);
        pc++;
        return true;
    }

    /// <summary>Lanes that must be here: the union of the member masks of the executing lanes, each of which must name its own lane.</summary>
    private uint Members(Instruction* i, uint exec)
    {
        uint* masks = (uint*)At(i->E);
        uint all = 0;
        for (uint rest = exec; rest != 0; rest &= rest - 1)
        {
            int lane = BitOperations.TrailingZeroCount(rest);
            if ((masks[lane] >> lane & 1) == 0)
                throw Block.Fault(PtxFaultKind.IllegalInstruction, this, i, 1u << lane, $"the member mask 0x{masks[lane]:x8} does not name the lane that executes it");
            all |= masks[lane];
        }

        return all;
    }

    /// <summary>Puts the executing lanes back waiting and the others behind the instruction.</summary>
    private void Wait(ref int pc, uint mask, uint exec)
    {
        if ((mask & ~exec) != 0)
            Add(pc + 1, mask & ~exec);
        Add(pc, exec);
        _waits[_groups - 1] = true;
    }

    private bool AtBarrier(Instruction* i, ref int pc, ref uint mask, uint exec)
    {
        if (exec == 0)
        {
            pc++;
            return true;
        }

        if (i->Aligned && exec != mask)
            throw Block.Fault(PtxFaultKind.DivergentBarrier, this, i, mask & ~exec, "an aligned barrier that some lanes of the warp skip by their guard");
        if (exec != Live)
        {
            Wait(ref pc, mask, exec);
            return false;
        }

        pc++;
        if (Block.Arrive(this, i, exec))
            return true;
        Status = WarpStatus.AtBarrier;
        Add(pc, mask);
        return false;
    }

    /// <summary>Every group waits: lets a warp barrier or a barrier pass whose lanes arrived at different places.</summary>
    private bool ReleaseWaiting()
    {
        Instruction* code = Block.Launch.Kernel.Code;
        Instruction* first = code + _pc[0];
        uint all = 0;
        for (int g = 0; g < _groups; g++)
        {
            Instruction* i = code + _pc[g];
            if (i->Kind == StepKind.Barrier)
                return ReleaseAtBarriers();
            if (i->Kind != StepKind.WarpSync || i->Count != Instructions.WarpOps.IsBarrier)
                return false;
            all |= _mask[g];
        }

        if (!GoOn(all))
            return false;

        first->Run(this, first, all);
        return true;
    }

    /// <summary>Moves every group behind the instruction at which it waits, if these lanes are all that live.</summary>
    private bool GoOn(uint lanes)
    {
        if (lanes != Live)
            return false;
        for (int g = 0; g < _groups; g++)
        {
            _waits[g] = false;
            _pc[g]++;
        }

        return true;
    }

    /// <summary>Lanes at several barrier.sync without .aligned, all naming one barrier: together they are the warp's arrival.</summary>
    private bool ReleaseAtBarriers()
    {
        Instruction* first = Block.Launch.Kernel.Code + _pc[0];
        uint all = 0;
        for (int g = 0; g < _groups; g++)
        {
            Instruction* i = Block.Launch.Kernel.Code + _pc[g];
            if (i->Kind != StepKind.Barrier || i->Aligned || i->Mode != BarrierMode.Sync || Named(i, g) != Named(first, 0))
                return false;
            all |= _mask[g];
        }

        if (!GoOn(all))
            return false;

        if (!Block.Arrive(this, first, _mask[0]))
            Status = WarpStatus.AtBarrier;
        return true;

        (uint Barrier, uint Threads) Named(Instruction* i, int g)
        {
            int lane = BitOperations.TrailingZeroCount(_mask[g]);
            return (((uint*)At(i->A))[lane], i->Flag ? ((uint*)At(i->B))[lane] : 0);
        }
    }

    private PtxFaultException Stuck()
    {
        Instruction* code = Block.Launch.Kernel.Code;
        string others = string.Join(", ", Enumerable.Range(1, Math.Max(_groups - 1, 0)).Select(g => $"lanes 0x{_mask[g]:x8} wait in line {LineOf(g)}"));
        return Block.Fault(PtxFaultKind.DivergentBarrier, this, code + _pc[0], _mask[0],
            "lanes of the warp wait here for lanes that never come" + (others.Length > 0 ? $"; {others}" : ""));

        int LineOf(int g) => Block.Launch.Kernel.Code[_pc[g]].Line;
    }
}
