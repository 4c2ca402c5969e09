using Foretoken.Numerics;
using Foretoken.Speculation;

namespace Foretoken.Tests.Speculation;

public class RecyclingDrafterTests
{
    [Fact]
    public void The_best_tokens_are_found_in_order_with_the_lowest_id_first_among_equals()
    {
        var random = new SeededRandom(4);
        foreach (int vocab in new[] { 5, 8, 31, 1000 })
        {
            var logits = new float[vocab];
            for (int i = 0; i < vocab; i++) logits[i] = random.Next(40) - 20;
            logits[vocab / 2] = float.NegativeInfinity;
            var tokens = new int[4];
            var values = new float[4];
            TopTokens.Find(logits, tokens, values);
            int[] expected = [.. Enumerable.Range(0, vocab).OrderByDescending(i => logits[i]).ThenBy(i => i).Take(4)];
            Assert.Equal(expected, tokens);
            Assert.Equal(expected.Select(i => logits[i]), values);
        }
    }
}
