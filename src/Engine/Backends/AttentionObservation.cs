namespace Foretoken.Backends;

/// <summary>What attention notes in the slots for a policy that evicts by it: the softmax weights that queries gave a key, summed over the head's query group.</summary>
/// <param name="Rows">Only the last so many rows of a pass are noted; 0 = all of them.</param>
/// <param name="Keeps">The sums of earlier passes stay; else a pass of at least <paramref name="Rows"/> rows begins anew.</param>
/// <param name="PerLayer">Every KV head of a layer gets the mean over the layer's heads, whose slots then must be the same.</param>
public sealed record AttentionObservation(int Rows, bool Keeps, bool PerLayer);
