using Foretoken.Formats;

namespace Foretoken.Models;

/// <summary>What a model's <c>generation_config.json</c> recommends; null where it says nothing. Not used unless somebody asks for it.</summary>
public sealed record GenerationDefaults
{
    /// <summary>False recommends greedy decoding.</summary>
    public bool? DoSample { get; init; }
    public double? Temperature { get; init; }
    public int? TopK { get; init; }
    public double? TopP { get; init; }
    public double? MinP { get; init; }
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
