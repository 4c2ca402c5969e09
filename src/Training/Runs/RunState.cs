namespace Foretoken.Training;

/// <summary>Everything but weights and optimizer moments that a run needs to go on exactly where it stopped.</summary>
public sealed class RunState
{
    /// <summary>Finished steps.</summary>
    public int Step { get; set; }

    /// <summary>Tokens trained on.</summary>
    public long Tokens { get; set; }

    /// <summary>Number of the next example.</summary>
    public long NextExample { get; set; }

    /// <summary>Seconds of training so far, over all resumptions.</summary>
    public double ElapsedSeconds { get; set; }

    /// <summary>First step of the decay, once known.</summary>
    public int? DecayStartStep { get; set; }

    /// <summary>Steps of the decay, once known.</summary>
    public int? DecaySteps { get; set; }

    /// <summary>Compression last measured on held-out text, in runs that evict.</summary>
    public double? MeasuredCr { get; set; }

    /// <summary>Nominal compression that holds the measured one, in runs whose budget is on reads and that have reached it.</summary>
    public double? HeldCr { get; set; }

    /// <summary>Keys read in the latest steps, older ones counting less, in runs that evict.</summary>
    public double Reads { get; set; }

    /// <summary>Keys that dense attention would have read in them.</summary>
    public double DenseReads { get; set; }

    /// <summary>The run has ended by its schedule.</summary>
    public bool Finished { get; set; }

    /// <summary>Drafters: the best held-out tokens per pass so far; 0 before the first measurement.</summary>
    public double BestTokensPerPass { get; set; }

    /// <summary>Drafters: measurements since the best one.</summary>
    public int StaleChecks { get; set; }

    /// <summary>Progress per bucket, in the order of the recipe's mixture.</summary>
    public List<BucketProgress> Buckets { get; set; } = [];

    /// <summary>Name and seed of the recipe; empty in checkpoints that were written before these were noted.</summary>
    public string Recipe { get; set; } = "";

    /// <summary>Names, shapes and order of the tensors that the state files hold.</summary>
    public string Layout { get; set; } = "";
}
