using Foretoken.Numerics;
using Foretoken.Training;

namespace Foretoken.Tests.Training;

public class EvictionGradientTests
{
    // Small scales keep z near 0, where the relaxation is curved: a steep one would be flat almost everywhere and test nothing.
    private static readonly EvictionSettings Soft = new() { Scale = 1.5f, Offset = 0.3f, Temperature = 0.8f, Rule = EvictionRule.Delayed(3) };

    public static TheoryData<string> Variants => ["adapter", "adapter, reads", "adapter, one head per group", "immediate past", "immediate self", "neuron", "neuron without q norm"];

    [Theory]
    [MemberData(nameof(Variants))]
    public void Every_parameter_gradient_through_relaxed_eviction_matches_central_differences(string variant)
    {
        (TransformerShape shape, EvictionSettings settings) = variant switch
        {
            "adapter, one head per group" => (GradientTests.Tiny with { QueryHeads = 3, KeyValueHeads = 3, HeadDim = 32 }, Soft),
            "immediate past" => (GradientTests.Tiny, Soft with { Rule = EvictionRule.ImmediatePast(3) }),
            "immediate self" => (GradientTests.Tiny, Soft with { Rule = EvictionRule.ImmediateSelf }),
            "neuron" => (GradientTests.Tiny, Soft with { Source = DecisionSource.Neuron }),
            "neuron without q norm" => (GradientTests.Tiny with { QueryKeyNorm = false, HeadDim = 32 }, Soft with { Source = DecisionSource.Neuron }),
            _ => (GradientTests.Tiny, Soft),
        };
        Check(shape, settings, lengths: [5, 1, 13, 30, 2], draws: 6, perRead: variant == "adapter, reads");
    }

    [Fact]
    public void Gradients_match_over_several_score_blocks_with_a_window_across_them() =>
        Check(GradientTests.Tiny with { Layers = 1, HeadDim = 32, QueryHeads = 2, KeyValueHeads = 1 }, Soft with { Rule = EvictionRule.Delayed(40) }, lengths: [149, 97], draws: 2);

    private static unsafe void Check(TransformerShape shape, EvictionSettings settings, int[] lengths, int draws, bool perRead = false)
    {
        using var model = new TransformerModel(
            shape, settings.Source == DecisionSource.Adapter ? p => DecisionAdapter.Add(p, shape.Layers, shape.HiddenSize, shape.KeyValueHeads) : null);
        model.Initialize(7, new Initialization { EmbeddingDeviation = 0.5, ResidualGain = 0.7 });
        GradientTests.Jitter(model, seed: 8);
        RaggedBatch batch = GradientTests.RandomBatch(shape, seed: 9, lengths);
        ulong[] streams = [.. lengths.Select((_, i) => (ulong)(i + 1) << 32)];
        float factor = settings.Source == DecisionSource.Neuron ? 0.6f : 1f;
        const double Target = 0.9, Weight = 3, Price = 0.02;

        using var gradients = new FloatBuffer(model.Parameters.Count);
        using var pass = new TransformerPass(model, batch.Rows + 3);
        using var eviction = new EvictionPass(model, settings, batch.Rows + 3) { Gradients = gradients.Pointer };
        using var gemm = new Gemm();
        using var head = new CrossEntropyHead(shape.HiddenSize, shape.VocabularySize);
        using var dnormed = new FloatBuffer((long)batch.Rows * shape.HiddenSize);
        eviction.Begin(batch, DecisionMode.Relaxed, seed: 11, streams, factor);
        pass.Forward(batch, eviction);
        if (perRead) eviction.Charge(Price);
        else Assert.True(eviction.Budget(batch, Target, Weight) > 0);
        float* output = model.Values.Pointer + model.Parameters["model.embed_tokens.weight"].Offset;
        head.Run(gemm, pass.Normed, output, batch.Targets, batch.Weights, pass.Losses, pass.Correct, dnormed.Pointer, gradients.Pointer);
        pass.Backward(batch, dnormed.Pointer, gradients.Pointer, eviction);

        var slopes = new float[lengths.Length];
        for (int i = 0; i < lengths.Length; i++)
        {
            double decisions = (double)settings.Rule.Decisions(lengths[i]) * shape.Layers * shape.KeyValueHeads;
            slopes[i] = perRead ? (float)-Price : decisions > 0 && eviction.EvictedShare(batch, i) < Target ? (float)(-Weight / decisions) : 0;
        }
        double[] values = [.. model.Values.Span.ToArray().Select(v => (double)v)];
        var reference = new ReferenceTransformer(shape, model.Parameters, values)
        {
            Eviction = new ReferenceEviction(shape, settings, 11, streams, slopes) { ChannelFactor = factor, PerRead = perRead },
        };
        var random = new SeededRandom(10);
        foreach (Parameter parameter in model.Parameters.Parameters)
        {
            double error = 0, norm = 0;
            for (int draw = 0; draw < draws; draw++)
            {
                int index = (int)parameter.Offset + random.Next((int)parameter.Count);
                double expected = GradientTests.CentralDifference(reference, values, index, batch);
                error += Math.Pow(gradients.Span[index] - expected, 2);
                norm += expected * expected;
            }
            Assert.True(Math.Sqrt(error) <= 1e-3 * Math.Sqrt(norm) + 1e-6, $"{parameter.Name}: difference {Math.Sqrt(error):g3} of norm {Math.Sqrt(norm):g3}");
            if (DecisionAdapter.Owns(parameter)) Assert.True(norm > 1e-6, $"{parameter.Name}: no gradient");
        }
    }

    [Theory]
    [InlineData(Divergence.StudentTeacher, 20)]
    [InlineData(Divergence.TeacherStudent, 20)]
    [InlineData(Divergence.StudentTeacher, 48)]
    [InlineData(Divergence.TeacherStudent, 48)]
    public unsafe void Distillation_gradients_match_central_differences(Divergence divergence, int vocabulary)
    {
        const int Hidden = 6, Rows = 5;
        var random = new SeededRandom(3);
        using FloatBuffer h = Random(Rows * Hidden), w = Random(vocabulary * Hidden), teacherH = Random(Rows * Hidden), teacherW = Random(vocabulary * Hidden);
        using var dh = new FloatBuffer(Rows * Hidden);
        using var dw = new FloatBuffer(vocabulary * Hidden);
        using var gemm = new Gemm();
        using var head = new DistillationHead(Hidden, vocabulary);
        int[] targets = [3, 0, 19, 7, 7];
        float[] weights = [0.5f, 1, 0, 2, 0.1f];
        var results = new DistillationRow[Rows];
        head.Run(gemm, h.Pointer, w.Pointer, teacherH.Pointer, teacherW.Pointer, targets, weights, divergence, 0.7f, 0.4f, results, dh.Pointer, dw.Pointer);

        double[] hs = Doubles(h), ws = Doubles(w);
        for (int row = 0; row < Rows; row++)
        {
            (double kl, double loss, bool correct) = Reference(row);
            Assert.Equal(kl, results[row].Divergence, 1e-4);
            Assert.Equal(loss, results[row].Loss, 1e-4);
            Assert.Equal(correct, results[row].Correct);
        }
        for (int i = 0; i < hs.Length; i++) Assert.Equal(Difference(hs, i), dh.Span[i], 2e-4);
        for (int i = 0; i < ws.Length; i++) Assert.Equal(Difference(ws, i), dw.Span[i], 2e-4);

        FloatBuffer Random(int count)
        {
            var buffer = new FloatBuffer(count);
            foreach (ref float value in buffer.Span) value = (float)random.NextGaussian();
            return buffer;
        }

        double Difference(double[] array, int index)
        {
            double saved = array[index];
            array[index] = saved + 1e-5;
            double up = Total();
            array[index] = saved - 1e-5;
            double down = Total();
            array[index] = saved;
            return (up - down) / 2e-5;
        }

        double Total() => Enumerable.Range(0, Rows).Sum(row => weights[row] * (0.7 * Reference(row).Kl + 0.4 * Reference(row).Loss));

        (double Kl, double Loss, bool Correct) Reference(int row)
        {
            double[] p = LogSoftmax(hs, ws, row), q = LogSoftmax(Doubles(teacherH), Doubles(teacherW), row);
            (double[] a, double[] b) = divergence == Divergence.StudentTeacher ? (p, q) : (q, p);
            return (a.Zip(b, (x, y) => Math.Exp(x) * (x - y)).Sum(), -p[targets[row]], p[targets[row]] >= p.Max());
        }

        double[] LogSoftmax(double[] x, double[] matrix, int row)
        {
            double[] logits = [.. Enumerable.Range(0, vocabulary).Select(v => Enumerable.Range(0, Hidden).Sum(i => matrix[v * Hidden + i] * x[row * Hidden + i]))];
            double log = Math.Log(logits.Sum(Math.Exp));
            return [.. logits.Select(l => l - log)];
        }
    }

    private static double[] Doubles(FloatBuffer buffer) => [.. buffer.Span.ToArray().Select(v => (double)v)];
}
