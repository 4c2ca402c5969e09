using Foretoken.Memory;

namespace Foretoken.Speculation;

/// <summary>
/// Predicts the next token of a <see cref="SuffixText"/> from where its end stood before: in its tokens, in those of ended requests, and in its words and layout apart.
/// Every finding is worth what findings of its kind, match length and unanimity were worth so far; findings that agree or contradict each other are weighed by a
/// logistic sum whose weights are learned as answers come (the mixing of context-mixing compressors, Mahoney, 2005).
/// </summary>
internal sealed class SuffixPredictor
{
    /// <summary>Most findings about one token.</summary>
    public const int MaxFindings = 8;

    private const int Kinds = 6, Lengths = 16, Shares = 4;
    private const int MaxAgain = 8, MaxDistance = 24;        // occurrences and pieces that are looked back for repeated words
    private const float LengthWeight = 4;                    // of an occurrence whose match is one token longer
    private const float PriorTried = 3, Fade = 0.98f;
    private const float Rate = 0.05f, BiasRate = 0.015f;
    private static readonly float[] s_weights = [.. Enumerable.Range(0, Lengths + 1).Select(length => MathF.Pow(LengthWeight, length - Lengths))]; // [match length]
    private readonly int _maxOccurrences;
    private readonly Cell[] _cells = new Cell[Kinds * Lengths * Shares];
    private readonly float[] _for = [0.5f, 0.5f, 0.5f, 0.5f, 0.5f, 0.5f], _against = [0.2f, 0.2f, 0.2f, 0.2f, 0.2f, 0.2f]; // [kinds]
    private readonly int[] _next;                            // [occurrences] different continuations
    private readonly int[] _places;                          // [occurrences] where the continuation with the longest match stands
    private readonly int[] _matches;                         // [occurrences] its match
    private readonly float[] _weights;                       // [occurrences]
    private readonly float[] _distances = new float[MaxDistance + 1]; // weight of the occurrences that repeated a word from there
    private float _bias;

    public SuffixPredictor(int maxOccurrences, MemoryPlan plan)
    {
        _maxOccurrences = maxOccurrences;
        (_next, _places, _matches, _weights) = (new int[maxOccurrences], new int[maxOccurrences], new int[maxOccurrences], new float[maxOccurrences]);
        for (int i = 0; i < _cells.Length; i++) _cells[i] = new Cell(Prior((Kind)(i / (Lengths * Shares)), i / Shares % Lengths + 1, i % Shares));
        plan.Add("speculation", "worth of findings", $"[kinds {Kinds}, lengths {Lengths}, shares {Shares}] 4 × f32", _cells.Length * 16L);
    }

    private enum Kind : byte
    {
        Own,        // the request's tokens went on so before
        Stored,     // the tokens of an ended request did
        Piece,      // the word went on so before
        Separator,  // the layout did
        Word,       // the layout asks for a word, and the words went on so before
        Again,      // the layout asks for a word, and repeated one from as far back before
    }

    /// <summary>Collects what is known about the token behind the text.</summary>
    /// <param name="text">The text, drafts included.</param>
    /// <param name="stored">Tokens of ended requests; null = none.</param>
    /// <param name="storedLayouts">Their layouts and words.</param>
    /// <param name="findings">Receives the findings. // [MaxFindings]</param>
    /// <returns>How many there are.</returns>
    public int Look(SuffixText text, SuffixIndex? stored, StoredLayouts? storedLayouts, Span<Finding> findings)
    {
        int count = 0;
        if (Find(text.Tokens.Occurrences, text.Tokens.Items, out Match own)) findings[count++] = Of(own.Next, Kind.Own, own);
        if (stored is not null && Find(stored, text.Tokens.Items, out Match other)) findings[count++] = Of(other.Next, Kind.Stored, other);
        bool wordKnown = Find(text.Words.Occurrences, text.Words.Items, out Match word), continues = wordKnown && text.ContinuesWord(word.Place);
        if (continues && text.EndsWithWord) findings[count++] = Of(word.Next, Kind.Piece, word);
        if (Find(text.Layout.Occurrences, text.Layout.Items, out Match layout) && TryRead(text, layout, word, wordKnown && !continues, out findings[count])) count++;
        if (storedLayouts is not null && Find(storedLayouts.Marks, text.Layout.Items, out layout) && TryRead(text, layout, word, wordKnown && !continues, out findings[count])) count++;
        if (FindAgain(text, text, out findings[count])) count++;
        if (storedLayouts is not null && FindAgain(storedLayouts, text, out findings[count])) count++;
        return count;
    }

    /// <summary>The likeliest of the tokens that the findings name, and how likely it is.</summary>
    public (int Token, float Probability) Best(ReadOnlySpan<Finding> findings)
    {
        int best = -1;
        float highest = float.NegativeInfinity;
        foreach (Finding f in findings)
        {
            float score = Score(findings, f.Token);
            if (score > highest) (best, highest) = (f.Token, score);
        }

        return (best, Sigmoid(highest));
    }

    /// <summary>Learns from the token that came.</summary>
    public void Learn(ReadOnlySpan<Finding> findings, int token)
    {
        for (int i = 0; i < findings.Length; i++)
        {
            int named = findings[i].Token;
            bool again = false;
            for (int j = 0; j < i; j++) again |= findings[j].Token == named;
            if (again) continue;
            float error = (named == token ? 1 : 0) - Sigmoid(Score(findings, named));
            foreach (Finding f in findings)
            {
                if (f.Token == named) _for[f.Kind] += Rate * error * _cells[f.Cell].For;
                else _against[f.Kind] -= Rate * error * _cells[f.Cell].Against;
            }

            _bias += BiasRate * error;
        }

        foreach (Finding f in findings) _cells[f.Cell].Learn(f.Token == token);
    }

    private float Score(ReadOnlySpan<Finding> findings, int token)
    {
        float score = _bias;
        foreach (Finding f in findings) score += f.Token == token ? _for[f.Kind] * _cells[f.Cell].For : -_against[f.Kind] * _cells[f.Cell].Against;
        return score;
    }

    /// <summary>What the layout asks for: a separator, or the next word in the form that fits.</summary>
    private static bool TryRead(SuffixText text, in Match layout, in Match word, bool wordKnown, out Finding finding)
    {
        finding = default;
        if (layout.Next >= 0)
        {
            finding = Of(layout.Next, Kind.Separator, layout);
            return true;
        }

        int token = wordKnown ? text.Write(word.Place, layout.Next) : -1;
        if (token < 0) return false;
        finding = Of(token, Kind.Word, word);
        return true;
    }

    /// <summary>What followed the newest occurrences of the end of <paramref name="items"/> most often, those with longer matches counting for more.</summary>
    private bool Find(SuffixIndex index, ReadOnlySpan<int> items, out Match match)
    {
        match = default;
        int kinds = 0, best = 0, end = index.NewestEnd(items);
        float total = 0;
        for (int seen = 0; end >= 0 && seen < _maxOccurrences; end = index.OlderEnd(end), seen++)
        {
            if (end + 1 >= index.Count || index[end + 1] == -1) continue; // at the end of a text
            int length = index.MatchLength(items, end, Lengths), next = index[end + 1], k = 0;
            if (length < SuffixIndex.KeyTokens) continue;
            float weight = s_weights[length];
            total += weight;
            while (k < kinds && _next[k] != next) k++;
            if (k == kinds) (_next[kinds], _weights[kinds], _matches[kinds++]) = (next, 0, 0);
            _weights[k] += weight;
            if (length > _matches[k]) (_matches[k], _places[k]) = (length, end + 1);
            if (_weights[k] > _weights[best]) best = k;
        }

        if (kinds == 0) return false;
        match = new Match(_next[best], _places[best], _matches[best], _weights[best] / total);
        return true;
    }

    /// <summary>
    /// Whether the words that followed the same layout were words from shortly before, and from how far back: a question names what its answer looks up, and an
    /// answer ends with what it has found, whatever that was.
    /// </summary>
    private bool FindAgain(ILayoutText from, SuffixText text, out Finding finding)
    {
        finding = default;
        _distances.AsSpan().Clear();
        ReadOnlySpan<int> items = text.Layout.Items;
        int best = 0, longest = 0, mark = 0, end = from.Marks.NewestEnd(items);
        float total = 0;
        for (int seen = 0; end >= 0 && seen < MaxAgain; end = from.Marks.OlderEnd(end), seen++)
        {
            if (end + 2 >= from.Marks.Count || from.Marks[end + 1] == -1) continue;
            int length = from.Marks.MatchLength(items, end, Lengths);
            if (length < SuffixIndex.KeyTokens) continue;
            float weight = s_weights[length];
            total += weight;
            int distance = from.Marks[end + 1] < -1 ? DistanceBack(from, from.WordAt(end + 1), from.WordAt(end + 2)) : 0;
            if (distance == 0) continue;
            _distances[distance] += weight;
            if (_distances[distance] <= _distances[best] && best != distance) continue;
            (best, longest, mark) = (distance, Math.Max(length, best == distance ? longest : 0), from.Marks[end + 1]);
        }

        int token = best == 0 ? -1 : text.WriteBack(best, mark);
        if (token < 0) return false;
        finding = Of(token, Kind.Again, new Match(token, 0, longest, _distances[best] / total));
        return true;
    }

    /// <summary>How many pieces before its beginning the word stood last; 0 if that is too far or never.</summary>
    private static int DistanceBack(ILayoutText text, int begin, int end)
    {
        int pieces = end - begin;
        if (pieces is < 1 or > WordTable.MaxPieces) return 0;
        for (int distance = pieces; distance <= Math.Min(MaxDistance, begin); distance++)
        {
            int same = 0;
            while (same < pieces && text.Word(begin - distance + same) == text.Word(begin + same)) same++;
            if (same == pieces) return distance;
        }

        return 0;
    }

    private static Finding Of(int token, Kind kind, in Match match)
    {
        int share = match.Share > 0.95f ? 3 : match.Share > 0.7f ? 2 : match.Share > 0.45f ? 1 : 0;
        return new Finding(token, (byte)kind, (short)(((int)kind * Lengths + Math.Min(match.Length, Lengths) - 1) * Shares + share));
    }

    /// <summary>What a finding is thought to be worth before any of its cell was tried.</summary>
    private static float Prior(Kind kind, int length, int share)
    {
        float unanimity = share switch { 3 => 0.7f, 2 => 0.5f, 1 => 0.3f, _ => 0.15f };
        return kind is Kind.Word or Kind.Again ? unanimity * Math.Min(1, (length - 1) / 4f) : unanimity; // a word behind one word alone says little
    }

    private static float Sigmoid(float x) => 1 / (1 + MathF.Exp(-x));

    /// <param name="Next">What followed.</param>
    /// <param name="Place">Where it stands.</param>
    /// <param name="Length">How much before it matches.</param>
    /// <param name="Share">Its share of the weight of all continuations.</param>
    private readonly record struct Match(int Next, int Place, int Length, float Share);

    /// <summary>How often findings of one kind were right, as the sums need it.</summary>
    private struct Cell
    {
        private float _right;
        private float _tried;

        public Cell(float prior)
        {
            (_right, _tried) = (prior * PriorTried, PriorTried);
            Weigh();
        }

        public float For { get; private set; }      // log odds that the named token is right

        public float Against { get; private set; }  // −log of the probability that another one is

        public void Learn(bool right)
        {
            (_right, _tried) = (_right * Fade + (right ? 1 : 0), _tried * Fade + 1);
            Weigh();
        }

        private void Weigh()
        {
            float p = Math.Clamp(_right / _tried, 0.01f, 0.99f);
            (For, Against) = (MathF.Log(p / (1 - p)), -MathF.Log(1 - p));
        }
    }
}

/// <summary>A reason to expect a token.</summary>
/// <param name="Token">The token.</param>
/// <param name="Kind">Where it was found.</param>
/// <param name="Cell">What such findings are worth.</param>
internal readonly record struct Finding(int Token, byte Kind, short Cell);
