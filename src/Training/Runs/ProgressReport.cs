using System.Globalization;
using System.Text;
using System.Text.Json;

namespace Foretoken.Training;

/// <summary>Progress lines for people and metrics.jsonl for charts, every few steps.</summary>
internal sealed class ProgressReport(TrainingRecipe recipe, IReadOnlyList<string> buckets, string metricsPath, TextWriter progress) : IDisposable
{
    private readonly StreamWriter _metrics = new(metricsPath, append: true) { AutoFlush = true };
    private double _loss, _norm, _lastSeconds;
    private long _lastTokens = -1;
    private int _steps;

    public void Add(StepReport step, RunState state)
    {
        if (_lastTokens < 0) (_lastTokens, _lastSeconds) = (state.Tokens - step.BatchTokens, state.ElapsedSeconds - 1e-3);
        _loss += step.Loss;
        _norm += step.GradientNorm;
        _steps++;
        foreach (string bucket in step.Raised)
            progress.WriteLine(string.Create(CultureInfo.InvariantCulture, $"step {step.Step}: {bucket} rises to level {state.Buckets[IndexOf(bucket)].Level}"));
        if (step.Step % recipe.LogEverySteps != 0 && !state.Finished) return;
        double rate = (state.Tokens - _lastTokens) / Math.Max(1e-3, state.ElapsedSeconds - _lastSeconds);
        WriteLine(step, state, rate);
        WriteMetrics(step, state, rate);
        (_loss, _norm, _steps, _lastTokens, _lastSeconds) = (0, 0, 0, state.Tokens, state.ElapsedSeconds);
    }

    private int IndexOf(string bucket) => Enumerable.Range(0, buckets.Count).First(i => buckets[i] == bucket);

    private void WriteLine(StepReport step, RunState state, double rate)
    {
        var line = new StringBuilder();
        line.Append(CultureInfo.InvariantCulture, $"step {step.Step} {state.Tokens / 1e6:F2}M loss {_loss / _steps:F3} norm {_norm / _steps:F2} lr {step.LearningRateFactor:F3} ");
        line.Append(CultureInfo.InvariantCulture, $"{rate:F0} tok/s {TimeSpan.FromSeconds(state.ElapsedSeconds):h\\:mm\\:ss} ETA {Remaining(state)} |");
        for (int i = 0; i < buckets.Count; i++)
        {
            BucketProgress b = state.Buckets[i];
            line.Append(CultureInfo.InvariantCulture, $" {buckets[i]} L{b.Level} {b.Loss:F3}/{b.TokenAccuracy * 100:F0}/{b.Exact * 100:F0}%");
        }
        progress.WriteLine(line);
    }

    private string Remaining(RunState state)
    {
        RecipeSchedule schedule = recipe.Schedule;
        if (schedule.Kind == "piecewise")
        {
            double left = (schedule.Points[^1].Tokens - state.Tokens) * state.ElapsedSeconds / Math.Max(1, state.Tokens);
            return TimeSpan.FromSeconds(Math.Max(0, left)).ToString(@"h\:mm\:ss", CultureInfo.InvariantCulture);
        }

        int? last = schedule.Kind == "cosine" ? schedule.TotalSteps
            : (state.DecayStartStep ?? schedule.DecayStartStep) + (state.DecaySteps ?? schedule.DecaySteps);
        double? seconds = last is { } steps ? (steps - state.Step) * state.ElapsedSeconds / state.Step : schedule.TimeBudgetMinutes * 60 - state.ElapsedSeconds;
        return seconds is { } s ? TimeSpan.FromSeconds(Math.Max(0, s)).ToString(@"h\:mm\:ss", CultureInfo.InvariantCulture) : "?";
    }

    private void WriteMetrics(StepReport step, RunState state, double rate)
    {
        using var buffer = new MemoryStream();
        using (var json = new Utf8JsonWriter(buffer))
        {
            json.WriteStartObject();
            json.WriteNumber("step", step.Step);
            json.WriteNumber("tokens", state.Tokens);
            json.WriteNumber("loss", _loss / _steps);
            json.WriteNumber("gradient_norm", _norm / _steps);
            json.WriteNumber("learning_rate_factor", step.LearningRateFactor);
            json.WriteNumber("tokens_per_second", Math.Round(rate));
            json.WriteNumber("elapsed_seconds", Math.Round(state.ElapsedSeconds, 1));
            json.WriteStartArray("buckets");
            for (int i = 0; i < buckets.Count; i++)
            {
                BucketProgress b = state.Buckets[i];
                json.WriteStartObject();
                json.WriteString("name", buckets[i]);
                json.WriteNumber("level", b.Level);
                json.WriteNumber("loss", b.Loss);
                json.WriteNumber("token_accuracy", b.TokenAccuracy);
                json.WriteNumber("exact", b.Exact);
                json.WriteNumber("mean_tokens", b.MeanTokens);
                json.WriteEndObject();
            }
            json.WriteEndArray();
            json.WriteEndObject();
        }
        _metrics.WriteLine(Encoding.UTF8.GetString(buffer.ToArray()));
    }

    public void Dispose() => _metrics.Dispose();
}
