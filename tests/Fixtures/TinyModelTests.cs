using System.Text.Json;

namespace Foretoken.Tests.Fixtures;

public class TinyModelTests
{
    [Fact]
    public void Same_properties_give_the_same_bytes_and_another_seed_gives_others()
    {
        using TempDirectory a = new(), b = new(), c = new();
        TinyModel.Write(a.Path, "qwen3", 5, "BF16");
        TinyModel.Write(b.Path, "qwen3", 5, "BF16");
        TinyModel.Write(c.Path, "qwen3", 6, "BF16");
        byte[] first = File.ReadAllBytes(a.File("model.safetensors"));
        Assert.Equal(first, File.ReadAllBytes(b.File("model.safetensors")));
        Assert.NotEqual(first, File.ReadAllBytes(c.File("model.safetensors")));
    }

    [Fact]
    public void The_tokenizer_names_every_id_once()
    {
        using TempDirectory directory = new();
        new TinyModel { Family = "llama", Vocab = 935 }.Write(directory.Path);
        using JsonDocument json = JsonDocument.Parse(File.ReadAllText(directory.File("tokenizer.json")));
        IEnumerable<int> ids = json.RootElement.GetProperty("model").GetProperty("vocab").EnumerateObject().Select(p => p.Value.GetInt32())
            .Concat(json.RootElement.GetProperty("added_tokens").EnumerateArray().Select(t => t.GetProperty("id").GetInt32()));
        Assert.Equal(Enumerable.Range(0, 935), ids.Order());
    }
}
