namespace Foretoken.Memory;

/// <summary>The list of every buffer that is allocated when a model loads; nothing grows afterwards. Printed by <c>inspect --memory</c>.</summary>
public sealed class MemoryPlan
{
    private readonly List<MemoryPlanEntry> _entries = [];

    /// <summary>The buffers, in the order in which they were announced.</summary>
    public IReadOnlyList<MemoryPlanEntry> Entries => _entries;

    /// <summary>Bytes of all buffers.</summary>
    public long TotalBytes => _entries.Sum(e => e.Bytes);

    /// <summary>Records a buffer.</summary>
    /// <param name="group">weights, activations, kv, logits, …</param>
    /// <param name="name">The buffer's name.</param>
    /// <param name="shape">Human-readable shape, for example <c>[rows 64, hidden 2048] f32</c>.</param>
    /// <param name="bytes">Size in bytes.</param>
    public void Add(string group, string name, string shape, long bytes) => _entries.Add(new MemoryPlanEntry(group, name, shape, bytes));

    /// <summary>Records a buffer and allocates it.</summary>
    public NativeBuffer Allocate(string group, string name, string shape, long bytes)
    {
        Add(group, name, shape, bytes);
        return NativeBuffer.Allocate(bytes, $"{group}/{name} {shape}");
    }
}

/// <summary>One buffer of a <see cref="MemoryPlan"/>.</summary>
public sealed record MemoryPlanEntry(string Group, string Name, string Shape, long Bytes);
