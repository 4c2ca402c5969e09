using Foretoken.Training;

namespace Foretoken.Tests.Training;

/// <summary>The loss of the trainer's transformer in plain double precision, loop by loop: what its gradients are checked against.</summary>
internal sealed class ReferenceTransformer(TransformerShape shape, ParameterSet layout, double[] values)
{
    private ReadOnlySpan<double> Tensor(string name) => values.AsSpan((int)layout[name].Offset, (int)layout[name].Count);

    public double WeightedLoss(RaggedBatch batch)
    {
        double total = 0;
        for (int i = 0; i < batch.Sequences; i++)
        {
            (int start, int length) = batch.Sequence(i);
            total += SequenceLoss(batch.Tokens.Slice(start, length), batch.Targets.Slice(start, length), batch.Weights.Slice(start, length));
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
        for (int t = 0; t < length; t++)
        {
            var attended = new double[heads * dim];
            for (int head = 0; head < heads; head++)
            {
                int kvStart = head / group * dim;
                var scores = new double[t + 1];
                for (int j = 0; j <= t; j++)
                    for (int i = 0; i < dim; i++) scores[j] += q[t][head * dim + i] * k[j][kvStart + i] / Math.Sqrt(dim);
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
            for (int i = 0; i < half; i++)
            {
                double angle = position * Math.Pow(shape.RopeTheta, -2.0 * i / dim);
                (h[i], h[half + i]) = (h[i] * Math.Cos(angle) - h[half + i] * Math.Sin(angle), h[half + i] * Math.Cos(angle) + h[i] * Math.Sin(angle));
            }
        }
        return y;
    }

    private double[] Norm(double[] x, ReadOnlySpan<double> gain)
    {
        double inverse = 1 / Math.Sqrt(x.Sum(v => v * v) / x.Length + shape.RmsNormEpsilon);
        var y = new double[x.Length];
        for (int i = 0; i < x.Length; i++) y[i] = x[i] * inverse * gain[i];
        return y;
    }

    private static double[] Project(double[] x, ReadOnlySpan<double> w)
    {
        var y = new double[w.Length / x.Length];
        for (int o = 0; o < y.Length; o++)
            for (int i = 0; i < x.Length; i++) y[o] += w[o * x.Length + i] * x[i];
        return y;
    }

    private static double[] Sum(double[] a, double[] b) => a.Zip(b, (x, y) => x + y).ToArray();
}
