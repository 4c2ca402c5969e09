using Foretoken.Numerics;

namespace Foretoken.Training.Tasks;

/// <summary>Plain sentences for contexts, and an estimate of their length in tokens.</summary>
internal static class Passages
{
    /// <summary>A sentence without names, digits, objects, cities or fruits, so that it never answers a recall question.</summary>
    public static string Filler(SeededRandom random)
    {
        string Animal() => random.Pick(Words.Animals);
        string Place() => random.Pick(Words.Places);
        string Adjective() => random.Pick(Words.Adjectives);
        string Verb() => random.Pick(Words.PastVerbs);
        return random.Next(10) switch
        {
            0 => $"The {Adjective()} {Animal()} {Verb()} near the {Place()}.",
            1 => $"One {Animal()} {Verb()} in the {Place()}.",
            2 => $"The {Animal()} and the {Animal()} {Verb()} together.",
            3 => $"The {Place()} was {Adjective()} and {random.Pick(Words.Colors)}.",
            4 => $"On {random.Pick(Words.Days)} the {Animal()} {Verb()} by the {Place()}.",
            5 => $"The way to the {Place()} was long.",
            6 => $"It was {Adjective()} at the {Place()} that day.",
            7 => $"Every {random.Pick(Words.Days)} the {Place()} was full of people.",
            8 => $"The {random.Pick(Words.Colors)} {Animal()} {Verb()} there.",
            _ => $"People say that the {Place()} is {Adjective()}.",
        };
    }

    /// <summary>A rough number of tokens: words count one (long ones two), digits and punctuation one each, and a space before a digit one.</summary>
    public static int EstimateTokens(ReadOnlySpan<char> text)
    {
        int tokens = 0, letters = 0;
        for (int i = 0; i < text.Length; i++)
        {
            char c = text[i];
            if (char.IsAsciiLetter(c))
            {
                letters++;
                tokens += letters is 1 or 7 ? 1 : 0;
                continue;
            }
            letters = 0;
            bool spaceBeforeWord = c == ' ' && i + 1 < text.Length && !char.IsAsciiDigit(text[i + 1]) && text[i + 1] != ' ';
            tokens += spaceBeforeWord ? 0 : 1;
        }
        return tokens;
    }

    /// <summary>Different elements in random order.</summary>
    public static T[] Distinct<T>(SeededRandom random, IReadOnlyList<T> source, int count)
    {
        T[] items = [.. source];
        for (int i = 0; i < count; i++)
        {
            int j = random.Next(i, items.Length);
            (items[i], items[j]) = (items[j], items[i]);
        }
        return items[..count];
    }

    /// <summary>"a", "a and b", "a, b and c".</summary>
    public static string Enumerate(IReadOnlyList<string> items) =>
        items.Count == 1 ? items[0] : string.Join(", ", items.Take(items.Count - 1)) + " and " + items[^1];
}
