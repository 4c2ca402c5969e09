using System.Text;
using Foretoken.Numerics;
using Foretoken.Tokenization;

namespace Foretoken.Tests.Tokenization;

public class IncrementalDetokenizerTests
{
    private static readonly UTF8Encoding s_strict = new(false, throwOnInvalidBytes: true);
    private static readonly BpeTokenizer s_bytes = TokenizerJson.ByteLevel("Ã ©", "ð Ł", "ðŁ ĺ", "a b").Load();
    private static readonly BpeTokenizer s_marked = TokenizerJson.SentencePiece(["h", "é", "▁h", "▁▁"], "▁ h").Load();

    private static string Joined(BpeTokenizer tokenizer, IEnumerable<int> ids)
    {
        var detokenizer = new IncrementalDetokenizer(tokenizer);
        var text = new StringBuilder();
        foreach (int id in ids)
            text.Append(s_strict.GetString(detokenizer.Append(id))); // throws if half a character came out
        return text.Append(s_strict.GetString(detokenizer.Flush())).ToString();
    }

    [Fact]
    public void Pieces_are_whole_characters_and_join_to_the_decoded_text()
    {
        var random = new SeededRandom(21);
        foreach (BpeTokenizer tokenizer in (BpeTokenizer[])[s_bytes, s_marked])
        {
            for (int round = 0; round < 3000; round++)
            {
                List<int> ids = [.. tokenizer.EncodeToIds(RandomText.Mixed(random, 3))];
                for (int noise = random.Next(4); noise > 0; noise--)
                    ids.Insert(random.Next(ids.Count + 1), random.Next(tokenizer.VocabularySize));
                byte[] all = [.. ids.SelectMany(id => tokenizer.TokenBytes(id).ToArray())];
                if (tokenizer == s_marked && all.Length > 0 && all[0] == ' ')
                    all = all[1..];
                Assert.Equal(Encoding.UTF8.GetString(all), Joined(tokenizer, ids));
                Assert.Equal(Encoding.UTF8.GetString(all), tokenizer.Decode(ids));
            }
        }
    }

    [Fact]
    public void A_character_split_over_tokens_appears_when_it_is_complete()
    {
        var detokenizer = new IncrementalDetokenizer(s_bytes);
        Assert.Equal(0, detokenizer.Append(0xF0).Length);
        Assert.True(detokenizer.HoldsBytes);
        Assert.Equal(0, detokenizer.Append(0x9F).Length);
        Assert.Equal(0, detokenizer.Append(0x98).Length);
        Assert.Equal("😀", Encoding.UTF8.GetString(detokenizer.Append(0x80)));
        Assert.False(detokenizer.HoldsBytes);
        Assert.Equal(0, detokenizer.Flush().Length);
    }

    [Fact]
    public void Leftover_bytes_become_one_replacement_character_at_the_end()
    {
        var detokenizer = new IncrementalDetokenizer(s_bytes);
        detokenizer.Append(0xE2);
        detokenizer.Append(0x82);
        Assert.Equal("\uFFFD", Encoding.UTF8.GetString(detokenizer.Flush()));
        Assert.Equal("a", Encoding.UTF8.GetString(detokenizer.Append('a'))); // a new text
    }

    [Fact]
    public void A_byte_that_breaks_a_character_shows_the_damage_at_once()
    {
        var detokenizer = new IncrementalDetokenizer(s_bytes);
        detokenizer.Append(0xE2);
        Assert.Equal("\uFFFDx", Encoding.UTF8.GetString(detokenizer.Append('x')));
    }

    [Fact]
    public void Only_the_first_space_of_a_SentencePiece_text_is_dropped()
    {
        int h = s_marked.TokenToId("▁h")!.Value, two = s_marked.TokenToId("▁▁")!.Value;
        Assert.Equal("h h", Joined(s_marked, [h, h]));
        Assert.Equal(" h", Joined(s_marked, [two, s_marked.TokenToId("h")!.Value]));
    }

    [Fact]
    public void Special_tokens_are_skipped_on_request_and_a_fork_goes_its_own_way()
    {
        var first = new IncrementalDetokenizer(s_marked, skipSpecialTokens: true);
        Assert.Equal(0, first.Append(1).Length);
        first.Append(3 + 0xC3);
        var fork = new IncrementalDetokenizer(s_marked, skipSpecialTokens: true);
        fork.CopyFrom(first);
        Assert.Equal("é", Encoding.UTF8.GetString(first.Append(3 + 0xA9)));
        Assert.Equal("è", Encoding.UTF8.GetString(fork.Append(3 + 0xA8)));
    }

    [Fact]
    public void Appending_allocates_nothing_after_warm_up()
    {
        var detokenizer = new IncrementalDetokenizer(s_bytes);
        int[] ids = [.. s_bytes.EncodeToIds("hello é 😀 ab and more")];
        foreach (int id in ids)
            detokenizer.Append(id);
        detokenizer.Flush();
        long before = GC.GetAllocatedBytesForCurrentThread();
        for (int round = 0; round < 100; round++)
        {
            foreach (int id in ids)
                detokenizer.Append(id);
            detokenizer.Flush();
        }
        Assert.Equal(0, GC.GetAllocatedBytesForCurrentThread() - before);
    }

    [Fact]
    public void Negative_ids_are_refused_and_ids_without_a_token_are_silent()
    {
        var detokenizer = new IncrementalDetokenizer(s_bytes);
        Assert.Throws<ArgumentOutOfRangeException>(() => { detokenizer.Append(-1); });
        Assert.Equal(0, detokenizer.Append(int.MaxValue).Length);
        Assert.Throws<ArgumentOutOfRangeException>(() => s_bytes.Decode([-1]));
    }
}
