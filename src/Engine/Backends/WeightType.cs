namespace Foretoken.Backends;

/// <summary>How a weight matrix is held by the backend. Each type has one accumulation contract (reduction order), whatever the row count.</summary>
public enum WeightType
{
    /// <summary>32-bit floats.</summary>
    F32,

    /// <summary>bfloat16 weights, f32 activations and accumulation.</summary>
    BF16,

    /// <summary>Signed 8-bit weights, one f16 scale per 32 weights along K; activations quantised per row and per 32-element block along K.</summary>
    Int8,
}
