namespace Foretoken.Training;

/// <summary>How far a model with eviction is from its dense teacher on one example, over its solution tokens, and what it saw.</summary>
/// <param name="Divergence">Σ KL in nats.</param>
/// <param name="Correct">Tokens that were the most probable ones.</param>
/// <param name="Tokens">Solution tokens.</param>
/// <param name="Rows">Tokens of prompt and solution.</param>
/// <param name="Visible">Keys seen, summed over rows, layers and KV heads.</param>
/// <param name="DenseVisible">Keys that dense attention would see.</param>
public readonly record struct EvictionResult(double Divergence, int Correct, int Tokens, int Rows, long Visible, long DenseVisible)
{
    /// <summary>Every solution token was the most probable one: greedy decoding writes exactly this solution.</summary>
    public bool Exact => Correct == Tokens;
}

/// <summary>Weights of a step's loss: Σ weight·(kl·KL + loss·cross-entropy) / Σ weight + budget·mean over sequences of max(0, target − evicted share).</summary>
public readonly record struct DistillationLoss(Divergence Divergence, float KlWeight, float LossWeight, float BudgetWeight, float PromptWeight);

/// <summary>One thread's passes of teacher and student over chunks of sequences.</summary>
internal sealed unsafe class DistillationWorker : IDisposable
{
    private readonly TransformerModel _student, _teacher;
    private readonly TransformerPass _studentPass, _teacherPass;
    private readonly EvictionPass _eviction;
    private readonly DistillationHead _head;
    private readonly Gemm _gemm = new();
    private readonly FloatBuffer _normedGradient; // [rows, hidden]
    private readonly RaggedBatch _batch = new();
    private readonly DistillationRow[] _rows;
    private readonly int _chunkRows;

    /// <summary>Buffers for chunks of <paramref name="chunkRows"/> rows; the teacher may be the student itself when its base is frozen.</summary>
    public DistillationWorker(TransformerModel student, TransformerModel teacher, EvictionSettings settings, int chunkRows)
    {
        (_student, _teacher, _chunkRows) = (student, teacher, chunkRows);
        _studentPass = new TransformerPass(student, chunkRows);
        _teacherPass = new TransformerPass(teacher, chunkRows);
        _eviction = new EvictionPass(student, settings, chunkRows);
        _head = new DistillationHead(student.Shape.HiddenSize, student.Shape.VocabularySize);
        _normedGradient = new FloatBuffer((long)chunkRows * student.Shape.HiddenSize);
        _rows = new DistillationRow[chunkRows];
    }

    /// <summary>What a shard needs to know of the step.</summary>
    public readonly record struct Step(
        DistillationLoss Loss, DecisionMode Mode, float ChannelFactor, double TargetShare, double? ReadPrice, ulong Seed, int Number, double TotalWeight, int Examples,
        bool TrainBase);

    /// <summary>
    /// Adds the gradients of the given members to <paramref name="gradients"/>; totals receives Σ weighted KL, Σ budget loss, Σ evicted share and
    /// Σ keys read. Returns the loss without the budget's part.
    /// </summary>
    public double Gradients(
        IReadOnlyList<TrainingExample> examples, IReadOnlyList<int> members, in Step step, float* gradients, Span<double> totals)
    {
        double loss = 0;
        Span<ulong> streams = stackalloc ulong[members.Count];
        for (int first = 0; first < members.Count;)
        {
            int next = Chunk(examples, members, first, step.Loss.PromptWeight, (float)(1 / step.TotalWeight), streams, step.Number);
            _teacherPass.Forward(_batch);
            _eviction.Begin(_batch, step.Mode, step.Seed, streams[..(next - first)], step.ChannelFactor);
            _eviction.Gradients = gradients;
            _studentPass.Forward(_batch, _eviction);
            if (step.Mode == DecisionMode.Relaxed)
            {
                if (step.ReadPrice is { } price) _eviction.Charge(price);
                else totals[1] += _eviction.Budget(_batch, step.TargetShare, step.Loss.BudgetWeight / step.Examples);
                for (int i = 0; i < _batch.Sequences; i++)
                {
                    totals[2] += _eviction.EvictedShare(_batch, i);
                    totals[3] += _eviction.VisibleKeys(_batch, i);
                }
            }
            RunHead(step.Loss, _normedGradient.Pointer, step.TrainBase ? gradients + _student.HeadOffset : null);
            _studentPass.Backward(_batch, _normedGradient.Pointer, step.TrainBase ? gradients : null, _eviction);
            ReadOnlySpan<float> weights = _batch.Weights;
            for (int row = 0; row < weights.Length; row++)
            {
                totals[0] += (double)weights[row] * _rows[row].Divergence;
                loss += (double)weights[row] * (step.Loss.KlWeight * _rows[row].Divergence + step.Loss.LossWeight * _rows[row].Loss);
            }
            first = next;
        }
        return loss;
    }

    /// <summary>Compares student and teacher on one example with hard decisions, with none in <see cref="DecisionMode.Off"/>, or under a policy.</summary>
    public EvictionResult Measure(TrainingExample example, DecisionMode mode, float channelFactor, KeyPolicy? policy = null)
    {
        if (policy is not null) policy.PromptLength = example.PromptLength;
        _eviction.Policy = policy;
        ReadOnlySpan<ulong> streams = [0];
        Chunk([example], [0], 0, 0, 1, new ulong[1], 0);
        _teacherPass.Forward(_batch);
        _eviction.Begin(_batch, mode, 0, streams, channelFactor);
        _studentPass.Forward(_batch, _eviction);
        RunHead(new DistillationLoss(Divergence.TeacherStudent, 1, 0, 0, 0), null, null);
        long visible = _eviction.VisibleKeys(_batch, 0);
        _eviction.Policy = null;
        double divergence = 0;
        int correct = 0, length = example.Tokens.Length;
        for (int row = example.PromptLength - 1; row < length - 1; row++)
        {
            divergence += _rows[row].Divergence;
            if (_rows[row].Correct) correct++;
        }
        return new EvictionResult(divergence, correct, example.SolutionLength, length, visible, EvictionPass.DenseReads(_student.Shape, length));
    }

    /// <summary>Keys that are read in one example with hard decisions; nothing else is computed.</summary>
    public long Reads(TrainingExample example, float channelFactor)
    {
        Chunk([example], [0], 0, 0, 1, new ulong[1], 0);
        _eviction.Begin(_batch, DecisionMode.Hard, 0, [0], channelFactor);
        _studentPass.Forward(_batch, _eviction);
        return _eviction.VisibleKeys(_batch, 0);
    }

    private void RunHead(DistillationLoss loss, float* dh, float* dw) => _head.Run(
        _gemm, _studentPass.Normed, _student.Values.Pointer + _student.HeadOffset, _teacherPass.Normed, _teacher.Values.Pointer + _teacher.HeadOffset,
        _batch.Targets, _batch.Weights, loss.Divergence, loss.KlWeight, loss.LossWeight, _rows, dh, dw);

    /// <summary>Fills the batch with the next members that fit; the noise of an example is named by the step and its place in the step's batch.</summary>
    private int Chunk(
        IReadOnlyList<TrainingExample> examples, IReadOnlyList<int> members, int first, float promptWeight, float scale, Span<ulong> streams, int step)
    {
        _batch.Clear();
        int next = first;
        for (; next < members.Count; next++)
        {
            if (!_batch.TryAdd(examples[members[next]], promptWeight, scale, _chunkRows)) break;
            streams[next - first] = ((ulong)step << 40) | ((ulong)members[next] << 20);
        }
        return next;
    }

    public void Dispose()
    {
        _studentPass.Dispose();
        _teacherPass.Dispose();
        _eviction.Dispose();
        _head.Dispose();
        _gemm.Dispose();
        _normedGradient.Dispose();
    }
}
