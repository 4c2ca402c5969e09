using Foretoken.Formats;

namespace Foretoken.Models;

/// <summary>What a model's <c>generation_config.json</c> recommends; null where it says nothing. Not used unless somebody asks for it.</summary>
public sealed record GenerationDefaults
{
    /// <summary>False recommends greedy decoding.</summary>
    public bool? DoSample { get; init; }

    /// <summary>Divides the logits; 1 leaves them as they are.</summary>
    public double? Temperature { get; init; }

    /// <summary>Most tokens that may be drawn; 0 = all.</summary>
    public int? TopK { get; init; }

    /// <summary>Share of the probability that the drawn tokens must reach, the likeliest first.</summary>
    public double? TopP { get; init; }

    /// <summary>Least probability of a drawn token, relative to the likeliest.</summary>
    public double? MinP { get; init; }

    /// <summary>Divides positive logits of tokens that occurred and multiplies negative ones; 1 = none.</summary>
    public double? RepetitionPenalty { get; init; }

    /// <summary>Reads the sampling fields.</summary>
    /// <exception cref="ModelFormatException">A value outside its range.</exception>
    public static GenerationDefaults Read(JsonFields json) => new()
    {
        DoSample = json.Boolean("do_sample"),
        Temperature = json.Number("temperature", 0, 1e3),
        TopK = (int?)json.Integer("top_k", 0, int.MaxValue),
        TopP = json.Number("top_p", 0, 1),
        MinP = json.Number("min_p", 0, 1),
        RepetitionPenalty = json.Number("repetition_penalty", 1e-3, 1e3),
    };
}
