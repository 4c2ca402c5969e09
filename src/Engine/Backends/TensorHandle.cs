namespace Foretoken.Backends;

/// <summary>Names a weight that a backend holds in its own layout. Opaque: only the backend that made it can read it.</summary>
public readonly record struct TensorHandle(int Index)
{
    /// <summary>A weight that the model does not have (for example a bias).</summary>
    public static TensorHandle None => new(-1);

    /// <summary>False for <see cref="None"/>.</summary>
    public bool Exists => Index >= 0;
}
