using Foretoken.Backends.Cpu.Kernels;

namespace Foretoken.Backends.Cpu;

/// <content>Eviction decisions of the rows of a pass (<see cref="DecisionWeights"/>).</content>
public sealed unsafe partial class CpuBackend
{
    /// <summary>Eviction logits from the input of the layer, by the same product as all weights, in f32.</summary>
    private void ProjectDecisions(DecisionWeights decision)
    {
        ProductArguments product = Normalized(decision.Norm, Matrix(decision.Projection));
        product.Bias = Vector(decision.Bias);
        product.Output = Buffers.Decisions;
        product.OutputStride = Buffers.DecisionStride;
        Multiply(product);
    }

    /// <summary>Sets the decisions in the slots of the pass, before anything attends. A row's depends on the row alone.</summary>
    private void WriteDecisions(int layer, DecisionWeights decision, HostKvView kv)
    {
        foreach (RowSegment segment in Rows.Segments)
        {
            for (int kvHead = 0; kvHead < Shape.KvHeadCount; kvHead++)
            {
                KvHeadSlots* head = kv.Head(segment.Sequence, layer, kvHead);
                float* logit = Buffers.Decisions + (long)segment.First * Buffers.DecisionStride + (decision.PerLayer ? 0 : kvHead);
                for (int i = 0; i < segment.Count; i++, logit += Buffers.DecisionStride)
                    *kv.DecisionOf(head, head->Committed + i) = (byte)(*logit * decision.Scale - decision.Offset > 0 ? 1 : 0);
            }
        }
    }
}
