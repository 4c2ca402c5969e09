using Foretoken.Numerics;

namespace Foretoken.Training.Tasks;

/// <summary>Interchangeable wordings; the second list is never shown in training.</summary>
public sealed class PhraseSet(string[] seen, string[] heldOut)
{
    /// <summary>Wordings of the training set.</summary>
    public IReadOnlyList<string> Seen => seen;

    /// <summary>Wordings that only held-out problems use.</summary>
    public IReadOnlyList<string> HeldOut => heldOut;
}

/// <summary>Chooses wordings for one problem and adds greetings, politeness and the small noise of typed text.</summary>
public sealed class Phrasing(SeededRandom random, bool unseen)
{
    private static readonly PhraseSet Greetings = new(
        ["Hello, ", "Hi, ", "Hi! ", "Hello! ", "Hey, ", "Good morning. ", "Good day! ", "Dear friend, ", "Excuse me, ", "OK, ", "So, ", "Well, ",
         "Hello there. ", "Hello again, ", "Please help me. ", "Hey there! ", "I have a question. ", "Quick question: ", "Now this one: ", "Next: "],
        ["Hi there, ", "Good morning, ", "Hello friend! ", "OK. Next question: "]);

    private static readonly PhraseSet Closings = new(
        [" Thanks.", ", thanks", ", thanks!", " Thanks!", " Thank you.", " Thank you!", ", please", ", please.", " Please show the steps.", " Show your work.",
         " Explain step by step.", " Be careful.", " I need it for school.", " Go step by step.", " Many thanks!", " Step by step, please.", " Take your time."],
        [" Thank you, friend.", " Please go step by step.", ", thank you!", " Show the steps, thanks."]);

    /// <summary>One wording of the set.</summary>
    public string Pick(PhraseSet set) => random.Pick(unseen && set.HeldOut.Count > 0 ? set.HeldOut : set.Seen);

    /// <summary>With some probability puts a greeting before and a closing after the question.</summary>
    public string Wrap(string question, double probability) => Greet(Close(question, probability), probability);

    /// <summary>With some probability puts a greeting before the text, which then often goes on in lower case.</summary>
    public string Greet(string text, double probability)
    {
        if (!random.Chance(probability))
        {
            return text;
        }
        string greeting = Pick(Greetings);
        int end = text.IndexOf(' ');
        bool proper = end < 0 || Words.Names.Contains(text[..end]) || text[..end] is "I" or "JSON" or "CSV";
        bool lower = greeting[^2] == ',' && !proper && random.Chance(0.7);
        return greeting + (lower ? char.ToLowerInvariant(text[0]) + text[1..] : text);
    }

    /// <summary>With some probability puts thanks or a request for steps after the question.</summary>
    public string Close(string question, double probability)
    {
        if (!random.Chance(probability))
        {
            return question;
        }
        string closing = Pick(Closings);
        return (closing[0] == ',' && ".?!".Contains(question[^1]) ? question[..^1] : question) + closing;
    }

    /// <summary>Case and punctuation noise for prompts without names: lower case, a missing or doubled end mark, a missing capital.</summary>
    public string Noise(string text)
    {
        double roll = random.NextDouble();
        if (roll < 0.25)
        {
            text = text.ToLowerInvariant();
        }
        else if (roll < 0.4)
        {
            text = char.ToLowerInvariant(text[0]) + text[1..];
        }
        roll = random.NextDouble();
        if (roll < 0.15 && ".?!".Contains(text[^1]))
        {
            text = text[..^1];
        }
        else if (roll < 0.2 && "?!".Contains(text[^1]))
        {
            text += text[^1];
        }
        return text;
    }
}
