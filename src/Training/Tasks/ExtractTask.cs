using System.Globalization;
using System.Text;
using Foretoken.Numerics;

namespace Foretoken.Training.Tasks;

/// <summary>
/// Extraction and copying from a passage: repeat a text, spell words, answer who/where/when, copy the n-th sentence, list the names.
/// The solution quotes what it uses, sentence by sentence.
/// </summary>
public sealed class ExtractTask : SplitTask
{
    private static readonly PhraseSet Repeats = new(
        ["Repeat: {0}", "Copy: {0}", "Copy this text: {0}", "Repeat this: {0}", "Say: {0}", "Write this again: {0}", "Please repeat: {0}", "Please copy: {0}", "Repeat the words: {0}", "Echo: {0}", "Type this: {0}",
         "Copy the words: {0}", "Say this again: {0}", "Write: {0}", "Repeat after me: {0}", "Return this text: {0}", "Copy exactly: {0}", "Print: {0}", "Repeat the text: {0}", "Give me back: {0}"],
        ["Please say: {0}", "Copy these words: {0}", "Please write this again: {0}", "Repeat this text: {0}"]);

    private static readonly PhraseSet Spells = new(
        ["Spell: {0}", "Spell {0}.", "Spell the words {0}", "How do you spell {0}?", "Please spell {0}.", "Spell this: {0}", "Write the letters of {0}.", "Give the letters of {0}.", "Can you spell {0}?", "Letters of: {0}"],
        ["Please spell: {0}", "Can you write the letters of {0}?"]);

    private static readonly PhraseSet Openings = new(
        ["Read the passage:", "Passage:", "Read this:", "Here is a passage:", "Text:", "Read the text:", "Look at the text:", "Here is a text:", "Use this passage:", "This is the text:", "Consider the text:", "A short text:",
         "Here are some facts:", "Some news:", "Read these facts:", "Facts:", "We know this:", "A report:", "Here is the news:", "Study this passage:"],
        ["Please read the passage:", "Look at this passage:", "Here are the facts:", "Please read these facts:"]);

    private static readonly PhraseSet Nth = new(
        ["Copy sentence {0}.", "What is sentence {0}?", "Write sentence number {0}.", "Give me sentence {0}.", "Repeat sentence {0}.", "Which is sentence {0}?", "Find sentence {0}.", "Quote sentence {0}.", "Tell me sentence number {0}.", "Return sentence {0}."],
        ["Please copy sentence {0}.", "Please write sentence {0}."]);

    private static readonly PhraseSet ListNames = new(
        ["List the names.", "List all names.", "Who is in the text?", "Which people are in the text?", "Give me all the names.", "Find the names.", "Write down all names.", "What are the names?", "Name all people.", "Who are the people?"],
        ["Please list the names.", "Which names are in the text?"]);

    private static readonly PhraseSet Where = new(
        ["Where did {0} go?", "Where was {0}?", "To which place did {0} go?", "Find the place of {0}.", "Which city did {0} visit?", "Tell me where {0} went."], ["Please tell me where {0} went.", "Which city did {0} go to?"]);

    private static readonly PhraseSet When = new(
        ["When did {0} go?", "On which day did {0} go?", "Tell me when {0} went.", "Which day did {0} go?", "Find the day of {0}.", "What day was it for {0}?"], ["Please tell me when {0} went.", "On what day did {0} go?"]);

    private static readonly PhraseSet What = new(
        ["What did {0} take?", "Which thing did {0} take?", "Tell me what {0} took.", "What was with {0}?", "Find the thing of {0}.", "What did {0} have?"], ["Please tell me what {0} took.", "Which thing did {0} have?"]);

    private static readonly PhraseSet Who = new(
        ["Who went to {0}?", "Which person went to {0}?", "Tell me who went to {0}.", "Who was in {0}?", "Find the person who went to {0}.", "Who visited {0}?"], ["Please tell me who went to {0}.", "Which person was in {0}?"]);

    /// <summary>One fact of a passage.</summary>
    private sealed record Fact(string Name, string City, string Day, string Thing, string Sentence);

    /// <inheritdoc/>
    public override string Bucket => "extract";

    /// <inheritdoc/>
    protected override TaskExample Draft(SeededRandom random, int level, Phrasing phrasing)
    {
        double roll = random.NextDouble();
        double copying = level switch { 0 => 0.7, 1 => 0.5, 2 => 0.35, <= 5 => 0.2, _ => 0.15 };
        if (roll < copying)
        {
            return Repeat(random, level, phrasing);
        }
        if (roll < copying + 0.08)
        {
            return Spell(random, level, phrasing);
        }
        int sentences = level switch { 0 => 1, 1 => 2, 2 => random.Next(2, 4), 3 => random.Next(2, 5), 4 => random.Next(3, 6), 5 => random.Next(3, 7), 6 => random.Next(4, 8), 7 => random.Next(4, 10), 8 => random.Next(5, 11), _ => random.Next(6, 13) };
        Fact[] facts = Facts(random, sentences, level);
        return random.NextDouble() switch
        {
            < 0.6 => Question(random, level, phrasing, facts),
            < 0.8 => Sentence(random, phrasing, facts),
            _ => People(random, phrasing, facts),
        };
    }

    private TaskExample Repeat(SeededRandom random, int level, Phrasing phrasing)
    {
        string text;
        if (level >= 3 && random.Chance(0.5))
        {
            text = string.Join(' ', Enumerable.Range(0, random.Next(1, 2 + level / 2)).Select(_ => Passages.Filler(random)));
        }
        else
        {
            string[] pool = random.Pick([Words.Plain, Words.Names, Words.Invented, Words.Cities, Words.Plain]);
            text = string.Join(' ', Enumerable.Range(0, random.Next(1, 4 + level)).Select(_ => random.Chance(0.85) ? random.Pick(pool) : random.Next(0, 1000).ToString(CultureInfo.InvariantCulture)));
        }
        return Example(phrasing.Greet(string.Format(CultureInfo.InvariantCulture, phrasing.Pick(Repeats), text), 0.1), "The text: " + text, text, "repeat/" + text);
    }

    private TaskExample Spell(SeededRandom random, int level, Phrasing phrasing)
    {
        string[] words = Passages.Distinct(random, Words.Plain, level < 2 ? random.Next(1, 3) : random.Next(1, 4));
        var steps = new StringBuilder();
        foreach (string word in words)
        {
            steps.Append(CultureInfo.InvariantCulture, $"The letters of {word}: {string.Join(' ', word.AsEnumerable())}\n");
        }
        string answer = string.Join(", ", words.Select(word => string.Join(' ', word.AsEnumerable())));
        return Example(phrasing.Noise(phrasing.Wrap(string.Format(CultureInfo.InvariantCulture, phrasing.Pick(Spells), Passages.Enumerate(words)), 0.1)), steps.ToString(), answer, "spell/" + string.Join(',', words));
    }

    private static Fact[] Facts(SeededRandom random, int count, int level)
    {
        string[] names = Passages.Distinct(random, Words.Names, count);
        string[] cities = Passages.Distinct(random, Words.Cities, count);
        string verb = random.Pick(["went to", "went to", "traveled to", "drove to", "walked to"]);
        return [.. Enumerable.Range(0, count).Select(i =>
        {
            string day = random.Pick(Words.Days), thing = random.Pick(Words.Objects);
            string sentence = (level < 2 ? 0 : random.Next(4)) switch
            {
                0 => $" {names[i]} {verb} {cities[i]} on {day} with a {thing}.",
                1 => $" On {day} {names[i]} {verb} {cities[i]} with a {thing}.",
                2 => $" {names[i]} took a {thing} and {verb} {cities[i]} on {day}.",
                _ => $" With a {thing} {names[i]} {verb} {cities[i]} on {day}.",
            };
            return new Fact(names[i], cities[i], day, thing, sentence);
        })];
    }

    private TaskExample Question(SeededRandom random, int level, Phrasing phrasing, Fact[] facts)
    {
        Fact fact = random.Pick(facts);
        var sentences = facts.Select(item => item.Sentence).ToList();
        if (level >= 4)
        {
            for (int extra = random.Next(0, facts.Length); extra > 0; extra--)
            {
                sentences.Insert(random.Next(sentences.Count + 1), " " + Passages.Filler(random));
            }
        }
        (PhraseSet questions, string key, string label, string answer) = random.Next(level < 1 ? 3 : 4) switch
        {
            0 => (Where, fact.Name, "place", fact.City),
            1 => (When, fact.Name, "day", fact.Day),
            2 => (What, fact.Name, "thing", fact.Thing),
            _ => (Who, fact.City, "person", fact.Name),
        };
        string question = phrasing.Close(string.Format(CultureInfo.InvariantCulture, phrasing.Pick(questions), key), 0.1);
        string steps = $"Look for {key}.\nFound:{fact.Sentence}\nThe {label}: {answer}.";
        return Example($"{Open(random, phrasing, string.Concat(sentences))}\n{question}", steps, answer, $"{label}/{Content(facts)}?{key}");
    }

    private TaskExample Sentence(SeededRandom random, Phrasing phrasing, Fact[] facts)
    {
        int wanted = random.Next(1, Math.Min(facts.Length, 6) + 1);
        var steps = new StringBuilder();
        for (int i = 0; i < wanted; i++)
        {
            steps.Append(CultureInfo.InvariantCulture, $"{i + 1}:{facts[i].Sentence}\n");
        }
        string question = phrasing.Close(string.Format(CultureInfo.InvariantCulture, phrasing.Pick(Nth), wanted), 0.1);
        return Example($"{Open(random, phrasing, Passage(facts))}\n{question}", steps.ToString(), facts[wanted - 1].Sentence.Trim(), $"nth/{Content(facts)}?{wanted}");
    }

    private TaskExample People(SeededRandom random, Phrasing phrasing, Fact[] facts)
    {
        facts = facts[..Math.Min(facts.Length, 7)];
        var steps = new StringBuilder();
        foreach (Fact fact in facts)
        {
            steps.Append(CultureInfo.InvariantCulture, $"-{fact.Sentence} Name: {fact.Name}\n");
        }
        return Example($"{Open(random, phrasing, Passage(facts))}\n{phrasing.Close(phrasing.Pick(ListNames), 0.1)}", steps.ToString(), string.Join(", ", facts.Select(fact => fact.Name)), "names/" + Content(facts));
    }

    private static string Open(SeededRandom random, Phrasing phrasing, string passage) =>
        random.Chance(0.15) ? passage.TrimStart() : phrasing.Greet(phrasing.Pick(Openings), 0.1) + passage;

    private static string Passage(Fact[] facts) => string.Concat(facts.Select(fact => fact.Sentence));

    private static string Content(Fact[] facts) => string.Join(';', facts.Select(fact => $"{fact.Name},{fact.City},{fact.Day},{fact.Thing}"));
}
