using System.Globalization;
using System.Text;
using Foretoken.Numerics;

namespace Foretoken.Training.Tasks;

/// <summary>
/// Translation by a dictionary that the prompt gives: one line "tok -> blue" per word, then the translated words. From level 5 on some dictionaries
/// must be read backwards. With <paramref name="reverseOnly"/> all must, at every level: the training bucket "mapping-reverse", whose curriculum begins with
/// two entries, because reading backwards does not emerge from a few long dictionaries among many that are read forwards.
/// </summary>
public sealed class MappingTask(bool reverseOnly = false) : SplitTask
{
    private static readonly PhraseSet Openings = new(
        ["Use this dictionary:", "Here is a dictionary:", "Dictionary:", "The words mean:", "In our secret language:", "Learn these words:", "Read the dictionary:", "A small dictionary:", "These are new words:",
         "Word list:", "In a new language:", "You know these words:", "Some new words:", "Our words:", "Use these words:", "This is what the words mean:", "Here are some words:", "Look at this dictionary:",
         "The secret words are:", "Remember these words:"],
        ["Please use this dictionary:", "Here are the words of our language:", "Read these words:", "The dictionary is:"]);

    private static readonly PhraseSet Questions = new(
        ["Translate: {0}", "Translate {0}", "What does {0} mean?", "Please translate: {0}", "Now translate: {0}", "Translate these words: {0}", "Find the meaning of: {0}", "Say in the other language: {0}",
         "What is the translation of {0}?", "Give the translation of {0}.", "Write the meaning of {0}.", "Tell me what {0} means.", "Can you translate {0}?", "I want to translate {0}.", "Replace each word: {0}",
         "Use the dictionary for: {0}", "Translate word by word: {0}", "Look up: {0}", "Translate the text: {0}", "Change the words: {0}"],
        ["Please translate these words: {0}", "Can you tell me what {0} means?", "Give me the translation: {0}", "Translate the words {0}"]);

    private static readonly string[] Forms = [" {0} = {1}", " {0} means {1}", " {0} -> {1}", " {0}: {1}", " {0} is {1}"];

    /// <inheritdoc/>
    public override string Bucket => reverseOnly ? "mapping-reverse" : "mapping";

    /// <summary>One name for both buckets: what is held out of one is held out of the other.</summary>
    protected override string KeyPrefix => "mapping";

    /// <inheritdoc/>
    protected override TaskExample Draft(SeededRandom random, int level, Phrasing phrasing)
    {
        int entries = level switch { 0 => 2, 1 => 3, 2 => random.Next(3, 6), 3 => random.Next(4, 8), 4 => random.Next(5, 10), 5 => random.Next(6, 12), 6 => random.Next(8, 15), 7 => random.Next(8, 19), 8 => random.Next(10, 22), _ => random.Next(10, 26) };
        int words = level switch { 0 => 1, 1 => random.Next(1, 3), 2 => random.Next(1, 4), 3 => random.Next(2, 5), 4 => random.Next(2, 6), 5 => random.Next(3, 7), 6 => random.Next(3, 8), 7 => random.Next(4, 9), 8 => random.Next(4, 11), _ => random.Next(5, 13) };
        if (reverseOnly) words = Math.Max(words, Math.Min(entries, 4)); // many lookups per dictionary: each one is a lesson
        string[] from = Passages.Distinct(random, Words.Invented, entries);
        string[] to = Passages.Distinct(random, Words.Plain, entries);
        double kind = random.NextDouble();
        if (kind < 0.2)
        {
            string[] both = Passages.Distinct(random, Words.Plain, 2 * entries);
            (from, to) = (both[..entries], both[entries..]);
        }
        else if (kind < 0.4 && level >= 2)
        {
            (from, to) = (to, from);
        }
        bool reverse = reverseOnly || level >= 5 && random.Chance(0.15);
        string form = random.Pick(Forms), separator = random.Pick([",", ",", ";", "\n-"]);
        string dictionary = string.Join(separator, from.Zip(to, (a, b) => string.Format(CultureInfo.InvariantCulture, form, a, b)));
        dictionary = separator == "\n-" ? "\n-" + dictionary : dictionary + ".";

        (string[] keys, string[] values) = reverse ? (to, from) : (from, to);
        var steps = new StringBuilder();
        var text = new List<string>();
        var translated = new List<string>();
        for (int i = 0; i < words; i++)
        {
            int pick = random.Next(entries);
            text.Add(keys[pick]);
            translated.Add(values[pick]);
            steps.Append(CultureInfo.InvariantCulture, $"- {keys[pick]} -> {values[pick]}\n");
        }
        string question = string.Format(CultureInfo.InvariantCulture, phrasing.Pick(Questions), string.Join(' ', text));
        string answer = string.Join(' ', translated);
        string content = string.Join(',', from.Zip(to, (a, b) => $"{a}={b}").Order(StringComparer.Ordinal)) + (reverse ? "<" : ">") + string.Join(' ', text);
        return Example($"{phrasing.Greet(phrasing.Pick(Openings), 0.1)}{dictionary}\n{question}", steps.ToString(), answer, content);
    }
}
