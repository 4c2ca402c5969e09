using Foretoken.Backends;

namespace Foretoken.Models;

/// <summary>
/// A model that can be loaded: its configuration and its weights by role, whatever file format they come from. A format is one class; everything is
/// checked (presence, shapes, types) before the constructor returns. Reads may come from several threads at a time.
/// </summary>
public abstract class ModelSource : IDisposable
{
    /// <summary>Directory, file or name that the model comes from, for messages.</summary>
    public abstract string Origin { get; }

    /// <summary>What the files say of the model; checked.</summary>
    public abstract ModelConfig Config { get; }

    /// <summary>The type reported for a whole model that is loaded without asking for one: the smallest that holds every matrix, or most of them, exactly.</summary>
    public abstract WeightType DefaultWeightType { get; }

    /// <summary>The smallest weight type that holds one matrix exactly.</summary>
    public virtual WeightType WeightTypeOf(WeightSpec spec) => DefaultWeightType;

    /// <summary>What a user should know about how the weights are held by default, as a clause without a full stop; usually null.</summary>
    public virtual string? Note => null;

    /// <summary>A matrix of <see cref="WeightSpec.Of"/>. // [OutFeatures, InFeatures]</summary>
    public abstract IRowSource Matrix(WeightSpec spec);

    /// <summary>A vector of <see cref="WeightSpec.Of"/>. // [OutFeatures]</summary>
    public abstract float[] Vector(WeightSpec spec);

    /// <summary>Bytes that reading the weight takes from the disk, for progress reports.</summary>
    public abstract long StoredBytes(WeightSpec spec);

    /// <summary>Called after the last read: checks what can only be checked then.</summary>
    /// <exception cref="Formats.ModelFormatException">A file was changed while it was read.</exception>
    public virtual void VerifyUnchanged()
    {
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        Dispose(true);
        GC.SuppressFinalize(this);
    }

    /// <inheritdoc/>
    protected virtual void Dispose(bool disposing)
    {
    }
}
