using Foretoken.Sampling;

namespace Foretoken.Cli.Options;

/// <summary>The flags that choose the next token; ranges are those of <see cref="SamplingOptions.Validate"/>, narrowed to what makes sense to type.</summary>
internal sealed class SamplingFlags
{
    private readonly Flag<float> _temperature = new(
        "--temperature", "T", "0 takes the most likely token; higher values sample more freely.", Parse.Number(0, 100, "0 is greedy, 0.6 to 1 is usual."), 0);

    private readonly Flag<int> _topK = new(
        "--top-k", "K", "Keep the K most likely tokens; 0 keeps all.", Parse.Integer(0, 1_000_000, "0 keeps all tokens."), 0);

    private readonly Flag<float> _topP = new(
        "--top-p", "P", "Keep the most likely tokens up to this total probability; 1 keeps all.", Parse.Number(1e-6f, 1, "1 keeps all tokens."), 1);

    private readonly Flag<float> _minP = new(
        "--min-p", "P", "Keep tokens at least this fraction as likely as the likeliest; 0 keeps all.", Parse.Number(0, 1, "0 keeps all tokens."), 0);

    private readonly Flag<float> _repetitionPenalty = new(
        "--repetition-penalty", "X", "Make tokens that occurred before less likely; 1 is off.", Parse.Number(0.01f, 100, "1 is off."), 1);

    private readonly Flag<ulong> _seed = new("--seed", "N", "Names the random numbers: the same seed gives the same answer.", Parse.Seed, 0);

    public IEnumerable<Flag> All => [_temperature, _topK, _topP, _minP, _repetitionPenalty, _seed];

    /// <summary>Reads and checks all flags.</summary>
    public SamplingOptions Get(CommandContext context) => new()
    {
        Temperature = _temperature.Get(context),
        TopK = _topK.Get(context),
        TopP = _topP.Get(context),
        MinP = _minP.Get(context),
        RepetitionPenalty = _repetitionPenalty.Get(context),
        Seed = _seed.Get(context),
    };
}
