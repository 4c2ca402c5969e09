using System.Runtime.InteropServices;
using Foretoken.Backends.Cuda;
using Foretoken.Backends.Cuda.Kernels;
using Foretoken.Numerics;

namespace Foretoken.Tests.Backends.Cuda.Kernels;

/// <summary>The kernels that write the cache, on random shapes: queries, keys and values in their slots, tables, commits and commands, against their words in the sources.</summary>
public sealed class CacheKernelTests
{
    private const int Layers = 2, Layer = 1, TableHead = 4;

    [Theory]
    [InlineData(2)]
    [InlineData(4)]
    public void Queries_keys_and_values_are_normalised_rotated_scaled_and_stored(int bytes)
    {
        for (ulong seed = 1; seed <= 4; seed++) CheckQkv(bytes, new SeededRandom(seed, 51));
    }

    private static void CheckQkv(int bytes, SeededRandom random)
    {
        int kvHeads = 1 + random.Next(3), heads = kvHeads * (1 + random.Next(4)), headDim = 8 * (1 + random.Next(16)), half = headDim / 2, rows = 1 + random.Next(6);
        int count = 1 + random.Next(3), width = (heads + 2 * kvHeads) * headDim, stride = width + random.Next(9), shift = 4, sequences = 2, pagesPerHead = 3;
        bool bias = random.Next(2) == 0, gains = random.Next(2) == 0;
        using var harness = new KernelHarness("qkv");
        float[] pieces = KernelHarness.Random(count * rows * stride, 61), biases = KernelHarness.Random(width, 62), queryGain = KernelHarness.Random(headDim, 63), keyGain = KernelHarness.Random(headDim, 64);
        float[] angles = KernelHarness.Random(rows * headDim, 65);
        (Pool pool, int[] tables, int tableStride) = NewPool(random, sequences * Layers * kvHeads, pagesPerHead, shift, headDim * bytes, 2);
        int[] sequence = [.. Enumerable.Range(0, rows).Select(r => r < 2 ? 0 : 1)], offsets = [.. Enumerable.Range(0, rows).Select(r => r < 2 ? r : r - 2)];
        int[] positions = [.. Enumerable.Range(0, rows).Select(_ => random.Next(1000))];
        DevicePointer<byte> onDevice = harness.Upload(pool.Bytes);
        DevicePointer<float> queries = harness.Allocate<float>(rows * heads * headDim);
        DevicePointer<float> none = default;
        Dim3 grid = ((heads + 2 * kvHeads + 3) / 4, rows + 1); // one row too many
        new QkvRopeKv
        {
            Kernel = bytes == 2 ? QkvRopeKvKernel.Bf16 : QkvRopeKvKernel.F32,
            Pieces = harness.Upload(pieces), Count = count, Piece = rows * stride, Stride = stride, Bias = bias ? harness.Upload(biases) : none,
            QueryGain = gains ? harness.Upload(queryGain) : none, KeyGain = gains ? harness.Upload(keyGain) : none, Epsilon = 1e-4f, Angles = harness.Upload(angles),
            Heads = heads, KvHeads = kvHeads, HeadDim = headDim, Scale = 0.3f, Rows = harness.Upload(rows), Positions = harness.Upload(positions),
            Sequences = harness.Upload(sequence), Offsets = harness.Upload(offsets), Tables = harness.Upload(tables), TableStride = tableStride, Layer = Layer,
            Layers = Layers, PageShift = shift, PageBytes = pool.PageBytes, Pool = onDevice, Queries = queries, Grid = grid, Block = 128,
        }.Launch(harness.Stream);
        float[] actual = harness.Download(queries, rows * heads * headDim);
        byte[] before = pool.Bytes, after = harness.Download(onDevice, before.Length);
        var stored = new Pool(after, pool.PageBytes, shift, headDim * bytes);
        double tolerance = bytes == 2 ? 0.02 : 1e-5; // of values up to a few units
        for (int r = 0; r < rows; r++)
        {
            for (int head = 0; head < heads + 2 * kvHeads; head++)
            {
                bool query = head < heads, key = !query && head < heads + kvHeads;
                double[] x = [.. Enumerable.Range(0, headDim).Select(d => Enumerable.Range(0, count).Sum(s => (double)pieces[(s * rows + r) * stride + head * headDim + d]) + (bias ? biases[head * headDim + d] : 0))];
                double norm = Math.Sqrt(x.Sum(v => v * v) / headDim + 1e-4f);
                if (gains && (query || key)) x = [.. x.Select((v, d) => v / norm * (query ? queryGain : keyGain)[d])];
                ReadOnlySpan<float> cosine = angles.AsSpan(r * headDim, half), sine = angles.AsSpan(r * headDim + half, half);
                int table = ((sequence[r] * Layers + Layer) * kvHeads + (key ? head - heads : head - heads - kvHeads)) * tableStride;
                int slot = query ? 0 : tables[table] + offsets[r], page = query ? 0 : tables[table + TableHead + (slot >> shift)], inPage = slot & 15;
                for (int d = 0; d < headDim; d++)
                {
                    double turned = d < half ? -x[d + half] : x[d - half], y = query || key ? x[d] * cosine[d % half] + turned * sine[d % half] : x[d];
                    double found = query ? actual[(r * heads + head) * headDim + d] : stored.Element(page, inPage, value: !key, d, bytes);
                    Assert.True(Math.Abs((query ? 0.3 * y : y) - found) < tolerance * Math.Max(1, Math.Abs(y)), $"row {r}, head {head}, dim {d}: {found} instead of {y}");
                }

                if (key) Assert.Equal(positions[r], stored.Position(page, inPage));
            }
        }

        int keysAndValues = rows * kvHeads * 2 * headDim * bytes, marks = rows * kvHeads * sizeof(int);
        Assert.InRange(Enumerable.Range(0, before.Length).Count(i => before[i] != after[i]), 1, keysAndValues + marks); // nothing else was written
    }

    [Fact]
    public void Tables_take_the_updates_that_they_are_sent()
    {
        using var harness = new KernelHarness("kv");
        var random = new SeededRandom(3, 52);
        foreach (int count in new[] { 1, 127, 128, 300 })
        {
            int[] tables = [.. Enumerable.Range(0, 1000).Select(i => -i)], indices = [.. Enumerable.Range(0, 1000)];
            random.Shuffle(indices.AsSpan());
            int[] updates = [.. indices.Take(count).SelectMany(i => new[] { i, random.Next(5000) })];
            DevicePointer<int> onDevice = harness.Upload(tables);
            new KvTables { Updates = harness.Upload(updates), Count = count, Tables = onDevice, Grid = (count + 127) / 128, Block = 128 }.Launch(harness.Stream);
            for (int i = 0; i < count; i++) tables[updates[2 * i]] = updates[2 * i + 1];
            Assert.Equal(tables, harness.Download(onDevice, tables.Length));
        }
    }

    [Fact]
    public void Commits_close_up_the_accepted_rows_in_every_head_of_their_sequences()
    {
        for (ulong seed = 1; seed <= 4; seed++)
        {
            var random = new SeededRandom(seed, 53);
            int heads = 1 + random.Next(4), sequences = 3, shift = 4, slotBytes = 16 * (1 + random.Next(9)), pagesPerHead = 4;
            using var harness = new KernelHarness("kv");
            (Pool pool, int[] tables, int stride) = NewPool(random, sequences * heads, pagesPerHead, shift, slotBytes, 2 + 2 * (int)(seed % 2));
            int[][] paths = [[0, 1, 2], [0, 3, 4, 9, 17], [2]];
            int[] order = [2, 0, 1];
            var records = new List<int>();
            var starts = new List<int>();
            foreach (int s in order)
            {
                starts.Add(records.Count);
                records.AddRange([s * heads, paths[s].Length, .. paths[s]]);
            }

            DevicePointer<byte> onDevice = harness.Upload(pool.Bytes);
            DevicePointer<int> tablesOnDevice = harness.Upload(tables);
            new KvCommit
            {
                Count = harness.Upload(3), Starts = harness.Upload([.. starts]), Records = harness.Upload([.. records]), Tables = tablesOnDevice, TableStride = stride,
                PageShift = shift, SlotBytes = slotBytes, PageBytes = pool.PageBytes, Pool = onDevice, Grid = (heads, 4), Block = 32,
            }.Launch(harness.Stream);
            for (int table = 0; table < sequences * heads; table++)
            {
                int at = table * stride, committed = tables[at];
                int[] path = paths[table / heads];
                for (int i = 0; i < path.Length; i++) pool.Move(Slot(committed + path[i]), Slot(committed + i));
                tables[at] += path.Length;
                (int, int) Slot(int slot) => (tables[at + TableHead + (slot >> shift)], slot & 15);
            }

            Assert.Equal(pool.Bytes, harness.Download(onDevice, pool.Bytes.Length));
            Assert.Equal(tables, harness.Download(tablesOnDevice, tables.Length));
        }
    }

    [Fact]
    public void Commands_move_slots_copy_pages_and_set_expires_in_the_order_of_their_list()
    {
        for (ulong seed = 1; seed <= 4; seed++)
        {
            var random = new SeededRandom(seed, 54);
            int shift = 4, slotBytes = 16 * (1 + random.Next(9)), lists = 1 + random.Next(5);
            using var harness = new KernelHarness("kv");
            (Pool pool, _, _) = NewPool(random, 3 * lists, 1, shift, slotBytes, 2 + 2 * (int)(seed % 2)); // each list has pages of its own
            DevicePointer<byte> onDevice = harness.Upload(pool.Bytes);
            var begins = new List<int>();
            var commands = new List<int>();
            for (int list = 0; list < lists; list++)
            {
                begins.Add(commands.Count / 3);
                for (int i = random.Next(9); i >= 0; i--)
                {
                    int kind = random.Next(3), from = 3 * list + random.Next(3), to = 3 * list + random.Next(3), fromSlot = random.Next(16), toSlot = random.Next(16);
                    commands.AddRange(kind switch
                    {
                        0 => [0, (from << shift) + fromSlot, (to << shift) + toSlot],
                        1 => [1, from, to],
                        _ => new[] { 2, fromSlot * 100, (to << shift) + toSlot },
                    });
                    if (kind == 0) pool.Move((from, fromSlot), (to, toSlot));
                    else if (kind == 1) pool.Copy(from, to);
                    else pool.SetExpire(to, toSlot, fromSlot * 100);
                }
            }

            begins.Add(commands.Count / 3);
            new KvCommands
            {
                Lists = harness.Upload([.. begins]), Commands = harness.Upload([.. commands]), PageShift = shift, SlotBytes = slotBytes, PageBytes = pool.PageBytes, Pool = onDevice,
                Grid = lists, Block = 32,
            }.Launch(harness.Stream);
            Assert.Equal(pool.Bytes, harness.Download(onDevice, pool.Bytes.Length));
        }
    }

    /// <summary>A pool of random bytes, and tables with pages in random order and a few committed slots.</summary>
    private static (Pool Pool, int[] Tables, int Stride) NewPool(SeededRandom random, int tables, int pagesPerHead, int shift, int slotBytes, int marks)
    {
        int pageBytes = (1 << shift) * (2 * slotBytes + marks * sizeof(int)), stride = TableHead + pagesPerHead;
        var bytes = new byte[tables * pagesPerHead * pageBytes];
        for (int i = 0; i < bytes.Length; i++) bytes[i] = (byte)random.Next(256);
        int[] pages = [.. Enumerable.Range(0, tables * pagesPerHead)], all = new int[tables * stride];
        random.Shuffle(pages.AsSpan());
        for (int t = 0; t < tables; t++)
        {
            all[t * stride] = random.Next(20);
            pages.AsSpan(t * pagesPerHead, pagesPerHead).CopyTo(all.AsSpan(t * stride + TableHead));
        }

        return (new Pool(bytes, pageBytes, shift, slotBytes), all, stride);
    }

    /// <summary>Pages as cu/cache.cuh lays them out.</summary>
    private sealed record Pool(byte[] Bytes, int PageBytes, int Shift, int SlotBytes)
    {
        public double Element(int page, int slot, bool value, int d, int bytes)
        {
            ReadOnlySpan<byte> at = Data(page, slot, value ? 1 : 0)[(d * bytes)..];
            return bytes == 4 ? BitConverter.ToSingle(at) : BFloat16Bits.ToSingle(BitConverter.ToUInt16(at));
        }

        public int Position(int page, int slot) => MemoryMarshal.Read<int>(Mark(page, slot, 0));

        public void SetExpire(int page, int slot, int expire) => MemoryMarshal.Write(Mark(page, slot, 1), expire);

        public void Copy(int from, int to) => Bytes.AsSpan(from * PageBytes, PageBytes).CopyTo(Bytes.AsSpan(to * PageBytes, PageBytes));

        public void Move((int Page, int Slot) from, (int Page, int Slot) to)
        {
            for (int half = 0; half < 2; half++) Data(from.Page, from.Slot, half).CopyTo(Data(to.Page, to.Slot, half));
            for (int mark = 0; mark < (PageBytes >> Shift) / sizeof(int) - SlotBytes / 2; mark++) Mark(from.Page, from.Slot, mark).CopyTo(Mark(to.Page, to.Slot, mark));
        }

        private Span<byte> Data(int page, int slot, int half) => Bytes.AsSpan(page * PageBytes + ((half << Shift) + slot) * SlotBytes, SlotBytes);

        private Span<byte> Mark(int page, int slot, int mark) =>
            Bytes.AsSpan(page * PageBytes + (2 * SlotBytes << Shift) + ((mark << Shift) + slot) * sizeof(int), sizeof(int));
    }
}
