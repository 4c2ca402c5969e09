namespace Foretoken.Training.Drafters;

/// <summary>
/// A small model of the same vocabulary that learns the target's distribution on the target's own text: KL(target ‖ draft) at every answer token (Zhou et al., DistillSpec,
/// 2023).
/// </summary>
internal sealed unsafe class DistilledModel : DrafterModel
{
    private readonly TransformerModel _target, _draft;
    private readonly DistillSettings _settings;
    private readonly string _targetPath, _tokenizerDirectory;
    private readonly TeacherMemory? _memory;

    /// <summary>Starts from the weights at <paramref name="start"/>, or from new ones of <paramref name="shape"/>.</summary>
    public DistilledModel(string targetPath, string? start, TransformerShape? shape, DistillSettings settings, ulong seed)
    {
        (_targetPath, _settings) = (targetPath, settings);
        _target = ModelImport.Read(targetPath);
        _memory = settings.TeacherTokens > 0 ? new TeacherMemory(Math.Min(settings.TeacherTokens, _target.Shape.VocabularySize)) : null;
        _tokenizerDirectory = start ?? targetPath;
        if (start is not null)
        {
            _draft = ModelImport.Read(start);
        }
        else
        {
            _draft = new TransformerModel(shape!);
            _draft.Initialize(seed, new Initialization { QueryKeyGain = 1.35 });
        }

        if (_draft.Shape.VocabularySize != _target.Shape.VocabularySize)
        {
            throw new RecipeException($"{start ?? "model"}: the draft has a vocabulary of {_draft.Shape.VocabularySize} tokens and the target {targetPath} one of "
                + $"{_target.Shape.VocabularySize}; distillation compares token by token: use a draft with the target's tokenizer.");
        }
    }

    public override ParameterSet Parameters => _draft.Parameters;

    public override FloatBuffer Values => _draft.Values;

    public override DrafterPass CreatePass(int maxRows) => new Pass(this, maxRows);

    public override void Export(string directory) => ModelExport.Write(_draft, _tokenizerDirectory, directory, end: DrafterExport.EndToken(_targetPath));

    /// <summary>Its weights come with the constructor.</summary>
    public override void Load(string directory)
    {
    }

    public override void Dispose()
    {
        _draft.Dispose();
        _target.Dispose();
    }

    private sealed class Pass : DrafterPass
    {
        private readonly DistilledModel _model;
        private readonly TransformerPass _draft;
        private readonly SoftCrossEntropyHead _head;
        private readonly Gemm _gemm = new();
        private readonly FloatBuffer _teacher;                 // [roots, vocabulary]
        private readonly FloatBuffer _targetRows;              // [roots, target hidden]
        private readonly FloatBuffer _compact, _compactGradient; // [roots, hidden]
        private readonly FloatBuffer _normedGradient;          // [rows, hidden]
        private readonly float[] _weights, _losses;
        private readonly int[] _best;

        public Pass(DistilledModel model, int maxRows)
            : base(model._target, maxRows, model._settings.MeasuredDepth)
        {
            _model = model;
            int hidden = model._draft.Shape.HiddenSize, vocabulary = model._draft.Shape.VocabularySize;
            _draft = new TransformerPass(model._draft, maxRows);
            _head = new SoftCrossEntropyHead(hidden, vocabulary);
            _teacher = new FloatBuffer((long)maxRows * vocabulary);
            _targetRows = new FloatBuffer((long)maxRows * model._target.Shape.HiddenSize);
            long size = (long)maxRows * hidden;
            (_compact, _compactGradient, _normedGradient) = (new FloatBuffer(size), new FloatBuffer(size), new FloatBuffer(size));
            (_weights, _losses, _best) = (new float[maxRows], new float[maxRows], new int[maxRows]);
        }

        protected override bool NeedsTarget => _model._memory?.Knows(Examples) != true;

        protected override double RunDrafter(float scale, float* gradients)
        {
            int roots = Rows.Count, hidden = _model._draft.Shape.HiddenSize, vocabulary = _model._draft.Shape.VocabularySize;
            if (NeedsTarget) Teach(_gemm, _model._target.Values.Pointer + _model._target.HeadOffset, vocabulary, _targetRows.Pointer, _teacher.Pointer);
            Remember(vocabulary);
            Sharpen(roots, vocabulary);
            _draft.Forward(Rows.Batch);
            Gather(_draft.Normed, hidden, ahead: 1, _compact.Pointer);
            _weights.AsSpan(0, roots).Fill(scale);
            bool train = gradients != null;
            long head = _model._draft.HeadOffset;
            _head.Run(_gemm, _compact.Pointer, _model.Values.Pointer + head, _teacher.Pointer, _weights.AsSpan(0, roots), _losses, _best,
                train ? _compactGradient.Pointer : null, train ? gradients + head : null);
            double loss = 0;
            for (int root = 0; root < roots; root++) loss += (double)scale * _losses[root];
            Compare();
            if (!train) return loss;
            _normedGradient.Clear();
            foreach (RootSpan span in Rows.Spans)
            {
                new Span<float>(_compactGradient.Pointer + (long)span.FirstRoot * hidden, span.Count * hidden)
                    .CopyTo(new Span<float>(_normedGradient.Pointer + (long)(span.Start + span.FirstPosition + 1) * hidden, span.Count * hidden));
            }

            _draft.Backward(Rows.Batch, _normedGradient.Pointer, gradients);
            return loss;
        }

        /// <summary>Keeps what the target says of answers that are new, and takes all from memory, so that new and known ones teach the same.</summary>
        private void Remember(int vocabulary)
        {
            if (_model._memory is not { } memory) return;
            bool isNew = NeedsTarget;
            for (int i = 0; i < Examples.Count; i++)
            {
                RootSpan span = Rows.Spans[i];
                float* rows = _teacher.Pointer + (long)span.FirstRoot * vocabulary;
                if (isNew) memory.Keep(Examples[i], rows, span.Count, vocabulary);
                memory.Recall(Examples[i], rows, span.Count, vocabulary);
            }
        }

        /// <summary>Mixes the token that the text has into the teacher: teacher ← (1 − w)·teacher + w·onehot.</summary>
        private void Sharpen(int roots, int vocabulary)
        {
            float hard = (float)_model._settings.HardWeight;
            if (hard == 0) return;
            RowMath.Scale(_teacher.Pointer, 1 - hard, (long)roots * vocabulary);
            foreach (RootSpan span in Rows.Spans)
                for (int i = 0; i < span.Count; i++) _teacher.Pointer[(long)(span.FirstRoot + i) * vocabulary + Rows.Wanted(span, i, 0)] += hard;
        }

        /// <summary>A draft model has read the known tokens itself: draft d of root i is its guess at root i + d.</summary>
        private void Compare()
        {
            foreach (RootSpan span in Rows.Spans)
            {
                for (int i = 0; i < span.Count; i++)
                {
                    for (int d = 0; d < Depth && i + d < span.Count; d++)
                        Hits[(span.FirstRoot + i) * Depth + d] = _best[span.FirstRoot + i + d] == Rows.Wanted(span, i, d);
                }
            }
        }

        public override void Dispose()
        {
            base.Dispose();
            _draft.Dispose();
            _head.Dispose();
            _gemm.Dispose();
            foreach (FloatBuffer buffer in (FloatBuffer[])[_teacher, _targetRows, _compact, _compactGradient, _normedGradient]) buffer.Dispose();
        }
    }
}
