using Foretoken.Backends;
using Foretoken.Numerics;

namespace Foretoken.Tests.Backends.Cpu;

/// <summary>A matrix in an array.</summary>
internal sealed class ArrayRowSource(string name, int outFeatures, int inFeatures, float[] values) : IRowSource
{
    public string Name => name;

    public int OutFeatures => outFeatures;

    public int InFeatures => inFeatures;

    public float[] Values => values; // [outFeatures, inFeatures]

    public void ReadRow(int row, Span<float> destination) => values.AsSpan(row * inFeatures, inFeatures).CopyTo(destination);

    /// <summary>Normal weights with the deviation usual in models; every seventh block of 32 is zero in one row of three.</summary>
    public static ArrayRowSource Random(string name, int outFeatures, int inFeatures, ulong seed)
    {
        var random = new SeededRandom(seed);
        var values = new float[outFeatures * inFeatures];
        for (int i = 0; i < values.Length; i++)
        {
            int row = i / inFeatures, block = i % inFeatures / 32;
            values[i] = row % 3 == 1 && block % 7 == 2 ? 0f : (float)(random.NextGaussian() * 0.05);
        }

        return new ArrayRowSource(name, outFeatures, inFeatures, values);
    }
}
