namespace Foretoken.Generation;

/// <summary>Sequences that wait to be admitted, in no order; the first in rank is looked up. Planned once.</summary>
internal sealed class WaitingQueue(int capacity, int maxOvertakes)
{
    private readonly Sequence[] _items = new Sequence[capacity]; // [capacity] the first Count

    public int Count { get; private set; }

    public ReadOnlySpan<Sequence> Items => _items.AsSpan(0, Count);

    public void Add(Sequence sequence) => _items[Count++] = sequence;

    /// <summary>The next one to admit, of those that are not held; null if there is none.</summary>
    public Sequence? First()
    {
        Sequence? first = null;
        foreach (Sequence s in Items)
        {
            if (!s.Held && (first is null || s.Precedes(first))) first = s;
        }

        return first;
    }

    public void Remove(Sequence sequence)
    {
        int index = Array.IndexOf(_items, sequence, 0, Count);
        _items[index] = _items[--Count];
        _items[Count] = null!;
    }

    /// <summary>Counts an admission for those who arrived earlier and still wait.</summary>
    public void Passed(Sequence admitted)
    {
        foreach (Sequence s in Items)
        {
            if (!s.Held && s.Arrival < admitted.Arrival && ++s.Overtaken >= maxOvertakes) s.Overdue = true;
        }
    }
}
