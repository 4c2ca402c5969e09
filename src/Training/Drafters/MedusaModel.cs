using System.Globalization;

namespace Foretoken.Training.Drafters;

/// <summary>
/// Medusa's heads (Cai et al., 2024): head i maps the target's final normed row through blocks x + silu(Wx + b) and an output matrix of its own to the token i + 2 behind
/// the row. Medusa-1 leaves the target as it is; Medusa-2 trains it along, by its own loss plus 0.2 times that of the heads.
/// </summary>
internal sealed unsafe class MedusaModel : DrafterModel
{
    private const int Ranks = 10; // of the published trees
    private readonly MedusaSettings _settings;
    private readonly string _targetPath;
    private readonly TransformerModel _target; // Medusa-2: holds the heads' parameters too
    private readonly ParameterSet? _ownParameters;
    private readonly FloatBuffer? _ownValues;
    private readonly long[,] _blocks, _biases; // [heads, layers] offsets
    private readonly long[] _outputs;          // [heads]
    private long[,] _rankHits = new long[0, 0]; // [heads, ranks]
    private long[] _rankTried = new long[1];    // [heads]

    /// <summary>Heads that say what the target's own head says: blocks zero, output matrices copied.</summary>
    public MedusaModel(string targetPath, MedusaSettings settings)
    {
        (_targetPath, _settings) = (targetPath, settings);
        (_blocks, _biases) = (new long[settings.NumHeads, settings.NumLayers], new long[settings.NumHeads, settings.NumLayers]);
        _outputs = new long[settings.NumHeads];
        if (settings.Joint)
        {
            _target = ModelImport.Read(targetPath, parameters =>
            {
                Parameter embedding = parameters["model.embed_tokens.weight"];
                AddHeads(parameters, embedding.Columns, embedding.Rows);
            });
        }
        else
        {
            _target = ModelImport.Read(targetPath);
            _ownParameters = new ParameterSet();
            AddHeads(_ownParameters, _target.Shape.HiddenSize, _target.Shape.VocabularySize);
            _ownValues = new FloatBuffer(_ownParameters.Count);
        }

        long count = (long)_target.Shape.VocabularySize * _target.Shape.HiddenSize;
        foreach (long output in _outputs) Buffer.MemoryCopy(_target.Values.Pointer + _target.HeadOffset, Values.Pointer + output, count * 4, count * 4);

        void AddHeads(ParameterSet parameters, int hidden, int vocabulary)
        {
            for (int i = 0; i < settings.NumHeads; i++)
            {
                for (int j = 0; j < settings.NumLayers; j++)
                {
                    _blocks[i, j] = parameters.Add(ParameterKind.Matrix, hidden, (Name(i, j, "linear.weight"), hidden));
                    _biases[i, j] = parameters.AddVectors(ParameterKind.Bias, (Name(i, j, "linear.bias"), hidden));
                }

                _outputs[i] = parameters.Add(ParameterKind.Head, hidden, (Name(i, settings.NumLayers, "weight"), vocabulary));
            }
        }
    }

    public override ParameterSet Parameters => _ownParameters ?? _target.Parameters;

    public override FloatBuffer Values => _ownValues ?? _target.Values;

    public override long ElementCount => Parameters.Parameters.Where(IsHead).Sum(p => p.Count);

    /// <summary>Medusa-2 begins with the heads alone; afterwards they learn faster than the target.</summary>
    public override double RateFactor(Parameter parameter, int step)
    {
        if (!_settings.Joint) return 1;
        if (IsHead(parameter)) return 1;
        return step <= _settings.HeadsOnlySteps ? 0 : _settings.TargetRate;
    }

    public override DrafterPass CreatePass(int maxRows) => new Pass(this, maxRows);

    /// <summary>Writes the published layout (config.json, medusa_lm_head.safetensors); Medusa-2 also the target's own directory around it.</summary>
    public override void Export(string directory)
    {
        if (_settings.Joint) ModelExport.Write(_target, _targetPath, directory, p => !IsHead(p));
        string heads = _settings.Joint ? Path.Combine(directory, "medusa") : directory;
        DrafterExport.WriteMedusa(this, Parameters.Parameters.Where(IsHead), heads, _settings, _target.Shape, Path.GetFileName(Path.TrimEndingDirectorySeparator(_targetPath)), RankAccuracies());
    }

    public override void Dispose()
    {
        _ownValues?.Dispose();
        _target.Dispose();
    }

    public override void Load(string directory) =>
        DrafterExport.ReadInto(this, Parameters.Parameters.Where(IsHead), Path.Combine(directory, "medusa_lm_head.safetensors"));

    public override void BeginMeasure() => (_rankHits, _rankTried) = (new long[_settings.NumHeads, Ranks], new long[_settings.NumHeads]);

    /// <summary>How often the candidate of each rank was right when last measured. // [heads][ranks]</summary>
    private double[][]? RankAccuracies() => _rankTried[0] == 0
        ? null
        : [.. Enumerable.Range(0, _settings.NumHeads).Select(h => (double[])[.. Enumerable.Range(0, Ranks).Select(r => _rankHits[h, r] / (double)Math.Max(1, _rankTried[h]))])];

    private static bool IsHead(Parameter p) => char.IsAsciiDigit(p.Name[0]);

    private static string Name(int head, int layer, string rest) => string.Create(CultureInfo.InvariantCulture, $"{head}.{layer}.{rest}");

    private sealed class Pass : DrafterPass
    {
        private readonly MedusaModel _model;
        private const int RankRows = 64;
        private readonly CrossEntropyHead _head;
        private readonly Gemm _gemm = new();
        private readonly FloatBuffer _logits; // [64, vocabulary]
        private readonly FloatBuffer[] _x; // [layers + 1][roots, hidden]
        private readonly FloatBuffer[] _z; // [layers][roots, hidden]
        private readonly FloatBuffer _gradient, _inputGradient; // [roots, hidden]
        private readonly FloatBuffer _normedGradient;           // [rows, hidden], Medusa-2
        private readonly int[] _targets;
        private readonly float[] _weights, _losses;
        private readonly bool[] _correct, _known; // known: the answer has a token at that depth

        public Pass(MedusaModel model, int maxRows)
            : base(model._target, maxRows, model._settings.NumHeads)
        {
            _model = model;
            long size = (long)maxRows * model._target.Shape.HiddenSize;
            _head = new CrossEntropyHead(model._target.Shape.HiddenSize, model._target.Shape.VocabularySize);
            _logits = new FloatBuffer((long)RankRows * model._target.Shape.VocabularySize);
            _x = [.. Enumerable.Range(0, model._settings.NumLayers + 1).Select(_ => new FloatBuffer(size))];
            _z = [.. Enumerable.Range(0, model._settings.NumLayers).Select(_ => new FloatBuffer(size))];
            (_gradient, _inputGradient, _normedGradient) = (new FloatBuffer(size), new FloatBuffer(size), new FloatBuffer(model._settings.Joint ? size : 0));
            (_targets, _weights, _losses, _correct, _known) = (new int[maxRows], new float[maxRows], new float[maxRows], new bool[maxRows], new bool[maxRows]);
        }

        protected override double RunDrafter(float scale, float* gradients)
        {
            int hidden = _model._target.Shape.HiddenSize;
            bool joint = _model._settings.Joint;
            float share = scale * (joint ? (float)_model._settings.HeadsWeight : 1f);
            Gather(Target.Normed, hidden, ahead: 0, _x[0].Pointer);
            if (joint) _inputGradient.Clear();
            double loss = 0;
            for (int head = 0; head < Depth; head++)
                loss += RunHead(head, share * MathF.Pow((float)_model._settings.Decay, head), gradients);
            if (!joint) return loss;
            return loss + RunTarget(scale, gradients);
        }

        private double RunHead(int head, float weight, float* gradients)
        {
            int rows = Rows.Count, hidden = _model._target.Shape.HiddenSize, layers = _z.Length;
            float* values = _model.Values.Pointer;
            foreach (RootSpan span in Rows.Spans)
            {
                for (int i = 0; i < span.Count; i++)
                {
                    int wanted = Rows.Wanted(span, i, head), root = span.FirstRoot + i;
                    (_targets[root], _known[root], _weights[root]) = (Math.Max(wanted, 0), wanted >= 0, wanted < 0 ? 0f : weight);
                }
            }

            for (int j = 0; j < layers; j++)
                ResidualSilu.Forward(_gemm, _x[j].Pointer, values + _model._blocks[head, j], values + _model._biases[head, j], _z[j].Pointer, _x[j + 1].Pointer, rows, hidden);
            long output = _model._outputs[head];
            bool train = gradients != null;
            _head.Run(_gemm, _x[layers].Pointer, values + output, _targets.AsSpan(0, rows), _weights.AsSpan(0, rows), _losses, _correct,
                train ? _gradient.Pointer : null, train ? gradients + output : null);
            double loss = 0;
            for (int row = 0; row < rows; row++)
            {
                loss += (double)_weights[row] * _losses[row];
                Hits[row * Depth + head] = _known[row] && _correct[row];
            }

            if (!train)
            {
                CountRanks(head);
                return loss;
            }

            for (int j = layers - 1; j >= 0; j--)
            {
                ResidualSilu.Backward(_gemm, _gradient.Pointer, _x[j].Pointer, _z[j].Pointer, values + _model._blocks[head, j], _gradient.Pointer,
                    gradients + _model._blocks[head, j], gradients + _model._biases[head, j], rows, hidden);
            }

            if (_model._settings.Joint) RowMath.Add(_inputGradient.Pointer, _gradient.Pointer, (long)rows * hidden);
            return loss;
        }

        /// <summary>The rank of the right token among the head's candidates, at every root.</summary>
        private void CountRanks(int head)
        {
            int hidden = _model._target.Shape.HiddenSize, vocabulary = _model._target.Shape.VocabularySize;
            var hits = new long[Ranks];
            long tried = 0;
            for (int first = 0; first < Rows.Count; first += RankRows)
            {
                int count = Math.Min(RankRows, Rows.Count - first);
                _gemm.Forward(_x[^1].Pointer + (long)first * hidden, _model.Values.Pointer + _model._outputs[head], _logits.Pointer, count, hidden, vocabulary);
                for (int row = 0; row < count; row++)
                {
                    if (!_known[first + row]) continue;
                    ReadOnlySpan<float> logits = new(_logits.Pointer + (long)row * vocabulary, vocabulary);
                    float wanted = logits[_targets[first + row]];
                    int rank = 0;
                    foreach (float logit in logits) rank += logit > wanted ? 1 : 0;
                    if (rank < Ranks) hits[rank]++;
                    tried++;
                }
            }

            lock (_model._outputs)
            {
                _model._rankTried[head] += tried;
                for (int r = 0; r < Ranks; r++) _model._rankHits[head, r] += hits[r];
            }
        }

        /// <summary>Medusa-2: the target's own loss of every answer token, and back through it together with what the heads ask of its rows.</summary>
        private double RunTarget(float scale, float* gradients)
        {
            int rows = 0, hidden = _model._target.Shape.HiddenSize;
            float* compact = _x[1].Pointer, normed = Target.Normed, demand = _normedGradient.Pointer;
            foreach (RootSpan span in Rows.Spans)
            {
                for (int row = span.Start + span.FirstPosition; row <= span.Start + span.FirstPosition + span.Count; row++, rows++)
                {
                    new Span<float>(normed + (long)row * hidden, hidden).CopyTo(new Span<float>(compact + (long)rows * hidden, hidden));
                    (_targets[rows], _weights[rows]) = (Rows.Batch.Tokens[row + 1], scale);
                }
            }

            bool train = gradients != null;
            long output = _model._target.HeadOffset;
            _head.Run(_gemm, compact, _model.Values.Pointer + output, _targets.AsSpan(0, rows), _weights.AsSpan(0, rows), _losses, _correct,
                train ? _gradient.Pointer : null, train ? gradients + output : null);
            double loss = 0;
            for (int row = 0; row < rows; row++) loss += (double)scale * _losses[row];
            if (!train) return loss;
            _normedGradient.Clear();
            float* own = _gradient.Pointer;
            foreach (RootSpan span in Rows.Spans)
            {
                float* first = demand + (long)(span.Start + span.FirstPosition) * hidden;
                RowMath.Add(first, own, (long)(span.Count + 1) * hidden);
                RowMath.Add(first, _inputGradient.Pointer + (long)span.FirstRoot * hidden, (long)span.Count * hidden);
                own += (long)(span.Count + 1) * hidden;
            }

            Target.Backward(Rows.Batch, demand, gradients);
            return loss;
        }

        public override void Dispose()
        {
            base.Dispose();
            _head.Dispose();
            _gemm.Dispose();
            foreach (FloatBuffer buffer in (FloatBuffer[])[.. _x, .. _z, _gradient, _inputGradient, _normedGradient, _logits]) buffer.Dispose();
        }
    }
}
