using System.Text;
using Foretoken.Formats;
using Foretoken.Numerics;
using Foretoken.Tests.Fixtures;

namespace Foretoken.Tests.Formats;

public sealed class SafetensorsFileTests : IDisposable
{
    private readonly TempDirectory _directory = new();

    private string FilePath => _directory.File("model.safetensors");

    public void Dispose() => _directory.Dispose();

    [Fact]
    public void A_sound_file_gives_its_tensors_in_data_order_and_their_bytes()
    {
        // listed in another order than stored, an unaligned tensor, a scalar, an empty tensor, white space behind the object
        RawSafetensors.WriteRaw(FilePath,
            """{"b":{"dtype":"F32","shape":[],"data_offsets":[3,7]},"__metadata__":{"format":"pt","note":"x"},"a":{"dtype":"U8","shape":[3,1],"data_offsets":[0,3]},"e":{"dtype":"BF16","shape":[0,5],"data_offsets":[3,3]}}   """,
            [1, 2, 3, 0, 0, 0x80, 0x3F]);
        using var file = new SafetensorsFile(FilePath);
        Assert.Equal(["a", "e", "b"], file.Tensors.Select(t => t.Name));
        Assert.Equal("x", file.Metadata["note"]);
        StoredTensor b = file.Tensors[2];
        Assert.Equal((DType.F32, 1L, 4L), (b.Type, b.Elements, b.Bytes));
        Assert.Equal("[3, 1]", file.Tensors[0].ShapeText);
        var bytes = new byte[4];
        file.Read(b, 0, bytes);
        Assert.Equal(1f, BitConverter.ToSingle(bytes));
        file.Read(file.Tensors[0], 1, bytes.AsSpan(0, 2));
        Assert.Equal([2, 3], bytes[..2]);
        Assert.Throws<ArgumentOutOfRangeException>(() => file.Read(b, 1, new byte[4]));
        Assert.Throws<ArgumentOutOfRangeException>(() => file.Read(b, -1, new byte[4]));
        file.VerifyUnchanged();
    }

    [Fact]
    public void An_empty_object_without_data_is_a_file_without_tensors()
    {
        RawSafetensors.WriteRaw(FilePath, "{}", []);
        using var file = new SafetensorsFile(FilePath);
        Assert.Empty(file.Tensors);
    }

    [Theory]
    [InlineData(0UL, "is 0")]
    [InlineData(1UL, "is 1")]
    [InlineData(1000UL, "only 2 bytes follow it")]
    [InlineData(3UL, "only 2 bytes follow it")]
    [InlineData(100_000_001UL, "at most 100000000")]
    [InlineData(ulong.MaxValue, "is 18446744073709551615")]
    [InlineData(1UL << 63, "is 9223372036854775808")]
    public void Header_lengths_outside_the_file_or_the_limit_are_refused(ulong length, string rule)
    {
        RawSafetensors.WriteRaw(FilePath, length, "{}", []);
        Refused("header length", rule);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(7)]
    [InlineData(9)]
    public void Files_shorter_than_the_shortest_are_refused(int bytes)
    {
        File.WriteAllBytes(FilePath, new byte[bytes]);
        Refused("file", $"has {bytes} bytes");
    }

    [Fact]
    public void A_missing_file_and_a_directory_are_refused()
    {
        Refused("file", "does not exist");
        Directory.CreateDirectory(FilePath);
        Refused("file", "is a directory");
    }

    public static TheoryData<string, string, string> BrokenHeaders() => new()
    {
        { """{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}""", "header", "valid JSON" }, // truncated
        { """{"a":{"dtype":"F3""", "header", "valid JSON" },
        { " {}", "header", "begin with '{'" },
        { "[]", "header", "begin with '{'" },
        { "{} x", "header", "valid JSON" },
        { "{}{}", "header", "valid JSON" },
        { """{"a":1}""", "\"a\"", "must be a JSON object" },
        { """{"a":{"shape":[1],"data_offsets":[0,4]}}""", "\"a\".dtype", "is missing" },
        { """{"a":{"dtype":"F32","data_offsets":[0,4]}}""", "\"a\".shape", "is missing" },
        { """{"a":{"dtype":"F32","shape":[1]}}""", "\"a\".data_offsets", "is missing" },
        { """{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"x":0}}""", "\"a\".x", "not a field" },
        { """{"a":{"dtype":7,"shape":[1],"data_offsets":[0,4]}}""", "\"a\".dtype", "must be a string" },
        { """{"a":{"dtype":"Q9","shape":[1],"data_offsets":[0,4]}}""", "\"a\".dtype", "\"Q9\" is not a type" },
        { """{"a":{"dtype":"f32","shape":[1],"data_offsets":[0,4]}}""", "\"a\".dtype", "\"f32\" is not a type" },
        { """{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}}""", "\"a\".data_offsets", "reversed" },
        { """{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}""", "\"a\".shape", "plain digits" },
        { """{"a":{"dtype":"F32","shape":[-0],"data_offsets":[0,4]}}""", "\"a\".shape", "plain digits" },
        { """{"a":{"dtype":"F32","shape":[1.0],"data_offsets":[0,4]}}""", "\"a\".shape", "plain digits" },
        { """{"a":{"dtype":"F32","shape":[1e3],"data_offsets":[0,4]}}""", "\"a\".shape", "plain digits" },
        { """{"a":{"dtype":"F32","shape":["1"],"data_offsets":[0,4]}}""", "\"a\".shape", "plain digits" },
        { """{"a":{"dtype":"F32","shape":[[1]],"data_offsets":[0,4]}}""", "\"a\".shape", "plain digits" },
        { """{"a":{"dtype":"F32","shape":1,"data_offsets":[0,4]}}""", "\"a\".shape", "array" },
        { """{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4e0]}}""", "\"a\".data_offsets", "plain digits" },
        { """{"a":{"dtype":"F32","shape":[1],"data_offsets":[-4,0]}}""", "\"a\".data_offsets", "plain digits" },
        { """{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,18446744073709551616]}}""", "\"a\".data_offsets", "plain digits" },
        { """{"a":{"dtype":"F32","shape":[1],"data_offsets":[0]}}""", "\"a\".data_offsets", "has 1 numbers" },
        { """{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4,4]}}""", "\"a\".data_offsets", "has 3 numbers" },
        { """{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}""", "\"a\".data_offsets", "holds only 4 bytes" }, // cut off
        { """{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}""", "\"a\".data_offsets", "needs 8" },
        { """{"a":{"dtype":"F32","shape":[0],"data_offsets":[0,4]}}""", "\"a\".data_offsets", "needs 0" },
        { """{"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,4]}}""", "\"a\".shape", "overflows" },
        { """{"a":{"dtype":"F32","shape":[4611686018427387905],"data_offsets":[0,4]}}""", "\"a\".shape", "overflows" },
        { """{"a":{"dtype":"U8","shape":[3],"data_offsets":[0,3]}}""", "data", "1 bytes behind the last tensor" },
        { """{}""", "data", "4 bytes behind the last tensor" },
        { """{"a":{"dtype":"U8","shape":[3],"data_offsets":[0,3]},"b":{"dtype":"U8","shape":[2],"data_offsets":[2,4]}}""", "\"b\".data_offsets", "overlaps" },
        { """{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}""", "\"b\".data_offsets", "overlaps" },
        { """{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"b":{"dtype":"U8","shape":[2],"data_offsets":[2,4]}}""", "\"b\".data_offsets", "hole" },
        { """{"a":{"dtype":"U8","shape":[3],"data_offsets":[1,4]}}""", "\"a\".data_offsets", "hole" },
        { """{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}""", "\"a\"", "appears twice" },
        { """{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"\u0061":{"dtype":"U8","shape":[0],"data_offsets":[4,4]}}""", "\"a\"", "appears twice" },
        { """{"a":{"dtype":"U8","dtype":"U8","shape":[4],"data_offsets":[0,4]}}""", "\"a\".dtype", "appears twice" },
        { """{"a":{"dtype":"U8","shape":[4],"shape":[4],"data_offsets":[0,4]}}""", "\"a\".shape", "appears twice" },
        { """{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4],"data_offsets":[0,4]}}""", "\"a\".data_offsets", "appears twice" },
        { """{"__metadata__":{},"__metadata__":{}}""", "\"__metadata__\"", "appears twice" },
        { """{"__metadata__":{"k":"1","k":"2"}}""", "__metadata__.k", "appears twice" },
        { """{"__metadata__":{"k":1}}""", "__metadata__.k", "must be a string" },
        { """{"__metadata__":{"k":{"n":"1"}}}""", "__metadata__.k", "must be a string" },
        { """{"__metadata__":["k"]}""", "\"__metadata__\"", "must be a JSON object" },
        { "{\"a\":" + string.Concat(Enumerable.Repeat("{\"a\":", 100_000)), "\"a\".a", "not a field" },
        { "{\"a\":{\"shape\":" + new string('[', 1_000_000), "\"a\".shape", "plain digits" },
        { "{\"a\":{\"\\ud800\":1}}", "header", "valid JSON" }, // lone surrogate
        { "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},}", "header", "valid JSON" },
        { "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,NaN]}}", "header", "valid JSON" },
    };

    [Theory]
    [MemberData(nameof(BrokenHeaders))]
    public void Broken_headers_are_refused_with_field_and_rule(string header, string field, string rule)
    {
        RawSafetensors.WriteRaw(FilePath, header, new byte[4]);
        Refused(field, rule);
    }

    [Fact]
    public void A_header_that_is_not_utf8_is_refused()
    {
        byte[] header = Encoding.UTF8.GetBytes("""{"a":{"dtype":"F32","shape":[],"data_offsets":[0,4]}}""");
        header[2] = 0xFF;
        File.WriteAllBytes(FilePath, [.. BitConverter.GetBytes((ulong)header.Length), .. header, 0, 0, 0, 0]);
        Refused("header", "must be UTF-8");
    }

    [Fact]
    public void A_hundred_thousand_tiny_tensors_open_at_once()
    {
        const int count = 100_000;
        var header = new StringBuilder("{");
        for (int i = 0; i < count; i++) header.Append(i == 0 ? "" : ",").Append($"\"t{i}\":{{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[{i},{i + 1}]}}");
        RawSafetensors.WriteRaw(FilePath, header.Append('}').ToString(), new byte[count]);
        using var file = new SafetensorsFile(FilePath);
        Assert.Equal(count, file.Tensors.Count);
        Assert.Equal("t99999", file.Tensors[^1].Name);
    }

    [Fact]
    public void A_file_that_is_cut_after_it_was_opened_gives_a_clear_error()
    {
        RawSafetensors.Write(FilePath, [new TestTensor("a", [4], [1, 2, 3, 4])], "F32");
        using var file = new SafetensorsFile(FilePath);
        using (var cut = new FileStream(FilePath, FileMode.Open, FileAccess.Write, FileShare.ReadWrite)) cut.SetLength(file.Length - 6);
        var e = Assert.Throws<ModelFormatException>(() => file.Read(file.Tensors[0], 0, new byte[16]));
        Assert.Contains("cut while it was read", e.Message, StringComparison.Ordinal);
        Assert.Throws<ModelFormatException>(file.VerifyUnchanged);
    }

    [Fact]
    public void A_file_that_is_rewritten_after_it_was_opened_is_noticed()
    {
        RawSafetensors.Write(FilePath, [new TestTensor("a", [4], [1, 2, 3, 4])], "F32");
        using var file = new SafetensorsFile(FilePath);
        File.SetLastWriteTimeUtc(FilePath, DateTime.UtcNow.AddMinutes(1));
        Assert.Contains("was changed", Assert.Throws<ModelFormatException>(file.VerifyUnchanged).Message, StringComparison.Ordinal);
    }

    private void Refused(string field, string rule)
    {
        var e = Assert.Throws<ModelFormatException>(() => new SafetensorsFile(FilePath).Dispose());
        Assert.Equal(FilePath, e.File);
        Assert.Equal(field, e.Field);
        Assert.Contains(rule, e.Message, StringComparison.Ordinal);
        Assert.StartsWith($"{FilePath}: {field} ", e.Message, StringComparison.Ordinal);
        Assert.NotEmpty(e.Remedy);
    }
}
