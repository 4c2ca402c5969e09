namespace Foretoken.Tests.Fixtures;

public class ReferenceTransformerTests
{
    /// <summary>The reference itself against another engine's logits; that engine computes in f32.</summary>
    [Theory]
    [InlineData("llama-tiny", 1)]
    [InlineData("llama-tiny", 33)]
    [InlineData("llama-tiny", 200)]
    [InlineData("qwen2-bias", 8)]
    [InlineData("qwen2-bias", 200)]
    public void Reproduces_the_parity_logits(string model, int length)
    {
        int[] ids = RepoFiles.ReadInt32(RepoFiles.Parity(model, $"ids-{length}.i32"));
        float[] expected = RepoFiles.ReadSingle(RepoFiles.Parity(model, $"logits-{length}.f32kv-prefill.f32"));
        double[] actual = [.. new ReferenceTransformer(RepoFiles.Parity(model)).Forward(ids).SelectMany(r => r)];
        Assert.Equal(expected.Length, actual.Length);
        Assert.InRange(expected.Zip(actual, (e, a) => Math.Abs(e - a)).Max(), 0, 1e-4);
    }
}
