namespace Foretoken.KvCache;

/// <content>Counts of frozen pages.</content>
internal sealed unsafe partial class HeadTables
{
    /// <summary>Frozen pages of a running sequence; with <paramref name="alone"/> those that no other running sequence holds.</summary>
    public int FrozenPages(int sequence, bool alone)
    {
        int count = 0;
        for (int h = 0; h < PerSequence; h++)
        {
            int frozen = _books[sequence * PerSequence + h].Frozen;
            if (!alone) count += frozen;
            for (int page = 0; alone && page < frozen; page++) count += _pool.PinsOf(Of(sequence)[h].Pages[page]) == 1 ? 1 : 0;
        }

        return count;
    }

    /// <summary>Pages of a running sequence's first <paramref name="length"/> tokens that are frozen or would be if they were shared.</summary>
    public int FreezablePages(int sequence, int length)
    {
        int count = 0;
        for (int h = 0; h < PerSequence; h++) count += FreezablePages(Of(sequence) + h, SlotsBelow(Of(sequence) + h, length));
        return count;
    }

    /// <summary>Pages among the table's first <paramref name="length"/> tokens that a sharer would freeze and a running sequence holds already.</summary>
    public int PinnedPages(int table, int length)
    {
        int count = 0;
        for (int h = 0; h < PerSequence; h++)
        {
            int frozen = FreezablePages(Of(table) + h, SlotsBelow(Of(table) + h, length));
            for (int page = 0; page < frozen; page++) count += _pool.PinsOf(Of(table)[h].Pages[page]) > 0 ? 1 : 0;
        }

        return count;
    }
}
