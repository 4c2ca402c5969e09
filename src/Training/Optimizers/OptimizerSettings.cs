namespace Foretoken.Training;

/// <summary>Constants of Muon (matrices of the layers) and AdamW (everything else).</summary>
public sealed class OptimizerSettings
{
    /// <summary>Learning rate of Muon.</summary>
    public float MuonLearningRate { get; set; } = 0.02f;

    /// <summary>Nesterov momentum of Muon.</summary>
    public float MuonMomentum { get; set; } = 0.95f;

    /// <summary>Newton–Schulz steps.</summary>
    public int MuonIterations { get; set; } = 5;

    /// <summary>Decoupled weight decay of Muon.</summary>
    public float MuonWeightDecay { get; set; } = 0.1f;

    /// <summary>Use AdamW for the matrices too.</summary>
    public bool AdamOnly { get; set; }

    /// <summary>Learning rate of AdamW.</summary>
    public float AdamLearningRate { get; set; } = 0.003f;

    /// <summary>First moment's decay.</summary>
    public float AdamBeta1 { get; set; } = 0.9f;

    /// <summary>Second moment's decay.</summary>
    public float AdamBeta2 { get; set; } = 0.95f;

    /// <summary>AdamW's ε.</summary>
    public float AdamEpsilon { get; set; } = 1e-8f;

    /// <summary>Decoupled weight decay of AdamW; never on gains and biases.</summary>
    public float AdamWeightDecay { get; set; }

    /// <summary>Gradients are scaled down to this global norm; 0: never.</summary>
    public float ClipNorm { get; set; } = 1f;
}
