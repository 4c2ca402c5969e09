using Foretoken.KvCache;
using Foretoken.Models;
using Foretoken.Sampling;

namespace Foretoken.Generation;

/// <summary>Eviction by the model's own decisions.</summary>
public static class LearnedEviction
{
    /// <summary>The policy that follows the decisions a model was trained to make.</summary>
    /// <param name="config">The model.</param>
    /// <param name="origin">Its name, for errors.</param>
    /// <exception cref="InvalidRequestException">The model makes none.</exception>
    public static DmsPolicy PolicyOf(ModelConfig config, string origin) => config.Dms switch
    {
        null => throw new InvalidRequestException(
            "kv", $"{origin} was not trained to decide what its cache evicts: train an adapter with 'foretoken train models/recipes/reasoner-dms.json' and give its directory, or choose another policy."),
        { Disabled: true } => throw new InvalidRequestException(
            "kv", $"{origin} says dms_disable_eviction: its decisions are not to be followed. Choose another policy, or correct its configuration."),
        { } dms => new DmsPolicy(dms.Window, decisions: null, dms.Shift),
    };
}
