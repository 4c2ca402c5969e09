using Foretoken.Formats;
using Foretoken.Numerics;
using Foretoken.Tests.Fixtures;

namespace Foretoken.Tests.Formats;

public sealed class GgufFileTests : IDisposable
{
    private readonly TempDirectory _directory = new();

    public void Dispose() => _directory.Dispose();

    [Fact]
    public void Every_kind_of_value_is_read()
    {
        var raw = new RawGguf()
            .Add("u8", GgufValueType.UInt8, [200]).Add("i8", GgufValueType.Int8, [0xFF]).Add("u16", GgufValueType.UInt16, [1, 2])
            .Add("i16", GgufValueType.Int16, [0xFE, 0xFF]).Add("u32", 7u).Add("i32", GgufValueType.Int32, BitConverter.GetBytes(-3))
            .Add("f32", 0.5f).Add("yes", true).Add("text", "grün").Add("u64", GgufValueType.UInt64, BitConverter.GetBytes(ulong.MaxValue))
            .Add("i64", GgufValueType.Int64, BitConverter.GetBytes(long.MinValue)).Add("f64", GgufValueType.Float64, BitConverter.GetBytes(1e-9))
            .Add("texts", "a", "", "ß").Add("ints", 1, -2).Add("floats", 1f, 2f).Add("none", GgufValueType.Array, RawGguf.Array(GgufValueType.Text, 0, []));
        using GgufFile file = Open(raw);
        GgufMetadata m = file.Metadata;
        Assert.Equal([200, -1, 513, -2, 7, -3], ((string[])["u8", "i8", "u16", "i16", "u32", "i32"]).Select(k => m.Integer(k, -1000, 1000)!.Value));
        Assert.Equal((0.5, 1e-9, 7.0), (m.Number("f32", 0, 1), m.Number("f64", 0, 1), m.Number("u32", 0, 10)));
        Assert.Equal((true, "grün", null as string), (m.Boolean("yes"), m.Text("text"), m.Text("absent")));
        Assert.Equal(long.MinValue, m.Integer("i64", long.MinValue, 0));
        Assert.Equal(["a", "", "ß"], m.Texts("texts")!);
        Assert.Equal([1, -2], m.Integers("ints")!);
        Assert.Equal([1f, 2f], m.Numbers("floats")!);
        Assert.Empty(m.Texts("none")!);
        Assert.Equal(16, m.Keys.Count);
        Assert.Contains("18446744073709551615", Assert.Throws<ModelFormatException>(() => m.Integer("u64", 0, long.MaxValue)).Message, StringComparison.Ordinal);
        foreach (Action wrong in (Action[])[() => m.Text("u8"), () => m.Integer("text", 0, 1), () => m.Boolean("u8"), () => m.Texts("ints"), () => m.Numbers("ints"),
            () => m.Integers("floats"), () => m.Number("text", 0, 1), () => m.RequiredInteger("absent", 0, 1), () => m.Integer("u8", 0, 100)])
            Assert.Throws<ModelFormatException>(wrong);
    }

    [Fact]
    public void Tensors_are_listed_with_slowest_dimension_first_and_read_at_their_offsets()
    {
        var raw = new RawGguf { Data = [.. new byte[64], 0, 0, 128, 63, 0, 0, 0, 64, .. new byte[24]] }
            .Tensor("late", [2, 1], offset: 64).Tensor("early", [32, 1], type: 8);
        using GgufFile file = Open(raw);
        Assert.Equal(["early", "late"], file.Tensors.Select(t => t.Name));
        StoredTensor late = file.Tensors[1];
        Assert.Equal((DType.F32, "[1, 2]", 8), (late.Type, late.ShapeText, late.Bytes));
        Assert.Equal((DType.Q8_0, 34), (file.Tensors[0].Type, file.Tensors[0].Bytes));
        var bytes = new byte[8];
        file.Read(late, 0, bytes);
        Assert.Equal([1f, 2f], [BitConverter.ToSingle(bytes), BitConverter.ToSingle(bytes, 4)]);
        file.VerifyUnchanged();
    }

    [Fact]
    public void Alignment_of_the_file_is_followed()
    {
        var raw = new RawGguf { Alignment = 64, Data = new byte[128] }.Add("general.alignment", 64u).Tensor("a", [3]).Tensor("b", [16], offset: 64);
        using GgufFile file = Open(raw);
        Assert.All(file.Tensors, t => Assert.Equal(0, t.Offset % 64));
    }

    [Fact]
    public void A_hundred_thousand_tokens_open_at_once_and_only_on_demand()
    {
        using GgufFile file = Open(new RawGguf().Add("tokens", [.. Enumerable.Range(0, 100_000).Select(i => $"t{i}")]).Add("last", 1u));
        Assert.Equal(100_000, file.Metadata.Count("tokens"));
        Assert.Equal("t99999", file.Metadata.Texts("tokens")![^1]);
        Assert.Equal(1, file.Metadata.Integer("last", 0, 1));
    }

    /// <summary>The head is kept as bytes, fetched in pieces of twice the size; what stands in it makes no objects.</summary>
    [Fact]
    public void Reading_the_head_allocates_nothing_per_element_of_an_array()
    {
        var raw = new RawGguf().Add("tokens", [.. Enumerable.Range(0, 100_000).Select(i => $"t{i}")]);
        string path = Write(raw.Build());
        new GgufFile(path).Dispose();
        long length = new FileInfo(path).Length, before = GC.GetAllocatedBytesForCurrentThread();
        using var file = new GgufFile(path);
        Assert.InRange(GC.GetAllocatedBytesForCurrentThread() - before, length, 4 * length);
    }

    public static TheoryData<string, RawGguf, string, string> Hostile()
    {
        const ulong Huge = 1UL << 63;
        RawGguf Sound() => new RawGguf { Data = new byte[64] }.Add("general.architecture", "llama");
        var data = new TheoryData<string, RawGguf, string, string>
        {
            { "magic", new RawGguf { Magic = 0x46554748 }, "magic", "must be \"GGUF\"" },
            { "version 0", new RawGguf { Version = 0 }, "version", "is 0" },
            { "version 1", new RawGguf { Version = 1 }, "version", "is 1" },
            { "version 4", new RawGguf { Version = 4 }, "version", "is 4" },
            { "big-endian", new RawGguf { Version = 0x03000000 }, "version", "big-endian" },
            { "entries", new RawGguf { EntryCount = Huge }, "metadata count", "9223372036854775808" },
            { "tensors", new RawGguf { TensorCount = Huge }, "tensor count", "9223372036854775808" },
            { "more entries than there are", new RawGguf { EntryCount = 2, Data = new byte[200] }.Add("a", 1u), "metadata key 1", "0 bytes" },
            { "cut entry", new RawGguf { EntryCount = 1, Data = [8, 0, 0, 0, 0, 0, 0, 0, 65, 65, 65, 65, 65, 65] }, "metadata key 0", "8 bytes" },
            { "long string", new RawGguf().Add("a", GgufValueType.Text, BitConverter.GetBytes(1000L)), "a", "string of 1000 bytes" },
            { "endless string", new RawGguf().Add("a", GgufValueType.Text, BitConverter.GetBytes(-1L)), "a", "18446744073709551615 bytes" },
            { "no UTF-8", new RawGguf().Add("a", GgufValueType.Text, RawGguf.String([0xC3, 0x28])), "a", "not UTF-8" },
            {
                "no UTF-8 in an array", new RawGguf().Add("a", GgufValueType.Array, RawGguf.Array(GgufValueType.Text, 2, [.. RawGguf.Text("x"), .. RawGguf.String([0xC3, 0x28])])),
                "a[1]", "not UTF-8"
            },
            {
                "cut string in an array", new RawGguf().Add("a", GgufValueType.Array, RawGguf.Array(GgufValueType.Text, 2, [.. RawGguf.Text("x"), 1, 2, 3, 4, 5, 6, 7])),
                "a[1]", "needs 8 bytes"
            },
            { "key without UTF-8", new RawGguf().Add([0xFF, 0xFE], 4, new byte[4]), "metadata key 0", "not UTF-8" },
            { "empty key", new RawGguf().Add("", 1u), "metadata key 0", "has 0 bytes" },
            { "long key", new RawGguf().Add(new string('k', 65536), 1u), "metadata key 0", "has 65536 bytes" },
            { "duplicate key", new RawGguf().Add("a", 1u).Add("a", 2u), "a", "twice" },
            { "value type", new RawGguf().Add("a"u8.ToArray(), 13, new byte[8]), "a", "value type 13" },
            { "truth value", new RawGguf().Add("a", GgufValueType.Bool, [2]), "a", "other than 0 and 1" },
            { "nested array", new RawGguf().Add("a", GgufValueType.Array, RawGguf.Array(GgufValueType.Array, 1, new byte[32])), "a", "array of arrays" },
            { "long array", new RawGguf().Add("a", GgufValueType.Array, RawGguf.Array(GgufValueType.Float32, 1L << 62, new byte[16])), "a", "4611686018427387904 values" },
            { "long array of strings", new RawGguf().Add("a", GgufValueType.Array, RawGguf.Array(GgufValueType.Text, 9, RawGguf.Text("x"))), "a", "array of 9 values" },
            { "dimensions 0", Sound().Tensor("t", [], dimensions: 0), "\"t\"", "0 dimensions" },
            { "dimensions 5", Sound().Tensor("t", [1, 1, 1, 1, 1]), "\"t\"", "5 dimensions" },
            { "dimensions 2^32-1", Sound().Tensor("t", [1], dimensions: uint.MaxValue), "\"t\"", "4294967295 dimensions" },
            { "dimension 0", Sound().Tensor("t", [0]), "\"t\"", "dimension of 0" },
            { "dimension 2^63", Sound().Tensor("t", [Huge]), "\"t\"", "dimension of 9223372036854775808" },
            { "size overflow", Sound().Tensor("t", [1UL << 40, 1UL << 40]), "\"t\"", "overflows 64 bits" },
            { "byte overflow", Sound().Tensor("t", [1UL << 62]), "\"t\"", "overflows 64 bits" },
            { "empty name", Sound().Tensor("", [1]), "name of tensor 0", "has 0 bytes" },
            { "long name", Sound().Tensor(new string('n', 64), [1]), "name of tensor 0", "has 64 bytes" },
            { "duplicate name", Sound().Tensor("t", [1]).Tensor("t", [1], offset: 32), "\"t\"", "twice" },
            { "other type", Sound().Tensor("t", [256], type: 10), "\"t\"", "type Q2_K" },
            { "unknown type", Sound().Tensor("t", [1], type: 1000), "\"t\"", "number 1000" },
            { "part of a block", Sound().Tensor("t", [33], type: 8), "\"t\"", "multiples of 32" },
            { "offset unaligned", Sound().Tensor("t", [1], offset: 4), "\"t\"", "no multiple of the alignment 32" },
            { "offset past the end", Sound().Tensor("t", [1], offset: 96), "\"t\"", "cut off" },
            { "offset 2^64-32", Sound().Tensor("t", [1], offset: ulong.MaxValue - 31), "\"t\"", "cut off" },
            { "data cut", Sound().Tensor("t", [17]), "\"t\"", "" },
            { "overlap", Sound().Tensor("t", [16]).Tensor("u", [8], offset: 32), "\"u\"", "overlaps \"t\"" },
            { "same place", Sound().Tensor("t", [8]).Tensor("u", [8]), "\"u\"", "overlaps" },
            { "hole", new RawGguf { Data = new byte[96] }.Tensor("t", [8]).Tensor("u", [8], offset: 64), "\"u\"", "hole of 32 bytes" },
            { "trailing bytes", Sound().Tensor("t", [8]), "data", "32 bytes behind the last tensor" },
        };
        data.Add("alignment type", Sound().Add("general.alignment", GgufValueType.UInt64, BitConverter.GetBytes(32L)).Tensor("t", [16]), "general.alignment", "32-bit unsigned");
        foreach (uint alignment in (uint[])[0, 1, 3, 24, 1u << 31])
            data.Add($"alignment {alignment}", Sound().Add("general.alignment", alignment).Tensor("t", [16]), "general.alignment", "power of two");
        return data;
    }

    [Theory]
    [MemberData(nameof(Hostile), DisableDiscoveryEnumeration = true)]
    public void Hostile_files_are_refused_by_field_and_rule(string name, RawGguf raw, string field, string rule)
    {
        if (name == "data cut") raw.Data = new byte[64];
        string path = Write(raw.Build());
        var e = Assert.Throws<ModelFormatException>(() => new GgufFile(path).Dispose());
        Assert.Equal((path, field), (e.File, e.Field));
        Assert.Contains(rule, e.Message, StringComparison.Ordinal);
        Assert.NotEmpty(e.Remedy);
    }

    [Fact]
    public void Every_cut_of_a_sound_file_is_refused()
    {
        byte[] whole = new RawGguf { Data = new byte[32] }.Add("general.architecture", "llama").Add("tokens", "a", "b").Tensor("t", [8]).Build();
        new GgufFile(Write(whole)).Dispose();
        for (int length = 0; length < whole.Length; length++)
        {
            string path = Write(whole[..length]);
            Assert.Throws<ModelFormatException>(() => new GgufFile(path).Dispose());
        }
    }

    private GgufFile Open(RawGguf raw) => new(Write(raw.Build()));

    private string Write(byte[] bytes)
    {
        string path = _directory.File("x.gguf");
        File.WriteAllBytes(path, bytes);
        return path;
    }
}
