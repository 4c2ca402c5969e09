namespace Foretoken.Generation;

/// <summary>A request was turned away because as many wait as may wait. Nothing of it ran; it may be sent again later.</summary>
/// <param name="waiting">Requests that wait.</param>
/// <param name="samples">Samples that the request asked for.</param>
public sealed class QueueFullException(int waiting, int samples = 1) : Exception(
    samples > 1
        ? $"{waiting} requests wait already, which leaves no room for {samples} samples: send the request again later, ask for fewer, or raise the limit of waiting requests."
        : $"{waiting} requests wait already, as many as may: send the request again later, or raise the limit of waiting requests.")
{
    /// <summary>Requests that waited at that moment.</summary>
    public int Waiting { get; } = waiting;
}
