using Foretoken.Numerics;

namespace Foretoken.Tests.Numerics;

public class CounterRandomTests
{
    /// <summary>Known answers of Random123's philox4x32-10 (kat_vectors): zero counter, zero key.</summary>
    [Fact]
    public void Matches_the_published_known_answer()
    {
        Assert.Equal(0xe169c58d_6627e8d5UL, CounterRandom.Bits(0, 0));
    }

    [Fact]
    public void Is_a_function_of_its_arguments_only()
    {
        ulong first = CounterRandom.Bits(7, 11, 3);
        CounterRandom.Bits(1, 2, 3);
        Assert.Equal(first, CounterRandom.Bits(7, 11, 3));
        Assert.NotEqual(first, CounterRandom.Bits(7, 11, 4));
        Assert.NotEqual(first, CounterRandom.Bits(7, 12, 3));
        Assert.NotEqual(first, CounterRandom.Bits(8, 11, 3));
    }

    [Fact]
    public void Bounded_integers_cover_their_range_evenly()
    {
        var random = new SeededRandom(5);
        var counts = new int[7];
        for (int i = 0; i < 70_000; i++) counts[random.Next(7)]++;
        Assert.All(counts, c => Assert.InRange(c, 9_500, 10_500));
    }
}
