using System.Runtime.InteropServices;
using Foretoken.Ptx.Execution;

namespace Foretoken.Ptx.Memory;

/// <summary>
/// cp.async: copies are taken when issued and delivered when their thread waits for them, as late as PTX allows (ptx.md §3). A read in between is a fault.
/// </summary>
internal sealed unsafe class AsyncCopies(Block block)
{
    private readonly Dictionary<int, Queue<Copy>> _pending = []; // by thread
    private readonly Dictionary<int, int> _groups = []; // committed groups by thread

    public void Begin()
    {
        _pending.Clear();
        _groups.Clear();
    }

    /// <summary>The block is over: copies that nobody waited for are lost, which is legal when nobody looks.</summary>
    public void End() => Begin();

    public void Issue(int thread, int target, ReadOnlySpan<byte> data)
    {
        if (!_pending.TryGetValue(thread, out Queue<Copy>? queue))
            _pending[thread] = queue = new Queue<Copy>();
        queue.Enqueue(new Copy(target, data, _groups.GetValueOrDefault(thread)));
    }

    public void Commit(int thread) => _groups[thread] = _groups.GetValueOrDefault(thread) + 1;

    /// <summary>Delivers all but the newest groups; -1: also what is not committed.</summary>
    public void Wait(Warp warp, int lane, int newest)
    {
        int thread = (warp.Index * Warp.Lanes) + lane;
        if (!_pending.TryGetValue(thread, out Queue<Copy>? queue))
            return;
        int complete = newest < 0 ? int.MaxValue : _groups.GetValueOrDefault(thread) - newest;
        while (queue.TryPeek(out Copy copy) && copy.Group < complete)
        {
            queue.Dequeue();
            Span<byte> bytes = MemoryMarshal.AsBytes(new Span<UInt128>(ref copy.Data))[..copy.Bytes];
            bytes.CopyTo(new Span<byte>(block.Shared.Data + copy.Target, copy.Bytes));
            block.Shared.Deliver(copy.Target, copy.Bytes, warp.Index, lane);
        }
    }

    private struct Copy
    {
        public UInt128 Data;
        public readonly int Target;
        public readonly int Bytes;
        public readonly int Group;

        public Copy(int target, ReadOnlySpan<byte> data, int group)
        {
            Target = target;
            Bytes = data.Length;
            Group = group;
            data.CopyTo(MemoryMarshal.AsBytes(new Span<UInt128>(ref Data)));
        }
    }
}
