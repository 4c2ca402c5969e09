using Foretoken.Backends;
using Foretoken.Tests.Fixtures;

namespace Foretoken.Tests.Models;

/// <summary>The whole forward pass against the logits of another engine, for a Llama and a Qwen2 model.</summary>
public class ParityTests
{
    public static TheoryData<string, int, bool> Cases()
    {
        var data = new TheoryData<string, int, bool>();
        foreach (string model in new[] { "llama-tiny", "qwen2-bias" })
            foreach (int length in new[] { 1, 8, 33, 200 })
                foreach (bool stepwise in new[] { false, true }) data.Add(model, length, stepwise);
        return data;
    }

    [Theory]
    [MemberData(nameof(Cases))]
    public void Single_precision_logits_agree_with_another_engine(string model, int length, bool stepwise)
    {
        int[] ids = RepoFiles.ReadInt32(RepoFiles.Parity(model, $"ids-{length}.i32"));
        float[] expected = RepoFiles.ReadSingle(RepoFiles.Parity(model, $"logits-{length}.f32kv-{(stepwise ? "decode" : "prefill")}.f32"));
        using var runner = new ModelRunner(RepoFiles.Parity(model));
        Assert.Equal(WeightType.F32, runner.Model.WeightType);
        float[] actual = runner.Run(ids, stepwise ? 1 : length);
        Assert.InRange(Logits.MaxDifference(expected, actual), 0, 5e-4);
    }

    [Theory]
    [InlineData("llama-tiny")]
    [InlineData("qwen2-bias")]
    public void Sixteen_bit_keys_and_values_stay_within_5e_2(string model)
    {
        int[] ids = RepoFiles.ReadInt32(RepoFiles.Parity(model, "ids-200.i32"));
        float[] expected = RepoFiles.ReadSingle(RepoFiles.Parity(model, "logits-200.f32kv-prefill.f32"));
        using var runner = new ModelRunner(RepoFiles.Parity(model), kvType: KvType.BF16);
        double difference = Logits.MaxDifference(expected, runner.Run(ids, 200));
        Assert.InRange(difference, 1e-4, 5e-2); // not below: that would not be 16 bits
    }
}

/// <summary>Distances between rows of logits.</summary>
internal static class Logits
{
    public static double MaxDifference(float[] expected, float[] actual)
    {
        Assert.Equal(expected.Length, actual.Length);
        return expected.Zip(actual, (e, a) => float.IsNaN(a) ? double.PositiveInfinity : Math.Abs((double)e - a)).Max();
    }

    public static double RootMeanSquareDifference(float[] expected, float[] actual)
    {
        Assert.Equal(expected.Length, actual.Length);
        return Math.Sqrt(expected.Zip(actual, (e, a) => float.IsNaN(a) ? double.PositiveInfinity : Math.Pow((double)e - a, 2)).Average());
    }
}
