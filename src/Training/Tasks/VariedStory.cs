using Foretoken.Numerics;

namespace Foretoken.Training.Tasks;

/// <summary>Puts a word problem together from the clauses of <see cref="StoryGrammar"/>: one story for one expression.</summary>
internal sealed class VariedStory
{
    private static readonly string[] s_links = ["Then ", "Then ", "Next, ", "Later, ", "After that, ", "Now ", "One day later, ", "In the evening, ", "On Friday, ", "", "", "", ""];
    private static readonly string[] s_asks = ["Tell me ", "Find out ", "I want to know ", "Can you say ", "Say ", "Please find out "];

    private readonly SeededRandom _random;
    private readonly string _name, _thing, _container, _vehicle, _money, _animals, _where;
    private readonly bool _past;

    private VariedStory(SeededRandom random)
    {
        _random = random;
        _name = random.Pick(Words.Names);
        _thing = random.Pick(StoryGrammar.Things);
        _container = random.Pick(["box", "bag", "basket", "shop", "desk", "room", "house", "cup"]);
        _vehicle = random.Pick(["bus", "train", "boat"]);
        _money = random.Pick(["coins", "coins", "dollars"]);
        _animals = random.Pick(["cats", "dogs", "cows", "pigs", "hens", "owls", "bees", "ducks", "goats", "lions", "frogs", "birds", "horses", "snakes", "children"]);
        _where = random.Pick(["on the farm", "in the park", "in the forest", "in the garden", "at the river", "at the lake", "in the field", "near the bridge", "on the road"]);
        _past = random.Chance(0.5);
    }

    /// <summary>Whether there are clauses for the shape.</summary>
    public static bool Tells(string shape) => StoryGrammar.Whole.ContainsKey(shape) || shape is not ['(', ..] && !shape.Contains('/', StringComparison.Ordinal);

    /// <summary>One story about the expression that <paramref name="shape"/> and <paramref name="operands"/> stand for.</summary>
    public static string Tell(SeededRandom random, string shape, int[] operands)
    {
        var story = new VariedStory(random);
        bool chain = shape is not ['(', ..] && !shape.Contains('/', StringComparison.Ordinal);
        return StoryGrammar.Whole.TryGetValue(shape, out (string[] Clauses, string[] Questions) whole) && (!chain || random.Chance(0.4))
            ? story.Whole(whole.Clauses, whole.Questions, operands)
            : story.Chain(shape, operands);
    }

    private string Whole(string[] clauses, string[] questions, int[] operands)
    {
        string other = Other();
        string[] texts = [Fill(_random.Pick(clauses), other), Fill(_random.Pick(questions), other)];
        for (int i = 0; i < operands.Length; i++)
        {
            texts[0] = texts[0].Replace($"{{{(char)('a' + i)}}}", StoryGrammar.Number(operands[i]), StringComparison.Ordinal);
        }
        return Close(texts[0], texts[1], single: true);
    }

    /// <summary>A start, then one clause for each term of a sum such as "a*b+c-d".</summary>
    private string Chain(string shape, int[] operands)
    {
        StoryKind kind = _random.Pick(shape.Contains('*', StringComparison.Ordinal) ? StoryGrammar.Grouped : StoryGrammar.Kinds);
        var clauses = new List<string>();
        for (int at = 0; at < shape.Length; at++)
        {
            char sign = at == 0 ? ' ' : shape[at++];
            string x = StoryGrammar.Number(operands[shape[at] - 'a']), y = "";
            bool group = at + 1 < shape.Length && shape[at + 1] == '*';
            if (group)
            {
                at += 2;
                y = StoryGrammar.Number(operands[shape[at] - 'a']);
            }
            string[] choices = (sign, group) switch
            {
                (' ', false) => kind.Start,
                ('+', false) => kind.Gain,
                ('-', false) => kind.Loss,
                (' ', true) => kind.GroupStart,
                ('+', true) => kind.GroupGain,
                _ => kind.GroupLoss,
            };
            clauses.Add(Fill(_random.Pick(choices), Other()).Replace("{x}", x, StringComparison.Ordinal).Replace("{y}", y, StringComparison.Ordinal));
        }
        bool single = _random.Chance(0.35);
        return Close(Join(clauses, single), Fill(_random.Pick(kind.Question), Other()), single);
    }

    /// <summary>Joins clauses to one sentence or several; a clause about the same person may leave out the name.</summary>
    private string Join(List<string> clauses, bool single)
    {
        string text = clauses[0], subject = _name + " ";
        for (int i = 1; i < clauses.Count; i++)
        {
            bool same = clauses[i].StartsWith(subject, StringComparison.Ordinal) && clauses[i - 1].StartsWith(subject, StringComparison.Ordinal);
            if (!single && _random.Chance(0.65))
            {
                string link = _random.Pick(s_links);
                text += ". " + (link.Length == 0 || clauses[i].StartsWith("then ", StringComparison.Ordinal) ? Capital(clauses[i]) : link + clauses[i]);
                continue;
            }
            string next = same && _random.Chance(0.7) ? clauses[i][subject.Length..] : clauses[i];
            bool last = i == clauses.Count - 1;
            text += _random.Pick<string>(last ? [" and ", ", and ", " and then ", ", then ", ", but then "] : [", ", ", then ", " and ", ", and "]) + next;
        }
        return text;
    }

    /// <summary>Adds the question, before or after; only a story of one sentence can stand beside "if".</summary>
    private string Close(string story, string question, bool single)
    {
        double roll = _random.NextDouble();
        if (single && roll < 0.15)
        {
            return $"If {story}, {question}?";
        }
        if (single && roll < 0.3)
        {
            return $"{Capital(question)} if {story}?";
        }
        if (roll < 0.4)
        {
            return $"{Capital(question)}? {Capital(story)}.";
        }
        return _random.Chance(0.15) ? $"{Capital(story)}. {_random.Pick(s_asks)}{question}." : $"{Capital(story)}. {(_random.Chance(0.1) ? "So " + question : Capital(question))}?";
    }

    private string Fill(string text, string other) => StoryGrammar.Expand(_random, text, _past)
        .Replace("{n}", _name, StringComparison.Ordinal).Replace("{m}", other, StringComparison.Ordinal).Replace("{t}", _thing, StringComparison.Ordinal)
        .Replace("{k}", _container, StringComparison.Ordinal).Replace("{v}", _vehicle, StringComparison.Ordinal).Replace("{u}", _money, StringComparison.Ordinal)
        .Replace("{z}", _animals, StringComparison.Ordinal).Replace("{w}", _where, StringComparison.Ordinal);

    private string Other()
    {
        string other;
        do
        {
            other = _random.Pick(Words.Names);
        }
        while (other == _name);
        return other;
    }

    private static string Capital(string text) => char.ToUpperInvariant(text[0]) + text[1..];
}
