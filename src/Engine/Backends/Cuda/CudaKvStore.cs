using Foretoken.Backends.Cuda.Kernels;
using Foretoken.Memory;

namespace Foretoken.Backends.Cuda;

/// <summary>
/// Keys and values on a device. The cache in host memory keeps the books and says what happens to slots; that is collected here as a few integers and
/// carried out in front of the next pass, in this order: accepted rows, what evictions and copies did, slot tables. Heads are independent of each other
/// until pages change hands (<see cref="Fence"/>), so that each gets a warp of its own. Page format and tables: cu/cache.cuh.
/// </summary>
internal sealed unsafe class CudaKvStore : IKvStore
{
    /// <summary>Integers in front of a table's page numbers.</summary>
    private const int TableHead = 4;

    private const int CommandInts = 3, Threads = 32, UpdateThreads = 128;
    private const int StagingInts = 1 << 18, HostCommits = -1, Unknown = int.MinValue;
    private readonly CudaDevice _device;
    private readonly CudaStream _stream;
    private readonly MemoryPlan _plan;
    private readonly Func<long, DeviceArena> _arenaFor;
    private readonly List<int> _commitStarts = new(64);
    private readonly List<int> _commits = new(1024);     // records: first table, length, offsets
    private readonly List<int> _lists = new(1024);       // where each list of commands begins
    private readonly List<int> _commands = new(4096);    // kind, from, to
    private readonly HashSet<int> _copied = [];          // pages of the open copies
    private PinnedBuffer? _staging;
    private CudaEvent? _read;
    private HostKvView? _view;
    private DevicePointer<int> _commandInts;
    private int[] _shadow = []; // [tables, TableStride] what the device's tables hold
    private int[] _onDevice = []; // [sequences] rows of the last pass that the device committed
    private int[] _window = []; // [tables] the last open window in which a head had commands
    private int _windowNumber = 1, _slotBytes;
    private long _lastHead = -1;
    private bool _copies, _unsettled;

    /// <param name="device">Holds keys, values and tables.</param>
    /// <param name="stream">What the passes run on.</param>
    /// <param name="plan">Receives the buffers.</param>
    /// <param name="arenaFor">Gives the arena that has room for so many bytes of keys, values and tables.</param>
    public CudaKvStore(CudaDevice device, CudaStream stream, MemoryPlan plan, Func<long, DeviceArena> arenaFor) =>
        (_device, _stream, _plan, _arenaFor) = (device, stream, plan, arenaFor);

    /// <summary>The view of the cache that this store belongs to.</summary>
    public HostKvView View => _view ?? throw new InvalidOperationException("No cache has been made with this store.");

    public DevicePointer<byte> Pool { get; private set; }

    public DevicePointer<int> Tables { get; private set; }

    /// <summary>(layer, KV head) pairs.</summary>
    public int TablesPerSequence { get; private set; }

    /// <summary>Integers of a slot table.</summary>
    public int TableStride { get; private set; }

    public int PageShift { get; private set; }

    public int BytesPerPage { get; private set; }

    private enum Command
    {
        MoveSlot,
        CopyPage,
        SetExpire,
    }

    public string? Refusal(KvLayout layout, int decisionWindow) =>
        decisionWindow > 0 ? "The CUDA backend makes no eviction decisions yet: use another policy, or the CPU." : null;

    /// <summary>Bytes of an element of a key or value.</summary>
    public static int ElementBytes(KvType type) => type switch { KvType.F32 => 4, KvType.Int8 => 1, _ => 2 };

    public int PageBytes(KvLayout layout)
    {
        int marks = layout.Type == KvType.Int8 ? 4 : 2; // position, expire, scale of the key and of the value
        return layout.SlotsPerPage * (2 * layout.HeadDim * ElementBytes(layout.Type) + marks * sizeof(int));
    }

    public void Attach(HostKvView view, int tables, int pagesPerHead, int pages)
    {
        if (_view is not null) throw new InvalidOperationException("The store belongs to a cache already.");
        KvLayout layout = view.Layout;
        if (Refusal(layout, view.DecisionWindow) is { } refusal) throw new ArgumentException(refusal, nameof(view));
        BytesPerPage = PageBytes(layout);
        PageShift = view.Format.PageShift;
        _slotBytes = layout.HeadDim * ElementBytes(layout.Type);
        TableStride = TableHead + pagesPerHead;
        TablesPerSequence = layout.LayerCount * layout.KvHeadCount;
        long ints = (long)tables * TablesPerSequence * TableStride, bytes = (long)pages * BytesPerPage;
        DeviceArena arena = _arenaFor(DeviceArena.Padded(bytes) + DeviceArena.Padded(ints * sizeof(int)) + DeviceArena.Padded(StagingInts * sizeof(int)));
        Pool = arena.Take<byte>("kv", "device pages", $"[pages {pages}, {BytesPerPage} bytes]", bytes);
        Tables = arena.Take<int>("kv", "device slot tables", $"[tables {(long)tables * TablesPerSequence}, {TableStride}] int32", ints);
        _commandInts = arena.Take<int>("kv", "commands", $"[{StagingInts}] int32", StagingInts);
        _staging = PinnedBuffer.Allocate(_device, "kv", "commands, host", $"[{StagingInts}] int32", StagingInts * sizeof(int), _plan);
        _read = CudaEvent.Create(_device);
        _shadow = new int[ints];
        _window = new int[(long)tables * TablesPerSequence];
        _onDevice = new int[tables];
        _onDevice.AsSpan().Fill(HostCommits);
        _stream.Fill(Tables, 0, ints);
        _stream.Fill(Pool, 0, bytes); // a slot may be moved before all of its marks were written
        _view = view;
    }

    public void Fence() => Close();

    public void CommitPath(int sequence, ReadOnlySpan<int> path, int firstRow)
    {
        int accepted = _onDevice[sequence];
        _onDevice[sequence] = HostCommits;
        if (accepted != HostCommits)
        {
            if (path.Length <= accepted) return; // done; tables are compared before the next pass
            throw new InvalidOperationException($"Sequence {sequence} is to commit {path.Length} rows, and the device accepted {accepted}.");
        }

        if (_commits.Count + path.Length + 2 > StagingInts / 4) Close();
        _commitStarts.Add(_commits.Count);
        _commits.Add(sequence * TablesPerSequence);
        _commits.Add(path.Length);
        foreach (int row in path) _commits.Add(row - firstRow);
        for (int h = 0; h < TablesPerSequence; h++) _shadow[((long)sequence * TablesPerSequence + h) * TableStride] += path.Length;
    }

    public void MoveSlot(long head, int fromPage, int fromSlot, int toPage, int toSlot) =>
        Append(head, Command.MoveSlot, (fromPage << PageShift) + fromSlot, (toPage << PageShift) + toSlot);

    public void SetExpire(long head, int page, int slot, int expire) => Append(head, Command.SetExpire, expire, (page << PageShift) + slot);

    public void CopyPage(int from, int to)
    {
        if (!_copies || _copied.Contains(from) || _copied.Contains(to) || _commands.Count + CommandInts > StagingInts / 4) Close();
        _copies = true;
        _copied.Add(from);
        _copied.Add(to);
        BeginList();
        Add(Command.CopyPage, from, to);
        _lastHead = -1;
    }

    public void Reset()
    {
        _commitStarts.Clear();
        _commits.Clear();
        _lists.Clear();
        _commands.Clear();
        _copied.Clear();
        _copies = false;
        _lastHead = -1;
        _windowNumber++;
        _shadow.AsSpan().Fill(Unknown);
        _onDevice.AsSpan().Fill(HostCommits);
        _unsettled = true;
    }

    /// <summary>After <see cref="Reset"/>, waits for whatever the failed pass had enqueued: nobody knows which of its events were recorded.</summary>
    public void Settle()
    {
        if (!_unsettled) return;
        _stream.Synchronize();
        _unsettled = false;
    }

    /// <summary>Enqueues the commits of a pass whose paths the device has found (accept_trees of cu/sampling.cu).</summary>
    /// <param name="count">Number of records, on the device.</param>
    /// <param name="starts">Where each begins.</param>
    /// <param name="records">The records.</param>
    /// <param name="most">Records at most.</param>
    public void EnqueueCommit(DevicePointer<int> count, DevicePointer<int> starts, DevicePointer<int> records, int most) => new KvCommit
    {
        Count = count, Starts = starts, Records = records, Tables = Tables, TableStride = TableStride, PageShift = PageShift, SlotBytes = _slotBytes,
        PageBytes = BytesPerPage, Pool = Pool, Grid = (TablesPerSequence, most), Block = Threads,
    }.Launch(_stream);

    /// <summary>The device has committed that many rows of the sequence's segment: the host's path, which it will be told, begins that one or is equal to it.</summary>
    public void Committed(int sequence, int rows)
    {
        _onDevice[sequence] = rows;
        for (int h = 0; h < TablesPerSequence; h++) _shadow[((long)sequence * TablesPerSequence + h) * TableStride] += rows;
    }

    /// <summary>Carries out what was collected and brings the tables of the rows' sequences up to date.</summary>
    public void Flush(RowBatch rows)
    {
        Close();
        Span<int> staging = StagingSpan();
        int used = 0;
        foreach (RowSegment segment in rows.Segments)
        {
            _onDevice[segment.Sequence] = HostCommits;
            for (int h = 0; h < TablesPerSequence; h++) used = CollectTable(segment.Sequence * TablesPerSequence + h, staging, used);
        }

        if (used > 0) Update(used);
    }

    private void Append(long head, Command command, int from, int to)
    {
        bool continues = head == _lastHead;
        if (_copies || (!continues && _window[head] == _windowNumber) || _commands.Count + CommandInts > StagingInts / 4)
        {
            Close();
            continues = false;
        }

        if (!continues) BeginList();
        _lastHead = head;
        _window[head] = _windowNumber;
        Add(command, from, to);
    }

    private void BeginList() => _lists.Add(_commands.Count / CommandInts);

    private void Add(Command command, int from, int to)
    {
        _commands.Add((int)command);
        _commands.Add(from);
        _commands.Add(to);
    }

    /// <summary>Ends the open window: what it holds runs before all that comes.</summary>
    private void Close()
    {
        _windowNumber++;
        _lastHead = -1;
        _copies = false;
        _copied.Clear();
        if (_commitStarts.Count > 0) RunCommits();
        if (_lists.Count > 0) RunCommands();
    }

    private void RunCommits()
    {
        int starts = _commitStarts.Count;
        Span<int> staging = StagingSpan();
        staging[0] = starts;
        System.Runtime.InteropServices.CollectionsMarshal.AsSpan(_commitStarts).CopyTo(staging[1..]);
        System.Runtime.InteropServices.CollectionsMarshal.AsSpan(_commits).CopyTo(staging[(1 + starts)..]);
        UploadStaging(1 + starts + _commits.Count);
        EnqueueCommit(_commandInts, _commandInts + 1, _commandInts + (1 + starts), starts);
        _commitStarts.Clear();
        _commits.Clear();
    }

    private void RunCommands()
    {
        int lists = _lists.Count;
        _lists.Add(_commands.Count / CommandInts);
        Span<int> staging = StagingSpan();
        System.Runtime.InteropServices.CollectionsMarshal.AsSpan(_lists).CopyTo(staging);
        System.Runtime.InteropServices.CollectionsMarshal.AsSpan(_commands).CopyTo(staging[(lists + 1)..]);
        UploadStaging(lists + 1 + _commands.Count);
        new KvCommands
        {
            Lists = _commandInts, Commands = _commandInts + (lists + 1), PageShift = PageShift, SlotBytes = _slotBytes, PageBytes = BytesPerPage,
            Pool = Pool, Grid = lists, Block = Threads,
        }.Launch(_stream);
        _lists.Clear();
        _commands.Clear();
    }

    /// <summary>Adds (index, value) of what changed in a table since it was last sent.</summary>
    private int CollectTable(int table, Span<int> staging, int used)
    {
        KvHeadSlots* head = View.Head(table / TablesPerSequence, table % TablesPerSequence / View.Layout.KvHeadCount, table % View.Layout.KvHeadCount);
        long at = (long)table * TableStride;
        if (used + 2 * TableStride > staging.Length)
        {
            Update(used);
            used = 0;
        }

        Span<int> old = _shadow.AsSpan((int)at, TableStride);
        Collect(old, 0, head->Committed, at, staging, ref used);
        Collect(old, 1, head->FirstMortal, at, staging, ref used);
        Collect(old, 2, head->Contiguous ? 1 : 0, at, staging, ref used);
        var pages = new ReadOnlySpan<int>(head->Pages, head->PageCount);
        for (int p = pages.CommonPrefixLength(old[TableHead..]); p < pages.Length; p++) Collect(old, TableHead + p, pages[p], at, staging, ref used);
        return used;
    }

    private static void Collect(Span<int> old, int index, int value, long table, Span<int> staging, ref int used)
    {
        if (old[index] == value) return;
        old[index] = value;
        staging[used++] = checked((int)(table + index));
        staging[used++] = value;
    }

    private void Update(int used)
    {
        UploadStaging(used);
        int count = used / 2;
        new KvTables
        {
            Updates = _commandInts, Count = count, Tables = Tables, Grid = (count + UpdateThreads - 1) / UpdateThreads, Block = UpdateThreads,
        }.Launch(_stream);
        _ = StagingSpan(); // more may come
    }

    /// <summary>The staging memory, once the device has read what stood there.</summary>
    private Span<int> StagingSpan()
    {
        Settle();
        _read!.Synchronize();
        return _staging!.Span<int>(0, StagingInts);
    }

    private void UploadStaging(int ints)
    {
        _stream.Upload(_staging!, 0, _commandInts, (long)ints * sizeof(int));
        _read!.Record(_stream);
    }
}
