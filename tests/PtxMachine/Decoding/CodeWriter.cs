using System.Numerics;
using System.Runtime.InteropServices;
using Foretoken.Ptx.Execution;
using Foretoken.Ptx.Instructions;

namespace Foretoken.Ptx.Decoding;

/// <summary>
/// Writes decoded instructions out: looks which registers may be read before they are written (they are tracked lane by lane while the kernel runs), places
/// registers so that those never alive together share their bytes, resolves labels.
/// </summary>
internal sealed unsafe class CodeWriter(
    Kernel kernel, List<DecodedOp> ops, List<int> labels, List<int> registerBits, List<(ulong Bits, bool Wide, int Offset)> constants, int constantBytes)
{
    private readonly int _registers = registerBits.Count;
    private int[] _blockOf = []; // by op
    private List<(int First, int Last, List<int> Next)> _blocks = [];
    private int[] _place = []; // byte offset by register
    private int[] _tracker = []; // index into Warp.Initialised by register or predicate, −1: not tracked

    public void Write()
    {
        foreach (DecodedOp op in ops.Where(o => o.Label >= 0))
            op.I.Target = labels[op.Label];
        FindBlocks();
        Track();
        ulong[][] liveOut = Liveness();
        Place(liveOut);
        byte* constantMemory = kernel.Allocate(constantBytes);
        foreach ((ulong bits, bool wide, int offset) in constants)
        {
            for (int lane = 0; lane < Warp.Lanes; lane++)
            {
                if (wide)
                    ((ulong*)(constantMemory + offset))[lane] = bits;
                else
                    ((uint*)(constantMemory + offset))[lane] = (uint)bits;
            }
        }

        kernel.Constants = constantMemory;
        WriteCode();
    }

    private void FindBlocks()
    {
        var leaders = new bool[ops.Count + 1];
        leaders[0] = true;
        for (int n = 0; n < ops.Count; n++)
        {
            if (ops[n].Label >= 0)
                leaders[ops[n].I.Target] = leaders[n + 1] = true;
            else if (ops[n].I.Kind == StepKind.Exit)
                leaders[n + 1] = true;
        }

        _blockOf = new int[ops.Count];
        for (int n = 0; n < ops.Count; n++)
        {
            if (leaders[n])
                _blocks.Add((n, n, []));
            _blockOf[n] = _blocks.Count - 1;
            _blocks[^1] = _blocks[^1] with { Last = n };
        }

        foreach ((int _, int last, List<int> next) in _blocks)
        {
            DecodedOp op = ops[last];
            if (op.Label >= 0)
                next.Add(_blockOf[op.I.Target]);
            bool ends = (op.Label >= 0 || op.I.Kind == StepKind.Exit) && !op.IsConditional;
            if (!ends && last + 1 < ops.Count)
                next.Add(_blockOf[last + 1]);
        }
    }

    /// <summary>Forward analysis: what is certainly written. Reads of anything else get a check, and all its writes a mark.</summary>
    private void Track()
    {
        int names = _registers + kernel.PredicateCount, words = (names + 63) / 64;
        var atEntry = new ulong[_blocks.Count][];
        for (int b = 0; b < _blocks.Count; b++)
        {
            atEntry[b] = new ulong[words];
            Array.Fill(atEntry[b], b == 0 ? 0 : ulong.MaxValue);
        }

        for (int n = 0; n < 3; n++) // always, never, carry
            Set(atEntry[0], _registers + n);
        for (bool changed = true; changed;)
        {
            changed = false;
            for (int b = 0; b < _blocks.Count; b++)
            {
                ulong[] state = [.. atEntry[b]];
                for (int n = _blocks[b].First; n <= _blocks[b].Last; n++)
                    Define(ops[n], state);
                foreach (int next in _blocks[b].Next)
                {
                    for (int w = 0; w < words; w++)
                    {
                        ulong both = atEntry[next][w] & state[w];
                        changed |= both != atEntry[next][w];
                        atEntry[next][w] = both;
                    }
                }
            }
        }

        _tracker = new int[names];
        Array.Fill(_tracker, -1);
        for (int b = 0; b < _blocks.Count; b++)
        {
            ulong[] state = atEntry[b];
            for (int n = _blocks[b].First; n <= _blocks[b].Last; n++)
            {
                foreach (int use in ops[n].Uses)
                {
                    if (!Has(state, Name(use)) && _tracker[Name(use)] < 0)
                        _tracker[Name(use)] = kernel.TrackedCount++;
                }

                Define(ops[n], state);
            }
        }
    }

    private void Define(DecodedOp op, ulong[] state)
    {
        foreach (int def in op.Defs)
        {
            if (!op.IsConditional)
                Set(state, Name(def));
        }
    }

    private int Name(int use) => use >= 0 ? use : _registers + ~use;

    private static void Set(ulong[] bits, int n) => bits[n >> 6] |= 1UL << (n & 63);

    private static bool Has(ulong[] bits, int n) => (bits[n >> 6] >> (n & 63) & 1) != 0;

    /// <summary>Registers alive at each block's end; a guarded write keeps the old value alive.</summary>
    private ulong[][] Liveness()
    {
        int words = (_registers + 63) / 64;
        var liveIn = new ulong[_blocks.Count][];
        var liveOut = new ulong[_blocks.Count][];
        for (int b = 0; b < _blocks.Count; b++)
            (liveIn[b], liveOut[b]) = (new ulong[words], new ulong[words]);
        for (bool changed = true; changed;)
        {
            changed = false;
            for (int b = _blocks.Count - 1; b >= 0; b--)
            {
                foreach (int next in _blocks[b].Next)
                {
                    for (int w = 0; w < words; w++)
                        liveOut[b][w] |= liveIn[next][w];
                }

                ulong[] state = [.. liveOut[b]];
                for (int n = _blocks[b].Last; n >= _blocks[b].First; n--)
                {
                    foreach (int def in ops[n].Defs)
                    {
                        if (def >= 0 && !ops[n].IsConditional)
                            state[def >> 6] &= ~(1UL << (def & 63));
                    }

                    foreach (int use in ops[n].Uses)
                    {
                        if (use >= 0)
                            Set(state, use);
                    }
                }

                for (int w = 0; w < words; w++)
                {
                    changed |= state[w] != liveIn[b][w];
                    liveIn[b][w] = state[w];
                }
            }
        }

        _liveIn = liveIn;
        return liveOut;
    }

    private ulong[][] _liveIn = [];

    /// <summary>Linear scan: an interval from a register's first to its last place in the code, blocks where it is alive throughout included.</summary>
    private void Place(ulong[][] liveOut)
    {
        var first = new int[_registers];
        var last = new int[_registers];
        Array.Fill(first, int.MaxValue);
        Array.Fill(last, -1);
        for (int b = 0; b < _blocks.Count; b++)
        {
            for (int r = 0; r < _registers; r++)
            {
                if (Has(_liveIn[b], r))
                    Extend(r, _blocks[b].First);
                if (Has(liveOut[b], r))
                    Extend(r, _blocks[b].Last + 1);
            }
        }

        for (int n = 0; n < ops.Count; n++)
        {
            foreach (int use in ops[n].Uses.Concat(ops[n].Defs).Where(u => u >= 0))
                Extend(use, n);
            foreach (int def in ops[n].Defs.Where(d => d >= 0))
                Extend(def, n + 1); // a destination never shares with this instruction's sources: handlers may write before they have read all
        }

        _place = new int[_registers];
        int bytes = 0;
        var free = new[] { new Stack<int>(), new Stack<int>() }; // 4 and 8 bytes a lane
        var active = new PriorityQueue<int, int>();
        foreach (int r in Enumerable.Range(0, _registers).Where(r => last[r] >= 0).OrderBy(r => first[r]))
        {
            while (active.TryPeek(out int done, out int end) && end < first[r])
            {
                active.Dequeue();
                free[registerBits[done] / 64].Push(_place[done]);
            }

            int wide = registerBits[r] / 64;
            if (!free[wide].TryPop(out int place))
            {
                place = bytes;
                bytes += Warp.Lanes * (wide == 1 ? 8 : 4);
            }

            _place[r] = place;
            if (_tracker[r] < 0) // tracked registers keep their place
                active.Enqueue(r, last[r]);
        }

        kernel.RegisterBytes = Math.Max(bytes, 64);
        kernel.RegisterCount = bytes / (Warp.Lanes * 4);

        void Extend(int r, int at)
        {
            first[r] = Math.Min(first[r], at);
            last[r] = Math.Max(last[r], at);
        }
    }

    private void WriteCode()
    {
        var code = new List<Instruction>(ops.Count);
        var start = new int[ops.Count + 1];
        for (int n = 0; n < ops.Count; n++)
        {
            start[n] = code.Count;
            DecodedOp op = ops[n];
            foreach (int use in op.Uses.Distinct().Where(u => _tracker[Name(u)] >= 0))
                code.Add(new Instruction { Run = &TrackOps.Check, Uncounted = true, Guard = IsGuard(op, use) ? 0 : op.I.Guard, Line = op.I.Line, Mode = _tracker[Name(use)] });
            ref Instruction i = ref op.I;
            i.D = Resolve(op, OperandFields.D, i.D);
            i.A = Resolve(op, OperandFields.A, i.A);
            i.B = Resolve(op, OperandFields.B, i.B);
            i.C = Resolve(op, OperandFields.C, i.C);
            i.E = Resolve(op, OperandFields.E, i.E);
            if (op.List.Count > 0)
            {
                i.List = (int*)kernel.Allocate(op.List.Count * sizeof(int));
                for (int k = 0; k < op.List.Count; k++)
                    i.List[k] = op.List[k] < 0 ? op.List[k] : _place[op.List[k]];
            }

            foreach (int def in op.Defs.Distinct().Where(d => _tracker[Name(d)] >= 0 && op.I.Kind == StepKind.Plain))
                code.Add(new Instruction { Run = &TrackOps.Mark, Uncounted = true, Guard = op.I.Guard, Line = op.I.Line, Mode = _tracker[Name(def)] });
            code.Add(i);
            foreach (int def in op.Defs.Distinct().Where(d => _tracker[Name(d)] >= 0 && op.I.Kind != StepKind.Plain))
                code.Add(new Instruction { Run = &TrackOps.Mark, Uncounted = true, Guard = op.I.Guard, Line = op.I.Line, Mode = _tracker[Name(def)] });
        }

        start[ops.Count] = code.Count;
        kernel.CodeLength = code.Count;
        kernel.Code = (Instruction*)kernel.Allocate((long)code.Count * sizeof(Instruction));
        for (int n = 0; n < code.Count; n++)
        {
            Instruction i = code[n];
            if (i.Kind == StepKind.Branch)
                i.Target = start[i.Target];
            kernel.Code[n] = i;
        }
    }

    private static bool IsGuard(DecodedOp op, int use) => use < 0 && ~use == (op.I.Guard & int.MaxValue);

    private int Resolve(DecodedOp op, OperandFields field, int operand) => (op.Fields & field) == 0 || operand < 0 ? operand : _place[operand];
}
