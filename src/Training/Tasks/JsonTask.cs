using System.Globalization;
using System.Text;
using Foretoken.Numerics;

namespace Foretoken.Training.Tasks;

/// <summary>JSON and code-like lines from a described record: the fields one by one, then the whole as the answer.</summary>
public sealed class JsonTask : SplitTask
{
    /// <summary>Names of the fields and the clauses that state them; the name always comes first.</summary>
    private static readonly (string Field, string[] Clauses)[] Fields =
    [
        ("age", ["is {0} years old", "has the age {0}"]),
        ("city", ["lives in {0}", "comes from {0}"]),
        ("job", ["works as a {0}", "is a {0}"]),
        ("pet", ["has a {0}", "owns a {0}"]),
        ("color", ["likes {0}", "wears {0}"]),
        ("day", ["comes on {0}", "is free on {0}"]),
        ("score", ["has {0} points", "got {0} points"]),
        ("item", ["buys a {0}", "needs a {0}"]),
    ];

    private static readonly PhraseSet Requests = new(
        ["Write this as {0} with the keys {1}.", "Make {0} with the keys {1}.", "Give me {0} with {1}.", "Turn this into {0} with the keys {1}.", "Return {0} with the fields {1}.", "Put it in {0} with the keys {1}.",
         "Write {0} with {1}.", "Please write {0} with the keys {1}.", "Convert this to {0} with {1}.", "I need {0} with the fields {1}.", "Output {0} with the keys {1}.", "Produce {0} with {1}.",
         "Show it as {0} with the keys {1}.", "Can you write this as {0} with {1}?", "Store it as {0} with the keys {1}.", "Express this as {0} with {1}.", "Print {0} with the keys {1}.", "Create {0} with the keys {1}.",
         "Describe it by {0} with {1}.", "Change this to {0} with the keys {1}."],
        ["Please give me {0} with the keys {1}.", "Write down {0} with the fields {1}.", "Can you make {0} with the keys {1}?", "Please turn this into {0} with {1}."]);

    private static readonly PhraseSet ListRequests = new(
        ["Write {0} of these words: {1}.", "Make {0} with {1}.", "Put {1} into {0}.", "Give me {0} of {1}.", "Turn {1} into {0}.", "Return {0} with {1}.", "I need {0} with the words {1}.", "Convert {1} to {0}.",
         "Output {0} that holds {1}.", "Please write {0} with {1}."],
        ["Please make {0} of these words: {1}.", "Can you put {1} into {0}?"]);

    /// <inheritdoc/>
    public override string Bucket => "json";

    /// <inheritdoc/>
    protected override TaskExample Draft(SeededRandom random, int level, Phrasing phrasing)
    {
        if (random.Chance(level < 2 ? 0.4 : 0.12))
        {
            return WordList(random, level, phrasing);
        }
        int fields = level switch { 0 => 1, 1 => random.Next(1, 3), 2 or 3 => random.Next(2, 4), 4 or 5 => random.Next(2, 5), 6 => random.Next(3, 6), _ => random.Next(3, 7) };
        int records = level < 4 || random.Chance(0.6) ? 1 : level < 7 ? 2 : random.Next(2, 4);
        fields = records == 1 ? fields : Math.Min(fields, 6 / records + 1);
        int[] chosen = Passages.Distinct(random, Enumerable.Range(0, Fields.Length).ToArray(), fields);
        string[] names = Passages.Distinct(random, Words.Names, records);
        string[][] values = [.. Enumerable.Range(0, records).Select(_ => chosen.Select(field => Value(random, Fields[field].Field)).ToArray())];

        var description = new StringBuilder();
        for (int r = 0; r < records; r++)
        {
            description.Append(r == 0 ? "" : " ").Append(Describe(random, names[r], chosen, values[r]));
        }
        int[] order = [.. Enumerable.Range(0, fields)];
        if (level >= 5 && random.Chance(0.4))
        {
            random.Shuffle<int>(order);
        }
        string[] keys = ["name", .. order.Select(i => Fields[chosen[i]].Field)];
        string format = records > 1 ? "list" : random.NextDouble() switch { < 0.6 => "object", < 0.75 => "call", < 0.88 => "csv", _ => "pairs" };
        string named = format switch { "list" => "a JSON list of objects", "object" => random.Pick(["a JSON object", "JSON"]), "call" => "an add() call", "csv" => "a CSV line", _ => "a line of key = value pairs" };

        var steps = new StringBuilder();
        var items = new List<string>();
        for (int r = 0; r < records; r++)
        {
            string[] row = [names[r], .. order.Select(i => values[r][i])];
            for (int i = 0; i < keys.Length; i++)
            {
                steps.Append(CultureInfo.InvariantCulture, $"{keys[i]}: {row[i]}\n");
            }
            items.Add(Render(format, keys, row));
        }
        string answer = format == "list" ? $"[{string.Join(", ", items)}]" : items[0];
        string request = string.Format(CultureInfo.InvariantCulture, phrasing.Pick(Requests), named, Passages.Enumerate(keys));
        string prompt = random.Chance(0.75) ? $"{description}\n{request}" : $"{request}\n{description}";
        string content = format + "/" + string.Join(';', names.Zip(values, (name, row) => $"{name}:{string.Join(',', row)}")) + "/" + string.Join(',', keys);
        return Example(phrasing.Wrap(prompt, 0.1), steps.ToString(), answer, content);
    }

    private TaskExample WordList(SeededRandom random, int level, Phrasing phrasing)
    {
        string[] words = Passages.Distinct(random, random.Pick([Words.Animals, Words.Objects, Words.Colors, Words.Names, Words.Cities]), random.Next(2, 4 + level / 2));
        string request = string.Format(CultureInfo.InvariantCulture, phrasing.Pick(ListRequests), "a JSON list", Passages.Enumerate(words));
        request = char.ToUpperInvariant(request[0]) + request[1..];
        var steps = new StringBuilder();
        for (int i = 0; i < words.Length; i++)
        {
            steps.Append(CultureInfo.InvariantCulture, $"{i + 1}: {words[i]}\n");
        }
        string answer = $"[{string.Join(", ", words.Select(word => $"\"{word}\""))}]";
        return Example(phrasing.Wrap(request, 0.2), steps.ToString(), answer, "words/" + string.Join(',', words));
    }

    private static string Describe(SeededRandom random, string name, int[] chosen, string[] values)
    {
        string[] clauses = [.. chosen.Select((field, i) => Article(string.Format(CultureInfo.InvariantCulture, random.Pick(Fields[field].Clauses), values[i])))];
        return random.Next(3) switch
        {
            0 => string.Join(' ', clauses.Select(clause => $"{name} {clause}.")),
            1 => $"name {name}, " + string.Join(", ", chosen.Select((field, i) => $"{Fields[field].Field} {values[i]}")) + ".",
            _ => $"{name} {Passages.Enumerate(clauses)}.",
        };
    }

    /// <summary>"a owl" becomes "an owl".</summary>
    private static string Article(string clause)
    {
        int at = clause.IndexOf(" a ", StringComparison.Ordinal);
        return at >= 0 && at + 3 < clause.Length && "aeiou".Contains(clause[at + 3]) ? clause.Insert(at + 2, "n") : clause;
    }

    private static string Value(SeededRandom random, string field) => field switch
    {
        "age" => random.Next(10, 90).ToString(CultureInfo.InvariantCulture),
        "score" => random.Next(10, 1000).ToString(CultureInfo.InvariantCulture),
        "city" => random.Pick(Words.Cities),
        "job" => random.Pick(Words.Jobs),
        "pet" => random.Pick(Words.Animals),
        "color" => random.Pick(Words.Colors),
        "day" => random.Pick(Words.Days),
        _ => random.Pick(Words.Objects),
    };

    private static string Render(string format, string[] keys, string[] row)
    {
        string Quoted(int i) => keys[i] is "age" or "score" ? row[i] : $"\"{row[i]}\"";
        IEnumerable<int> all = Enumerable.Range(0, keys.Length);
        return format switch
        {
            "call" => $"add({string.Join(", ", all.Select(i => $"{keys[i]}={Quoted(i)}"))})",
            "csv" => string.Join(", ", row),
            "pairs" => string.Join("; ", all.Select(i => $"{keys[i]} = {row[i]}")),
            _ => $"{{{string.Join(", ", all.Select(i => $"\"{keys[i]}\": {Quoted(i)}"))}}}",
        };
    }
}
