using System.Text.Json;
using System.Text.RegularExpressions;
using Foretoken.Numerics;
using Foretoken.Training.Tasks;

namespace Foretoken.Tests.Tasks;

/// <summary>Solves recall, extraction, mapping and JSON problems a second time from their text.</summary>
public class ContextTaskTests
{
    private const int Samples = 3000;

    [Fact]
    public void Recall_finds_each_asked_key_in_exactly_one_line_with_its_value()
    {
        foreach (TaskExample example in Draw(new RecallTask(), 31))
        {
            string[] keys = Regex.Matches(example.Solution, @"Look for (\w+)\.").Select(m => m.Groups[1].Value).ToArray();
            string[] quotes = Regex.Matches(example.Solution, @"^Found: ?(.*)$", RegexOptions.Multiline).Select(m => m.Groups[1].Value).ToArray();
            string[] answers = example.Answer.Split(", ");
            Assert.Equal((keys.Length, keys.Length), (quotes.Length, answers.Length));
            string context = example.Prompt[..example.Prompt.LastIndexOf('\n')], question = example.Prompt[example.Prompt.LastIndexOf('\n')..];
            for (int i = 0; i < keys.Length; i++)
            {
                Assert.Single(Regex.Matches(context, $@"\b{keys[i]}\b"));
                Assert.Contains(quotes[i], context, StringComparison.Ordinal);
                Assert.Matches($@"\b{keys[i]}\b.*\b{answers[i]}\b|\b{answers[i]}\b.*\b{keys[i]}\b", quotes[i]);
                Assert.Single(Regex.Matches(quotes[i], $@"\b{answers[i]}\b"));
                Assert.Contains(keys[i], question, StringComparison.Ordinal);
            }
            Assert.Equal(keys, Regex.Matches(question, @"\w+").Select(m => m.Value).Where(keys.Contains).ToArray());
        }
    }

    [Fact]
    public void Extraction_answers_follow_from_the_passage()
    {
        var kinds = new HashSet<string>();
        foreach (TaskExample example in Draw(new ExtractTask(), 32))
        {
            string kind = example.Key.Split('/')[1];
            kinds.Add(kind);
            string question = example.Prompt[(example.Prompt.LastIndexOf('\n') + 1)..];
            string passage = example.Prompt[..Math.Max(0, example.Prompt.LastIndexOf('\n'))];
            string[] sentences = [.. Regex.Matches(passage, @"(?:On|With) [^.:!?]*\.|[A-Z][a-z]+ (?:went|traveled|drove|walked|took)[^.]*\.").Select(m => m.Value)];
            switch (kind)
            {
                case "repeat":
                    Assert.EndsWith(example.Answer, example.Prompt, StringComparison.Ordinal);
                    break;
                case "spell":
                    Assert.All(example.Answer.Split(", "), word => Assert.Matches($@"\b{word.Replace(" ", "", StringComparison.Ordinal)}\b", question));
                    break;
                case "nth":
                    Assert.Equal(sentences[int.Parse(Regex.Match(question, @"\d").Value, System.Globalization.CultureInfo.InvariantCulture) - 1], example.Answer);
                    break;
                case "names":
                    Assert.Equal(Regex.Matches(passage, @"\w+").Select(m => m.Value).Where(Words.Names.Contains), example.Answer.Split(", "));
                    break;
                default:
                    string key = example.Key[(example.Key.LastIndexOf('?') + 1)..];
                    Assert.Contains(key, question, StringComparison.Ordinal);
                    string sentence = Assert.Single(sentences, text => Regex.IsMatch(text, $@"\b{key}\b"));
                    Assert.Contains($"Found: {sentence}", example.Solution, StringComparison.Ordinal);
                    Assert.Single(Regex.Matches(sentence, $@"\b{example.Answer}\b"));
                    string[] pool = kind switch { "place" => Words.Cities, "day" => Words.Days, "thing" => Words.Objects, _ => Words.Names };
                    Assert.Contains(example.Answer, pool);
                    break;
            }
        }
        Assert.Equal(8, kinds.Count);
    }

    [Fact]
    public void Mapping_answers_follow_from_the_dictionary_in_the_prompt()
    {
        int reversed = 0;
        foreach (TaskExample example in Draw(new MappingTask(), 33))
        {
            string[] lines = example.Solution.Split('\n')[..^1];
            string context = example.Prompt[..example.Prompt.LastIndexOf('\n')], question = example.Prompt[example.Prompt.LastIndexOf('\n')..];
            string source = string.Join(' ', lines.Select(line => line.Split(' ')[1])), target = string.Join(' ', lines.Select(line => line.Split(' ')[3]));
            Assert.Equal(target, example.Answer);
            Assert.Contains(source, question, StringComparison.Ordinal);
            foreach (string line in lines.Distinct())
            {
                string[] parts = line.Split(' ');
                int forward = Regex.Count(context, $@"\b{parts[1]}( =| means| ->|:| is) {parts[3]}\b"), backward = Regex.Count(context, $@"\b{parts[3]}( =| means| ->|:| is) {parts[1]}\b");
                Assert.Equal(1, forward + backward);
                Assert.Equal(1, Regex.Count(Dictionary(context), $@"\b{parts[1]}\b"));
                reversed += backward;
            }
        }
        Assert.True(reversed > 100);
    }

    [Fact]
    public void Json_answers_parse_and_hold_the_described_values_in_the_asked_order()
    {
        int objects = 0, lists = 0;
        foreach (TaskExample example in Draw(new JsonTask(), 34))
        {
            foreach (string line in example.Solution.Split('\n')[..^1])
            {
                string value = line.Split(": ")[1];
                Assert.Contains(value, example.Prompt, StringComparison.Ordinal);
                Assert.Contains(value, example.Answer, StringComparison.Ordinal);
            }
            string[] keys = [.. example.Solution.Split('\n')[..^1].Select(line => line.Split(": ")[0])];
            if (example.Answer[0] == '{')
            {
                objects++;
                using JsonDocument document = JsonDocument.Parse(example.Answer);
                Assert.Equal(keys, document.RootElement.EnumerateObject().Select(property => property.Name));
                Assert.Contains(string.Join(", ", keys[..^1]), example.Prompt, StringComparison.Ordinal);
            }
            else if (example.Answer[0] == '[')
            {
                lists++;
                using JsonDocument document = JsonDocument.Parse(example.Answer);
                Assert.True(document.RootElement.GetArrayLength() >= 2);
            }
        }
        Assert.True(objects > 500 && lists > 300);
    }

    /// <summary>The entries without the sentence that introduces them.</summary>
    private static string Dictionary(string context) => context[(context.IndexOf(':') + 1)..];

    private static IEnumerable<TaskExample> Draw(ITask task, ulong seed) =>
        Enumerable.Range(0, Samples).Select(i => task.Generate(new SeededRandom(seed, (ulong)i), i % 10, i % 4 == 0 ? Split.HeldOut : Split.Train));
}
