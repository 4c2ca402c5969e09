namespace Foretoken.Speculation;

/// <summary>
/// Which sequences' hidden states a drafter of a <see cref="Governor"/> is handed, and what that takes: of all sequences while it is in play, of one while it is being found
/// out what it is worth, of none otherwise.
/// </summary>
internal sealed class HiddenStateFeed(int maxSequences)
{
    private const int Stay = 16;                             // steps that they are handed on after a call
    private const int Wait = 32;                             // steps that a sequence that begins is waited for
    private const int FirstSteps = 3;                        // in which code is compiled: the fastest counts
    private const double Rate = 1.0 / 16, Longest = 8;       // a step that took more times than usual was interrupted
    private readonly bool[] _known = new bool[maxSequences]; // [sequences] a row was committed
    private readonly bool[] _whole = new bool[maxSequences]; // [sequences] handed on from its first row on
    private long _step, _oneUntil, _allUntil, _trialSince, _waitsSince, _steps;
    private int _sequences;                                  // of the step
    private int _trial = -1;                                 // the one sequence
    private bool _all;

    /// <summary>Whether any are handed on in this step.</summary>
    public bool IsOn { get; private set; }

    /// <summary>Whether those of all sequences were in the last step.</summary>
    public bool WasOnForAll { get; private set; }

    /// <summary>Sequences whose states were handed on in this step.</summary>
    public int Sequences { get; private set; }

    /// <summary>Ticks that it took in this step.</summary>
    public long Ticks { get; set; }

    /// <summary>Ticks of a step that it usually takes, for one sequence.</summary>
    public double TicksOfSequence { get; private set; }

    /// <summary>A step begins.</summary>
    /// <param name="step">Its number.</param>
    /// <param name="sequences">Its sequences.</param>
    /// <param name="allowed">Drafts may be tried.</param>
    /// <param name="spares">Time may be spent on finding out what drafters are worth.</param>
    /// <param name="isNew">That is not known of this drafter.</param>
    public void BeginStep(long step, int sequences, bool allowed, bool spares, bool isNew)
    {
        (_step, _sequences, WasOnForAll) = (step, sequences, IsOn && _all);
        bool was = IsOn;
        _all = sequences == 1 || step <= _allUntil;
        IsOn = allowed && (step <= _allUntil || (spares && (isNew || step <= _oneUntil)));
        if (IsOn && !was) (_trialSince, _waitsSince) = (step, step);
        (Sequences, Ticks) = (0, 0);
    }

    /// <summary>Asks for the states of all sequences from the next pass on.</summary>
    public void WantAll(long step) => _allUntil = Math.Max(_allUntil, step + Stay);

    /// <summary>Asks for the states of one sequence from the next pass on.</summary>
    public void WantOne(long step, int steps = Stay) => _oneUntil = Math.Max(_oneUntil, step + steps);

    /// <summary>The sequence's states were handed on from its first row on.</summary>
    public bool IsWhole(int sequence) => _whole[sequence];

    /// <summary>It is the one whose states are handed on while it is being found out what the drafter is worth.</summary>
    public bool IsTrial(int sequence) => sequence == _trial;

    /// <summary>
    /// Whether that one is among the requests, and states of it were handed on. It is the next that begins, whose prompt may have to be read yet; where none has begun for
    /// long, one that is under way.
    /// </summary>
    public bool HasTrial(ReadOnlySpan<DraftRequest> requests, long step)
    {
        foreach (DraftRequest request in requests)
        {
            if (request.Sequence == _trial) return step > _trialSince;
        }

        if (_trial >= 0) return false;
        if (IsOn && step - _waitsSince > Wait) (_trial, _trialSince) = (requests[0].Sequence, step);
        return false;
    }

    /// <summary>Rows of a sequence were committed.</summary>
    /// <returns>Whether to hand their states on.</returns>
    public bool Committed(int sequence)
    {
        if (IsOn && !_known[sequence] && (_trial < 0 || !_whole[_trial])) (_trial, _trialSince) = (sequence, _step);
        bool on = IsOn && (_all || sequence == _trial);
        _whole[sequence] = on && (_whole[sequence] || !_known[sequence]);
        _known[sequence] = true;
        Sequences += on ? 1 : 0;
        return on;
    }

    /// <summary>A step without prompts ends.</summary>
    /// <param name="keeping">Ticks that keeping the states took in the pass.</param>
    public void EndStep(long keeping)
    {
        if (Sequences == 0) return;
        double ticks = (double)Ticks / Sequences + (double)keeping / Math.Max(_sequences, Sequences); // kept are those of all
        if (++_steps <= FirstSteps) TicksOfSequence = _steps == 1 ? ticks : Math.Min(TicksOfSequence, ticks);
        else TicksOfSequence += (Math.Min(ticks, Longest * TicksOfSequence) - TicksOfSequence) * Rate;
    }

    public void Fork(int source, int sequence) => (_known[sequence], _whole[sequence]) = (true, _whole[source]);

    public void Release(int sequence)
    {
        if (_trial == sequence) (_trial, _waitsSince) = (-1, _step);
        (_known[sequence], _whole[sequence]) = (false, false);
    }
}
