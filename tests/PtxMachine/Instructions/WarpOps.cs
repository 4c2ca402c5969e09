using System.Numerics;
using Foretoken.Ptx.Execution;

namespace Foretoken.Ptx.Instructions;

/// <summary>
/// Exchange between lanes (ptx.md §2). The warp's loop has gathered the lanes of the member mask (E) before any of these runs. What PTX leaves undefined
/// becomes a poison value that depends on the seed.
/// </summary>
internal static unsafe class WarpOps
{
    public const int Up = 0, Down = 1, Butterfly = 2, Index = 3;
    public const int All = 0, Any = 1, Uniform = 2, Ballot = 3;

    /// <summary>Count of a bar.warp.sync, by which the warp's loop knows it.</summary>
    public const int IsBarrier = -1;

    /// <summary>bar.warp.sync: orders the memory of its lanes.</summary>
    public static void Barrier(Warp w, Instruction* i, uint exec) => w.Block.Shared.WarpBarrier(w.Index);

    /// <summary>shfl.sync D|P, A, B, C, E; Mode: up, down, bfly, idx. The lane number j is signed and not wrapped.</summary>
    public static void Shuffle(Warp w, Instruction* i, uint exec)
    {
        uint* a = (uint*)w.At(i->A), b = (uint*)w.At(i->B), c = (uint*)w.At(i->C), masks = (uint*)w.At(i->E), d = (uint*)w.At(i->D);
        uint* source = stackalloc uint[Warp.Lanes];
        new Span<uint>(a, Warp.Lanes).CopyTo(new Span<uint>(source, Warp.Lanes));
        uint valid = 0;
        if (exec == uint.MaxValue && i->Mode == Butterfly && (i->B & i->C & i->E) < 0 && c[0] == 31 && masks[0] == uint.MaxValue) // constants: a permutation
        {
            for (int lane = 0; lane < Warp.Lanes; lane++)
                d[lane] = source[lane ^ (int)(b[0] & 31)];
            if (i->P >= 0)
                w.SetPredicate(i->P, uint.MaxValue, exec);
            return;
        }

        for (uint rest = exec; rest != 0; rest &= rest - 1)
        {
            int lane = BitOperations.TrailingZeroCount(rest);
            int shift = (int)(b[lane] & 31), clamp = (int)(c[lane] & 31), segment = (int)(c[lane] >> 8 & 31);
            int last = (lane & segment) | (clamp & ~segment), first = lane & segment;
            int j = i->Mode switch { Up => lane - shift, Down => lane + shift, Butterfly => lane ^ shift, _ => first | (shift & ~segment) };
            bool inRange = i->Mode == Up ? j >= last : j <= last;
            valid |= inRange ? 1u << lane : 0;
            int from = inRange ? j : lane;
            d[lane] = ((exec & masks[lane]) >> from & 1) != 0 ? source[from] : Poison(w, lane);
        }

        if (i->P >= 0)
            w.SetPredicate(i->P, valid, exec);
    }

    /// <summary>vote.sync: P (or D for ballot), source predicate R.</summary>
    public static void Vote(Warp w, Instruction* i, uint exec)
    {
        uint* masks = (uint*)w.At(i->E);
        uint holds = w.Predicate(i->R) & exec, result = 0;
        for (uint rest = exec; rest != 0; rest &= rest - 1)
        {
            int lane = BitOperations.TrailingZeroCount(rest);
            uint members = masks[lane] & exec, yes = holds & members;
            if (i->Mode == Ballot)
                ((uint*)w.At(i->D))[lane] = yes;
            bool vote = i->Mode switch { All => yes == members, Any => yes != 0, _ => yes == 0 || yes == members };
            result |= vote ? 1u << lane : 0;
        }

        if (i->Mode != Ballot)
            w.SetPredicate(i->P, result, exec);
    }

    /// <summary>activemask: the lanes that are here; depends on the schedule (ptx.md §2).</summary>
    public static void ActiveMask(Warp w, Instruction* i, uint exec)
    {
        for (uint rest = exec; rest != 0; rest &= rest - 1)
            ((uint*)w.At(i->D))[BitOperations.TrailingZeroCount(rest)] = exec;
    }

    /// <summary>match.any (Flag false) and match.all (Flag true, P: the lanes agree) on 4- or 8-byte values.</summary>
    public static void Match<T>(Warp w, Instruction* i, uint exec)
        where T : unmanaged, IEquatable<T>
    {
        T* a = (T*)w.At(i->A);
        uint* masks = (uint*)w.At(i->E), d = (uint*)w.At(i->D);
        uint agreed = 0;
        for (uint rest = exec; rest != 0; rest &= rest - 1)
        {
            int lane = BitOperations.TrailingZeroCount(rest);
            uint members = masks[lane] & exec, equal = 0;
            for (uint others = members; others != 0; others &= others - 1)
            {
                int other = BitOperations.TrailingZeroCount(others);
                equal |= a[other].Equals(a[lane]) ? 1u << other : 0;
            }

            agreed |= equal == members ? 1u << lane : 0;
            d[lane] = !i->Flag || equal == members ? equal : 0;
        }

        if (i->Flag && i->P >= 0)
            w.SetPredicate(i->P, agreed, exec);
    }

    /// <summary>redux.sync: TOp folds the members' values.</summary>
    public static void Reduce<T, TOp>(Warp w, Instruction* i, uint exec)
        where T : unmanaged
        where TOp : struct, ILane2<T, T, T>
    {
        T* a = (T*)w.At(i->A), d = (T*)w.At(i->D);
        uint* masks = (uint*)w.At(i->E);
        T* source = stackalloc T[Warp.Lanes];
        new Span<T>(a, Warp.Lanes).CopyTo(new Span<T>(source, Warp.Lanes));
        for (uint rest = exec; rest != 0; rest &= rest - 1)
        {
            int lane = BitOperations.TrailingZeroCount(rest);
            uint members = masks[lane] & exec;
            T value = source[BitOperations.TrailingZeroCount(members)];
            for (uint others = members & (members - 1); others != 0; others &= others - 1)
                value = TOp.Apply(value, source[BitOperations.TrailingZeroCount(others)]);
            d[lane] = value;
        }
    }

    /// <summary>elect.sync D|P: which lane leads is not fixed; here the last or first by the seed.</summary>
    public static void Elect(Warp w, Instruction* i, uint exec)
    {
        uint* masks = (uint*)w.At(i->E);
        uint leaders = 0;
        for (uint rest = exec; rest != 0; rest &= rest - 1)
        {
            int lane = BitOperations.TrailingZeroCount(rest);
            uint members = masks[lane] & exec;
            int leader = (w.Block.Launch.Options.Seed & 1) != 0 ? BitOperations.TrailingZeroCount(members) : 31 - BitOperations.LeadingZeroCount(members);
            ((uint*)w.At(i->D))[lane] = (uint)leader;
            leaders |= 1u << leader;
        }

        w.SetPredicate(i->P, leaders, exec);
    }

    private static uint Poison(Warp w, int lane) => (uint)(((w.Block.Launch.Options.Seed + (ulong)lane) * 0x9E3779B97F4A7C15) >> 32) | 0x7FC00000;
}

internal struct Least<T> : ILane2<T, T, T>
    where T : INumber<T>
{
    public static T Apply(T a, T b) => a < b ? a : b;
}

internal struct Greatest<T> : ILane2<T, T, T>
    where T : INumber<T>
{
    public static T Apply(T a, T b) => a > b ? a : b;
}

internal struct SumOf<T> : ILane2<T, T, T>
    where T : INumberBase<T>
{
    public static T Apply(T a, T b) => unchecked(a + b);
}

internal struct AndOf<T> : ILane2<T, T, T>
    where T : IBinaryInteger<T>
{
    public static T Apply(T a, T b) => a & b;
}

internal struct OrOf<T> : ILane2<T, T, T>
    where T : IBinaryInteger<T>
{
    public static T Apply(T a, T b) => a | b;
}

internal struct XorOf<T> : ILane2<T, T, T>
    where T : IBinaryInteger<T>
{
    public static T Apply(T a, T b) => a ^ b;
}
