namespace Foretoken.Tokenization;

/// <summary>
/// Remembers the tokens of short words in a fixed number of slots; a word that hashes to a taken slot replaces what was there. Thread-safe:
/// entries are immutable and published by one reference write.
/// </summary>
internal sealed class WordCache
{
    public const int MaxLength = 32; // UTF-16 units
    private const int SlotCount = 1 << 14;

    private readonly Entry?[] _slots = new Entry?[SlotCount];

    /// <summary>The tokens of <paramref name="word"/>, or null if they are not remembered. <paramref name="slot"/> is where to put them.</summary>
    public int[]? Find(ReadOnlySpan<char> word, out int slot)
    {
        uint hash = 2166136261;
        foreach (char unit in word)
            hash = (hash ^ unit) * 16777619;
        slot = (int)((hash ^ hash >> 15) & SlotCount - 1);
        Entry? entry = Volatile.Read(ref _slots[slot]);
        return entry is not null && word.SequenceEqual(entry.Word) ? entry.Ids : null;
    }

    public void Put(int slot, ReadOnlySpan<char> word, ReadOnlySpan<int> ids) =>
        Volatile.Write(ref _slots[slot], new Entry(word.ToString(), ids.ToArray()));

    private sealed record Entry(string Word, int[] Ids);
}
