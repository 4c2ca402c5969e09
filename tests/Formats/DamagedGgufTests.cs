using Foretoken.Formats;
using Foretoken.Models;
using Foretoken.Numerics;
using Foretoken.Tests.Fixtures;
using Foretoken.Tokenization;

namespace Foretoken.Tests.Formats;

/// <summary>Random damage to a sound GGUF file: model and tokenizer open, or are refused with an error of ours; nothing else is thrown, nothing hangs.</summary>
public sealed class DamagedGgufTests : IDisposable
{
    private readonly TempDirectory _directory = new();

    public void Dispose() => _directory.Dispose();

    [Fact]
    public void Damage_is_refused_or_harmless()
    {
        byte[] sound = File.ReadAllBytes(RepoFiles.Parity("llama-tiny", "model-Q4_0.gguf"));
        int head;
        using (var file = new GgufFile(RepoFiles.Parity("llama-tiny", "model-Q4_0.gguf"))) head = (int)file.Tensors[0].Offset;
        string path = _directory.File("x.gguf");
        var random = new SeededRandom(23);
        int models = 0, tokenizers = 0;
        for (int round = 0; round < 400; round++)
        {
            File.WriteAllBytes(path, Damage(sound, head, random));
            models += Refused(() => ModelLoader.Open(path).Dispose(), path);
            tokenizers += Refused(() => BpeTokenizer.FromFile(path), path);
        }

        Assert.InRange(models, 150, 400);
        Assert.InRange(tokenizers, 100, 400);
    }

    private static int Refused(Action open, string path)
    {
        try
        {
            open();
            return 0;
        }
        catch (Exception e) when (e is ModelFormatException or TokenizerException)
        {
            Assert.StartsWith(path, e.Message, StringComparison.Ordinal);
            return 1;
        }
    }

    private static byte[] Damage(byte[] sound, int head, SeededRandom random)
    {
        byte[] bytes = [.. sound];
        int at = random.Next(head);
        switch (random.Next(6))
        {
            case 0: return bytes[..random.Next(bytes.Length)];
            case 1: return [.. bytes, .. new byte[random.Next(1, 99)]];
            case 2: return [.. bytes[..at], .. bytes[(at + 1)..]];
            case 3: bytes[at] = (byte)random.Next(256); return bytes;
            case 4:
                BitConverter.GetBytes(random.NextBits()).CopyTo(bytes, Math.Min(at, head - 8)); // counts, lengths, offsets
                return bytes;
            default: bytes[at] ^= (byte)(1 << random.Next(8)); return bytes;
        }
    }
}
