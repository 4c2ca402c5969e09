using Foretoken.Generation;

namespace Foretoken.Cli.Options;

/// <summary>The flags of one answer: sampling, length and stop strings.</summary>
internal sealed class GenerationFlags
{
    private const int MaximumTokens = 1_000_000;
    private readonly SamplingFlags _sampling = new();

    private readonly Flag<int> _maxTokens = new(
        "--max-tokens", "N", "Most tokens of the answer. Without it, until the model ends or the context is full.",
        Parse.Integer(1, MaximumTokens, "leave it out to go on until the model ends."), 0);

    private readonly ListFlag<string> _stop = new("--stop", "TEXT", "Ends the answer before this text; may be given several times.", Parse.NotEmpty);

    public IEnumerable<Flag> All => [_maxTokens, _stop, .. _sampling.All];

    public GenerationOptions Get(CommandContext context) => new()
    {
        Sampling = _sampling.Get(context),
        MaxTokens = _maxTokens.Get(context),
        StopStrings = _stop.Get(context),
    };
}
