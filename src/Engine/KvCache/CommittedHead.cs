using Foretoken.Backends;

namespace Foretoken.KvCache;

/// <summary>The committed slots of one (sequence, layer, KV head), in increasing position, as an eviction policy sees them.</summary>
public readonly unsafe ref struct CommittedHead
{
    private readonly HeadTables _tables;
    private readonly KvHeadSlots* _head;

    internal CommittedHead(HeadTables tables, KvHeadSlots* head, int sequence, int layer, int kvHead, int firstNew, int nextPosition, bool endsPrompt)
    {
        _tables = tables;
        _head = head;
        Sequence = sequence;
        Layer = layer;
        KvHead = kvHead;
        FirstNew = firstNew;
        NextPosition = nextPosition;
        EndsPrompt = endsPrompt;
    }

    /// <summary>The cache's index of the sequence.</summary>
    public int Sequence { get; }

    /// <summary>Layer, counted from 0.</summary>
    public int Layer { get; }

    /// <summary>KV head of the layer, counted from 0.</summary>
    public int KvHead { get; }

    /// <summary>Committed slots.</summary>
    public int Count => _head->Committed;

    /// <summary>First slot that this commit added.</summary>
    public int FirstNew { get; }

    /// <summary>Position of the next row: the sequence's length in tokens.</summary>
    public int NextPosition { get; }

    /// <summary>The pass read a prompt to its end: it asked for the logits of its last row, and it had several rows or those before it asked for none.</summary>
    public bool EndsPrompt { get; }

    /// <summary>What attention noted of the slot (<see cref="IEvictionPolicy.Observation"/>).</summary>
    public float ScoreOf(int slot) => *_tables.View.ScoreOf(_head, Checked(slot));

    /// <summary>Lets coming rows forget the slots of lowest score until <paramref name="kept"/> are left; of equal ones the oldest first.</summary>
    /// <param name="kept">Slots that stay.</param>
    /// <param name="keptRecent">Newest slots that stay whatever their score.</param>
    public void EvictLowest(int kept, int keptRecent)
    {
        int live = 0;
        for (int slot = 0; slot < Count; slot++) live += ExpireOf(slot) >= NextPosition ? 1 : 0;
        for (; live > kept; live--)
        {
            int lowest = -1;
            for (int slot = 0; slot < Count - keptRecent; slot++)
            {
                if (ExpireOf(slot) >= NextPosition && (lowest < 0 || ScoreOf(slot) < ScoreOf(lowest))) lowest = slot;
            }

            if (lowest < 0) return;
            SetExpire(lowest, NextPosition - 1);
        }
    }

    /// <summary>Replaces each score by the mean over the <paramref name="width"/> slots around it, as many as there are.</summary>
    public void PoolScores(int width)
    {
        Span<float> before = stackalloc float[width];
        for (int slot = 0; slot < Count; slot++)
        {
            int first = Math.Max(0, slot - width / 2), last = Math.Min(Count - 1, slot + width / 2);
            float sum = 0;
            for (int near = first; near <= last; near++) sum += near < slot ? before[near % width] : ScoreOf(near);
            before[slot % width] = ScoreOf(slot);
            *_tables.View.ScoreOf(_head, slot) = sum / (last - first + 1);
        }
    }

    /// <summary>Position in the sequence of the token in <paramref name="slot"/> (0..Count−1).</summary>
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
