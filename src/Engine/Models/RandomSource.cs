using Foretoken.Backends;
using Foretoken.Numerics;

namespace Foretoken.Models;

/// <summary>A model of random weights without any file, for benchmarks and tests. A weight is a function of (seed, role, layer, row, column).</summary>
/// <param name="config">Shape of the model.</param>
/// <param name="seed">Seed of the weights.</param>
public sealed class RandomSource(ModelConfig config, ulong seed = 1) : ModelSource
{
    /// <inheritdoc/>
    public override string Origin => $"random {Config.Family}";

    /// <inheritdoc/>
    public override ModelConfig Config => config;

    /// <inheritdoc/>
    public override WeightType DefaultWeightType => WeightType.BF16;

    /// <inheritdoc/>
    public override IRowSource Matrix(WeightSpec spec) => new RandomRows(spec, StreamOf(spec));

    /// <inheritdoc/>
    public override float[] Vector(WeightSpec spec)
    {
        bool norm = spec.Role is WeightRole.InputNorm or WeightRole.PostAttentionNorm or WeightRole.FinalNorm or WeightRole.QueryNorm or WeightRole.KeyNorm
            or WeightRole.DecisionNorm;
        var values = new float[spec.OutFeatures];
        RandomRows.Fill(StreamOf(spec), values, 0.1f);
        for (int i = 0; norm && i < values.Length; i++) values[i] += 1;
        return values;
    }

    /// <inheritdoc/>
    public override long StoredBytes(WeightSpec spec) => spec.Elements * 2;

    private ulong StreamOf(WeightSpec spec) => CounterRandom.Bits(seed, (ulong)(spec.Layer + 1), (uint)spec.Role);

    private sealed class RandomRows(WeightSpec spec, ulong stream) : IRowSource
    {
        public string Name => $"random {spec.Role} of layer {spec.Layer}";

        public int OutFeatures => spec.OutFeatures;

        public int InFeatures => spec.InFeatures;

        /// <summary>Variance 1/InFeatures keeps activations of order one; the embedding has variance one, as trained tables roughly do after the first norm.</summary>
        public void ReadRow(int row, Span<float> destination) =>
            Fill(CounterRandom.Bits(stream, (ulong)row), destination[..InFeatures], spec.Role == WeightRole.Embedding ? 1f : (float)Math.Sqrt(3.0 / InFeatures));

        /// <summary>Uniform numbers in (−amplitude, amplitude), several billions per run: SplitMix64 (Steele et al. 2014), two numbers per draw.</summary>
        public static void Fill(ulong state, Span<float> values, float amplitude)
        {
            float scale = amplitude / (1u << 31);
            for (int i = 0; i < values.Length; i += 2)
            {
                state += 0x9E3779B97F4A7C15;
                ulong z = (state ^ state >> 30) * 0xBF58476D1CE4E5B9;
                z = (z ^ z >> 27) * 0x94D049BB133111EB;
                z ^= z >> 31;
                values[i] = (int)z * scale;
                if (i + 1 < values.Length) values[i + 1] = (int)(z >> 32) * scale;
            }
        }
    }
}
