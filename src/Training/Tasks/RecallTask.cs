using System.Globalization;
using System.Text;
using Foretoken.Numerics;

namespace Foretoken.Training.Tasks;

/// <summary>How the facts of a recall problem stand in its text.</summary>
public enum RecallForm
{
    /// <summary>Lists and texts.</summary>
    Mixed,

    /// <summary>A list of keys and values, all alike.</summary>
    List,

    /// <summary>A few facts scattered in filler text.</summary>
    Needle,
}

/// <summary>
/// Associative recall from key–value lists and needles in filler text. The solution names the key, quotes its line, spells the value
/// and repeats it, so that only one token of the quote needs to be found far away. The default form mixes both, half and half from level 3 on; the
/// training buckets "recall-list" and "needle" are one form at every level.
/// </summary>
public sealed class RecallTask(RecallForm form = RecallForm.Mixed) : SplitTask
{
    private const int MaximumEntries = 36;

    /// <summary>Prompt length aimed at per level, in tokens: minimum and maximum; zero where the number of entries decides.</summary>
    private static readonly (int Minimum, int Maximum)[] Lengths = [(0, 0), (0, 0), (0, 0), (0, 0), (60, 100), (90, 170), (190, 300), (280, 430), (400, 620), (550, 780)];

    /// <summary>Lines that state a fact; {k} key, {v} value, {s} what is stored.</summary>
    private static readonly string[] ListForms = [" {k}: {v}", " {k} = {v}", " {k} -> {v}", " {k} has {v}"];
    private static readonly string[] SentenceForms =
        [" {k} has the {s} {v}.", " {k}'s {s} is {v}.", " {k} got the {s} {v}.", " {k} uses the {s} {v}.", " The {s} of {k} is {v}.", " For {k} the {s} is {v}."];

    private static readonly PhraseSet Openings = new(
        ["Here is a list of {s}s:", "Read this list:", "Remember these {s}s:", "Look at this list of {s}s:", "These are the {s}s:", "List of {s}s:", "Below are some {s}s:", "The {s}s are:",
         "Use this list:", "A list:", "Keep these {s}s in mind:", "Here are the {s}s:", "Study the list:", "I wrote down these {s}s:", "Some {s}s:", "You get these {s}s:",
         "Please read the {s}s:", "We have these {s}s:", "Learn the {s}s:", "This is a list of {s}s:"],
        ["Please read this list:", "Here are some {s}s:", "Please remember the {s}s:", "Look at these {s}s:"]);

    private static readonly PhraseSet TextOpenings = new(
        ["Read this text:", "Here is a text:", "Read the story:", "Text:", "Read the following text:", "There is something hidden in this text:", "Look at this text:", "Please read this:", "A long text:",
         "Here is a story:", "Read carefully:", "Find the answer in this text:"],
        ["Please read this text:", "Look at the following text:", "Here is a long text:"]);

    private static readonly PhraseSet Questions = new(
        ["What is the {s} of {k}?", "What is {k}'s {s}?", "Which {s} does {k} have?", "Tell me the {s} of {k}.", "Find the {s} of {k}.", "Give me the {s} of {k}.", "Now, what is the {s} of {k}?",
         "I need the {s} of {k}.", "Which {s} belongs to {k}?", "Look up the {s} of {k}.", "Can you find the {s} of {k}?", "What {s} does {k} have?", "Do you remember the {s} of {k}?", "Say the {s} of {k}.",
         "Please find the {s} of {k}.", "What was the {s} of {k}?", "Write the {s} of {k}.", "Return the {s} of {k}.", "The {s} of {k}?", "Could you tell me the {s} of {k}?"],
        ["Please tell me the {s} of {k}.", "Can you tell me which {s} {k} has?", "Now find the {s} of {k}.", "Which is the {s} of {k}?"]);

    private static readonly PhraseSet ManyQuestions = new(
        ["What are the {s}s of {k}?", "Tell me the {s}s of {k}.", "Find the {s}s of {k}.", "Give me the {s}s of {k}, in this order.", "I need the {s}s of {k}.", "Look up the {s}s of {k}.",
         "Which {s}s do {k} have?", "Write the {s}s of {k}.", "Can you find the {s}s of {k}?", "Please find the {s}s of {k}."],
        ["Please tell me the {s}s of {k}.", "Now find the {s}s of {k}."]);

    /// <inheritdoc/>
    public override string Bucket => form switch { RecallForm.List => "recall-list", RecallForm.Needle => "needle", _ => "recall" };

    /// <summary>One name for all forms: what is held out of one is held out of the others.</summary>
    protected override string KeyPrefix => "recall";

    /// <inheritdoc/>
    protected override TaskExample Draft(SeededRandom random, int level, Phrasing phrasing)
    {
        bool text = form == RecallForm.Mixed ? level >= 3 && random.Chance(0.5) : form == RecallForm.Needle;
        (int minimum, int maximum) = Lengths[level];
        int target = maximum == 0 ? 0 : random.Next(minimum, maximum);
        int count = level switch
        {
            0 => 2,
            1 => 3,
            2 => random.Next(4, 6),
            3 => text ? random.Next(2, 4) : random.Next(5, 9),
            _ => text ? random.Next(2, Math.Min(4 + target / 60, 13)) : Math.Min(MaximumEntries, random.Next(target / 16, target / 9 + 1)),
        };
        int asked = Math.Min(count, level < 2 ? 1 : random.NextDouble() switch { < 0.42 => 1, < 0.75 => 2, _ => 3 });

        string stored = random.Pick(["number", "code", "score"]);
        bool words = random.Chance(level < 3 ? 0.3 : 0.2);
        if (words)
        {
            stored = random.Pick(["city", "fruit"]);
        }
        string[] keys = Passages.Distinct(random, random.Chance(0.75) ? Words.Names : Words.Objects, count);
        string[] values = Values(random, stored, count, level);
        string separator = text ? "" : random.Pick(["\n", "\n", ",", ";"]);
        string line = random.Pick(ListForms);
        string[] facts = new string[count];
        for (int i = 0; i < count; i++)
        {
            facts[i] = (text ? random.Pick(SentenceForms) : line)
                .Replace("{k}", keys[i], StringComparison.Ordinal).Replace("{v}", values[i], StringComparison.Ordinal).Replace("{s}", stored, StringComparison.Ordinal);
        }
        string body = text ? Scatter(random, facts, target) : List(random, facts, separator, target);
        string plural = stored == "city" ? "citie" : stored;
        string opening = phrasing.Pick(text ? TextOpenings : Openings).Replace("{s}", plural, StringComparison.Ordinal);
        string[] wanted = Passages.Distinct(random, Enumerable.Range(0, count).Select(i => keys[i]).ToArray(), asked);
        string question = phrasing.Pick(asked == 1 ? Questions : ManyQuestions)
            .Replace("{k}", Passages.Enumerate(wanted), StringComparison.Ordinal)
            .Replace("{s}s", plural + "s", StringComparison.Ordinal).Replace("{s}", stored, StringComparison.Ordinal);

        var steps = new StringBuilder();
        var answers = new List<string>();
        foreach (string key in wanted)
        {
            int i = Array.IndexOf(keys, key);
            steps.Append(CultureInfo.InvariantCulture, $"We need the {stored} of {key}. Look for {key}.\nFound:{facts[i]}\n");
            steps.Append(words ? $"The word: {values[i]}.\n" : $"The digits: {string.Join(", ", values[i].AsEnumerable())}.\n");
            steps.Append(CultureInfo.InvariantCulture, $"So the {stored} of {key} is {values[i]}.\n");
            answers.Add(values[i]);
        }
        string content = string.Join(';', keys.Zip(values, (key, value) => $"{key}={value}").Order(StringComparer.Ordinal)) + "?" + string.Join(',', wanted);
        string start = random.Chance(0.15) ? body.TrimStart() : phrasing.Greet(opening, 0.1) + body;
        return Example($"{start}\n{phrasing.Close(question, 0.1)}", steps.ToString(), string.Join(", ", answers), content);
    }

    private static string[] Values(SeededRandom random, string stored, int count, int level)
    {
        if (stored is "city" or "fruit")
        {
            IReadOnlyList<string> pool = stored == "city" ? Words.Cities : Words.Fruits;
            return Enumerable.Range(0, count).Select(_ => random.Pick(pool)).ToArray();
        }
        int digits = level < 2 ? random.Next(1, 4) : random.Chance(0.7) ? 3 : random.Next(2, 5);
        int low = digits == 1 ? 0 : (int)Math.Pow(10, digits - 1), high = (int)Math.Pow(10, digits);
        var used = new HashSet<int>();
        while (used.Count < count)
        {
            used.Add(random.Next(low, high));
        }
        string[] values = [.. used.Select(value => value.ToString(CultureInfo.InvariantCulture))];
        random.Shuffle<string>(values);
        return values;
    }

    /// <summary>The list on its own lines or in one line, with filler before and after when the context is to be longer.</summary>
    private static string List(SeededRandom random, string[] facts, string separator, int target)
    {
        string list = separator == "\n" ? string.Concat(facts.Select(fact => "\n-" + fact)) : string.Join(separator, facts) + ".";
        int missing = target - Passages.EstimateTokens(list) - 25;
        var before = new StringBuilder();
        var after = new StringBuilder();
        double share = random.NextDouble();
        while (missing > 10)
        {
            string sentence = " " + Passages.Filler(random);
            (random.Chance(share) ? before : after).Append(sentence);
            missing -= Passages.EstimateTokens(sentence);
        }
        string start = before.Length > 0 ? before + "\nThe list:" : "";
        return start + list + (after.Length > 0 ? "\n" + after.ToString().TrimStart() : "");
    }

    /// <summary>The facts in order at random places between filler sentences.</summary>
    private static string Scatter(SeededRandom random, string[] facts, int target)
    {
        var sentences = new List<string>(facts);
        int missing = target == 0 ? 20 : target - Passages.EstimateTokens(string.Concat(facts)) - 25;
        while (missing > 0)
        {
            string sentence = " " + Passages.Filler(random);
            sentences.Insert(random.Next(sentences.Count + 1), sentence);
            missing -= Passages.EstimateTokens(sentence);
        }
        return string.Concat(sentences);
    }
}
