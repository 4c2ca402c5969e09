using System.Text;
using Foretoken.Formats;
using Foretoken.Tests.Fixtures;

namespace Foretoken.Tests.Formats;

public sealed class SafetensorsModelTests : IDisposable
{
    private readonly TempDirectory _directory = new();

    public void Dispose() => _directory.Dispose();

    [Fact]
    public void Shards_are_joined_by_the_index()
    {
        Shard("one", "a", "b");
        Shard("two", "c");
        Index("""{"metadata":{"total_size":12},"weight_map":{"a":"one.safetensors","b":"one.safetensors","c":"two.safetensors"}}""");
        using var model = new SafetensorsModel(_directory.Path);
        Assert.Equal(["a", "b", "c"], model.Tensors.Keys.Order());
        Assert.EndsWith("two.safetensors", model.FileOf("c").FilePath, StringComparison.Ordinal);
        Assert.Equal(2, model.Files.Count);
        model.VerifyUnchanged();
    }

    [Theory]
    [InlineData("../one.safetensors")]
    [InlineData("sub/one.safetensors")]
    [InlineData("..\\\\one.safetensors")]
    [InlineData("/etc/one.safetensors")]
    [InlineData("C:one.safetensors")]
    [InlineData(".safetensors")]
    [InlineData("..safetensors")]
    [InlineData("one.bin")]
    [InlineData("")]
    [InlineData("one\\u0000.safetensors")]
    public void A_shard_name_that_is_not_a_plain_file_name_is_refused(string name)
    {
        Shard("one", "a");
        Index("{\"weight_map\":{\"a\":\"" + name + "\"}}");
        Refused("weight_map.a", "must be the name of a .safetensors file");
    }

    [Fact]
    public void A_missing_shard_is_named()
    {
        Shard("one", "a");
        Index("""{"weight_map":{"a":"one.safetensors","b":"two.safetensors"}}""");
        Refused("weight_map", "names two.safetensors, which is not in the directory");
    }

    [Fact]
    public void A_tensor_in_two_shards_is_refused()
    {
        Shard("one", "a");
        Shard("two", "a", "b");
        Index("""{"weight_map":{"a":"one.safetensors","b":"two.safetensors"}}""");
        Refused("\"a\"", "is also in");
    }

    [Fact]
    public void A_tensor_that_its_shard_lacks_is_refused()
    {
        Shard("one", "a");
        Shard("two", "b");
        Index("""{"weight_map":{"a":"two.safetensors","b":"two.safetensors"}}""");
        Refused("weight_map.a", "is not in two.safetensors");
        Index("""{"weight_map":{"a":"one.safetensors","b":"two.safetensors","c":"two.safetensors"}}""");
        Refused("weight_map.c", "is not in two.safetensors");
    }

    [Fact]
    public void A_tensor_that_the_index_does_not_list_is_refused()
    {
        Shard("one", "a", "b");
        Index("""{"weight_map":{"a":"one.safetensors"}}""");
        Refused("\"b\"", "is not listed");
    }

    [Theory]
    [InlineData("""{}""", "weight_map", "is missing")]
    [InlineData("""{"weight_map":{}}""", "weight_map", "lists no tensors")]
    [InlineData("""{"weight_map":[]}""", "weight_map", "must be an object")]
    [InlineData("""{"weight_map":{"a":1}}""", "weight_map.a", "must be a string")]
    [InlineData("""{"weight_map":{"a":"one.safetensors","a":"one.safetensors"}}""", "content", "valid JSON")]
    [InlineData("""{"weight_map":""", "content", "valid JSON")]
    [InlineData("""[1]""", "content", "must be a JSON object")]
    [InlineData("""{"weight_map":{"\ud800":"one.safetensors"}}""", "content", "valid JSON")]
    public void A_malformed_index_is_refused(string index, string field, string rule)
    {
        Shard("one", "a");
        Index(index);
        Refused(field, rule);
    }

    [Fact]
    public void An_index_of_a_hundred_thousand_tensors_opens_at_once()
    {
        string[] names = [.. Enumerable.Range(0, 100_000).Select(i => $"layers.{i}.weight")];
        RawSafetensors.Write(_directory.File("one.safetensors"), names.Select(n => new TestTensor(n, [0], [])), "F32");
        var index = new StringBuilder("{\"weight_map\":{");
        index.AppendJoin(',', names.Select(n => $"\"{n}\":\"one.safetensors\"")).Append("}}");
        Index(index.ToString());
        using var model = new SafetensorsModel(_directory.Path);
        Assert.Equal(names.Length, model.Tensors.Count);
    }

    [Fact]
    public void Pickled_weights_are_named_and_never_opened()
    {
        File.WriteAllText(_directory.File("pytorch_model.bin"), "");
        Refused("file", "pickled weights");
    }

    private void Shard(string name, params string[] tensors) =>
        RawSafetensors.Write(_directory.File(name + ".safetensors"), tensors.Select(t => new TestTensor(t, [1], [1])), "F32");

    private void Index(string json) => File.WriteAllText(_directory.File(SafetensorsModel.IndexName), json);

    private void Refused(string field, string rule)
    {
        var e = Assert.Throws<ModelFormatException>(() => new SafetensorsModel(_directory.Path).Dispose());
        Assert.Equal(field, e.Field);
        Assert.Contains(rule, e.Message, StringComparison.Ordinal);
    }
}
