namespace Foretoken.Generation;

/// <summary>A request was turned away because as many wait as may wait. Nothing of it ran; it may be sent again later.</summary>
public sealed class QueueFullException(int waiting)
    : Exception($"{waiting} requests wait already, as many as may: send the request again later, or raise the limit of waiting requests.")
{
    /// <summary>Requests that waited at that moment.</summary>
    public int Waiting { get; } = waiting;
}
