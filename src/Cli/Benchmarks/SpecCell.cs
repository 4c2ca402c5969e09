using System.Text.Json;
using Foretoken.Generation;

namespace Foretoken.Cli.Benchmarks;

/// <summary>What one drafter (or none) did on one bucket, over all repeats.</summary>
internal sealed class SpecCell(string drafter, string bucket)
{
    public string Drafter => drafter;

    public string Bucket => bucket;

    public List<double> SpeedUps { get; } = []; // per repeat, against plain decoding of the same questions in the same minutes

    public long Tokens { get; private set; }

    /// <summary>Tokens of the timed steps: those that came along with a prompt took no time of decoding.</summary>
    public long DecodedTokens { get; private set; }

    public long Steps { get; private set; }

    /// <summary>Steps after the first of each answer, which reads the prompt too.</summary>
    public long TimedSteps { get; private set; }

    public long Drafted { get; private set; }

    public double DecodeMilliseconds { get; private set; }

    /// <summary>Until the first token: a drafter that reads prompts does so before it.</summary>
    public double PrefillMilliseconds { get; private set; }

    public double DraftMilliseconds { get; private set; }

    public double VerifyMilliseconds { get; private set; }

    public long[] DraftedAt { get; } = new long[GenerationStatistics.MaxDraftPositions];

    public long[] AcceptedAt { get; } = new long[GenerationStatistics.MaxDraftPositions];

    public double SpeedUp => SpeedUps.Count == 0 ? 1 : BenchRunner.Median(SpeedUps);

    public double TokensPerSecond => DecodedTokens * 1000 / DecodeMilliseconds;

    /// <summary>Tokens per verifying pass, the bonus included.</summary>
    public double MeanAcceptedLength => (double)Tokens / Steps;

    public double Acceptance => AcceptedAt.Sum() / Math.Max(1.0, DraftedAt.Sum());

    public void Add(GenerationStatistics s)
    {
        Tokens += s.GeneratedTokens;
        DecodedTokens += s.GeneratedTokens - s.FirstTokens;
        Steps += s.Steps;
        TimedSteps += Math.Max(0, s.Steps - 1);
        Drafted += s.DraftedTokens;
        DecodeMilliseconds += s.DecodeMilliseconds;
        PrefillMilliseconds += s.PrefillMilliseconds;
        DraftMilliseconds += s.DraftMilliseconds;
        VerifyMilliseconds += s.VerifyMilliseconds;
        for (int i = 0; i < s.DraftedAt.Length; i++)
        {
            DraftedAt[i] += s.DraftedAt[i];
            AcceptedAt[i] += s.AcceptedAt[i];
        }
    }

    public void Add(SpecCell other)
    {
        Tokens += other.Tokens;
        DecodedTokens += other.DecodedTokens;
        Steps += other.Steps;
        TimedSteps += other.TimedSteps;
        Drafted += other.Drafted;
        DecodeMilliseconds += other.DecodeMilliseconds;
        PrefillMilliseconds += other.PrefillMilliseconds;
        DraftMilliseconds += other.DraftMilliseconds;
        VerifyMilliseconds += other.VerifyMilliseconds;
        for (int i = 0; i < DraftedAt.Length; i++)
        {
            DraftedAt[i] += other.DraftedAt[i];
            AcceptedAt[i] += other.AcceptedAt[i];
        }
    }

    /// <summary>The cells, and one "all" per drafter behind its own, in which each bucket counts the same: harmonic means of the speed-ups.</summary>
    public static List<SpecCell> WithTotals(IReadOnlyList<SpecCell> cells)
    {
        var result = new List<SpecCell>();
        foreach (IGrouping<string, SpecCell> group in cells.GroupBy(c => c.Drafter))
        {
            var all = new SpecCell(group.Key, "all");
            foreach (SpecCell cell in group) all.Add(cell);
            for (int r = 0; r < group.Min(c => c.SpeedUps.Count); r++) all.SpeedUps.Add(group.Count() / group.Sum(c => 1 / c.SpeedUps[r]));
            result.AddRange([.. group, all]);
        }

        return result;
    }

    /// <summary>Everything that was counted, so that runs can be merged.</summary>
    public void WriteCounts(Utf8JsonWriter w)
    {
        w.WriteStartObject("counts");
        w.WriteNumber("timed_steps", TimedSteps);
        w.WriteNumber("decoded_tokens", DecodedTokens);
        w.WriteNumber("decode_ms", DecodeMilliseconds);
        w.WriteNumber("prefill_ms", PrefillMilliseconds);
        w.WriteNumber("draft_ms", DraftMilliseconds);
        w.WriteNumber("verify_ms", VerifyMilliseconds);
        Write("speed_ups", SpeedUps);
        Write("drafted_at", DraftedAt.Select(n => (double)n));
        Write("accepted_at", AcceptedAt.Select(n => (double)n));
        w.WriteEndObject();

        void Write(string name, IEnumerable<double> values)
        {
            w.WriteStartArray(name);
            foreach (double value in values) w.WriteNumberValue(value);
            w.WriteEndArray();
        }
    }

    /// <summary>Reads a cell of <c>bench spec --json</c>.</summary>
    /// <exception cref="KeyNotFoundException">It is none.</exception>
    public static SpecCell Read(JsonElement json)
    {
        JsonElement counts = json.GetProperty("counts");
        var cell = new SpecCell(json.GetProperty("drafter").GetString()!, json.GetProperty("bucket").GetString()!)
        {
            Tokens = json.GetProperty("tokens").GetInt64(),
            Steps = json.GetProperty("steps").GetInt64(),
            Drafted = json.GetProperty("drafted_tokens").GetInt64(),
            TimedSteps = counts.GetProperty("timed_steps").GetInt64(),
            DecodedTokens = counts.GetProperty("decoded_tokens").GetInt64(),
            DecodeMilliseconds = counts.GetProperty("decode_ms").GetDouble(),
            PrefillMilliseconds = counts.GetProperty("prefill_ms").GetDouble(),
            DraftMilliseconds = counts.GetProperty("draft_ms").GetDouble(),
            VerifyMilliseconds = counts.GetProperty("verify_ms").GetDouble(),
        };
        cell.SpeedUps.AddRange(counts.GetProperty("speed_ups").EnumerateArray().Select(v => v.GetDouble()));
        for (int i = 0; i < cell.DraftedAt.Length; i++)
        {
            cell.DraftedAt[i] = (long)counts.GetProperty("drafted_at")[i].GetDouble();
            cell.AcceptedAt[i] = (long)counts.GetProperty("accepted_at")[i].GetDouble();
        }

        return cell;
    }

    /// <summary>Time of drafting per step, in plain steps.</summary>
    public double DraftCost(SpecCell plain) => DraftMilliseconds / TimedSteps / PlainStep(plain);

    /// <summary>Time of verifying per step, in plain steps.</summary>
    public double VerifyCost(SpecCell plain) => VerifyMilliseconds / TimedSteps / PlainStep(plain);

    /// <summary>Time until the first token, in that of plain decoding.</summary>
    public double FirstTokenTime(SpecCell plain) => PrefillMilliseconds / plain.PrefillMilliseconds;

    /// <summary>Speed-up of whole requests, their prompts included.</summary>
    public double WholeSpeedUp(SpecCell plain) => (plain.PrefillMilliseconds + plain.DecodeMilliseconds) / (PrefillMilliseconds + DecodeMilliseconds);

    /// <summary>Speed-up that accepted length and the two costs predict.</summary>
    public double Predicted(SpecCell plain) => (double)DecodedTokens / TimedSteps / (DraftCost(plain) + VerifyCost(plain));

    private static double PlainStep(SpecCell plain) => (plain.VerifyMilliseconds + plain.DraftMilliseconds) / plain.TimedSteps;
}
