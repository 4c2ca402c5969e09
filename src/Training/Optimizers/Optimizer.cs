using System.Runtime.Intrinsics;

namespace Foretoken.Training;

/// <summary>
/// One update of all parameters: global-norm clipping, Muon on the layers' matrices, AdamW on the rest. Tensors are updated in parallel, each by
/// one thread. A parameter of <see cref="Frozen"/> stays as it is.
/// </summary>
public sealed unsafe class Optimizer : IDisposable
{
    private readonly ITrainable _model;
    private readonly OptimizerSettings _settings;
    private readonly WorkerTeam _team;
    private readonly Muon[] _muon; // one per worker
    private readonly Parameter[] _order; // largest first, so that the threads end together

    /// <summary>An optimizer for <paramref name="model"/> with zero state.</summary>
    public Optimizer(ITrainable model, OptimizerSettings settings, WorkerTeam team)
    {
        (_model, _settings, _team) = (model, settings, team);
        First = new FloatBuffer(model.Parameters.Count);
        Second = new FloatBuffer(model.Parameters.Count);
        Parameter[] matrices = [.. model.Parameters.Parameters.Where(UsesMuon)];
        long elements = matrices.Select(p => p.Count).DefaultIfEmpty(1).Max();
        int side = matrices.Select(p => Math.Min(p.Rows, p.Columns)).DefaultIfEmpty(1).Max();
        _muon = new Muon[team.Workers];
        for (int i = 0; i < _muon.Length; i++) _muon[i] = new Muon(elements, side);
        _order = [.. model.Parameters.Parameters.OrderByDescending(Cost)];
    }

    /// <summary>Muon's momentum or AdamW's first moment, in the model's layout.</summary>
    public FloatBuffer First { get; }

    /// <summary>AdamW's second moment.</summary>
    public FloatBuffer Second { get; }

    /// <summary>Names of parameters that are never changed.</summary>
    public HashSet<string> Frozen { get; } = [];

    /// <summary>A further factor on the learning rates by parameter and step; 0 leaves the parameter as it is. Null: 1.</summary>
    public Func<Parameter, int, double>? RateFactor { get; set; }

    /// <summary>
    /// Updates the model. <paramref name="gradientNorm"/> is the global norm of the gradients, <paramref name="step"/> counts from 1,
    /// <paramref name="factor"/> multiplies both learning rates.
    /// </summary>
    public void Step(float* gradients, double gradientNorm, int step, double factor)
    {
        float clip = _settings.ClipNorm > 0 && gradientNorm > _settings.ClipNorm ? (float)(_settings.ClipNorm / gradientNorm) : 1f;
        _team.Run(_order.Length, (item, worker) =>
        {
            Parameter p = _order[item];
            double own = factor * (RateFactor?.Invoke(p, step) ?? 1);
            if (Frozen.Contains(p.Name) || own == 0) return;
            float* value = _model.Values.Pointer + p.Offset, gradient = gradients + p.Offset, first = First.Pointer + p.Offset;
            if (clip != 1f) RowMath.Scale(gradient, clip, p.Count);
            if (UsesMuon(p)) _muon[worker].Update(value, gradient, first, p.Rows, p.Columns, _settings, (float)(_settings.MuonLearningRate * own));
            else Adam(value, gradient, first, Second.Pointer + p.Offset, p, step, (float)(_settings.AdamLearningRate * own));
        });
    }

    private bool UsesMuon(Parameter p) => !_settings.AdamOnly && (p.Kind is ParameterKind.Matrix or ParameterKind.ResidualMatrix);

    private double Cost(Parameter p) => UsesMuon(p) ? (double)p.Count * Math.Min(p.Rows, p.Columns) : p.Count;

    /// <summary>AdamW (Loshchilov and Hutter, 2019) with bias-corrected moments.</summary>
    private void Adam(float* value, float* gradient, float* first, float* second, Parameter p, int step, float learningRate)
    {
        float beta1 = _settings.AdamBeta1, beta2 = _settings.AdamBeta2;
        float keep = p.IsVector ? 1f : 1f - learningRate * _settings.AdamWeightDecay;
        float rate = learningRate / (1f - MathF.Pow(beta1, step)), correction = 1f / (1f - MathF.Pow(beta2, step));
        long whole = p.Count & ~15L;
        Vector512<float> b1 = Vector512.Create(beta1), b2 = Vector512.Create(beta2), r = Vector512.Create(rate), epsilon = Vector512.Create(_settings.AdamEpsilon);
        for (long i = 0; i < whole; i += 16)
        {
            Vector512<float> g = Vector512.Load(gradient + i);
            Vector512<float> m = b1 * Vector512.Load(first + i) + Vector512.Create(1f - beta1) * g;
            Vector512<float> v = b2 * Vector512.Load(second + i) + Vector512.Create(1f - beta2) * g * g;
            m.Store(first + i);
            v.Store(second + i);
            (Vector512.Create(keep) * Vector512.Load(value + i) - r * m / (Vector512.Sqrt(v * Vector512.Create(correction)) + epsilon)).Store(value + i);
        }
        for (long i = whole; i < p.Count; i++)
        {
            float g = gradient[i];
            first[i] = beta1 * first[i] + (1f - beta1) * g;
            second[i] = beta2 * second[i] + (1f - beta2) * g * g;
            value[i] = keep * value[i] - rate * first[i] / (MathF.Sqrt(second[i] * correction) + _settings.AdamEpsilon);
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        First.Dispose();
        Second.Dispose();
        foreach (Muon muon in _muon) muon.Dispose();
    }
}
