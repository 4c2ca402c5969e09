using Foretoken.Backends;
using Foretoken.Memory;

namespace Foretoken.Speculation.Trained;

/// <summary>
/// Takes the tensors of a trained drafter by name, twice in the same order: with a plan it checks that they are there in the right shape, by their files' headers,
/// and counts them; without one it reads them into the backend.
/// </summary>
internal sealed class HeadLoader(IFeatureBackend backend, DraftWeights weights, WeightType type, MemoryPlan? plan, CancellationToken cancellation)
{
    /// <summary>Nothing is read: tensors are checked and counted.</summary>
    public bool Announces => plan is not null;

    public bool Has(string name) => weights.Has(name);

    /// <summary>A matrix. // [outFeatures, inFeatures]</summary>
    public TensorHandle Matrix(string name, int outFeatures, int inFeatures) => Matrix(name, weights.Matrix(name, outFeatures, inFeatures));

    /// <summary>Matrices, stacked along output features.</summary>
    public TensorHandle Matrix(string name, params IRowSource[] parts)
    {
        cancellation.ThrowIfCancellationRequested();
        if (plan is null) return backend.LoadMatrix(name, type, parts);
        var rows = new int[parts.Length];
        for (int p = 0; p < rows.Length; p++) rows[p] = parts[p].OutFeatures;
        plan.AddMatrix(name, type, rows, parts[0].InFeatures);
        return TensorHandle.None;
    }

    /// <summary>A vector. // [elements]</summary>
    public TensorHandle Vector(string name, string tensor, int elements) => Vector(name, [tensor], [elements]);

    /// <summary>Vectors, one behind the other. // [sum of elements]</summary>
    public TensorHandle Vector(string name, string[] tensors, int[] elements)
    {
        if (plan is null) return backend.LoadVector(name, Read(tensors, elements));
        int all = 0;
        for (int i = 0; i < tensors.Length; i++)
        {
            weights.CheckVector(tensors[i], elements[i]);
            all += elements[i];
        }

        plan.AddVector(name, all);
        return TensorHandle.None;
    }

    /// <summary>The vector called <c>name.weight</c>; none where there is no name.</summary>
    public TensorHandle Norm(string name, int elements) => name.Length == 0 ? TensorHandle.None : Vector(name, name + ".weight", elements);

    /// <summary>A vector, if the drafter has it.</summary>
    public TensorHandle OptionalVector(string name, int elements) => weights.Has(name) ? Vector(name, name, elements) : TensorHandle.None;

    /// <summary>A vector that the drafter keeps itself. // [elements]</summary>
    public void Values(string tensor, Span<float> destination)
    {
        if (plan is null) weights.Vector(tensor, destination.Length).CopyTo(destination);
        else weights.CheckVector(tensor, destination.Length);
    }

    private float[] Read(string[] tensors, int[] elements)
    {
        if (tensors.Length == 1) return weights.Vector(tensors[0], elements[0]);
        var values = new List<float>();
        for (int i = 0; i < tensors.Length; i++) values.AddRange(weights.Vector(tensors[i], elements[i]));
        return [.. values];
    }
}
