using Foretoken.Ptx.Memory;

namespace Foretoken.Ptx.Execution;

/// <summary>A kernel with its grid and arguments, and the loop over its blocks.</summary>
internal sealed unsafe class Launch
{
    private const long MaxGridX = int.MaxValue, MaxGridYz = 65535, MaxThreads = 1024, MaxBlocks = 1L << 40;
    private readonly ulong[] _loaded, _stored; // a bit per sector of 32 bytes; empty when they are not counted
    private long _next;

    public Launch(PtxMachineOptions options, GlobalMemory global, Kernel kernel, Dim3 grid, Dim3 block, int dynamicSharedBytes, byte[] parameters)
    {
        Options = options;
        Global = global;
        Kernel = kernel;
        Grid = grid;
        BlockSize = block;
        DynamicSharedBytes = dynamicSharedBytes;
        Parameters = parameters; // [kernel.ParameterBytes]
        _loaded = options.CountDistinctSectors ? new ulong[(global.Capacity >> 11) + 1] : [];
        _stored = options.CountDistinctSectors ? new ulong[(global.Capacity >> 11) + 1] : [];
        SharedBytes = kernel.StaticSharedBytes + dynamicSharedBytes;
        Require(grid.X is > 0 and <= MaxGridX && grid.Y is > 0 and <= MaxGridYz && grid.Z is > 0 and <= MaxGridYz, $"the grid {grid} is empty or too large");
        Require((Int128)grid.X * grid.Y * grid.Z <= MaxBlocks, $"the grid {grid} has more than {MaxBlocks:N0} blocks, which would never end here");
        Require(block.X is > 0 and <= 1024 && block.Y is > 0 and <= 1024 && block.Z is > 0 and <= 64 && BlockThreads <= MaxThreads, $"a block of {block} threads is empty or has more than {MaxThreads}");
        Require(kernel.RequiredThreads is not { } exact || Same(exact, block), $"the kernel has .reqntid, the block is {block}");
        Require(kernel.MaxThreads == 0 || BlockThreads <= kernel.MaxThreads, $"the kernel allows {kernel.MaxThreads} threads a block (.maxntid), the block has {BlockThreads}");
        Require(dynamicSharedBytes >= 0 && (long)kernel.StaticSharedBytes + dynamicSharedBytes <= options.SharedBytesPerBlock, $"{kernel.StaticSharedBytes} static + {dynamicSharedBytes} dynamic shared bytes: a block may have {options.SharedBytesPerBlock}");
        Require(parameters.Length == kernel.ParameterBytes, $"{parameters.Length} bytes of arguments, the kernel takes {kernel.ParameterBytes}");
    }

    public PtxMachineOptions Options { get; }
    public GlobalMemory Global { get; }
    public Kernel Kernel { get; }
    public Dim3 Grid { get; }
    public Dim3 BlockSize { get; }
    public int DynamicSharedBytes { get; }
    public int SharedBytes { get; }
    public byte[] Parameters { get; }
    public byte* ParameterPointer { get; private set; }
    public long BlockThreads => BlockSize.X * BlockSize.Y * BlockSize.Z;

    /// <summary>Runs all blocks; the first fault ends the launch.</summary>
    /// <exception cref="PtxFaultException">With the place of the fault.</exception>
    public PtxCounters Run()
    {
        fixed (byte* parameters = Parameters)
        {
            ParameterPointer = parameters;
            return WithDistinctSectors(RunBlocks());
        }
    }

    /// <summary>Notes that a sector of global memory was used.</summary>
    /// <param name="sector">Number of the sector, from the memory's beginning.</param>
    /// <param name="store">Written; else read.</param>
    public void MarkSector(ulong sector, bool store)
    {
        ulong[] marks = store ? _stored : _loaded;
        if (marks.Length > 0)
            Interlocked.Or(ref marks[sector >> 6], 1UL << (int)(sector & 63));
    }

    private PtxCounters WithDistinctSectors(PtxCounters counters)
    {
        counters.GlobalLoadDistinctSectors = Marked(_loaded);
        counters.GlobalStoreDistinctSectors = Marked(_stored);
        return counters;
    }

    private static long Marked(ulong[] marks) => marks.Sum(m => (long)System.Numerics.BitOperations.PopCount(m));

    private PtxCounters RunBlocks()
    {
        long blocks = Grid.X * Grid.Y * Grid.Z;
        int workers = Kernel.NeedsOneThread ? 1 : (int)Math.Clamp(blocks, 1, Math.Max(Options.Threads, 1));
        var counters = new PtxCounters { Launches = 1 };
        if (workers == 1)
        {
            Work(blocks, counters);
            return counters;
        }

        Exception? first = null;
        Parallel.For(0, workers, new ParallelOptions { MaxDegreeOfParallelism = workers }, _ =>
        {
            try
            {
                Work(blocks, counters);
            }
            catch (Exception e)
            {
                Interlocked.CompareExchange(ref first, e, null);
                Interlocked.Exchange(ref _next, blocks);
            }
        });
        if (first is not null)
            System.Runtime.ExceptionServices.ExceptionDispatchInfo.Throw(first);
        return counters;
    }

    private static bool Same(long[] sizes, Dim3 block) => sizes[0] == block.X && (sizes.Length < 2 ? 1 : sizes[1]) == block.Y && (sizes.Length < 3 ? 1 : sizes[2]) == block.Z;

    private void Require(bool condition, string message)
    {
        if (!condition)
            throw new PtxFaultException(PtxFaultKind.InvalidLaunch, $"InvalidLaunch: kernel {Kernel.Name}: {message}");
    }

    /// <summary>Takes back the marks of read-only loads and of writes; call after <see cref="Run"/>, whatever its end.</summary>
    public void ForgetMarks() => Global.ForgetMarks(_pages);

    private readonly HashSet<long> _pages = []; // of global memory, with marks

    private void Work(long blocks, PtxCounters total)
    {
        using var block = new Block(this);
        try
        {
            WorkOn(block, blocks);
        }
        finally
        {
            lock (total)
            {
                total.Add(block.Counters);
                _pages.UnionWith(block.Pages);
            }
        }
    }

    private void WorkOn(Block block, long blocks)
    {
        while (true)
        {
            long n = Interlocked.Increment(ref _next) - 1;
            if (n >= blocks)
                break;
            block.Run(Options.BlockOrder switch
            {
                PtxOrder.Descending => blocks - 1 - n,
                PtxOrder.Shuffled => Shuffled(n, blocks),
                _ => n,
            });
        }
    }

    /// <summary>A permutation of [0, count): a stride coprime to the count, from the seed.</summary>
    private long Shuffled(long n, long count)
    {
        long stride = (long)(Options.Seed * 0x9E3779B97F4A7C15 >> 33) % count;
        while (Gcd(stride, count) != 1)
            stride++;
        return (long)(((UInt128)(ulong)n * (ulong)stride + (Options.Seed % (ulong)count)) % (ulong)count);
    }

    private static long Gcd(long a, long b) => b == 0 ? a : Gcd(b, a % b);
}
