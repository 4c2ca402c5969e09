using Foretoken.Generation;
using Foretoken.Numerics;
using Xunit.Abstractions;

namespace Foretoken.Tests.Seam;

/// <summary>
/// Answers that end before their limit: stop tokens and stop strings wherever they fall in a draft, and cancellations between any two passes. What stopped equals
/// plain decoding alone to the last bit and byte of text; what was cancelled is a beginning of it; the others never notice.
/// </summary>
public sealed class SeamEndsTests(SeamModels models, ITestOutputHelper output) : IClassFixture<SeamModels>
{
    private enum End
    {
        Length,
        StopToken,
        StopString,
        Cancelled,
    }

    [Fact]
    public void Answers_end_as_alone_whatever_they_share_a_pass_with()
    {
        var ends = new Dictionary<(End, FinishReason), int>();
        int insideDrafts = 0;
        List<int[]> rows = CoveringArray.Rows(SeamCombination.Levels, 2);
        for (int i = 0; i < rows.Count; i++)
        {
            SeamCombination c = SeamCombination.FromValues(rows[i], SeamDrafts.Oracles, i);
            try
            {
                insideDrafts += Run(c, ends);
            }
            catch (Exception e)
            {
                throw new Xunit.Sdk.XunitException($"combination {i}: {c}\n{e}");
            }
        }

        output.WriteLine($"{rows.Count} combinations: {string.Join(", ", ends.Select(e => $"{e.Key.Item1} {e.Key.Item2} {e.Value}"))}; {insideDrafts} ended inside a draft");
        foreach ((End end, FinishReason reason) in new[]
            { (End.StopToken, FinishReason.Stop), (End.StopString, FinishReason.Stop), (End.Cancelled, FinishReason.Cancelled), (End.Length, FinishReason.Length) })
            Assert.True(ends.GetValueOrDefault((end, reason)) > 50, $"{end} {reason}");
        Assert.True(insideDrafts > 50);
    }

    private int Run(SeamCombination c, Dictionary<(End, FinishReason), int> ends)
    {
        (int requests, int samples) = c.Size;
        var random = new SeededRandom((ulong)c.Index, 12);
        var asked = new (SeamRequest Request, End End, SeamAnswer Alone)[c.Sequences];
        var all = new Sequence[c.Sequences];
        var cancelAt = new int[c.Sequences];
        var drafter = new SeamDrafter(c.Drafts, models.Directory);
        for (int i = 0; i < all.Length; i++)
        {
            (int number, int sample) = ((c.Index + i / samples) % SeamRequest.Count, i % samples);
            SeamRequest request = SeamRequest.Number(number, c, sample);
            SeamAnswer whole = models.Alone(c, number, sample);
            var end = (End)((i + c.Index) % 4);
            int at = 2 + random.Next(whole.Tokens.Length - 4); // where it is to end
            int[] stopTokens = end == End.StopToken ? [whole.Tokens[at]] : [];
            string[] stopStrings = end == End.StopString ? [string.Concat(whole.Tokens.AsSpan(at, 2).ToArray().Select(t => (char)('0' + t))), "zz"] : [];
            SeamAnswer alone = end is End.StopToken or End.StopString ? models.Alone(c, request, stopTokens, stopStrings) : whole;
            drafter.Record(request, whole); // drafts go on beyond the end
            asked[i] = (request, end, alone);
            all[i] = request.Sequence(0, stopTokens, stopStrings);
            cancelAt[i] = end == End.Cancelled ? random.Next(25) : int.MaxValue;
        }

        using SeamLoop run = models.Loop(c, new SeamSize(Math.Max(1, c.Sequences * 3 / 4), c.Chunk, c.Prefixes ? 8 : 0), drafter);
        for (int r = 0; r < requests; r++) run.Loop.Submit(all.AsSpan(r * samples, samples));
        for (int pass = 0; run.Loop.ActiveCount > 0; pass++)
        {
            for (int i = 0; i < all.Length; i++)
            {
                if (cancelAt[i] == pass) all[i].Cancel();
            }

            run.Loop.Step();
        }

        run.Cache.ClearPrefixes();
        Assert.Equal((0, run.Cache.PagesTotal), (run.Cache.Statistics.PagesReserved, run.Cache.Statistics.PagesFree));
        int inside = 0;
        for (int i = 0; i < all.Length; i++)
        {
            Compare(asked[i].Alone, all[i], asked[i].End, $"sequence {i}");
            ends[(asked[i].End, all[i].FinishReason)] = ends.GetValueOrDefault((asked[i].End, all[i].FinishReason)) + 1;
            if (all[i].FinishReason == FinishReason.Stop) inside += all[i].Statistics.AcceptedTokens > 0 ? 1 : 0;
        }

        return inside;
    }

    private static void Compare(SeamAnswer alone, Sequence s, End end, string what)
    {
        SeamAnswer answer = SeamAnswer.Of(s);
        if (s.FinishReason != FinishReason.Cancelled)
        {
            SeamRun.AssertSame(alone.Tokens, answer.Tokens, what, "token");
            SeamRun.AssertSame(alone.LogProbBits, answer.LogProbBits, what, "log-probability");
            Assert.Equal((alone.Reason, alone.TextTokens, alone.ShownBytes), (answer.Reason, answer.TextTokens, answer.ShownBytes));
            return;
        }

        Assert.Equal(End.Cancelled, end);
        SeamRun.AssertSame(alone.Tokens[..answer.Tokens.Length], answer.Tokens, what, "token");
        SeamRun.AssertSame(alone.LogProbBits[..answer.LogProbBits.Length], answer.LogProbBits, what, "log-probability");
    }
}
