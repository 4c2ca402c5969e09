using Foretoken.Formats;

namespace Foretoken.Training.Drafters;

/// <summary>
/// EAGLE-3 (Li et al., 2025): fc maps three taps of the target to one feature; one decoder layer over [norm(embedding of the next token); norm(feature)] gives the next
/// feature, which is fed back before its final norm, and through norm and head the token after next. Embeddings are the target's. Trained with training-time test: several
/// steps, each on the features that the step before made.
/// </summary>
internal sealed unsafe class EagleModel : DrafterModel
{
    private readonly string _targetPath;
    private readonly FloatBuffer _teacherHead; // [draft vocabulary, hidden], the target's rows of the draft vocabulary

    /// <summary>A new head: small random layer, feature map that begins as the mean of the taps, output matrix and final norm of the target.</summary>
    /// <param name="targetPath">Directory or file of the target.</param>
    /// <param name="settings">Sizes; checked by the recipe.</param>
    /// <param name="vocabulary">The draft vocabulary: target tokens, rising.</param>
    /// <param name="seed">Names the initial values.</param>
    public EagleModel(string targetPath, EagleSettings settings, IReadOnlyList<int> vocabulary, ulong seed)
    {
        (_targetPath, Settings, Vocabulary) = (targetPath, settings, [.. vocabulary]);
        Target = ModelImport.Read(targetPath);
        TransformerShape s = Target.Shape;
        Shape = s with { Layers = 1, IntermediateSize = settings.IntermediateSize > 0 ? settings.IntermediateSize : s.IntermediateSize, QueryKeyNorm = false, QkvBias = false };
        int hidden = s.HiddenSize;
        Feature = Parameters.Add(ParameterKind.Matrix, 3 * hidden, ("fc.weight", hidden));
        HiddenGain = Parameters.AddVectors(ParameterKind.Gain, ("midlayer.hidden_norm.weight", hidden));
        InputGain = Parameters.AddVectors(ParameterKind.Gain, ("midlayer.input_layernorm.weight", hidden));
        Qkv = Parameters.Add(ParameterKind.Matrix, 2 * hidden, ("midlayer.self_attn.q_proj.weight", Shape.QueryWidth),
            ("midlayer.self_attn.k_proj.weight", Shape.KeyValueWidth), ("midlayer.self_attn.v_proj.weight", Shape.KeyValueWidth));
        Output = Parameters.Add(ParameterKind.ResidualMatrix, Shape.QueryWidth, ("midlayer.self_attn.o_proj.weight", hidden));
        MiddleGain = Parameters.AddVectors(ParameterKind.Gain, ("midlayer.post_attention_layernorm.weight", hidden));
        GateUp = Parameters.Add(ParameterKind.Matrix, hidden, ("midlayer.mlp.gate_proj.weight", Shape.IntermediateSize), ("midlayer.mlp.up_proj.weight", Shape.IntermediateSize));
        Down = Parameters.Add(ParameterKind.ResidualMatrix, Shape.IntermediateSize, ("midlayer.mlp.down_proj.weight", hidden));
        FinalGain = Parameters.AddVectors(ParameterKind.Gain, ("norm.weight", hidden));
        Head = Parameters.Add(ParameterKind.Head, hidden, ("lm_head.weight", Vocabulary.Length));
        Values = new FloatBuffer(Parameters.Count);
        _teacherHead = new FloatBuffer((long)Vocabulary.Length * hidden);
        for (int row = 0; row < Vocabulary.Length; row++)
            new Span<float>(Target.Values.Pointer + Target.HeadOffset + (long)Vocabulary[row] * hidden, hidden).CopyTo(new Span<float>(_teacherHead.Pointer + (long)row * hidden, hidden));
        Initialize(seed);
    }

    public override ParameterSet Parameters { get; } = new();

    public override FloatBuffer Values { get; }

    /// <summary>The frozen target.</summary>
    public TransformerModel Target { get; }

    /// <summary>Sizes of the layer; its input is twice as wide as its output.</summary>
    public TransformerShape Shape { get; }

    public EagleSettings Settings { get; }

    /// <summary>Target tokens of the draft vocabulary, rising.</summary>
    public int[] Vocabulary { get; }

    internal long Feature { get; }
    internal long HiddenGain { get; }
    internal long InputGain { get; }
    internal long Qkv { get; }
    internal long Output { get; }
    internal long MiddleGain { get; }
    internal long GateUp { get; }
    internal long Down { get; }
    internal long FinalGain { get; }
    internal long Head { get; }
    internal float* TeacherHead => _teacherHead.Pointer;

    public override DrafterPass CreatePass(int maxRows) => new EaglePass(this, maxRows);

    public override void Export(string directory) => DrafterExport.WriteEagle(this, directory, Path.GetFileName(Path.TrimEndingDirectorySeparator(_targetPath)));

    public override void Load(string directory) => DrafterExport.ReadInto(this, Parameters.Parameters, Path.Combine(directory, SafetensorsModel.SingleName));

    public override void Dispose()
    {
        Values.Dispose();
        Target.Dispose();
        _teacherHead.Dispose();
    }

    private void Initialize(ulong seed)
    {
        for (int index = 0; index < Parameters.Parameters.Count; index++)
        {
            Parameter p = Parameters.Parameters[index];
            var random = new Numerics.SeededRandom(seed, (ulong)index);
            float* values = Values.Pointer + p.Offset;
            double deviation = p.Kind switch
            {
                ParameterKind.Matrix => 1 / Math.Sqrt(p.Columns),
                ParameterKind.ResidualMatrix => 0.3 / Math.Sqrt(p.Columns),
                _ => 0,
            };
            for (long i = 0; i < p.Count; i++) values[i] = deviation > 0 ? (float)(deviation * random.NextGaussian()) : 1f;
        }

        int hidden = Target.Shape.HiddenSize;
        new Span<float>(_teacherHead.Pointer, Vocabulary.Length * hidden).CopyTo(new Span<float>(Values.Pointer + Head, Vocabulary.Length * hidden));
        new Span<float>(Target.Values.Pointer + Target.FinalGainOffset, hidden).CopyTo(new Span<float>(Values.Pointer + FinalGain, hidden));
        for (int row = 0; row < hidden; row++)
        {
            // Beside small noise the highest tap passes through: it is the nearest to what the head was made for.
            float* weights = Values.Pointer + Feature + (long)row * 3 * hidden;
            RowMath.Scale(weights, 0.1f, 3 * hidden);
            weights[2 * hidden + row] += 1f;
        }
    }
}
