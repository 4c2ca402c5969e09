using Foretoken.Generation;
using Foretoken.KvCache;
using Foretoken.Sampling;

namespace Foretoken.Tests.Generation;

/// <summary>A request to a <see cref="LoopRig"/>, and what plain decoding alone answers.</summary>
internal sealed record LoopRequest(int[] Prompt, int MaxTokens, SamplingOptions Sampling)
{
    public int[] StopTokens { get; init; } = [];

    public string[] StopStrings { get; init; } = [];

    public Sequence Submit(LoopRig rig, int priority = 0, TimeSpan? deadline = null)
    {
        Sequence sequence = LoopRig.Sequence(Prompt, MaxTokens, Sampling, StopTokens, StopStrings, priority, deadline);
        rig.Loop.Submit(sequence);
        return sequence;
    }

    /// <summary>The answer without drafts and batch.</summary>
    public LoopAnswer RunAlone(int vocab = LoopRig.Vocab, IEvictionPolicy? policy = null, int chunk = 512)
    {
        using var rig = new LoopRig(LoopRig.Options(maxSequences: 1, maxRows: 512, chunk: chunk, context: 1024), vocab: vocab, policy: policy);
        Sequence sequence = Submit(rig);
        rig.RunToEnd();
        rig.AssertCacheEmpty();
        return new LoopAnswer(
            sequence.History.Generated.ToArray(), sequence.History.LogProbs.ToArray(), sequence.FinishReason, sequence.TextTokens, sequence.ShownBytes);
    }
}

internal sealed record LoopAnswer(int[] Tokens, float[] LogProbs, FinishReason Reason, int TextTokens, long ShownBytes)
{
    public void AssertEqual(Sequence sequence)
    {
        AssertBegins(sequence);
        Assert.Equal(Tokens.Length, sequence.History.GeneratedCount);
        Assert.Equal((Reason, TextTokens, ShownBytes), (sequence.FinishReason, sequence.TextTokens, sequence.ShownBytes));
    }

    /// <summary>What the sequence has of its answer is the beginning of this one.</summary>
    public void AssertBegins(Sequence sequence)
    {
        int count = sequence.History.GeneratedCount;
        Assert.True(count <= Tokens.Length, $"{count} tokens, alone {Tokens.Length}");
        Assert.Equal(Tokens[..count], sequence.History.Generated.ToArray());
        Assert.Equal(LogProbs[..Math.Min(count, LogProbs.Length)], sequence.History.LogProbs.ToArray());
    }
}
