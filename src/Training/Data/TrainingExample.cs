namespace Foretoken.Training;

/// <summary>
/// One tokenized example: tokens[0..promptLength) are the prompt with its chat markers, the rest is the solution with the end marker.
/// <paramref name="Level"/> is the difficulty it was drawn at.
/// </summary>
public sealed record TrainingExample(int[] Tokens, int PromptLength, int Bucket, int Level)
{
    /// <summary>Tokens of the solution.</summary>
    public int SolutionLength => Tokens.Length - PromptLength;
}

/// <summary>What a training step measured on one example, teacher-forced: Σ −log p and right argmaxes over the solution tokens.</summary>
public readonly record struct ExampleResult(double SolutionLoss, int CorrectTokens, int SolutionTokens)
{
    /// <summary>Every solution token was the most probable one.</summary>
    public bool Exact => CorrectTokens == SolutionTokens;
}
