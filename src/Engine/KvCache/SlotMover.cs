using Foretoken.Backends;

namespace Foretoken.KvCache;

/// <summary>Moves key, value, position, expire and decision of a slot to another slot of the same head.</summary>
internal static unsafe class SlotMover
{
    /// <param name="view">The cache.</param>
    /// <param name="head">The head whose slots move.</param>
    /// <param name="from">Slot that is read.</param>
    /// <param name="to">Slot that is written.</param>
    /// <param name="storeKnows">The store was told by <see cref="IKvStore.CommitPath"/>.</param>
    public static void Move(HostKvView view, KvHeadSlots* head, int from, int to, bool storeKnows = false)
    {
        if (from == to) return;
        KvPageFormat format = view.Format;
        if (!storeKnows && view.Store is { } store)
        {
            int mask = format.SlotsPerPage - 1;
            store.MoveSlot(view.NumberOf(head), head->Pages[from >> format.PageShift], from & mask, head->Pages[to >> format.PageShift], to & mask);
        }

        byte* source = view.PageOf(head, from);
        byte* target = view.PageOf(head, to);
        int sourceSlot = from & (format.SlotsPerPage - 1), targetSlot = to & (format.SlotsPerPage - 1);

        const int tileSlots = KvPageFormat.TileSlots;
        byte* sourceTile = source + (long)(sourceSlot / tileSlots) * format.KeyTileBytes;
        byte* targetTile = target + (long)(targetSlot / tileSlots) * format.KeyTileBytes;
        int elements = format.KeyTileBytes / tileSlots; // bytes of one key
        if (format.ScaleBytes > 0)
        {
            ushort* sourceKey = (ushort*)sourceTile + sourceSlot % tileSlots, targetKey = (ushort*)targetTile + targetSlot % tileSlots;
            for (int i = 0; i < elements / sizeof(ushort); i++) targetKey[i * tileSlots] = sourceKey[i * tileSlots];
            byte* sourceValue = source + format.ValueByteOffset(sourceSlot), targetValue = target + format.ValueByteOffset(targetSlot);
            for (int i = 0; i < format.ValueDim; i++) targetValue[2 * i] = sourceValue[2 * i];
            ((float*)(target + format.KeyScaleOffset))[targetSlot] = ((float*)(source + format.KeyScaleOffset))[sourceSlot];
            ((float*)(target + format.ValueScaleOffset))[targetSlot] = ((float*)(source + format.ValueScaleOffset))[sourceSlot];
        }
        else
        {
            uint* sourceKey = (uint*)sourceTile + sourceSlot % tileSlots; // a word is a dim in f32, a pair of dims in 16 bits
            uint* targetKey = (uint*)targetTile + targetSlot % tileSlots;
            for (int i = 0; i < elements / sizeof(uint); i++) targetKey[i * tileSlots] = sourceKey[i * tileSlots];
            Buffer.MemoryCopy(
                source + format.ValueOffset + (long)sourceSlot * format.ValueRowBytes,
                target + format.ValueOffset + (long)targetSlot * format.ValueRowBytes,
                format.ValueRowBytes,
                format.ValueRowBytes);
        }

        ((int*)(target + format.PositionOffset))[targetSlot] = ((int*)(source + format.PositionOffset))[sourceSlot];
        ((int*)(target + format.ExpireOffset))[targetSlot] = ((int*)(source + format.ExpireOffset))[sourceSlot];
        if (view.Observation is not null) *view.ScoreOf(head, to) = *view.ScoreOf(head, from);
        target[format.DecisionOffset + targetSlot] = source[format.DecisionOffset + sourceSlot];
    }
}
