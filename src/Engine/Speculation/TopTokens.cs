using System.Numerics;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;

namespace Foretoken.Speculation;

/// <summary>The few best tokens of a row of logits.</summary>
internal static class TopTokens
{
    /// <summary>Writes the best tokens, best first, the lowest id first among equals.</summary>
    /// <param name="logits">// [vocab], at least as many as asked</param>
    /// <param name="tokens">Receives ids. // [k]</param>
    /// <param name="values">Receives their logits. // [k]</param>
    public static void Find(ReadOnlySpan<float> logits, Span<int> tokens, Span<float> values)
    {
        values.Fill(float.NegativeInfinity);
        tokens.Fill(-1);
        int lanes = Vector256<float>.Count, i = 0;
        ref float first = ref MemoryMarshal.GetReference(logits);
        for (; i <= logits.Length - lanes; i += lanes)
        {
            Vector256<float> eight = Vector256.LoadUnsafe(ref first, (nuint)i);
            for (uint mask = Vector256.GreaterThan(eight, Vector256.Create(values[^1])).ExtractMostSignificantBits(); mask != 0; mask &= mask - 1)
                Insert(i + BitOperations.TrailingZeroCount(mask), logits, tokens, values);
        }

        for (; i < logits.Length; i++) Insert(i, logits, tokens, values);
    }

    private static void Insert(int token, ReadOnlySpan<float> logits, Span<int> tokens, Span<float> values)
    {
        float value = logits[token];
        int place = values.Length - 1;
        if (!(value > values[place])) return;
        for (; place > 0 && value > values[place - 1]; place--) (values[place], tokens[place]) = (values[place - 1], tokens[place - 1]);
        (values[place], tokens[place]) = (value, token);
    }
}
