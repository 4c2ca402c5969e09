using Foretoken.Formats;

namespace Foretoken.Models;

/// <summary>How a model stretches rotary position embeddings beyond the context it was first trained with.</summary>
public enum RopeScalingKind
{
    /// <summary>Frequencies as the base gives them.</summary>
    None,

    /// <summary>All frequencies divided by the factor (position interpolation, Chen et al. 2023).</summary>
    Linear,

    /// <summary>Low frequencies divided by the factor, high ones kept, a linear blend between them (Llama 3.1).</summary>
    Llama3,

    /// <summary>Every frequency divided by its own number: how GGUF files hold the scaling of Llama 3.</summary>
    Divisors,
}

/// <summary>Rotary position embedding of a model: base and scaling.</summary>
/// <param name="Theta">Base of the geometric series of wavelengths.</param>
/// <param name="Kind">Scaling scheme.</param>
/// <param name="Factor">Stretch factor, at least 1.</param>
/// <param name="LowFrequencyFactor">Llama3: wavelengths above original / this are divided by the factor.</param>
/// <param name="HighFrequencyFactor">Llama3: wavelengths below original / this are kept.</param>
/// <param name="OriginalContext">Llama3: context of the first training in tokens.</param>
public sealed record RopeScaling(
    double Theta, RopeScalingKind Kind = RopeScalingKind.None, double Factor = 1, double LowFrequencyFactor = 0, double HighFrequencyFactor = 0, int OriginalContext = 0)
{
    private const double MaxTheta = 1e15, MaxFactor = 1e6;
    private static readonly string[] KnownFields =
    [
        "type", "rope_type", "factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings", "rope_theta", "partial_rotary_factor",
    ];

    /// <summary>Divisors: one number per rotated pair. // [headDim/2]</summary>
    public IReadOnlyList<float>? Divisors { get; init; }

    /// <summary>Angular velocity per rotated pair. // [headDim/2], radians per position</summary>
    public double[] InverseFrequencies(int headDim)
    {
        var frequencies = new double[headDim / 2];
        for (int i = 0; i < frequencies.Length; i++)
        {
            double frequency = Math.Pow(Theta, -2.0 * i / headDim);
            frequencies[i] = Divisors is { } divisors ? frequency / divisors[i] : Scale(frequency);
        }

        return frequencies;
    }

    /// <summary>
    /// Reads <c>rope_theta</c> and <c>rope_scaling</c>, or the newer <c>rope_parameters</c> that holds both, with <c>type</c> or <c>rope_type</c>.
    /// </summary>
    /// <param name="config">The fields of config.json.</param>
    /// <param name="defaultTheta">Base where the file gives none.</param>
    /// <exception cref="ModelFormatException">A scheme that is not supported, or values that contradict each other.</exception>
    public static RopeScaling Read(JsonFields config, double defaultTheta)
    {
        RopeScaling? older = config.Object("rope_scaling") is { } scaling ? ReadScheme(scaling) : null;
        RopeScaling? newer = config.Object("rope_parameters") is { } parameters ? ReadScheme(parameters) : null;
        double? theta = config.Number("rope_theta", 1, MaxTheta);
        theta = Agree(config, theta, older);
        theta = Agree(config, theta, newer);
        if (older is not null && newer is not null && older with { Theta = 0 } != newer with { Theta = 0 })
            throw config.Broken("rope_parameters", "contradicts rope_scaling", "Keep one of the two.");
        return (newer ?? older ?? new RopeScaling(0)) with { Theta = theta ?? defaultTheta };
    }

    private double Scale(double frequency)
    {
        if (Kind == RopeScalingKind.None) return frequency;
        if (Kind == RopeScalingKind.Linear) return frequency / Factor;
        double wavelength = 2 * Math.PI / frequency;
        if (wavelength < OriginalContext / HighFrequencyFactor) return frequency;
        if (wavelength > OriginalContext / LowFrequencyFactor) return frequency / Factor;
        double kept = (OriginalContext / wavelength - LowFrequencyFactor) / (HighFrequencyFactor - LowFrequencyFactor);
        return (1 - kept) * frequency / Factor + kept * frequency;
    }

    /// <summary>Theta 0 stands for "not given here".</summary>
    private static RopeScaling ReadScheme(JsonFields fields)
    {
        foreach (string name in fields.Names)
        {
            if (!KnownFields.Contains(name, StringComparer.Ordinal))
                throw fields.Broken(name, "is not a field of the supported RoPE scalings (default, linear, llama3)", "Use a model without it: ignoring it would change the output.");
        }

        string? type = fields.Text("type"), ropeType = fields.Text("rope_type");
        if (type is not null && ropeType is not null && type != ropeType)
            throw fields.Broken("type", $"is \"{type}\", but rope_type is \"{ropeType}\"", "Keep one of the two.");
        if (!fields.IsAbsentOr("partial_rotary_factor", "1"))
            throw fields.Broken("partial_rotary_factor", $"must be 1, but is {fields.TextOf("partial_rotary_factor")}", "Partially rotated heads are not supported: use another model.");
        double theta = fields.Number("rope_theta", 1, MaxTheta) ?? 0;
        switch (ropeType ?? type)
        {
            case "default":
                return new RopeScaling(theta);
            case "linear":
                return new RopeScaling(theta, RopeScalingKind.Linear, fields.RequiredNumber("factor", 1, MaxFactor));
            case "llama3":
                double low = fields.RequiredNumber("low_freq_factor", 1e-6, MaxFactor), high = fields.RequiredNumber("high_freq_factor", 1e-6, MaxFactor);
                if (low >= high) throw fields.Broken("low_freq_factor", $"must be below high_freq_factor, but is {low} and that is {high}");
                return new RopeScaling(theta, RopeScalingKind.Llama3, fields.RequiredNumber("factor", 1, MaxFactor), low, high,
                    fields.RequiredInteger("original_max_position_embeddings", 1, ModelConfig.MaxContext));
            case null when fields.Names.All(n => n is "rope_theta" or "partial_rotary_factor"):
                return new RopeScaling(theta);
            case null:
                throw fields.Missing("rope_type");
            case { } other:
                throw fields.Broken(ropeType is null ? "type" : "rope_type", $"\"{other}\" is not supported", "Supported RoPE scalings: default, linear, llama3.");
        }
    }

    private static double? Agree(JsonFields config, double? theta, RopeScaling? scheme)
    {
        if (scheme is null || scheme.Theta == 0) return theta;
        if (theta is { } given && given != scheme.Theta)
            throw config.Broken("rope_theta", $"is {given}, but {scheme.Theta} among the RoPE parameters", "Keep one of the two.");
        return scheme.Theta;
    }
}
