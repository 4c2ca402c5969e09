using Foretoken.Numerics;
using Foretoken.Sampling;

namespace Foretoken.Speculation;

/// <summary>
/// Proposes what the model is going to say, as a plain run recorded it, right at a set rate: for tests, and for benchmarks that ask what a drafter of a
/// given acceptance would be worth. Answers are recorded by request (prompt and sampling options); of others it proposes nothing. What is wrong is a
/// function of (seed, request, position), so that batches, budgets and preemptions do not change it.
/// </summary>
public sealed class OracleDrafter : IDrafter
{
    private const int Unknown = 0, NotRecorded = -1; // in _scriptOf; else the script's index + 1
    private const uint RightDraw = 0, PlaceDraw = 1, TokenDraw = 2, FirstTailDraw = 3;
    private readonly OracleOptions _options;
    private readonly List<Script> _scripts = [];
    private readonly int[] _scriptOf; // [sequences]

    /// <exception cref="ArgumentException">The options are out of range.</exception>
    public OracleDrafter(OracleOptions options)
    {
        options.Validate();
        _options = options;
        _scriptOf = new int[options.MaxSequences];
    }

    /// <inheritdoc/>
    public string Name => "oracle";

    /// <inheritdoc/>
    public int MaxNodes => _options.Nodes;

    /// <summary>A chain of <paramref name="depth"/> drafts that are all accepted: depth + 1 tokens per step.</summary>
    public static OracleDrafter AlwaysRight(int vocabSize, int depth) => new(new OracleOptions { VocabSize = vocabSize, Depth = depth, Acceptance = 1 });

    /// <summary>A chain of <paramref name="depth"/> drafts of which none is accepted: one token per step.</summary>
    public static OracleDrafter AlwaysWrong(int vocabSize, int depth) => new(new OracleOptions { VocabSize = vocabSize, Depth = depth, Acceptance = 0 });

    /// <summary>Notes the answer to a request; replaces an earlier one. A request that runs already keeps what was known when it began.</summary>
    /// <param name="prompt">The request's prompt.</param>
    /// <param name="sampling">The request's sampling options, its seed included.</param>
    /// <param name="answer">Every token of its answer, as plain decoding gave it.</param>
    public void Record(ReadOnlySpan<int> prompt, SamplingOptions sampling, ReadOnlySpan<int> answer)
    {
        int known = Find(prompt, sampling);
        int index = known >= 0 ? known : _scripts.Count;
        var script = new Script(prompt.ToArray(), sampling, answer.ToArray(), CounterRandom.Bits(_options.Seed, (ulong)index));
        if (known >= 0) _scripts[known] = script;
        else _scripts.Add(script);
    }

    /// <inheritdoc/>
    public void Propose(ReadOnlySpan<DraftRequest> requests, TokenForest forest)
    {
        foreach (DraftRequest request in requests)
        {
            ref int found = ref _scriptOf[request.Sequence];
            if (found == Unknown)
                found = Find(request.Path.Tokens[..request.Path.PromptCount], request.Sampling) is var index and >= 0 ? index + 1 : NotRecorded;
            if (found == NotRecorded) continue;
            Script script = _scripts[found - 1];
            int produced = request.Path.GeneratedCount;
            bool onPath = produced <= script.Answer.Length && (produced == 0 || request.Path.Last == script.Answer[produced - 1]);
            if (onPath) Draft(request, forest, script.Answer.AsSpan(produced), script.Seed);
        }
    }

    /// <inheritdoc/>
    public void Observe(ReadOnlySpan<DraftRequest> requests, ReadOnlySpan<Acceptance> acceptances, TokenForest forest)
    {
    }

    /// <inheritdoc/>
    public void Release(int sequence) => _scriptOf[sequence] = Unknown;

    /// <inheritdoc/>
    public void Dispose()
    {
    }

    /// <summary>Whole levels only: a smaller budget makes the tree shallower, one of less than a level makes it a chain.</summary>
    private void Draft(in DraftRequest request, TokenForest forest, ReadOnlySpan<int> answer, ulong seed)
    {
        int siblings = request.MaxNodes < _options.NodesPerLevel(_options.Siblings) ? 0 : _options.Siblings;
        int depth = Math.Min(Math.Min(_options.Depth, answer.Length), Math.Min(request.MaxDepth, request.MaxNodes / _options.NodesPerLevel(siblings)));
        int node = forest.Root(request.Tree);
        for (int d = 0; d < depth && node >= 0; d++)
        {
            ulong position = (ulong)(request.Path.Count + d), wrong = CounterRandom.Bits(seed, position, TokenDraw);
            bool right = CounterRandom.Uniform(seed, position, RightDraw) < _options.Acceptance;
            int place = (int)(CounterRandom.Bits(seed, position, PlaceDraw) % (ulong)(siblings + 1)), main = -1;
            for (int child = 0; child <= siblings; child++)
            {
                int token = child == place && right ? answer[d] : Wrong(answer[d], wrong + (ulong)child);
                if (child == place) main = forest.Add(node, token);
                else AddSibling(forest, node, token, seed, position, (uint)child);
            }

            node = main;
        }
    }

    private void AddSibling(TokenForest forest, int parent, int token, ulong seed, ulong position, uint child)
    {
        int node = forest.Add(parent, token);
        for (int i = 1; i < _options.SiblingDepth && node >= 0; i++)
        {
            uint draw = FirstTailDraw + child * (uint)_options.SiblingDepth + (uint)i;
            node = forest.Add(node, (int)(CounterRandom.Bits(seed, position, draw) % (ulong)_options.VocabSize));
        }
    }

    /// <summary>One of the tokens other than <paramref name="right"/>; different ones for neighbouring choices.</summary>
    private int Wrong(int right, ulong choice) => (int)((ulong)right + 1 + choice % (ulong)(_options.VocabSize - 1)) % _options.VocabSize;

    private int Find(ReadOnlySpan<int> prompt, SamplingOptions sampling)
    {
        for (int i = 0; i < _scripts.Count; i++)
        {
            if (prompt.SequenceEqual(_scripts[i].Prompt) && sampling == _scripts[i].Sampling) return i;
        }

        return -1;
    }

    private sealed record Script(int[] Prompt, SamplingOptions Sampling, int[] Answer, ulong Seed);
}
