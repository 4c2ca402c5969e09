namespace Foretoken.Generation;

/// <summary>Why a request ended.</summary>
public enum FinishReason
{
    /// <summary>It has not ended.</summary>
    None,

    /// <summary>The model's end token, a stop token or a stop string.</summary>
    Stop,

    /// <summary>The asked number of tokens, or the context, is used up.</summary>
    Length,

    /// <summary>The caller cancelled it.</summary>
    Cancelled,

    /// <summary>The request failed; its error message says why.</summary>
    Error,

    /// <summary>Its deadline passed; the answer so far is valid.</summary>
    Deadline,

    /// <summary>The KV budget has no room for its next token (see <see cref="KvExhaustion"/>); the answer so far is valid.</summary>
    KvBudget,
}
