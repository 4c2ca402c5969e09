using System.Globalization;

namespace Foretoken.Speculation;

/// <summary>What a <see cref="Governor"/> has learned and chosen.</summary>
/// <param name="PlainSteps">Steps without drafts.</param>
/// <param name="DraftedSteps">Steps with drafts.</param>
/// <param name="WithheldSteps">Of the plain steps, those in which nobody was asked because drafts had lost time.</param>
/// <param name="RowMicroseconds">A pass of one row, without its keys.</param>
/// <param name="ThousandKeysMicroseconds">Reading a thousand keys of every head.</param>
/// <param name="Rows">What passes of more rows cost.</param>
/// <param name="Drafters">What each drafter did.</param>
public sealed record GovernorReport(
    long PlainSteps, long DraftedSteps, long WithheldSteps, double RowMicroseconds, double ThousandKeysMicroseconds, IReadOnlyList<RowCost> Rows, IReadOnlyList<DrafterReport> Drafters)
{
    /// <summary>Why it chose as it did, in a few lines.</summary>
    public string Explain()
    {
        IEnumerable<string> drafters = Drafters.Select(d => d.Calls == 0
            ? $"{d.Name} {d.Unasked}"
            : string.Create(CultureInfo.InvariantCulture, $"{d.Name} asked {d.Calls} times at {d.Microseconds:F0} us, first drafts right {d.FirstAcceptance:P0}, {d.Accepted} of {d.Chosen} chosen drafts accepted")
                + (d.Depth > 0 ? string.Create(CultureInfo.InvariantCulture, $", alone worth {d.SpeedUp:F2} with {d.Depth} drafts") : ""));
        string rows = string.Join(", ", Rows.Where(r => r.Rows > 1 && r.Seen > 1).Take(8).Select(r => string.Create(CultureInfo.InvariantCulture, $"{r.Rows} rows {r.Cost:F2}")));
        return string.Create(CultureInfo.InvariantCulture, $"{DraftedSteps} steps with drafts, {PlainSteps} plain{(WithheldSteps > 0 ? $" ({WithheldSteps} after drafts had lost time)" : "")}: ") + string.Join("; ", drafters)
            + string.Create(CultureInfo.InvariantCulture, $"; a plain pass takes {RowMicroseconds:F0} us") + (rows.Length > 0 ? $", passes of {rows} times that" : "");
    }
}

/// <summary>What a pass of several rows costs in passes of one.</summary>
public sealed record RowCost(int Rows, int Seen, double Cost);

/// <summary>What one drafter did under a <see cref="Governor"/>.</summary>
/// <param name="Name">The drafter.</param>
/// <param name="Calls">Steps in which it was asked.</param>
/// <param name="Proposed">Nodes that it drafted.</param>
/// <param name="Chosen">Nodes of its that were verified.</param>
/// <param name="Accepted">Nodes of its that became part of an answer.</param>
/// <param name="Microseconds">Mean time of a call.</param>
/// <param name="FirstAcceptance">Share of its trees whose first level held the right token.</param>
/// <param name="Depth">Depth at which it was last expected to bring most; 0 for one that costs little and is not planned for.</param>
/// <param name="SpeedUp">What that was expected to be worth, in plain steps; 0 where it is not planned for.</param>
public sealed record DrafterReport(string Name, long Calls, long Proposed, long Chosen, long Accepted, double Microseconds, double FirstAcceptance, int Depth, double SpeedUp)
{
    /// <summary>Whether its weights are there.</summary>
    public DrafterState State { get; init; }

    /// <summary>Why its weights could not be read; null unless it is <see cref="DrafterState.Retired"/>.</summary>
    public string? Problem { get; init; }

    /// <summary>What reading its weights took beside the steps; 0 where they were not read, or with the model.</summary>
    public double LoadMilliseconds { get; init; }

    /// <summary>Why it was never asked, as a clause.</summary>
    internal string Unasked => State switch
    {
        DrafterState.Waiting => "never wanted and not loaded",
        DrafterState.Loading => "still loading",
        DrafterState.Retired => $"retired: {Problem}",
        _ => "never asked",
    };
}
