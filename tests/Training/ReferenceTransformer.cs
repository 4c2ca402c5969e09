using Foretoken.Training;

namespace Foretoken.Tests.Training;

/// <summary>The loss of the trainer's transformer in plain double precision, loop by loop: what its gradients are checked against.</summary>
internal sealed class ReferenceTransformer(TransformerShape shape, ParameterSet layout, double[] values)
{
    /// <summary>Relaxed eviction, or null for dense attention.</summary>
    public ReferenceEviction? Eviction { get; init; }

    internal ReadOnlySpan<double> Tensor(string name) => values.AsSpan((int)layout[name].Offset, (int)layout[name].Count);

    public double WeightedLoss(RaggedBatch batch)
    {
        double total = 0;
        for (int i = 0; i < batch.Sequences; i++)
        {
            (int start, int length) = batch.Sequence(i);
            Eviction?.Begin(i);
            total += SequenceLoss(batch.Tokens.Slice(start, length), batch.Targets.Slice(start, length), batch.Weights.Slice(start, length));
            total += Eviction?.Penalty ?? 0;
        }
        return total;
    }

    /// <summary>Rows after the final norm. // [tokens][hidden]</summary>
    public double[][] NormedRows(ReadOnlySpan<int> tokens)
    {
        var x = new double[tokens.Length][];
        for (int t = 0; t < tokens.Length; t++) x[t] = Tensor("model.embed_tokens.weight").Slice(tokens[t] * shape.HiddenSize, shape.HiddenSize).ToArray();
        for (int layer = 0; layer < shape.Layers; layer++) Layer($"model.layers.{layer}.", x);
        return [.. x.Select(row => Norm(row, Tensor("model.norm.weight")))];
    }

    /// <summary>log p of every token behind the given ones. // [vocabulary]</summary>
    public double[] LogProbabilities(ReadOnlySpan<int> tokens) => LogProbabilities(NormedRows(tokens)[^1]);

    /// <summary>log p of every token from a row after the final norm. // [vocabulary]</summary>
    public double[] LogProbabilities(double[] normed)
    {
        double[] logits = Project(normed, Tensor(shape.TiedEmbeddings ? "model.embed_tokens.weight" : "lm_head.weight"));
        double maximum = logits.Max(), log = maximum + Math.Log(logits.Sum(l => Math.Exp(l - maximum)));
        return [.. logits.Select(l => l - log)];
    }

    private double SequenceLoss(ReadOnlySpan<int> tokens, ReadOnlySpan<int> targets, ReadOnlySpan<float> weights)
    {
        double[][] normed = NormedRows(tokens);
        double loss = 0;
        for (int t = 0; t < tokens.Length; t++) loss -= weights[t] * LogProbabilities(normed[t])[targets[t]];
        return loss;
    }

    private void Layer(string prefix, double[][] x)
    {
        int heads = shape.QueryHeads, group = heads / shape.KeyValueHeads, dim = shape.HeadDim, length = x.Length;
        var q = new double[length][];
        var k = new double[length][];
        var v = new double[length][];
        for (int t = 0; t < length; t++)
        {
            double[] normed = Norm(x[t], Tensor(prefix + "input_layernorm.weight"));
            q[t] = Heads(prefix, "q", normed, t);
            k[t] = Heads(prefix, "k", normed, t);
            v[t] = Heads(prefix, "v", normed, t);
        }
        double[][]? bias = Eviction?.Biases(this, prefix, x, q);
        for (int t = 0; t < length; t++)
        {
            var attended = new double[heads * dim];
            for (int head = 0; head < heads; head++)
            {
                int kvStart = head / group * dim;
                var scores = new double[t + 1];
                for (int j = 0; j <= t; j++)
                {
                    for (int i = 0; i < dim; i++) scores[j] += q[t][head * dim + i] * k[j][kvStart + i] / Math.Sqrt(dim);
                    if (bias is not null && t - j > Eviction!.Settings.Rule.Lag) scores[j] += bias[head / group][j];
                }
                double maximum = scores.Max(), sum = scores.Sum(s => Math.Exp(s - maximum));
                for (int j = 0; j <= t; j++)
                    for (int i = 0; i < dim; i++) attended[head * dim + i] += Math.Exp(scores[j] - maximum) / sum * v[j][kvStart + i];
            }
            x[t] = Sum(x[t], Project(attended, Tensor(prefix + "self_attn.o_proj.weight")));
            double[] middle = Norm(x[t], Tensor(prefix + "post_attention_layernorm.weight"));
            double[] gate = Project(middle, Tensor(prefix + "mlp.gate_proj.weight")), up = Project(middle, Tensor(prefix + "mlp.up_proj.weight"));
            double[] activated = gate.Zip(up, (g, u) => g / (1 + Math.Exp(-g)) * u).ToArray();
            x[t] = Sum(x[t], Project(activated, Tensor(prefix + "mlp.down_proj.weight")));
        }
    }

    private double[] Heads(string prefix, string which, double[] normed, int position)
    {
        double[] y = Project(normed, Tensor($"{prefix}self_attn.{which}_proj.weight"));
        if (shape.QkvBias) y = Sum(y, Tensor($"{prefix}self_attn.{which}_proj.bias").ToArray());
        if (which == "v") return y;
        int dim = shape.HeadDim, half = dim / 2;
        for (int head = 0; head * dim < y.Length; head++)
        {
            Span<double> h = y.AsSpan(head * dim, dim);
            if (shape.QueryKeyNorm) Norm(h.ToArray(), Tensor($"{prefix}self_attn.{which}_norm.weight")).CopyTo(h);
            bool borrowed = which == "q" && Eviction?.Settings.Source == DecisionSource.Neuron && head % (shape.QueryHeads / shape.KeyValueHeads) == 0;
            if (borrowed)
            {
                Eviction!.Borrow(position, head / (shape.QueryHeads / shape.KeyValueHeads), h[dim - 1]);
                h[dim - 1] *= Eviction.ChannelFactor;
            }
            for (int i = 0; i < half; i++)
            {
                double angle = position * Math.Pow(shape.RopeTheta, -2.0 * i / dim);
                (h[i], h[half + i]) = (h[i] * Math.Cos(angle) - h[half + i] * Math.Sin(angle), h[half + i] * Math.Cos(angle) + h[i] * Math.Sin(angle));
            }
            if (borrowed) h[dim - 1] *= Eviction!.ChannelFactor;
        }
        return y;
    }

    internal double[] Norm(double[] x, ReadOnlySpan<double> gain)
    {
        double inverse = 1 / Math.Sqrt(x.Sum(v => v * v) / x.Length + shape.RmsNormEpsilon);
        var y = new double[x.Length];
        for (int i = 0; i < x.Length; i++) y[i] = x[i] * inverse * gain[i];
        return y;
    }

    internal static double[] Project(double[] x, ReadOnlySpan<double> w)
    {
        var y = new double[w.Length / x.Length];
        for (int o = 0; o < y.Length; o++)
            for (int i = 0; i < x.Length; i++) y[o] += w[o * x.Length + i] * x[i];
        return y;
    }

    private static double[] Sum(double[] a, double[] b) => a.Zip(b, (x, y) => x + y).ToArray();
}

/// <summary>Gumbel-sigmoid eviction in double precision, with the noise of the trainer, and the budget's straight-through loss as its smooth twin.</summary>
internal sealed class ReferenceEviction(TransformerShape shape, EvictionSettings settings, ulong seed, ulong[] streams, float[] slopes)
{
    private readonly Dictionary<(int Position, int Head), double> _borrowed = [];
    private int _sequence, _layer;

    public EvictionSettings Settings => settings;

    public double ChannelFactor { get; init; } = 1;

    /// <summary>Slopes are per row that no longer sees an evicted key.</summary>
    public bool PerRead { get; init; }

    /// <summary>Σ slope · σ(z): its gradient is that of the straight-through count of evictions, or of the reads that they save.</summary>
    public double Penalty { get; private set; }

    public void Begin(int sequence) => (_sequence, _layer, Penalty) = (sequence, 0, 0);

    public void Borrow(int position, int head, double value) => _borrowed[(position, head)] = value;

    /// <summary>What is added to the scores of every key outside the window, [KV heads][keys].</summary>
    public double[][] Biases(ReferenceTransformer model, string prefix, double[][] x, double[][] q)
    {
        var bias = new double[shape.KeyValueHeads][];
        for (int head = 0; head < bias.Length; head++)
        {
            bias[head] = new double[x.Length];
            for (int key = 0; key + settings.Rule.Shift < x.Length; key++)
            {
                int decider = key + settings.Rule.Shift;
                double projected = settings.Source == DecisionSource.Neuron
                    ? _borrowed[(decider, head)]
                    : ReferenceTransformer.Project(model.Norm(x[decider], model.Tensor(prefix + "self_attn.dms_proj_alpha_norm.weight")),
                        model.Tensor(prefix + "self_attn.dms_proj_alpha.weight"))[head];
                double noise = LayerEviction.Logistic(seed, streams[_sequence] + (ulong)decider, (uint)(_layer * shape.KeyValueHeads + head));
                double z = (settings.Scale * projected - settings.Offset + noise) / settings.Temperature;
                bias[head][key] = -Math.Log(1 + Math.Exp(z));
                Penalty += slopes[_sequence] * (PerRead ? Math.Max(0, x.Length - 1 - key - settings.Rule.Lag) : 1) / (1 + Math.Exp(-z));
            }
        }
        _layer++;
        return bias;
    }
}
