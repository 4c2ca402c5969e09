namespace Foretoken.Training.Evaluation;

/// <summary>One question of an evaluation.</summary>
/// <param name="Bucket">Bucket it is counted in.</param>
/// <param name="Question">The user's text, without chat tokens.</param>
/// <param name="Answer">What the text after "#### " must equal.</param>
public sealed record EvaluationItem(string Bucket, string Question, string Answer);

/// <summary>What a model answered.</summary>
/// <param name="Text">The response, without the prompt; special tokens may be left out.</param>
/// <param name="Tokens">Tokens generated.</param>
public readonly record struct Completion(string Text, int Tokens);

/// <summary>Answers several questions, in their order: greedy decoding of the chat-formatted prompt until the end token.</summary>
public delegate IReadOnlyList<Completion> CompleteBatch(IReadOnlyList<string> questions);
