using Foretoken.Training;
using Foretoken.Training.Drafters;

namespace Foretoken.Tests.Training;

/// <summary>The drafters' losses in plain double precision, loop by loop: what their gradients are checked against. The target is frozen.</summary>
internal static class ReferenceDrafters
{
    /// <summary>Σ decayᵏ·(−log p) of Medusa's heads over the roots of one answer, from the target's final normed rows.</summary>
    public static double Medusa(ParameterSet layout, double[] values, double[][] normed, TrainingExample example, MedusaSettings settings)
    {
        double loss = 0;
        for (int row = example.PromptLength - 1; row < example.Tokens.Length - 2; row++)
        {
            for (int head = 0; head < settings.NumHeads && row + 2 + head < example.Tokens.Length; head++)
            {
                double[] x = normed[row];
                for (int block = 0; block < settings.NumLayers; block++)
                {
                    double[] z = Sum(Project(x, Tensor(layout, values, $"{head}.{block}.linear.weight")), Tensor(layout, values, $"{head}.{block}.linear.bias"));
                    x = [.. x.Zip(z, (a, b) => a + b / (1 + Math.Exp(-b)))];
                }

                double[] logits = Project(x, Tensor(layout, values, $"{head}.{settings.NumLayers}.weight"));
                loss += Math.Pow(settings.Decay, head) * (LogSum(logits) - logits[example.Tokens[row + 2 + head]]);
            }
        }

        return loss;
    }

    /// <summary>
    /// EAGLE-3 as it drafts: from every root a chain on its own features, whose rows see the target's rows up to the root and the chain so far; cross-entropy to the
    /// target's distributions over the draft vocabulary.
    /// </summary>
    public static double Eagle(EagleModel model, double[] values, double[][] taps, double[][] normed, double[] head, TrainingExample example)
    {
        ParameterSet layout = model.Parameters;
        TransformerShape s = model.Shape;
        int length = example.Tokens.Length;
        double[][] features = [.. taps.Select(t => Project(t, Tensor(layout, values, "fc.weight")))];
        double loss = 0;
        for (int root = example.PromptLength - 1; root < length - 2; root++)
        {
            var keys = new List<double[]>();
            var vectors = new List<double[]>();
            for (int row = 0; row <= root; row++) Remember(features[row], example.Tokens[row + 1], row);
            double[] feature = features[root];
            for (int step = 0; step < model.Settings.Steps && root + 2 + step < length; step++)
            {
                if (step > 0) Remember(feature, example.Tokens[root + 1 + step], root + step);
                feature = Layer(feature, example.Tokens[root + 1 + step], root + step);
                int wanted = Array.IndexOf(model.Vocabulary, example.Tokens[root + 2 + step]);
                if (wanted < 0) continue;
                double[] teacher = Project(normed[root + 1 + step], head);
                teacher = [.. model.Vocabulary.Select(token => teacher[token])];
                double total = LogSum(teacher);
                double[] logits = Project(Norm(feature, Tensor(layout, values, "norm.weight"), s), Tensor(layout, values, "lm_head.weight"));
                double log = LogSum(logits);
                double crossEntropy = 0;
                for (int v = 0; v < logits.Length; v++) crossEntropy += Math.Exp(teacher[v] - total) * (log - logits[v]);
                loss += Math.Pow(model.Settings.Decay, step) * crossEntropy;
            }

            void Remember(double[] hidden, int token, int position)
            {
                double[] pair = Pair(hidden, token);
                keys.Add(Rotate(Project(pair, Tensor(layout, values, "midlayer.self_attn.k_proj.weight")), position, s));
                vectors.Add(Project(pair, Tensor(layout, values, "midlayer.self_attn.v_proj.weight")));
            }

            double[] Layer(double[] hidden, int token, int position)
            {
                double[] query = Rotate(Project(Pair(hidden, token), Tensor(layout, values, "midlayer.self_attn.q_proj.weight")), position, s);
                double[] middle = Sum(hidden, Project(Attend(query, keys, vectors, s), Tensor(layout, values, "midlayer.self_attn.o_proj.weight")));
                double[] x = Norm(middle, Tensor(layout, values, "midlayer.post_attention_layernorm.weight"), s);
                double[] gate = Project(x, Tensor(layout, values, "midlayer.mlp.gate_proj.weight")), up = Project(x, Tensor(layout, values, "midlayer.mlp.up_proj.weight"));
                return Sum(middle, Project([.. gate.Zip(up, (g, u) => g / (1 + Math.Exp(-g)) * u)], Tensor(layout, values, "midlayer.mlp.down_proj.weight")));
            }
        }

        return loss;

        double[] Pair(double[] hidden, int token)
        {
            TransformerModel target = model.Target;
            double[] embedding = [.. target.Values.Span.Slice((int)target.EmbeddingOffset + token * s.HiddenSize, s.HiddenSize).ToArray().Select(v => (double)v)];
            return [.. Norm(embedding, Tensor(layout, values, "midlayer.input_layernorm.weight"), s), .. Norm(hidden, Tensor(layout, values, "midlayer.hidden_norm.weight"), s)];
        }
    }

    private static double[] Attend(double[] query, List<double[]> keys, List<double[]> vectors, TransformerShape s)
    {
        var output = new double[s.QueryWidth];
        for (int head = 0; head < s.QueryHeads; head++)
        {
            int at = head * s.HeadDim, kvAt = head / (s.QueryHeads / s.KeyValueHeads) * s.HeadDim;
            double[] scores = [.. keys.Select(k => Enumerable.Range(0, s.HeadDim).Sum(i => query[at + i] * k[kvAt + i]) / Math.Sqrt(s.HeadDim))];
            double log = LogSum(scores);
            for (int j = 0; j < scores.Length; j++)
                for (int i = 0; i < s.HeadDim; i++) output[at + i] += Math.Exp(scores[j] - log) * vectors[j][kvAt + i];
        }

        return output;
    }

    private static double[] Rotate(double[] x, int position, TransformerShape s)
    {
        int half = s.HeadDim / 2;
        for (int head = 0; head * s.HeadDim < x.Length; head++)
        {
            Span<double> h = x.AsSpan(head * s.HeadDim, s.HeadDim);
            for (int i = 0; i < half; i++)
            {
                double angle = position * Math.Pow(s.RopeTheta, -2.0 * i / s.HeadDim);
                (h[i], h[half + i]) = (h[i] * Math.Cos(angle) - h[half + i] * Math.Sin(angle), h[half + i] * Math.Cos(angle) + h[i] * Math.Sin(angle));
            }
        }

        return x;
    }

    private static double[] Norm(double[] x, double[] gain, TransformerShape s)
    {
        double inverse = 1 / Math.Sqrt(x.Sum(v => v * v) / x.Length + s.RmsNormEpsilon);
        return [.. x.Zip(gain, (v, g) => v * inverse * g)];
    }

    private static double LogSum(double[] x)
    {
        double maximum = x.Max();
        return maximum + Math.Log(x.Sum(v => Math.Exp(v - maximum)));
    }

    private static double[] Tensor(ParameterSet layout, double[] values, string name) => values.AsSpan((int)layout[name].Offset, (int)layout[name].Count).ToArray();

    private static double[] Project(double[] x, double[] w)
    {
        var y = new double[w.Length / x.Length];
        for (int o = 0; o < y.Length; o++)
            for (int i = 0; i < x.Length; i++) y[o] += w[o * x.Length + i] * x[i];
        return y;
    }

    private static double[] Sum(double[] a, double[] b) => [.. a.Zip(b, (x, y) => x + y)];
}
