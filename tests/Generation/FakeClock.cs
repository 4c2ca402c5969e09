namespace Foretoken.Tests.Generation;

/// <summary>A clock that stands until it is moved.</summary>
internal sealed class FakeClock : TimeProvider
{
    private long _now = 1000;

    public override long TimestampFrequency => 1000;

    public override long GetTimestamp() => _now;

    public void Advance(int milliseconds) => _now += milliseconds;
}
