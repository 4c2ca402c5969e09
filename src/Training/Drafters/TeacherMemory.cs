using System.Collections.Concurrent;
using Foretoken.Speculation;

namespace Foretoken.Training.Drafters;

/// <summary>
/// The target's distributions over the tokens of answers, as far as its likeliest tokens go: answers come again every epoch, and what the target says of them does not
/// change. A run that was stopped asks the target again and gets the same, so that nothing of this is part of a checkpoint.
/// </summary>
/// <param name="tokens">Likeliest tokens that are kept of a distribution; the others count as impossible.</param>
internal sealed unsafe class TeacherMemory(int tokens)
{
    private readonly ConcurrentDictionary<TrainingExample, Answer> _answers = new(ReferenceEqualityComparer.Instance);

    /// <summary>Whether the target need not run for these answers.</summary>
    public bool Knows(IReadOnlyList<TrainingExample> examples)
    {
        foreach (TrainingExample example in examples)
        {
            if (!_answers.ContainsKey(example)) return false;
        }

        return true;
    }

    /// <summary>Keeps what the target says of an answer. // probabilities [roots, vocabulary]</summary>
    public void Keep(TrainingExample example, float* probabilities, int roots, int vocabulary)
    {
        var answer = new Answer(new int[roots * tokens], new float[roots * tokens]);
        for (int root = 0; root < roots; root++)
        {
            Span<float> kept = answer.Probabilities.AsSpan(root * tokens, tokens);
            TopTokens.Find(new ReadOnlySpan<float>(probabilities + (long)root * vocabulary, vocabulary), answer.Tokens.AsSpan(root * tokens, tokens), kept);
            float sum = 0;
            foreach (float p in kept) sum += p;
            foreach (ref float p in kept) p /= sum;
        }

        _answers.TryAdd(example, answer);
    }

    /// <summary>Writes what was kept of an answer. // probabilities [roots, vocabulary]</summary>
    public void Recall(TrainingExample example, float* probabilities, int roots, int vocabulary)
    {
        new Span<float>(probabilities, roots * vocabulary).Clear();
        Answer answer = _answers[example];
        for (int i = 0; i < roots * tokens; i++) probabilities[(long)(i / tokens) * vocabulary + answer.Tokens[i]] = answer.Probabilities[i];
    }

    /// <summary>The likeliest tokens of every root and their probabilities. // [roots, tokens]</summary>
    private sealed record Answer(int[] Tokens, float[] Probabilities);
}
