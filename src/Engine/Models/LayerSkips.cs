namespace Foretoken.Models;

/// <summary>Sublayers that a pass leaves out: their input goes on unchanged, and a left-out attention stores no keys and values.</summary>
public sealed class LayerSkips(int layers)
{
    private readonly bool[] _skipped = new bool[2 * layers]; // attention of layer i at 2i, its MLP at 2i + 1

    /// <summary>Sublayers of the model, two per layer.</summary>
    public int Count => _skipped.Length;

    /// <summary>Whether sublayer <paramref name="index"/> is left out: 2i is the attention of layer i, 2i + 1 its MLP.</summary>
    public bool this[int index]
    {
        get => _skipped[index];
        set => _skipped[index] = value;
    }

    /// <summary>Whether the attention of <paramref name="layer"/> is left out.</summary>
    public bool Attention(int layer) => _skipped[2 * layer];

    /// <summary>Whether the MLP of <paramref name="layer"/> is left out.</summary>
    public bool Mlp(int layer) => _skipped[2 * layer + 1];

    /// <summary>Leaves out what <paramref name="other"/>, for a model of as many layers, does.</summary>
    public void CopyFrom(LayerSkips other) => other._skipped.CopyTo(_skipped, 0);

    /// <inheritdoc/>
    public override string ToString() =>
        string.Join(' ', Enumerable.Range(0, Count).Where(i => _skipped[i]).Select(i => $"{(i % 2 == 0 ? "attention" : "mlp")} {i / 2}"));
}
