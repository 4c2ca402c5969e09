using System.Buffers.Binary;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using Foretoken.Formats;
using Foretoken.Numerics;
using Foretoken.Tests.Fixtures;
using Foretoken.Tokenization;
using Foretoken.Training;
using Foretoken.Training.Tasks;

namespace Foretoken.Tests.Training;

public class RecipeTests
{
    internal static readonly string ModelsDirectory = Path.Combine(Fixtures.RepoFiles.Root, "models");

    [Theory]
    [InlineData("reasoner.json", 2_756_288)]
    [InlineData("reasoner-draft.json", 418_912)]
    public void Shipped_recipes_are_read_and_have_the_documented_size(string file, long parameters)
    {
        TrainingRecipe recipe = TrainingRecipe.Read(Path.Combine(ModelsDirectory, "recipes", file));
        using var model = new TransformerModel(recipe.Shape());
        Assert.Equal(parameters, model.Parameters.ElementCount);
    }

    [Fact]
    public void Unknown_key_is_refused_naming_file_and_key()
    {
        string path = Path.GetTempFileName();
        try
        {
            string text = File.ReadAllText(Path.Combine(ModelsDirectory, "recipes", "reasoner.json"));
            File.WriteAllText(path, text.Replace("\"clip_norm\"", "\"clip_nrom\"", StringComparison.Ordinal));
            string message = Assert.Throws<RecipeException>(() => TrainingRecipe.Read(path)).Message;
            Assert.Contains(path, message, StringComparison.Ordinal);
            Assert.Contains("clip_nrom", message, StringComparison.Ordinal);
        }
        finally
        {
            File.Delete(path);
        }
    }

    [Fact]
    public void Impossible_value_is_refused_naming_the_key()
    {
        string path = Path.GetTempFileName();
        try
        {
            string text = File.ReadAllText(Path.Combine(ModelsDirectory, "recipes", "reasoner.json"));
            File.WriteAllText(path, text.Replace("\"shards\": 4", "\"shards\": 0", StringComparison.Ordinal));
            Assert.Contains("parallel.shards", Assert.Throws<RecipeException>(() => TrainingRecipe.Read(path)).Message, StringComparison.Ordinal);
        }
        finally
        {
            File.Delete(path);
        }
    }

    [Theory]
    [InlineData("model", "model", "null")]
    [InlineData("batches", "batches", "null")]
    [InlineData("optimizer", "optimizer", "null")]
    [InlineData("tokenizer", "tokenizer", "null")]
    [InlineData("mixture", "mixture", "[null]")]
    [InlineData("mixture", "mixture", "[{\"bucket\": \"json\", \"weight\": 0}]")]
    [InlineData("mixture", "mixture", "[{\"bucket\": \"json\"}, {\"bucket\": \"json\"}]")]
    [InlineData("mixture.later", "mixture", "[{\"bucket\": \"json\", \"later\": [{\"from_tokens\": 5, \"weight\": 1}, {\"from_tokens\": 5, \"weight\": 2}]}]")]
    [InlineData("mixture.later", "mixture", "[{\"bucket\": \"json\", \"later\": [{\"from_tokens\": 5, \"weight\": 0}]}]")]
    [InlineData("batches", "batches", "[null]")]
    [InlineData("batches", "batches", "[{\"from_tokens\": 0, \"tokens\": 2147483647}]")]
    [InlineData("schedule.warmup_steps", "schedule", "{\"kind\": \"cosine\", \"total_steps\": 3, \"warmup_steps\": -1}")]
    [InlineData("parallel.chunk_rows", "parallel", "{\"chunk_rows\": -1}")]
    [InlineData("curriculum.window", "curriculum", "{\"window\": 0}")]
    [InlineData("optimizer.muon_iterations", "optimizer", "{\"muon_iterations\": -1}")]
    [InlineData("checkpoint_minutes", "checkpoint_minutes", "-1")]
    public void Missing_sections_and_values_out_of_range_are_refused_naming_the_key(string named, string key, string value)
    {
        string path = Path.GetTempFileName();
        try
        {
            JsonNode recipe = JsonNode.Parse(File.ReadAllText(Path.Combine(ModelsDirectory, "recipes", "reasoner.json")))!;
            recipe[key] = JsonNode.Parse(value);
            File.WriteAllText(path, recipe.ToJsonString());
            Assert.StartsWith($"{path}: key {named}", Assert.Throws<RecipeException>(() => TrainingRecipe.Read(path)).Message, StringComparison.Ordinal);
        }
        finally
        {
            File.Delete(path);
        }
    }

    [Fact]
    public void A_context_that_no_example_fits_is_refused_instead_of_searched_for_ever()
    {
        BpeTokenizer tokenizer = BpeTokenizer.FromDirectory(Path.Combine(ModelsDirectory, "reasoner"));
        var source = new TaskExampleSource(tokenizer, TaskMixture.Default().Tasks, maxTokens: 8);
        var curriculum = new Curriculum(new CurriculumSettings(), [.. source.Buckets.Select(_ => new BucketProgress())], source.Levels);
        using var team = new WorkerTeam(2);
        var e = Assert.Throws<RecipeException>(() => new BatchSampler(source, 1, team).Fill([], curriculum, 100));
        Assert.Contains("model.max_position_embeddings", e.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Examples_have_the_chat_format()
    {
        BpeTokenizer tokenizer = BpeTokenizer.FromDirectory(Path.Combine(ModelsDirectory, "reasoner"));
        var source = new TaskExampleSource(tokenizer, TaskMixture.Default().Tasks, maxTokens: 1024);
        for (int bucket = 0; bucket < source.Buckets.Count; bucket++)
        {
            TrainingExample example = source.Draw(new SeededRandom(4), bucket, 0)!;
            string text = tokenizer.Decode(example.Tokens);
            Assert.StartsWith("<|user|>", text, StringComparison.Ordinal);
            Assert.EndsWith("<|end|>", text, StringComparison.Ordinal);
            Assert.Contains("\n#### ", text, StringComparison.Ordinal);
            Assert.EndsWith("<|assistant|>", tokenizer.Decode(example.Tokens.Take(example.PromptLength)), StringComparison.Ordinal);
        }
    }

    [Fact]
    public void Safetensors_layout_is_strict()
    {
        string path = Path.GetTempFileName();
        try
        {
            SafetensorsWriter.Write(path, [new("b", "BF16", [3], new byte[] { 1, 2, 3, 4, 5, 6 }), new("a", "F32", [2, 1], new byte[] { 9, 0, 0, 0, 8, 0, 0, 0 })]);
            byte[] bytes = File.ReadAllBytes(path);
            int header = (int)BinaryPrimitives.ReadUInt64LittleEndian(bytes);
            Assert.Equal(0, header % 8);
            Assert.Equal(8 + header + 14, bytes.Length);
            Assert.Equal([9, 0, 0, 0, 8, 0, 0, 0, 1, 2, 3, 4, 5, 6], bytes[(8 + header)..]);
            using JsonDocument json = JsonDocument.Parse(Encoding.UTF8.GetString(bytes, 8, header));
            Assert.Equal("[0,8]", json.RootElement.GetProperty("a").GetProperty("data_offsets").GetRawText());
            Assert.Equal("[8,14]", json.RootElement.GetProperty("b").GetProperty("data_offsets").GetRawText());
        }
        finally
        {
            File.Delete(path);
        }
    }

    [Fact]
    public void Safetensors_bytes_must_fit_the_shape() =>
        Assert.Throws<ArgumentException>(() => SafetensorsWriter.Write("unused", [new("a", "F32", [2], new byte[4])]));

    [Fact]
    public void A_safetensors_file_that_cannot_be_written_leaves_no_part_of_it()
    {
        using var directory = new TempDirectory();
        string path = directory.File("model.safetensors");
        Directory.CreateDirectory(path); // nothing can be moved here
        Assert.ThrowsAny<Exception>(() => SafetensorsWriter.Write(path, [new("a", "F32", [1], new byte[4])]));
        Assert.Equal([path], Directory.GetFileSystemEntries(directory.Path));
    }
}
