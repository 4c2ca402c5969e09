using Foretoken.KvCache;
using Foretoken.Numerics;

namespace Foretoken.Tests.Generation;

/// <summary>
/// Every token is seen for a number of positions drawn from its own position, half of them for ever. None dies within <see cref="Shortest"/> positions, so
/// that passes of fewer positions cannot tell how tokens were cut into passes.
/// </summary>
internal sealed class PositionLives : IEvictionPolicy
{
    public const int Shortest = 20;

    public string Name => "position lives";

    public bool Evicts => true;

    public bool ActsAtCommit => true;

    public void OnCommit(in CommittedHead head)
    {
        for (int slot = head.FirstNew; slot < head.Count; slot++)
        {
            int position = head.PositionOf(slot);
            double u = CounterRandom.Uniform(77, (ulong)position);
            if (u < 0.5) head.SetExpire(slot, position + Shortest + (int)(u * 80));
        }
    }
}
