using System.Globalization;
using Foretoken.Generation;
using Foretoken.KvCache;
using Foretoken.Sampling;
using Foretoken.Training.Evaluation;

namespace Foretoken.Cli;

/// <summary>Greedy answers to batches of questions, each batch decoded together, and what they cost.</summary>
internal sealed class EvalAnswers(ChatModel model, int maxTokens, CliHost host)
{
    private long _tokens, _steps, _drafted, _accepted;
    private int _answers, _equal;

    /// <summary>Answers a batch; a question that does not fit the context counts as wrong. With an oracle, a plain run records every answer first.</summary>
    public Completion[] Complete(IReadOnlyList<string> questions)
    {
        int[][] prompts = [.. questions.Select(q => model.Encode(q, raw: false))];
        GenerationResult?[]? recorded = null;
        if (model.Oracle is { } oracle)
        {
            recorded = Run(prompts);
            for (int i = 0; i < prompts.Length; i++)
            {
                if (recorded[i] is { } plain) oracle.Record(prompts[i], SamplingOptions.Greedy, [.. plain.Tokens]);
            }
        }

        GenerationResult?[] answers = Run(prompts);
        for (int i = 0; i < answers.Length; i++)
        {
            if (answers[i] is not { } answer) continue;
            _answers++;
            _tokens += answer.Tokens.Count;
            _steps += answer.Statistics.Steps;
            _drafted += answer.Statistics.DraftedTokens;
            _accepted += answer.Statistics.AcceptedTokens;
            _equal += recorded?[i] is { } plain && plain.Tokens.SequenceEqual(answer.Tokens) ? 1 : 0;
        }

        return [.. answers.Select(a => a is null ? new Completion("", 0) : new Completion(a.Text, a.Tokens.Count))];
    }

    /// <summary>The line for stderr.</summary>
    public string Describe(int questions, double seconds)
    {
        string drafts = model.Draft.Options is null ? "" : string.Create(
            CultureInfo.InvariantCulture, $", {_accepted} of {_drafted} drafts accepted, {(double)_tokens / Math.Max(_steps, 1):F2} tokens per step");
        if (model.Oracle is not null) drafts += $", {_equal} of {_answers} drafted answers equal the recorded ones";
        KvStatistics kv = model.Language.Cache.Statistics;
        string kept = model.Language.Cache.Options.Policy.Evicts
            ? string.Create(CultureInfo.InvariantCulture, $", {kv.Policy} cache {kv.EffectiveCompression:F2} times smaller")
            : "";
        return string.Create(
            CultureInfo.InvariantCulture, $"[{questions} questions, {_tokens} tokens in {seconds:F1} s{drafts}{kept}; {model.Name} {model.Language.BackendName}]");
    }

    private GenerationResult?[] Run(int[][] prompts)
    {
        var sessions = new GenerationSession?[prompts.Length];
        try
        {
            for (int i = 0; i < sessions.Length; i++)
            {
                if (prompts[i].Length < model.Language.ContextLength)
                    sessions[i] = model.Language.Generate(prompts[i], new GenerationOptions { MaxTokens = maxTokens });
            }

            var results = new GenerationResult?[sessions.Length];
            for (int i = 0; i < sessions.Length; i++)
            {
                while (sessions[i]?.MoveNext() == true) host.Interrupt.ThrowIfCancellationRequested();
                results[i] = sessions[i]?.Complete();
            }

            return results;
        }
        finally
        {
            foreach (GenerationSession? s in sessions) s?.Dispose();
        }
    }
}
