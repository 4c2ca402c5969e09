namespace Foretoken.Tests.Fixtures;

/// <summary>
/// The forward pass of the drafters that <see cref="TinyHeads.Eagle"/> writes, in float64 and plain loops: entry by entry, each with the keys and values that
/// it leaves behind. Written from the papers' formulas, shares no code with the engine.
/// </summary>
public sealed class ReferenceEagle(TinyHeads heads, string layout, TinyModel target)
{
    private const double Epsilon = 1e-6;
    private readonly bool _eagle3 = layout.StartsWith("eagle3", StringComparison.Ordinal) || layout.StartsWith("speculators", StringComparison.Ordinal);
    private readonly double[] _table = [.. target.Tensors().First().Values.Select(v => (double)v)], _head = [.. target.Tensors().Last().Values.Select(v => (double)v)];

    /// <summary>What came before an entry: keys and values of every layer. An entry adds itself to a copy, so that branches stay apart.</summary>
    public sealed record Entry(double[] Logits, double[] State, List<(double[] Key, double[] Value)>[] Past);

    /// <summary>Runs one entry.</summary>
    /// <param name="token">Token one position further on than the feature.</param>
    /// <param name="feature">The target's joined states, or the drafter's own state.</param>
    /// <param name="fromTarget">Which of the two.</param>
    /// <param name="position">Position of the feature.</param>
    /// <param name="before">The entry before it; null = none.</param>
    public Entry Run(int token, double[] feature, bool fromTarget, int position, Entry? before)
    {
        int hidden = target.Hidden;
        double[] embedding = _table[(token * hidden)..((token + 1) * hidden)];
        bool deepseek = layout == "mtp-deepseek", qwen = layout == "mtp-qwen";
        string outer = deepseek ? "model.layers.2." : qwen ? "mtp." : "", first = layout == "eagle3" ? "midlayer." : deepseek ? outer : qwen ? "mtp.layers.0." : "layers.0.";
        double[] x, wide = [];
        if (_eagle3)
        {
            x = fromTarget ? Multiply("fc.weight", Normed(feature)) : feature;
            double[] normed = Norm(x, first + "hidden_norm");
            wide = [.. Norm(embedding, first + "input_layernorm"), .. normed];
            if (layout.StartsWith("speculators", StringComparison.Ordinal)) x = normed;
        }
        else
        {
            (double[] e, double[] f) = deepseek ? (Norm(embedding, outer + "enorm"), Norm(feature, outer + "hnorm"))
                : qwen ? (Norm(embedding, outer + "pre_fc_norm_embedding"), Norm(feature, outer + "pre_fc_norm_hidden"))
                : (embedding, feature);
            x = Multiply(deepseek ? outer + "eh_proj.weight" : outer + "fc.weight", [.. e, .. f]);
            if (heads.Values.TryGetValue("fc.bias", out double[]? bias)) x = Add(x, bias);
        }

        int layers = layout == "eagle1-2layers" ? 2 : 1;
        var past = new List<(double[], double[])>[layers];
        for (int i = 0; i < layers; i++)
        {
            string name = i == 0 ? first : "layers.1.";
            double[] input = i == 0 && _eagle3 ? wide : heads.Values.ContainsKey(name + "input_layernorm.weight") ? Norm(x, name + "input_layernorm") : x;
            past[i] = [.. before?.Past[i] ?? [], (Rotate(Multiply(name + "self_attn.k_proj.weight", input), position), Multiply(name + "self_attn.v_proj.weight", input))];
            x = Add(x, Multiply(name + "self_attn.o_proj.weight", Attend(Rotate(Multiply(name + "self_attn.q_proj.weight", input), position), past[i])));
            double[] normed = Norm(x, name + "post_attention_layernorm"), gate = Multiply(name + "mlp.gate_proj.weight", normed), up = Multiply(name + "mlp.up_proj.weight", normed);
            x = Add(x, Multiply(name + "mlp.down_proj.weight", [.. gate.Zip(up, (g, u) => g / (1 + Math.Exp(-g)) * u)]));
        }

        string? finalNorm = _eagle3 || qwen ? outer + "norm" : deepseek ? outer + "shared_head.norm" : null;
        double[] last = finalNorm is null ? x : Norm(x, finalNorm);
        return new Entry(Multiply(_eagle3 ? heads.Values["lm_head.weight"] : _head, last), qwen || layout == "speculators-input" ? last : x, past);
    }

    /// <summary>The joined states that the target's passes give for a position. // states as <see cref="ReferenceTransformer.States"/></summary>
    public double[] Feature(double[][][] states, int position) => _eagle3
        ? [.. states[0][position], .. states[1][position], .. states[target.Layers][position]]
        : states[^1][position];

    private double[] Attend(double[] queries, List<(double[] Key, double[] Value)> past)
    {
        int dim = target.HeadDim, group = target.Heads / target.KvHeads;
        var output = new double[queries.Length];
        for (int h = 0; h < target.Heads; h++)
        {
            int kv = h / group;
            double[] scores = [.. past.Select(p => Enumerable.Range(0, dim).Sum(d => queries[h * dim + d] * p.Key[kv * dim + d]) / Math.Sqrt(dim))];
            double max = scores.Max(), sum = scores.Sum(s => Math.Exp(s - max));
            for (int i = 0; i < scores.Length; i++)
                for (int d = 0; d < dim; d++) output[h * dim + d] += Math.Exp(scores[i] - max) / sum * past[i].Value[kv * dim + d];
        }

        return output;
    }

    private double[] Rotate(double[] x, int position)
    {
        int dim = target.HeadDim, half = dim / 2;
        double[] y = [.. x];
        for (int h = 0; h < x.Length; h += dim)
        {
            for (int i = 0; i < half; i++)
            {
                double angle = position / Math.Pow(10_000, 2.0 * i / dim), cos = Math.Cos(angle), sin = Math.Sin(angle);
                y[h + i] = x[h + i] * cos - x[h + i + half] * sin;
                y[h + i + half] = x[h + i + half] * cos + x[h + i] * sin;
            }
        }

        return y;
    }

    /// <summary>The joined states as they enter fc.</summary>
    private double[] Normed(double[] feature) => layout switch
    {
        "speculators-input" => Norm(feature, "input_norm"),
        "speculators-fc" => [.. Enumerable.Range(0, 3).SelectMany(i => Norm(feature[(i * target.Hidden)..((i + 1) * target.Hidden)], $"fc_norm.{i}"))],
        _ => feature,
    };

    private double[] Norm(double[] x, string name)
    {
        double scale = 1 / Math.Sqrt(x.Sum(v => v * v) / x.Length + Epsilon);
        return [.. x.Select((v, i) => v * scale * heads.Values[name + ".weight"][i])];
    }

    private double[] Multiply(string name, double[] x) => Multiply(heads.Values[name], x);

    private static double[] Multiply(double[] matrix, double[] x)
    {
        var y = new double[matrix.Length / x.Length];
        for (int r = 0; r < y.Length; r++)
            for (int i = 0; i < x.Length; i++) y[r] += matrix[r * x.Length + i] * x[i];
        return y;
    }

    private static double[] Add(double[] a, double[] b) => [.. a.Zip(b, (x, y) => x + y)];
}
