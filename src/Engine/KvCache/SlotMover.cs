using Foretoken.Backends;

namespace Foretoken.KvCache;

/// <summary>Moves key, value, position and expire of a slot to another slot of the same head.</summary>
internal static unsafe class SlotMover
{
    public static void Move(HostKvView view, KvHeadSlots* head, int from, int to)
    {
        if (from == to) return;
        KvPageFormat format = view.Format;
        byte* source = view.PageOf(head, from);
        byte* target = view.PageOf(head, to);
        int sourceSlot = from & (format.SlotsPerPage - 1), targetSlot = to & (format.SlotsPerPage - 1);

        const int tileSlots = KvPageFormat.TileSlots;
        uint* sourceKey = (uint*)(source + (long)(sourceSlot / tileSlots) * format.KeyTileBytes) + sourceSlot % tileSlots;
        uint* targetKey = (uint*)(target + (long)(targetSlot / tileSlots) * format.KeyTileBytes) + targetSlot % tileSlots;
        int words = format.KeyTileBytes / (tileSlots * sizeof(uint)); // of one key: a dim in f32, a pair of dims in bf16
        for (int i = 0; i < words; i++) targetKey[i * tileSlots] = sourceKey[i * tileSlots];

        Buffer.MemoryCopy(
            source + format.ValueOffset + (long)sourceSlot * format.ValueRowBytes,
            target + format.ValueOffset + (long)targetSlot * format.ValueRowBytes,
            format.ValueRowBytes,
            format.ValueRowBytes);
        ((int*)(target + format.PositionOffset))[targetSlot] = ((int*)(source + format.PositionOffset))[sourceSlot];
        ((int*)(target + format.ExpireOffset))[targetSlot] = ((int*)(source + format.ExpireOffset))[sourceSlot];
    }
}
