using System.Text;
using Foretoken.Numerics;
using Foretoken.Tokenization;

namespace Foretoken.Tests.Tokenization;

public class UnicodeNormalizationTests
{
    [Theory]
    [InlineData("e\u0301", "\u00E9", "e\u0301")]
    [InlineData("\u212B", "\u00C5", "A\u030A")]                            // singleton: the Angstrom sign
    [InlineData("\u1E69", "\u1E69", "s\u0323\u0307")]
    [InlineData("s\u0307\u0323", "\u1E69", "s\u0323\u0307")]               // marks are put in order first
    [InlineData("\u1E0B\u0323", "\u1E0D\u0307", "d\u0323\u0307")]
    [InlineData("\u1112\u1161\u11AB", "\uD55C", "\u1112\u1161\u11AB")]     // Hangul is arithmetic
    [InlineData("\uAC00\u11A8", "\uAC01", "\u1100\u1161\u11A8")]
    [InlineData("\uAC00\u11A7", "\uAC00\u11A7", "\u1100\u1161\u11A7")]     // TBase itself is no trailing consonant
    [InlineData("\u0958", "\u0915\u093C", "\u0915\u093C")]                 // excluded from composition
    [InlineData("\uFB1D", "\u05D9\u05B4", "\u05D9\u05B4")]
    [InlineData("\u0344", "\u0308\u0301", "\u0308\u0301")]
    [InlineData("\u09C7\u09BE", "\u09CB", "\u09C7\u09BE")]                 // composes starters
    [InlineData("a\u0315\u0300\u05AE\u0062", "\u00E0\u05AE\u0315b", "a\u05AE\u0300\u0315b")] // from the conformance test of UAX #15
    [InlineData("\u1100\u0300\u1161", "\u1100\u0300\u1161", "\u1100\u0300\u1161")]         // a mark in between blocks
    [InlineData("\U0001D15E", "\U0001D157\U0001D165", "\U0001D157\U0001D165")]
    [InlineData("\U00011099\U000110BA", "\U0001109A", "\U00011099\U000110BA")]
    [InlineData("\uF900", "\u8C48", "\u8C48")]
    [InlineData("plain ASCII, \u00FCml\u00E4ut", "plain ASCII, \u00FCml\u00E4ut", "plain ASCII, u\u0308mla\u0308ut")]
    public void Forms_C_and_D_are_those_of_the_standard(string text, string formC, string formD)
    {
        Assert.Equal(formC, UnicodeNormalization.ToFormC(text));
        Assert.Equal(formD, UnicodeNormalization.ToFormD(text));
    }

    [Fact]
    public void Forms_are_stable_and_agree_with_each_other()
    {
        var random = new SeededRandom(9);
        for (int round = 0; round < 2000; round++)
        {
            string text = RandomText.Mixed(random, 8) + string.Concat(Enumerable.Range(0, 6).Select(_ => new Rune(0x300 + random.Next(0x60))));
            string c = UnicodeNormalization.ToFormC(text), d = UnicodeNormalization.ToFormD(text);
            Assert.Equal(c, UnicodeNormalization.ToFormC(c));
            Assert.Equal(d, UnicodeNormalization.ToFormD(d));
            Assert.Equal(c, UnicodeNormalization.ToFormC(d));
            Assert.Equal(d, UnicodeNormalization.ToFormD(c));
        }
    }

    [Fact]
    public void Many_marks_out_of_order_are_sorted()
    {
        string text = "a" + string.Concat(Enumerable.Repeat("\u0301\u0323", 200_000));
        Assert.Equal("a" + new string('\u0323', 200_000) + new string('\u0301', 200_000), UnicodeNormalization.ToFormD(text));
    }
}
