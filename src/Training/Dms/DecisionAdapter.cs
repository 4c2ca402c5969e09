using System.Globalization;

namespace Foretoken.Training;

/// <summary>The parameters of the adapter that decides about evictions, under the names of the published layout: per layer a norm gain and a projection.</summary>
public static unsafe class DecisionAdapter
{
    /// <summary>Projection of layer <paramref name="layer"/>, [KV heads, hidden].</summary>
    public static string WeightName(int layer) => string.Create(CultureInfo.InvariantCulture, $"model.layers.{layer}.self_attn.dms_proj_alpha.weight");

    /// <summary>Norm gain of layer <paramref name="layer"/>, [hidden].</summary>
    public static string GainName(int layer) => string.Create(CultureInfo.InvariantCulture, $"model.layers.{layer}.self_attn.dms_proj_alpha_norm.weight");

    /// <summary>Adds the adapter of a model with <paramref name="layers"/> layers to its parameters.</summary>
    public static void Add(ParameterSet parameters, int layers, int hidden, int keyValueHeads)
    {
        for (int i = 0; i < layers; i++)
        {
            parameters.Add(ParameterKind.Decision, hidden, (WeightName(i), keyValueHeads));
            parameters.AddVectors(ParameterKind.Gain, (GainName(i), hidden));
        }
    }

    /// <summary>Whether <paramref name="parameter"/> belongs to an adapter.</summary>
    public static bool Owns(Parameter parameter) => parameter.Name.Contains(".dms_proj_alpha", StringComparison.Ordinal);

    /// <summary>Projections zero and gains one, so that every logit is −offset and hardly anything is evicted.</summary>
    public static void Initialize(TransformerModel model)
    {
        foreach (Parameter p in model.Parameters.Parameters.Where(Owns))
            new Span<float>(model.Values.Pointer + p.Offset, checked((int)p.Count)).Fill(p.Kind == ParameterKind.Gain ? 1f : 0f);
    }
}
