using Foretoken.KvCache;

namespace Foretoken.Tests.Seam;

/// <summary>How many tokens of a head are left, by the rules' own words: the window, and of what is older the survivors.</summary>
public static class SeamLives
{
    /// <summary>Tokens that the row behind <paramref name="tokens"/> sees of them.</summary>
    public static int Of(IEvictionPolicy policy, int layer, int kvHead, ReadOnlySpan<int> tokens)
    {
        int row = tokens.Length, lives = 0;
        for (int key = 0; key < row; key++)
        {
            lives += policy switch
            {
                SlidingWindowPolicy window => row - key < window.Tokens,
                DmsPolicy dms => row - key <= dms.DecisionWindow || key == row - 1 || !dms.Decisions!.Evicts(layer, kvHead, key + 1, tokens[key + 1]),
                _ => true,
            } ? 1 : 0;
        }

        return lives;
    }
}
