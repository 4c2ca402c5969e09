using Foretoken.Backends;
using Foretoken.Backends.Cuda;
using Foretoken.KvCache;
using Foretoken.Models;
using Foretoken.Speculation;

namespace Foretoken.Generation;

/// <summary>How a <see cref="LanguageModel"/> is loaded and what it is planned for. No setting but the two types and the eviction policy changes a bit of any answer.</summary>
public sealed record LanguageModelOptions
{
    /// <summary>Longest context that is planned for unless another one is asked for, in tokens.</summary>
    public const int DefaultContextLimit = 8192;

    /// <summary>Where the model runs.</summary>
    public ComputeDevice Device { get; init; }

    /// <summary>How a CUDA device computes; null = as usual. Read where <see cref="Device"/> is one.</summary>
    public CudaOptions? Cuda { get; init; }

    /// <summary>What to see of CUDA; null = what this process finds. Tests give a driver of their own.</summary>
    internal CudaPlatform? CudaPlatform { get; init; }

    /// <summary>Threads that compute; 0 = one per processor.</summary>
    public int Threads { get; init; }

    /// <summary>Type in which matrices are held; null = the one that loses least at no more memory than the file.</summary>
    public WeightType? WeightType { get; init; }

    /// <summary>How keys and values are stored.</summary>
    public KvType KvType { get; init; } = KvType.BF16;

    /// <summary>Longest prompt and answer together, in tokens; 0 = the model's own, at most <see cref="DefaultContextLimit"/>.</summary>
    public int ContextLength { get; init; }

    /// <summary>Most requests that run at a time.</summary>
    public int MaxSequences { get; init; } = 8;

    /// <summary>Most requests that wait; further ones are rejected with <see cref="QueueFullException"/>.</summary>
    public int MaxWaiting { get; init; } = 1024;

    /// <summary>When the KV budget has room for one more request.</summary>
    public KvAdmission KvAdmission { get; init; }

    /// <summary>What happens when requests admitted as <see cref="KvAdmission.Measured"/> need more than the budget.</summary>
    public KvExhaustion KvExhaustion { get; init; }

    /// <summary>
    /// For <see cref="KvAdmission.Measured"/>: mean answer length in tokens to begin with; 0 = unknown, so worst case until an answer has ended.
    /// </summary>
    public int ExpectedAnswerTokens { get; init; }

    /// <summary>Most rows of one pass.</summary>
    public int MaxRows { get; init; } = 128;

    /// <summary>Most prompt rows of one pass.</summary>
    public int PrefillChunk { get; init; } = 64;

    /// <summary>Bytes of the KV cache; 0 = what all sequences need at full context, at most a quarter of the memory, but at least one sequence.</summary>
    public long KvBytes { get; init; }

    /// <summary>What the KV cache forgets; null = nothing. A policy that the model was not trained for is lossy.</summary>
    public IEvictionPolicy? KvPolicy { get; init; }

    /// <summary>The KV cache forgets what the model decides, in place of <see cref="KvPolicy"/> (Dynamic Memory Sparsification).</summary>
    public bool LearnedEviction { get; init; }

    /// <summary>Directory of an adapter that makes the decisions (<see cref="DmsAdapterSource"/>); null = the model's own files do.</summary>
    public string? DmsAdapter { get; init; }

    /// <summary>
    /// Most prompts and answers whose keys and values are kept for later requests that begin with the same tokens, in pages that running requests do not
    /// need; 0 = none.
    /// </summary>
    public int MaxPrefixes { get; init; }

    /// <summary>Which drafts become part of an answer; null = those that plain decoding would have said, token by token.</summary>
    public AcceptanceOptions? Acceptance { get; init; }

    /// <summary>Which drafter to make for speculative decoding; null = <see cref="Drafter"/>.</summary>
    public DrafterOptions? Draft { get; init; }

    /// <summary>A drafter that was made already; null = <see cref="Draft"/>, or plain decoding. Disposed with the model.</summary>
    public IDrafter? Drafter { get; init; }

    /// <summary>Hears of the weights as they are loaded; null = nobody.</summary>
    public IProgress<LoadProgress>? Progress { get; init; }

    /// <summary>Ends loading with an <see cref="OperationCanceledException"/>; without effect afterwards.</summary>
    public CancellationToken Cancellation { get; init; }
}
