using System.Diagnostics;
using System.Globalization;
using System.Text;
using System.Text.Json;

namespace Foretoken.Training;

/// <summary>Progress lines of a retrofit for people and metrics.jsonl for charts, every few steps.</summary>
internal sealed class DmsProgress(DmsRecipe recipe, string metricsPath, TextWriter progress) : IDisposable
{
    private readonly StreamWriter _metrics = new(metricsPath, append: true) { AutoFlush = true };
    private double _loss, _divergence, _budget, _share, _norm;
    private long _last = Stopwatch.GetTimestamp();
    private long _tokens;
    private int _steps;

    public void Add(DmsStepReport step, DmsTrainer trainer)
    {
        RunState state = trainer.State;
        (_loss, _divergence, _budget, _share, _norm) = (_loss + step.Loss, _divergence + step.Divergence, _budget + step.Budget, _share + step.EvictedShare, _norm + step.GradientNorm);
        _tokens += step.Tokens;
        _steps++;
        if (step.Step % recipe.LogEverySteps != 0 && !state.Finished) return;
        double rate = _tokens / Math.Max(1e-3, Stopwatch.GetElapsedTime(_last).TotalSeconds);
        double nominal = trainer.NominalCr(step.Step - 1);
        progress.WriteLine(string.Create(CultureInfo.InvariantCulture,
            $"step {step.Step} {state.Tokens / 1e6:F2}M loss {_loss / _steps:F4} kl {_divergence / _steps:F4} budget {_budget / _steps:F4} evicted {_share / _steps:F3}/{step.TargetShare:F3} nominal {nominal:F1} measured {state.MeasuredCr ?? 1:F2} norm {_norm / _steps:F2} lr {step.Factor:F2} {rate:F0} tok/s {TimeSpan.FromSeconds(state.ElapsedSeconds):h\\:mm\\:ss}"));
        Write(step, state, nominal, rate);
        (_loss, _divergence, _budget, _share, _norm, _tokens, _steps, _last) = (0, 0, 0, 0, 0, 0, 0, Stopwatch.GetTimestamp());
    }

    private void Write(DmsStepReport step, RunState state, double nominal, double rate)
    {
        using var buffer = new MemoryStream();
        using (var json = new Utf8JsonWriter(buffer))
        {
            json.WriteStartObject();
            json.WriteNumber("step", step.Step);
            json.WriteNumber("tokens", state.Tokens);
            json.WriteNumber("loss", _loss / _steps);
            json.WriteNumber("kl", _divergence / _steps);
            json.WriteNumber("budget_loss", _budget / _steps);
            json.WriteNumber("evicted_share", _share / _steps);
            json.WriteNumber("target_share", step.TargetShare);
            json.WriteNumber("nominal_cr", nominal);
            json.WriteNumber("measured_cr", state.MeasuredCr ?? 1);
            json.WriteNumber("gradient_norm", _norm / _steps);
            json.WriteNumber("learning_rate_factor", step.Factor);
            json.WriteNumber("tokens_per_second", Math.Round(rate));
            json.WriteNumber("elapsed_seconds", Math.Round(state.ElapsedSeconds, 1));
            json.WriteEndObject();
        }
        _metrics.WriteLine(Encoding.UTF8.GetString(buffer.ToArray()));
    }

    public void Dispose() => _metrics.Dispose();
}
