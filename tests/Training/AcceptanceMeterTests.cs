using Foretoken.Training.Drafters;

namespace Foretoken.Tests.Training;

public class AcceptanceMeterTests
{
    [Fact]
    public void Rounds_are_replayed_as_decoding_would_run_them()
    {
        // Roots 0..5, two drafts each. Root 0: both right, so the next round begins at root 3; there the first is wrong; root 4: right, and then the answer ends.
        bool[] hits = [true, true, false, false, false, true, false, true, true, false, true, false];
        var meter = new AcceptanceMeter(["kind"], 2);
        meter.Add(0, hits);
        AcceptanceCounts counts = meter.Of(0);
        Assert.Equal((3, 6), (counts.Rounds, counts.Tokens));
        Assert.Equal([3, 2], counts.Reached);
        Assert.Equal([2, 1], counts.Accepted);
        Assert.Equal(2.0, counts.TokensPerPass);
        Assert.Equal(1.5, counts.PerRejection);
        Assert.Equal(1 + 2.0 / 3 + 2.0 / 3 / 2, meter.Expected(8), 12);
    }

    [Fact]
    public void Drafts_behind_the_end_of_an_answer_do_not_count()
    {
        var meter = new AcceptanceMeter(["short"], 4);
        meter.Add(0, [true, false, false, false]); // one root: its one right draft is the answer's last token
        AcceptanceCounts counts = meter.Of(0);
        Assert.Equal((1, 1), (counts.Rounds, counts.Tokens));
        Assert.Equal([1, 0, 0, 0], counts.Reached);
        Assert.Equal([1, 0, 0, 0], counts.Accepted);
    }

    [Fact]
    public void Kept_counts_are_read_back()
    {
        string path = Path.GetTempFileName();
        try
        {
            var meter = new AcceptanceMeter(["a", "b"], 2);
            meter.Add(1, [true, false, true, true]);
            meter.Write(path);
            AcceptanceMeter read = AcceptanceMeter.Read(path);
            Assert.Equal(AcceptanceMeter.Table(("x", meter)), AcceptanceMeter.Table(("x", read)));
            Assert.Equal(["a", "b"], read.Buckets);
        }
        finally
        {
            File.Delete(path);
        }
    }
}
