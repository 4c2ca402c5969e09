using System.Collections;

namespace Foretoken.Generation;

/// <summary>
/// Several answers to one prompt, each with random numbers of its own and each the same as that of a request alone with its seed. They run together and
/// share the keys and values of the prompt. Dispose ends those that still run.
/// <code>
/// using ParallelSamples samples = model.GenerateSamples(prompt, options with { Samples = 8 });
/// foreach ((int sample, GenerationResult result) in samples.InOrderOfEnd()) if (Enough(result)) break;
/// </code>
/// </summary>
public sealed class ParallelSamples : IReadOnlyList<GenerationSession>, IDisposable
{
    private readonly GenerationSession[] _sessions;

    internal ParallelSamples(GenerationSession[] sessions) => _sessions = sessions;

    /// <inheritdoc/>
    public int Count => _sessions.Length;

    /// <inheritdoc/>
    public GenerationSession this[int index] => _sessions[index];

    /// <summary>Runs all samples to their ends.</summary>
    /// <returns>The answers in the order of the samples.</returns>
    /// <exception cref="GenerationException">A sample failed.</exception>
    public GenerationResult[] Complete() => [.. _sessions.Select(s => s.Complete())];

    /// <summary>Runs the samples and gives each answer as soon as it has ended, those of one step in the order of the samples. Whoever has seen enough disposes the rest.</summary>
    /// <exception cref="GenerationException">A sample failed.</exception>
    public IEnumerable<(int Sample, GenerationResult Result)> InOrderOfEnd()
    {
        List<int> open = [.. Enumerable.Range(0, Count)];
        while (open.Count > 0)
        {
            _ = _sessions[open[0]].MoveNext(); // steps advance every sample
            foreach (int sample in open.Where(i => _sessions[i].HasEnded).ToArray())
            {
                open.Remove(sample);
                yield return (sample, _sessions[sample].Complete());
            }
        }
    }

    /// <summary>Asks all samples to end; the answers so far can still be read. May be called from any thread.</summary>
    public void Cancel()
    {
        foreach (GenerationSession session in _sessions) session.Cancel();
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (GenerationSession session in _sessions) session.Dispose();
    }

    /// <inheritdoc/>
    public IEnumerator<GenerationSession> GetEnumerator() => ((IEnumerable<GenerationSession>)_sessions).GetEnumerator();

    IEnumerator IEnumerable.GetEnumerator() => _sessions.GetEnumerator();
}
