using System.Globalization;
using System.Text;
using System.Text.Json;
using System.Text.Json.Serialization;

namespace Foretoken.Training.Drafters;

/// <summary>Acceptance of one kind of text: what a round of chain drafting brings.</summary>
internal sealed class AcceptanceCounts
{
    public long Rounds { get; set; }

    /// <summary>Tokens that the rounds brought: accepted drafts and one token of the target each.</summary>
    public long Tokens { get; set; }

    /// <summary>Rounds whose drafts before this depth were all accepted and that had a token left to draft. // [depth]</summary>
    public long[] Reached { get; set; } = [];

    /// <summary>Those whose draft at this depth was accepted too. // [depth]</summary>
    public long[] Accepted { get; set; } = [];

    [JsonIgnore]
    public double TokensPerPass => Rounds == 0 ? 0 : (double)Tokens / Rounds;

    /// <summary>Accepted drafts per rejected one: how long a chain of drafts goes on, whatever the length of a round.</summary>
    [JsonIgnore]
    public double PerRejection => Accepted.Sum() / (double)Math.Max(1, Reached.Sum() - Accepted.Sum());

    /// <summary>Share of accepted among the drafts that were verified; a draft behind a rejected one is not.</summary>
    [JsonIgnore]
    public double Rate => Reached.Sum() is > 0 and long reached ? (double)Accepted.Sum() / reached : 0;
}

/// <summary>An <see cref="AcceptanceMeter"/> as it is kept in acceptance.json.</summary>
internal sealed class AcceptanceRecord
{
    public int Depth { get; set; }
    public List<string> Buckets { get; set; } = [];
    public List<AcceptanceCounts> Counts { get; set; } = [];
}

/// <summary>
/// Acceptance of greedy chain drafting, measured on known answers: where all drafts so far were right, the tokens that follow are the known ones, so that a forced
/// pass over the answer tells exactly what a drafter would have proposed at each root, and the rounds can be replayed.
/// </summary>
internal sealed class AcceptanceMeter(IReadOnlyList<string> buckets, int depth)
{
    private const int ShownDepths = 8;
    private readonly AcceptanceCounts[] _counts = [.. buckets.Select(_ => new AcceptanceCounts { Reached = new long[depth], Accepted = new long[depth] })];

    /// <summary>Most drafts of a round.</summary>
    public int Depth => depth;

    /// <summary>The names of the kinds of text.</summary>
    public IReadOnlyList<string> Buckets => buckets;

    /// <summary>The counts of one kind.</summary>
    public AcceptanceCounts Of(int bucket) => _counts[bucket];

    /// <summary>The counts of all kinds together.</summary>
    public AcceptanceCounts All()
    {
        var all = new AcceptanceCounts { Reached = new long[depth], Accepted = new long[depth] };
        foreach (AcceptanceCounts c in _counts)
        {
            all.Rounds += c.Rounds;
            all.Tokens += c.Tokens;
            for (int d = 0; d < depth; d++) (all.Reached[d], all.Accepted[d]) = (all.Reached[d] + c.Reached[d], all.Accepted[d] + c.Accepted[d]);
        }

        return all;
    }

    /// <summary>Replays the rounds of one answer. <paramref name="hits"/>[root, depth]: the draft of that depth is right, given that those before it are.</summary>
    public void Add(int bucket, ReadOnlySpan<bool> hits)
    {
        int roots = hits.Length / depth;
        AcceptanceCounts counts = _counts[bucket];
        lock (counts)
        {
            for (int root = 0; root < roots;)
            {
                int accepted = 0;
                for (; accepted < depth && root + accepted < roots; accepted++)
                {
                    counts.Reached[accepted]++;
                    if (!hits[root * depth + accepted]) break;
                    counts.Accepted[accepted]++;
                }

                int tokens = Math.Min(accepted + 1, roots - root); // behind the end there is no token of the target
                counts.Rounds++;
                counts.Tokens += tokens;
                root += accepted + 1;
            }
        }
    }

    /// <summary>Tokens per pass with up to <paramref name="drafts"/> drafts a round, as the acceptance of the depths foretells it: 1 + Σ Π acceptance.</summary>
    public double Expected(int drafts)
    {
        AcceptanceCounts all = All();
        double expected = 1, path = 1;
        for (int d = 0; d < Math.Min(drafts, depth) && all.Reached[d] > 0; d++) expected += path *= (double)all.Accepted[d] / all.Reached[d];
        return expected;
    }

    /// <summary>Keeps the counts beside a run.</summary>
    public void Write(string path) => File.WriteAllBytes(path, JsonSerializer.SerializeToUtf8Bytes(
        new AcceptanceRecord { Depth = depth, Buckets = [.. buckets], Counts = [.. _counts] }, DrafterRecipeJson.Default.AcceptanceRecord));

    /// <summary>Reads what <see cref="Write"/> kept.</summary>
    /// <exception cref="RecipeException">The file is missing or damaged.</exception>
    public static AcceptanceMeter Read(string path)
    {
        try
        {
            AcceptanceRecord record = JsonSerializer.Deserialize(File.ReadAllBytes(path), DrafterRecipeJson.Default.AcceptanceRecord) ?? new AcceptanceRecord();
            var meter = new AcceptanceMeter(record.Buckets, record.Depth);
            for (int i = 0; i < meter._counts.Length; i++) meter._counts[i] = record.Counts[i];
            return meter;
        }
        catch (Exception exception) when (exception is JsonException or IOException or ArgumentOutOfRangeException)
        {
            throw new RecipeException($"{path}: cannot be read ({exception.Message.TrimEnd('.')}); train again into another --out.");
        }
    }

    /// <summary>
    /// A Markdown table: tokens per pass, accepted drafts per rejected one, and the acceptance of the first depths, given that the drafts before were accepted.
    /// </summary>
    public static string Table(params ReadOnlySpan<(string Title, AcceptanceMeter Meter)> meters)
    {
        var text = new StringBuilder();
        int deepest = 0;
        foreach ((_, AcceptanceMeter meter) in meters) deepest = Math.Max(deepest, Math.Min(meter.Depth, ShownDepths));
        text.Append("| | text | tokens per pass | accepted per rejected |").Append(string.Concat(Enumerable.Range(1, deepest).Select(d => string.Create(CultureInfo.InvariantCulture, $" {d} |")))).Append('\n');
        text.Append("|---|---|---:|---:|").Append(string.Concat(Enumerable.Repeat("---:|", deepest))).Append('\n');
        foreach ((string title, AcceptanceMeter meter) in meters)
        {
            for (int b = 0; b < meter.Buckets.Count; b++) AppendRow(text, title, meter.Buckets[b], meter.Of(b), deepest);
            AppendRow(text, title, "all", meter.All(), deepest);
        }

        return text.ToString();
    }

    private static void AppendRow(StringBuilder text, string title, string bucket, AcceptanceCounts counts, int deepest)
    {
        if (counts.Rounds == 0) return;
        text.Append(CultureInfo.InvariantCulture, $"| {title} | {bucket} | {counts.TokensPerPass:F2} | {counts.PerRejection:F1} |");
        for (int d = 0; d < deepest; d++)
        {
            bool known = d < counts.Reached.Length && counts.Reached[d] > 0;
            text.Append(known ? string.Create(CultureInfo.InvariantCulture, $" {100.0 * counts.Accepted[d] / counts.Reached[d]:F1} % |") : " |");
        }

        text.Append('\n');
    }
}
