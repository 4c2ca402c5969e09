using Foretoken.Speculation;
using Math = Foretoken.Speculation.RejectionMath<Foretoken.Tests.Speculation.Rational, Foretoken.Tests.Speculation.Branch>;

namespace Foretoken.Tests.Speculation;

/// <summary>Every way through the random decisions of a round, in exact fractions, with zeros in p and q: the joint law of three tokens is the model's.</summary>
public class ExactAcceptanceTests
{
    private const int Vocab = 3, Length = 3;
    private delegate void Round(Branch branch, int variant, List<int> emitted, out int accepted);

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(2)]
    public void Rejection_of_a_chain_is_lossless(int variant) => AssertLossless(Chain, variant);

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(2)]
    public void Rejection_of_chosen_drafts_is_lossless(int variant) => AssertLossless(Chosen, variant);

    [Theory]
    [InlineData(0, true)]
    [InlineData(0, false)]
    [InlineData(1, true)]
    [InlineData(1, false)]
    [InlineData(2, true)]
    [InlineData(2, false)]
    public void Recursive_rejection_of_trees_is_lossless_with_and_without_replacement(int variant, bool replacement) =>
        AssertLossless((Branch b, int v, List<int> e, out int a) => Tree(b, v, e, replacement, out a), variant);

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(2)]
    public void Block_verification_is_lossless_and_accepts_no_less_than_token_by_token(int variant)
    {
        Rational block = AssertLossless(Block, variant), chain = AssertLossless(Chain, variant);
        Assert.True(block >= chain, $"{block} < {chain}");
        if (variant == 0) Assert.True(block > chain);
    }

    /// <summary>The negative control: drafts that are chosen but judged as if they were drawn.</summary>
    [Fact]
    public void Chosen_drafts_judged_by_the_drafters_distribution_are_not_lossless()
    {
        Dictionary<string, Rational> law = Law(Misjudged, 0, out _);
        Assert.Contains(law, pair => pair.Value != Target(pair.Key, 0));
    }

    private static Rational AssertLossless(Round round, int variant)
    {
        Dictionary<string, Rational> law = Law(round, variant, out Rational accepted);
        Rational sum = 0;
        foreach ((string sequence, Rational probability) in law)
        {
            Assert.Equal(Target(sequence, variant), probability);
            sum += probability;
        }

        Assert.Equal((Rational)1, sum);
        return accepted;
    }

    /// <summary>The law of the first three tokens: what the round emits, continued by the model itself.</summary>
    private static Dictionary<string, Rational> Law(Round round, int variant, out Rational expectedAccepted)
    {
        var law = new Dictionary<string, Rational>();
        Rational sum = 0;
        Branch.All(branch =>
        {
            var emitted = new List<int>();
            round(branch, variant, emitted, out int accepted);
            Assert.Equal(accepted + 1, emitted.Count);
            sum += branch.Probability * accepted;
            Extend([.. emitted.Take(Length)], branch.Probability, variant, law);
        });
        expectedAccepted = sum;
        return law;
    }

    private static void Extend(List<int> tokens, Rational probability, int variant, Dictionary<string, Rational> law)
    {
        if (tokens.Count == Length)
        {
            string key = string.Concat(tokens);
            law[key] = law.GetValueOrDefault(key) + probability;
            return;
        }

        Rational[] p = P(tokens, variant);
        for (int x = 0; x < Vocab; x++)
        {
            if (p[x] > 0) Extend([.. tokens, x], probability * p[x], variant, law);
        }
    }

    private static void Chain(Branch branch, int variant, List<int> emitted, out int accepted)
    {
        accepted = 0;
        int[] drafts = Draft(branch, variant, 2);
        for (int i = 0; i < 3; i++)
        {
            Rational[] p = P(emitted, variant);
            int child = Math.AcceptChild(p, i < 2 ? Q(emitted, variant) : default, i < 2 ? drafts.AsSpan(i, 1) : default, false, ref branch, out int token);
            emitted.Add(token);
            if (child < 0) return;
            accepted++;
        }
    }

    private static void Chosen(Branch branch, int variant, List<int> emitted, out int accepted)
    {
        accepted = 0;
        while (true)
        {
            int[] children = emitted.Count < 2 ? [(emitted.Count + variant) % Vocab, 2] : [];
            if (children.Length == 2 && children[0] == 2) children = [2];
            int child = Math.AcceptChild(P(emitted, variant), default, children, false, ref branch, out int token);
            emitted.Add(token);
            if (child < 0) return;
            accepted++;
        }
    }

    private static void Misjudged(Branch branch, int variant, List<int> emitted, out int accepted)
    {
        accepted = 0;
        while (true)
        {
            Rational[] q = Q(emitted, variant);
            int best = Enumerable.Range(0, Vocab).Aggregate((a, b) => q[b] > q[a] ? b : a);
            int child = Math.AcceptChild(P(emitted, variant), q, emitted.Count < 2 ? [best] : [], false, ref branch, out int token);
            emitted.Add(token);
            if (child < 0) return;
            accepted++;
        }
    }

    /// <summary>Two draws at the root, one below each.</summary>
    private static void Tree(Branch branch, int variant, List<int> emitted, bool replacement, out int accepted)
    {
        accepted = 0;
        int[] first = Siblings(branch, Q([], variant), replacement);
        int[] below = [.. first.Select(x => branch.Draw(Q([x], variant), 1))];
        int child = Math.AcceptChild(P(emitted, variant), Q([], variant), first, replacement, ref branch, out int token);
        emitted.Add(token);
        if (child < 0) return;
        accepted++;
        int grandchild = Math.AcceptChild(P(emitted, variant), Q(emitted, variant), below.AsSpan(child, 1), replacement, ref branch, out token);
        emitted.Add(token);
        if (grandchild < 0) return;
        accepted++;
        Math.AcceptChild(P(emitted, variant), default, default, replacement, ref branch, out token);
        emitted.Add(token);
    }

    private static int[] Siblings(Branch branch, Rational[] q, bool replacement)
    {
        int one = branch.Draw(q, 1);
        if (!replacement) q[one] = 0;
        Rational left = Math.Sum(q);
        return left > 0 ? [one, branch.Draw(q, left)] : [one];
    }

    private static void Block(Branch branch, int variant, List<int> emitted, out int accepted)
    {
        const int drafted = 2;
        int[] drafts = Draft(branch, variant, drafted);
        Rational rho = 1, rhoKept = 1;
        accepted = 0;
        for (int depth = 0; depth <= drafted; depth++)
        {
            List<int> path = [.. drafts.Take(depth)];
            Rational stop = rho, next = 1;
            if (depth < drafted) (stop, next) = Math.BlockStep(rho, P(path, variant), Q(path, variant), drafts[depth]);
            if (depth > 0 && branch.Accept(stop)) (accepted, rhoKept) = (depth, rho);
            rho = next;
        }

        emitted.AddRange(drafts.Take(accepted));
        Rational[] p = P(emitted, variant);
        emitted.Add(accepted == drafted ? branch.Draw(p, 1) : Math.BlockToken(rhoKept, p, Q(emitted, variant), drafts[accepted], ref branch));
    }

    private static int[] Draft(Branch branch, int variant, int count)
    {
        var drafts = new List<int>();
        for (int i = 0; i < count; i++) drafts.Add(branch.Draw(Q(drafts, variant), 1));
        return [.. drafts];
    }

    private static Rational Target(string sequence, int variant)
    {
        Rational probability = 1;
        for (int i = 0; i < sequence.Length; i++) probability *= P([.. sequence[..i].Select(c => c - '0')], variant)[sequence[i] - '0'];
        return probability;
    }

    /// <summary>Distributions that depend on the whole prefix; variant 1 has zeros in p, variant 2 in q too.</summary>
    private static Rational[] P(IReadOnlyList<int> prefix, int variant) => Distribution(prefix, 5 + variant, variant >= 1);

    private static Rational[] Q(IReadOnlyList<int> prefix, int variant) => Distribution(prefix, 31 + variant, variant == 2);

    private static Rational[] Distribution(IReadOnlyList<int> prefix, int salt, bool zeros)
    {
        int hash = prefix.Aggregate(salt, (h, x) => (h * 7 + x * 3 + 5) % 101);
        int[] weights = [1 + hash % 7, 1 + hash / 7 % 5, 1 + hash / 3 % 4];
        if (zeros) weights[hash % Vocab] = 0;
        int sum = weights.Sum();
        return [.. weights.Select(w => new Rational(w, sum))];
    }
}
