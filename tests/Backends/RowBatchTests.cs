using Foretoken.Backends;

namespace Foretoken.Tests.Backends;

public class RowBatchTests
{
    [Fact]
    public void Chains_and_trees_of_several_sequences_are_segments()
    {
        var batch = new RowBatch(16);
        batch.Add(10, 5, 0, -1, false);
        batch.Add(11, 6, 0, 0, true);
        int root = batch.Add(20, 3, 1, -1, true);
        int left = batch.Add(21, 4, 1, root, true);
        int right = batch.Add(22, 4, 1, root, true);
        int leaf = batch.Add(23, 5, 1, right, true);

        Assert.Equal(new RowSegment(0, 0, 2, 5, false), batch.Segments[0]);
        Assert.Equal(new RowSegment(1, 2, 4, 3, true), batch.Segments[1]);
        Assert.Equal([1, 2, 3, 4, 5], batch.LogitRows.ToArray());
        Assert.Equal(0b0011UL, batch.AncestorMask(left)[0]);
        Assert.Equal(0b0101UL, batch.AncestorMask(right)[0]);
        Assert.Equal(0b1101UL, batch.AncestorMask(leaf)[0]);
    }

    [Fact]
    public void Rows_behind_those_of_earlier_passes_see_their_ancestors_among_them()
    {
        var batch = new RowBatch(8);
        Span<ulong> mask = [0b01UL, 0, 0, 0], all = [0b11UL, 0, 0, 0];
        int chain = batch.AddBehind(7, 0, 20, 2, all, true);
        int left = batch.AddBehind(8, 1, 5, 2, mask, true), right = batch.AddBehind(9, 1, 5, 2, mask, true);
        Assert.Equal([new RowSegment(0, 0, 1, 20, false, 2), new RowSegment(1, 1, 2, 5, true, 2)], batch.Segments.ToArray());
        Assert.Equal([22, 6, 6], batch.Positions.ToArray());
        Assert.Equal([0b111UL, 0b101UL, 0b1001UL], new[] { chain, left, right }.Select(r => batch.AncestorMask(r)[0]));
        Assert.Equal(RowBatch.InEarlierPass, batch.Parents[left]);
    }

    [Fact]
    public void Masks_reach_beyond_64_rows()
    {
        var batch = new RowBatch(200);
        int previous = batch.Add(1, 0, 0, -1, false);
        for (int i = 1; i < 150; i++) previous = batch.Add(1, i, 0, previous, false);
        int branch = batch.Add(2, 70, 0, 69, false);
        ReadOnlySpan<ulong> mask = batch.AncestorMask(branch);
        Assert.Equal(ulong.MaxValue, mask[0]);
        Assert.Equal((1UL << 6) - 1, mask[1]);
        Assert.Equal(1UL << (150 - 128), mask[2]);
    }

    [Fact]
    public void Rows_that_break_the_rules_are_refused()
    {
        var batch = new RowBatch(4);
        batch.Add(1, 7, 0, -1, false);
        Assert.Throws<InvalidOperationException>(() => batch.Add(1, 9, 0, 0, false));
        Assert.Throws<InvalidOperationException>(() => batch.Add(1, 8, 0, 1, false));
        Assert.Throws<InvalidOperationException>(() => batch.Add(1, 8, 0, -1, false));
        Assert.Throws<InvalidOperationException>(() => batch.Add(1, 0, 1, 0, false));
        Assert.Equal(1, batch.Count);
    }
}
