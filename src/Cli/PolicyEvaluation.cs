using System.Diagnostics;
using Foretoken.Cli.Options;
using Foretoken.Generation;
using Foretoken.KvCache;
using Foretoken.Models;
using Foretoken.Training.Evaluation;

namespace Foretoken.Cli;

/// <summary>What answering all questions with one cache policy gave and cost.</summary>
/// <param name="Name">The policy.</param>
/// <param name="Report">Accuracy per bucket.</param>
/// <param name="Kv">The cache, after everything.</param>
/// <param name="Tokens">Tokens generated.</param>
/// <param name="Seconds">Time of it all.</param>
internal sealed record PolicyScore(string Name, EvaluationReport Report, KvStatistics Kv, long Tokens, double Seconds)
{
    /// <summary>Mean KL divergence of the dense model's next-token distribution from this one's, over the dense model's own answers; nats.</summary>
    public double Divergence { get; init; }

    /// <summary>Bytes of keys and values read for one generated token, prompts among them.</summary>
    public double BytesPerToken => (double)Kv.BytesRead / Math.Max(1, Tokens);

    public double TokensPerSecond => Tokens / Seconds;
}

/// <summary>Which tokens of an example were live at its end, per layer and KV head.</summary>
/// <param name="Tokens">Text of every token.</param>
/// <param name="PromptTokens">How many of them are the prompt.</param>
/// <param name="Live">Per layer and KV head: whether each token is live. // [layers · kvHeads][tokens]</param>
/// <param name="KvHeads">KV heads of a layer.</param>
internal sealed record LiveMap(IReadOnlyList<string> Tokens, int PromptTokens, bool[][] Live, int KvHeads);

/// <summary>Compares passes of a policy with those of the dense cache over the same tokens: an answer's distributions, and who lives at its end.</summary>
internal sealed class PolicyProbe : IDisposable
{
    private const int Rows = 64;
    private readonly ModelSource _denseSource, _source;
    private readonly DmsAdapterSource? _adapter;
    private readonly DirectModel _dense, _policy;

    /// <param name="dense">Folder of the model.</param>
    /// <param name="found">Folder of the model under the policy, and of its adapter.</param>
    /// <param name="kv">The policy.</param>
    /// <param name="options">Types, threads and context.</param>
    /// <param name="host">The terminal.</param>
    public PolicyProbe(string dense, (string Model, string? Adapter) found, KvChoice kv, LanguageModelOptions options, CliHost host)
    {
        _denseSource = ModelLoader.Open(dense);
        _source = ModelLoader.Open(found.Model);
        _adapter = found.Adapter is null ? null : new DmsAdapterSource(_source, found.Adapter);
        int context = options.ContextLength > 0 ? options.ContextLength : Math.Min(_source.Config.Shape.MaxPositions, LanguageModelOptions.DefaultContextLimit);
        var direct = new DirectModelOptions { WeightType = options.WeightType, KvType = options.KvType, Threads = options.Threads, ContextLength = context, MaxRows = Rows };
        _dense = DirectModel.Load(_denseSource, direct, host);
        _policy = DirectModel.Load(_adapter ?? _source, direct with { KvPolicy = kv.Policy }, host);
    }

    /// <summary>Sum of KL(dense ‖ policy) over the tokens of an answer, and how many they are.</summary>
    public (double Nats, int Tokens) Divergence(ReadOnlySpan<int> prompt, ReadOnlySpan<int> answer)
    {
        Read(_dense, prompt);
        Read(_policy, prompt);
        double nats = Kl(_dense.LogitsOf(0), _policy.LogitsOf(0));
        for (int i = 0; i + 1 < answer.Length; i++)
        {
            _dense.Pass(answer.Slice(i, 1), LogitRows.Last, commit: true);
            _policy.Pass(answer.Slice(i, 1), LogitRows.Last, commit: true);
            nats += Kl(_dense.LogitsOf(0), _policy.LogitsOf(0));
        }

        return (nats, answer.Length);
    }

    /// <summary>Who is live in the policy's cache after the last <see cref="Divergence"/>.</summary>
    public LiveMap Map(IReadOnlyList<string> tokens, int promptTokens)
    {
        int kvHeads = _policy.Loaded.Config.Shape.KvHeadCount, heads = _policy.Loaded.Config.Shape.LayerCount * kvHeads;
        return new LiveMap(tokens, promptTokens, [.. Enumerable.Range(0, heads).Select(h => _policy.LivePositions(h / kvHeads, h % kvHeads))], kvHeads);
    }

    public void Dispose()
    {
        _dense.Dispose();
        _policy.Dispose();
        _adapter?.Dispose();
        _source.Dispose();
        _denseSource.Dispose();
    }

    /// <summary>As the engine reads a prompt: in chunks, with logits for its last token only.</summary>
    private static void Read(DirectModel model, ReadOnlySpan<int> prompt)
    {
        model.Reset();
        for (int start = 0; start < prompt.Length; start += Rows)
        {
            int count = Math.Min(Rows, prompt.Length - start);
            model.Pass(prompt.Slice(start, count), start + count == prompt.Length ? LogitRows.Last : LogitRows.None, commit: true);
        }
    }

    private static double Kl(ReadOnlySpan<float> p, ReadOnlySpan<float> q)
    {
        double logP = LogSum(p), logQ = LogSum(q), sum = 0;
        for (int i = 0; i < p.Length; i++) sum += Math.Exp(p[i] - logP) * (p[i] - logP - (q[i] - logQ));
        return sum;
    }

    private static double LogSum(ReadOnlySpan<float> logits)
    {
        double largest = double.NegativeInfinity, sum = 0;
        foreach (float x in logits) largest = Math.Max(largest, x);
        foreach (float x in logits) sum += Math.Exp(x - largest);
        return largest + Math.Log(sum);
    }
}
