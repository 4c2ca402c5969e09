using Foretoken.Memory;

namespace Foretoken.Speculation.Trained;

/// <summary>Features of committed tokens that a drafter has not run yet, as one queue per sequence over common slots.</summary>
internal sealed class PendingFeatures
{
    private readonly float[] _features; // [slots, width]
    private readonly int[] _next;       // [slots] slot or −1
    private readonly int[] _free;       // [slots] the first Free entries
    private readonly int[] _first;      // [sequences] slot or −1
    private readonly int[] _last;       // [sequences]
    private readonly int[] _count;      // [sequences]
    private readonly int _width;

    public PendingFeatures(int slots, int sequences, int width, MemoryPlan plan)
    {
        _width = width;
        _features = new float[(long)slots * width];
        (_next, _free) = (new int[slots], new int[slots]);
        (_first, _last, _count) = (new int[sequences], new int[sequences], new int[sequences]);
        _first.AsSpan().Fill(-1);
        for (int i = 0; i < slots; i++) _free[i] = slots - 1 - i;
        Free = slots;
        plan.Add("speculation", "waiting features", $"[rows {slots}, width {width}] f32", _features.LongLength * 4 + slots * 8L + sequences * 12L);
    }

    /// <summary>Slots that are free.</summary>
    public int Free { get; private set; }

    public int CountOf(int sequence) => _count[sequence];

    /// <summary>Adds to the sequence's end; the caller writes the feature. // [width]</summary>
    public Span<float> Add(int sequence)
    {
        int slot = _free[--Free];
        _next[slot] = -1;
        if (_count[sequence]++ == 0) _first[sequence] = slot;
        else _next[_last[sequence]] = slot;
        _last[sequence] = slot;
        return _features.AsSpan(slot * _width, _width);
    }

    /// <summary>Takes the sequence's first feature out.</summary>
    public void Take(int sequence, Span<float> destination)
    {
        int slot = _first[sequence];
        _features.AsSpan(slot * _width, _width).CopyTo(destination);
        _first[sequence] = _next[slot];
        _count[sequence]--;
        _free[Free++] = slot;
    }

    /// <summary>Adds the first <paramref name="count"/> features of one sequence to another's.</summary>
    /// <returns>False if there are not so many, or not so many free slots; nothing has changed then.</returns>
    public bool TryCopy(int source, int sequence, int count)
    {
        if (count > _count[source] || count > Free) return false;
        int slot = _first[source];
        for (; count > 0; count--, slot = _next[slot]) _features.AsSpan(slot * _width, _width).CopyTo(Add(sequence));
        return true;
    }

    /// <summary>Forgets what waits for the sequence.</summary>
    public void Clear(int sequence)
    {
        for (int slot = _first[sequence]; slot >= 0; slot = _next[slot]) _free[Free++] = slot;
        _first[sequence] = -1;
        _count[sequence] = 0;
    }
}
