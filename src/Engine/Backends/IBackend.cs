using Foretoken.Memory;

namespace Foretoken.Backends;

/// <summary>
/// A device that holds weights and activations and runs the fused operations of a pass. The forward pass is written once over it
/// (<see cref="Models.Transformer"/>). A backend guarantees row invariance: the result of a row has the same bits whatever other rows share the pass.
/// Life: <see cref="Prepare"/> once, then Load*, then passes. Within a pass the order is that of the members below. Not thread-safe.
/// </summary>
public interface IBackend : IDisposable
{
    /// <summary>A short name for reports, for example <c>cpu-avx512</c>.</summary>
    string Name { get; }

    /// <summary>Bytes of memory that weights and buffers share with whatever else runs there.</summary>
    long MemoryBytes => MemoryBudget.MachineBytes;

    /// <summary>Whether passes may leave out sublayers whose rows are then cut off the cache again (<see cref="Models.LayerSkips"/>).</summary>
    bool SkipsSublayers => true;

    /// <summary>Whether rows make the eviction decisions of <see cref="LayerWeights.Decision"/>; without it a layer must have none.</summary>
    bool MakesDecisions => false;

    /// <summary>Whether logits lie in host memory anyway, so that reading those of every row costs nothing more.</summary>
    bool LogitsOnHost => true;

    /// <summary>Whether hidden states can be read within a pass (<see cref="ReadHidden"/>).</summary>
    bool GivesHidden => false;

    /// <summary>Where a cache for this backend keeps keys and values; null = in host memory. From <see cref="Prepare"/> on, for one cache.</summary>
    IKvStore? KvStore => null;

    /// <summary>Bytes that a KV cache may take when nobody sets a budget; asked once the weights are loaded.</summary>
    long KvMemoryBytes => GC.GetGCMemoryInfo().TotalAvailableMemoryBytes / 4;

    /// <summary>Fixes the shapes and allocates every activation buffer; nothing grows afterwards.</summary>
    /// <param name="shape">Sizes of the model.</param>
    /// <param name="maxRows">Most rows of one pass.</param>
    /// <param name="maxLogitRows">Most rows of one pass that ask for logits.</param>
    /// <param name="plan">Receives one entry per buffer (activations here, weights as they are loaded).</param>
    void Prepare(TransformerShape shape, int maxRows, int maxLogitRows, MemoryPlan plan);

    /// <summary>The type in which the backend holds a matrix that comes as <paramref name="type"/>, where nobody asks for another.</summary>
    WeightType Holds(WeightType type) => type;

    /// <summary>
    /// Announces a matrix, so that a backend can hold all weights in one allocation. After <see cref="Prepare"/>, every weight before the first is loaded;
    /// whoever loads single weights need not announce them.
    /// </summary>
    void PlanMatrix(WeightType type, int outFeatures, int inFeatures)
    {
    }

    /// <summary>Announces a vector; see <see cref="PlanMatrix"/>.</summary>
    void PlanVector(int elements)
    {
    }

    /// <summary>
    /// From now on weights are loaded by the calling thread alone: another backend may compute meanwhile on the threads that this one shares. Nothing changes for passes.
    /// </summary>
    void LoadAlone()
    {
    }

    /// <summary>Packs matrices, stacked along output features, into one weight of the backend's own layout.</summary>
    TensorHandle LoadMatrix(string name, WeightType type, ReadOnlySpan<IRowSource> parts);

    /// <summary>Whether <see cref="Stack"/> is offered.</summary>
    bool StacksTypes => false;

    /// <summary>Makes one weight of matrices of different types, stacked along output features (q, k and v of mixed files).</summary>
    /// <exception cref="NotSupportedException">The backend stacks only what <see cref="LoadMatrix"/> packs in one type.</exception>
    TensorHandle Stack(string name, ReadOnlySpan<TensorHandle> matrices) =>
        throw new NotSupportedException($"{Name} holds {name} in one type only: load the model with a weight type such as int8.");

    /// <summary>Loads a vector of f32 (norm gains, biases).</summary>
    TensorHandle LoadVector(string name, ReadOnlySpan<float> values);

    /// <summary>Starts a pass over <paramref name="rows"/>, whose keys and values go to the slack slots that <paramref name="kv"/> assigned them.</summary>
    void BeginPass(RowBatch rows, KvView kv);

    /// <summary>hidden[r] = table[token[r]]. // [rows, hidden]</summary>
    void Embed(TensorHandle table);

    /// <summary>RMSNorm of hidden, q/k/v projections, biases, q/k norms, RoPE at each row's position, eviction decisions where the cache asks for the model's.</summary>
    void NormQkvRope(int layer, LayerWeights weights);

    /// <summary>Stores the rows' keys and values in their slots and attends: each row sees the committed keys of its sequence, its ancestors in the pass and itself.</summary>
    void Attend(int layer, LayerWeights weights);

    /// <summary>hidden += attention · Outputᵀ (+ bias).</summary>
    void OutResidual(int layer, LayerWeights weights);

    /// <summary>hidden += Down · (silu(gate) ⊙ up) of the normalised hidden.</summary>
    void Mlp(int layer, LayerWeights weights);

    /// <summary>Copies the residual stream of all rows as it is now, between two layers.</summary>
    /// <param name="destination">Filled when <see cref="Logits"/> returns. // [rows, hidden]</param>
    /// <exception cref="NotSupportedException">The backend keeps it where the host cannot read it (<see cref="GivesHidden"/>).</exception>
    void ReadHidden(Memory<float> destination) => throw new NotSupportedException($"{Name} does not give its hidden states.");

    /// <summary>Writes the RMSNorm of the residual stream of all rows.</summary>
    /// <param name="norm">Its gain. // [hidden]</param>
    /// <param name="destination">Filled when <see cref="Logits"/> returns. // [rows, hidden]</param>
    /// <exception cref="NotSupportedException">See <see cref="ReadHidden"/>.</exception>
    void ReadNormed(TensorHandle norm, Memory<float> destination) => throw new NotSupportedException($"{Name} does not give its hidden states.");

    /// <summary>A loaded matrix as the backend holds it, for another backend that needs a copy. To be disposed where it is <see cref="IDisposable"/>.</summary>
    /// <param name="matrix">From <see cref="LoadMatrix"/>.</param>
    /// <param name="type">The type in which it is held.</param>
    /// <exception cref="NotSupportedException">The backend does not read weights back.</exception>
    IRowSource RowsOf(TensorHandle matrix, out WeightType type) => throw new NotSupportedException($"{Name} does not read weights back.");

    /// <summary>Final norm and head for the rows that asked for logits. // [logitRows, vocab]</summary>
    void Logits(TensorHandle finalNorm, TensorHandle head);

    /// <summary>The logits of the <paramref name="index"/>-th asked row of the last pass; valid until the next pass; may be modified by the sampler. // [vocab]</summary>
    Span<float> LogitsOf(int index);

    /// <summary>The token that the device sampled from the <paramref name="index"/>-th asked row of the last pass.</summary>
    /// <param name="index">Index of the asked row.</param>
    /// <param name="token">The token; −1 where the logits are no distribution.</param>
    /// <param name="logProb">Its natural log-probability under the model's own distribution, if it was asked for; else 0.</param>
    /// <returns>False: the device did not sample the row; the host does, from <see cref="LogitsOf"/>.</returns>
    bool TryGetSample(int index, out int token, out float logProb)
    {
        (token, logProb) = (-1, 0f);
        return false;
    }
}
