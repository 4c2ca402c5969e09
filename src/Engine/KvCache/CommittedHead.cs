using Foretoken.Backends;

namespace Foretoken.KvCache;

/// <summary>The committed slots of one (sequence, layer, KV head), in increasing position, as an eviction policy sees them.</summary>
public readonly unsafe ref struct CommittedHead
{
    private readonly HeadTables _tables;
    private readonly KvHeadSlots* _head;

    internal CommittedHead(HeadTables tables, KvHeadSlots* head, int sequence, int layer, int kvHead, int firstNew, int nextPosition)
    {
        _tables = tables;
        _head = head;
        Sequence = sequence;
        Layer = layer;
        KvHead = kvHead;
        FirstNew = firstNew;
        NextPosition = nextPosition;
    }

    public int Sequence { get; }

    public int Layer { get; }

    public int KvHead { get; }

    /// <summary>Committed slots.</summary>
    public int Count => _head->Committed;

    /// <summary>First slot that this commit added.</summary>
    public int FirstNew { get; }

    /// <summary>Position of the next row: the sequence's length in tokens.</summary>
    public int NextPosition { get; }

    public int PositionOf(int slot) => *_tables.View.PositionOf(_head, Checked(slot));

    /// <summary>Last position that sees the slot; int.MaxValue = every later one.</summary>
    public int ExpireOf(int slot) => *_tables.View.ExpireOf(_head, Checked(slot));

    /// <summary>Lets rows behind <paramref name="lastPosition"/> forget the slot. Death is final: a later expire than the present one is ignored.</summary>
    public void SetExpire(int slot, int lastPosition)
    {
        if (lastPosition < ExpireOf(slot)) _tables.SetExpire(_head, slot, lastPosition);
    }

    private int Checked(int slot)
    {
        if ((uint)slot >= (uint)_head->Committed) throw new ArgumentOutOfRangeException(nameof(slot), slot, $"The head has {_head->Committed} committed slots.");
        return slot;
    }
}
