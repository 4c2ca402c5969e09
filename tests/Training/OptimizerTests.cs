using Foretoken.Numerics;
using Foretoken.Training;

namespace Foretoken.Tests.Training;

public unsafe class OptimizerTests
{
    [Theory]
    [InlineData(16, 40)]
    [InlineData(40, 16)]
    public void Muon_moves_along_a_nearly_orthogonal_direction(int rows, int columns)
    {
        using FloatBuffer value = new(rows * columns), gradient = new(rows * columns), momentum = new(rows * columns);
        var random = new SeededRandom(1);
        foreach (ref float g in gradient.Span) g = (float)random.NextGaussian();
        using var muon = new Muon(rows * columns, Math.Min(rows, columns));
        muon.Update(value.Pointer, gradient.Pointer, momentum.Pointer, rows, columns, new OptimizerSettings(), learningRate: 1f);

        // The step is −√max(1, rows/columns)·O: the rows (or columns) of O have about unit length and are nearly orthogonal.
        double scale = Math.Sqrt(Math.Max(1.0, (double)rows / columns));
        int small = Math.Min(rows, columns), large = Math.Max(rows, columns);
        double Element(int s, int l) => value.Span[rows < columns ? s * columns + l : l * columns + s] / scale;
        for (int a = 0; a < small; a++)
        {
            for (int b = 0; b <= a; b++)
            {
                double dot = Enumerable.Range(0, large).Sum(l => Element(a, l) * Element(b, l));
                if (a == b) Assert.InRange(dot, 0.4, 1.5);
                else Assert.InRange(dot, -0.35, 0.35);
            }
        }
        double agreement = Enumerable.Range(0, rows * columns).Sum(i => -(double)value.Span[i] * gradient.Span[i]);
        Assert.True(agreement > 0, "the step must go down the gradient");
    }

    [Fact]
    public void Adam_matches_the_formula_over_three_steps_and_frozen_tensors_stay()
    {
        TransformerShape shape = CopySource.Recipe(1).Shape();
        using var model = new TransformerModel(shape);
        model.Initialize(3, new Initialization());
        using var team = new WorkerTeam(1);
        var settings = new OptimizerSettings { AdamOnly = true, AdamWeightDecay = 0.1f, ClipNorm = 0 };
        using var optimizer = new Optimizer(model, settings, team);
        const string FrozenName = "model.layers.0.mlp.down_proj.weight";
        optimizer.Frozen.Add(FrozenName);
        Parameter matrix = model.Parameters["model.layers.0.self_attn.q_proj.weight"], gain = model.Parameters["model.norm.weight"];
        float[] frozenBefore = model.Values.Span.Slice((int)model.Parameters[FrozenName].Offset, 10).ToArray();
        double expectedMatrix = model.Values.Span[(int)matrix.Offset + 2], expectedGain = model.Values.Span[(int)gain.Offset + 2];
        using var gradients = new FloatBuffer(model.Parameters.Count);
        double m = 0, v = 0;
        for (int step = 1; step <= 3; step++)
        {
            float g = 0.5f * step - 0.8f;
            gradients.Span.Fill(g);
            optimizer.Step(gradients.Pointer, 1, step, factor: 0.5);
            double rate = 0.003 * 0.5;
            m = 0.9 * m + 0.1 * g;
            v = 0.95 * v + 0.05 * g * g;
            double change = rate * m / (1 - Math.Pow(0.9, step)) / (Math.Sqrt(v / (1 - Math.Pow(0.95, step))) + 1e-8);
            expectedMatrix = expectedMatrix * (1 - rate * 0.1) - change;
            expectedGain -= change;
        }
        Assert.Equal(expectedMatrix, model.Values.Span[(int)matrix.Offset + 2], 1e-6);
        Assert.Equal(expectedGain, model.Values.Span[(int)gain.Offset + 2], 1e-6);
        Assert.Equal(frozenBefore, model.Values.Span.Slice((int)model.Parameters[FrozenName].Offset, 10).ToArray());
    }
}
