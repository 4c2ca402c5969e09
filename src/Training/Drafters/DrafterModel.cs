namespace Foretoken.Training.Drafters;

/// <summary>A drafter in training: its parameters, how loss and gradients are computed, and how it is written. One class per kind.</summary>
internal abstract class DrafterModel : ITrainable, IDisposable
{
    /// <summary>What is trained.</summary>
    public abstract ParameterSet Parameters { get; }

    /// <summary>Its values.</summary>
    public abstract FloatBuffer Values { get; }

    /// <summary>Parameters of the drafter alone, without a target that is trained along.</summary>
    public virtual long ElementCount => Parameters.ElementCount;

    /// <summary>Factors on the learning rate by parameter; 1 for those not named, 0 for those that stay as they are.</summary>
    public virtual double RateFactor(Parameter parameter, int step) => 1;

    /// <summary>Buffers of one thread for chunks of up to <paramref name="maxRows"/> rows.</summary>
    public abstract DrafterPass CreatePass(int maxRows);

    /// <summary>Writes the drafter in its published layout.</summary>
    public abstract void Export(string directory);

    /// <summary>Takes over the weights of a drafter that was exported.</summary>
    public abstract void Load(string directory);

    /// <summary>Called before held-out answers are measured, for what a drafter counts by itself.</summary>
    public virtual void BeginMeasure()
    {
    }

    public virtual void Dispose() => Values.Dispose();
}

/// <summary>Forward and backward pass of a drafter over some answers of the target, on one thread.</summary>
internal abstract unsafe class DrafterPass : IDisposable
{
    private readonly TransformerModel _target;

    /// <summary>A pass that runs the target too, over up to <paramref name="maxRows"/> rows; drafts up to <paramref name="depth"/> tokens.</summary>
    protected DrafterPass(TransformerModel target, int maxRows, int depth)
    {
        _target = target;
        Target = new TransformerPass(target, maxRows);
        (MaxRows, Depth) = (maxRows, depth);
        Hits = new bool[(long)maxRows * depth];
    }

    /// <summary>Most rows of a chunk.</summary>
    public int MaxRows { get; }

    /// <summary>Drafts of a round.</summary>
    public int Depth { get; }

    /// <summary>The rows of the last chunk.</summary>
    public RootRows Rows { get; } = new();

    /// <summary>After <see cref="Run"/>: the draft of a depth is right if those before it are. // [roots, depth]</summary>
    protected bool[] Hits { get; }

    /// <summary>The answers of the last chunk.</summary>
    protected IReadOnlyList<TrainingExample> Examples { get; private set; } = [];

    /// <summary>Whether the target has to run over the chunk at hand.</summary>
    protected virtual bool NeedsTarget => true;

    /// <summary>The target's own pass.</summary>
    protected TransformerPass Target { get; }

    /// <summary>
    /// Loss of the chunk, Σ over its roots times <paramref name="scale"/>; gradients are added to <paramref name="gradients"/>, null: measure only.
    /// </summary>
    public double Run(IReadOnlyList<TrainingExample> examples, float scale, float* gradients)
    {
        Rows.Fill(examples);
        Array.Clear(Hits, 0, Rows.Count * Depth);
        Examples = examples;
        if (NeedsTarget) Target.Forward(Rows.Batch);
        return Rows.Count == 0 ? 0 : RunDrafter(scale, gradients);
    }

    /// <summary>The hits of one answer of the last chunk. // [its roots, depth]</summary>
    public ReadOnlySpan<bool> HitsOf(int example)
    {
        RootSpan span = Rows.Spans[example];
        return Hits.AsSpan(span.FirstRoot * Depth, span.Count * Depth);
    }

    /// <summary>The drafter's part: the target has run.</summary>
    protected abstract double RunDrafter(float scale, float* gradients);

    /// <summary>
    /// Copies rows of a [rows, width] buffer of the batch to compact[roots, width], <paramref name="ahead"/> rows behind each root's row.
    /// </summary>
    protected void Gather(float* source, int width, int ahead, float* compact)
    {
        foreach (RootSpan span in Rows.Spans)
        {
            float* from = source + (long)(span.Start + span.FirstPosition + ahead) * width;
            new Span<float>(from, span.Count * width).CopyTo(new Span<float>(compact + (long)span.FirstRoot * width, span.Count * width));
        }
    }

    /// <summary>
    /// The target's distributions of the tokens behind the roots' next ones, over the tokens of head[vocabulary, hidden]: probabilities[roots, vocabulary], whose row
    /// i + d belongs to draft d of root i of the same answer. normed[roots, hidden] is scratch.
    /// </summary>
    protected void Teach(Gemm gemm, float* head, int vocabulary, float* normed, float* probabilities)
    {
        int hidden = _target.Shape.HiddenSize;
        Gather(Target.Normed, hidden, ahead: 1, normed);
        gemm.Forward(normed, head, probabilities, Rows.Count, hidden, vocabulary);
        for (int row = 0; row < Rows.Count; row++) SoftCrossEntropyHead.Softmax(probabilities + (long)row * vocabulary, vocabulary);
    }

    public virtual void Dispose() => Target.Dispose();
}
