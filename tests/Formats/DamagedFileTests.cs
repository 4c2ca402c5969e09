using Foretoken.Formats;
using Foretoken.Models;
using Foretoken.Numerics;
using Foretoken.Tests.Fixtures;

namespace Foretoken.Tests.Formats;

/// <summary>Random damage to a sound model: it opens, or it is refused with a <see cref="ModelFormatException"/>; nothing else is thrown, nothing hangs.</summary>
public sealed class DamagedFileTests : IDisposable
{
    private readonly TempDirectory _directory = new();

    public void Dispose() => _directory.Dispose();

    [Theory]
    [InlineData("model.safetensors")]
    [InlineData("model-00002-of-00002.safetensors")]
    [InlineData("model.safetensors.index.json")]
    [InlineData("config.json")]
    [InlineData("generation_config.json")]
    public void Damage_is_refused_or_harmless(string name)
    {
        new TinyModel { Family = "qwen2", Layers = 1, Hidden = 8, Heads = 2, KvHeads = 1, HeadDim = 4, Intermediate = 6, Vocab = 260, Shards = name == "model.safetensors" ? 1 : 2 }
            .Write(_directory.Path);
        string path = _directory.File(name);
        byte[] sound = File.ReadAllBytes(path);
        int header = name.EndsWith(".safetensors", StringComparison.Ordinal) ? 8 + (int)BitConverter.ToInt64(sound) : sound.Length;
        var random = new SeededRandom(17);
        int refused = 0;
        for (int round = 0; round < 200; round++)
        {
            File.WriteAllBytes(path, Damage(sound, header, random));
            try
            {
                ModelLoader.Open(_directory.Path).Dispose();
            }
            catch (ModelFormatException e)
            {
                refused++;
                Assert.StartsWith(_directory.Path, e.File, StringComparison.Ordinal);
            }
        }

        Assert.InRange(refused, 20, 200);
    }

    private static byte[] Damage(byte[] sound, int header, SeededRandom random)
    {
        byte[] bytes = [.. sound];
        int at = random.Next(header);
        switch (random.Next(5))
        {
            case 0: return bytes[..random.Next(bytes.Length)];
            case 1: return [.. bytes, .. new byte[random.Next(1, 9)]];
            case 2: return [.. bytes[..at], .. bytes[(at + 1)..]];
            case 3: bytes[at] = random.Pick("0123456789-+.eE\"{}[]:,nul "u8.ToArray()); return bytes;
            default: bytes[at] ^= (byte)(1 << random.Next(8)); return bytes;
        }
    }
}
