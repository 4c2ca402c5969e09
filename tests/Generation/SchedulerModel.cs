using Foretoken.Generation;

namespace Foretoken.Tests.Generation;

/// <summary>A request as the simple model sees it.</summary>
internal sealed class ModelEntry(Sequence sequence, LoopRequest request, int arrival, long deadline)
{
    public Sequence Sequence => sequence;

    public LoopRequest Request => request;

    public int Arrival => arrival;

    /// <summary>Milliseconds of the clock.</summary>
    public long Deadline => deadline;

    public bool Cancelled { get; set; }

    /// <summary>Later arrivals admitted while this one waited.</summary>
    public int Passed { get; set; }

    public bool Running { get; set; }

    public bool Overdue(DecodeLoopOptions options) => Passed >= options.MaxOvertakes;
}

/// <summary>
/// Who runs in the next pass when admission is by worst case, in as few words as the rules take: overdue first, then priority, then arrival; the first
/// that waits runs if there is a place and pages for the longest it may become, else those of lower priority make room if that is enough, else nobody.
/// </summary>
internal sealed class SchedulerModel(DecodeLoopOptions options, int pages, int slotsPerPage)
{
    public List<ModelEntry> Entries { get; } = [];

    public IEnumerable<ModelEntry> Waiting => InOrder(Entries.Where(e => !e.Running && !e.Sequence.Finished));

    public IEnumerable<ModelEntry> Running => InOrder(Entries.Where(e => e.Running && !e.Sequence.Finished));

    public int PagesOf(ModelEntry e) => (e.Request.Prompt.Length + e.Request.MaxTokens - 1 + slotsPerPage - 1) / slotsPerPage;

    public bool Ends(ModelEntry e, long now) => e.Cancelled || now >= e.Deadline;

    /// <summary>Moves the model to the coming pass; ends are those of <paramref name="now"/>.</summary>
    public void Admit(long now)
    {
        foreach (ModelEntry e in Entries.Where(e => Ends(e, now))) e.Running = false;
        while (Waiting.FirstOrDefault(e => !Ends(e, now)) is { } next)
        {
            ModelEntry[] victims = [];
            while (!Fits(next, victims))
            {
                ModelEntry? victim = Running.Except(victims).LastOrDefault();
                if (victim is null || victim.Overdue(options) || victim.Sequence.Priority >= next.Sequence.Priority) return;
                victims = [.. victims, victim];
            }

            foreach (ModelEntry v in victims) v.Running = false;
            next.Running = true;
            foreach (ModelEntry w in Waiting.Where(w => w.Arrival < next.Arrival && !Ends(w, now))) w.Passed++;
        }
    }

    /// <summary>The order of service among running requests: whom nobody may pass any more, then higher priority, then earlier arrival.</summary>
    public static bool Precedes(ModelEntry a, bool overdueA, ModelEntry b, bool overdueB)
    {
        if (overdueA != overdueB) return overdueA;
        return overdueA || a.Sequence.Priority == b.Sequence.Priority ? a.Arrival < b.Arrival : a.Sequence.Priority > b.Sequence.Priority;
    }

    private bool Fits(ModelEntry next, ModelEntry[] without)
    {
        ModelEntry[] others = [.. Running.Except(without)];
        return others.Length < options.MaxSequences && others.Sum(PagesOf) + PagesOf(next) <= pages;
    }

    private IEnumerable<ModelEntry> InOrder(IEnumerable<ModelEntry> entries) =>
        entries.OrderByDescending(e => e.Overdue(options)).ThenByDescending(e => e.Overdue(options) ? 0 : e.Sequence.Priority).ThenBy(e => e.Arrival);
}
