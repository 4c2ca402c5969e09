using Foretoken.Numerics;
using Foretoken.Speculation;

namespace Foretoken.Tests.Generation;

/// <summary>Knows the true answers and proposes them as a main chain, wrong at a set rate, with wrong siblings that have children of their own.</summary>
internal sealed class ScriptedDrafter(int maxNodes, int depth, int siblings, double wrongRate, int vocab) : IDrafter
{
    private readonly List<(int[] Prompt, int[] Answer)> _script = [];
    private readonly SeededRandom _random = new(17);

    public string Name => "scripted";

    public int MaxNodes => maxNodes;

    public int Released { get; private set; }

    public int Observed { get; private set; }

    public void Learn(int[] prompt, ReadOnlySpan<int> answer) => _script.Add((prompt, answer.ToArray()));

    public void Propose(ReadOnlySpan<DraftRequest> requests, TokenForest forest)
    {
        foreach (DraftRequest request in requests)
        {
            int[] answer = AnswerOf(request);
            int node = forest.Root(request.Tree), produced = request.Path.GeneratedCount;
            Assert.Equal(request.Path.Last, forest.Token(node));
            for (int d = 0; d < depth && node >= 0 && produced + d < answer.Length; d++)
            {
                int right = answer[produced + d], wrong = (right + 1 + _random.Next(vocab - 1)) % vocab;
                for (int s = 0; s < siblings; s++)
                {
                    int sibling = forest.Add(node, (right + 1 + _random.Next(vocab - 1)) % vocab);
                    if (sibling >= 0 && _random.Chance(0.5)) forest.Add(sibling, _random.Next(vocab));
                }

                node = forest.Add(node, _random.Chance(wrongRate) ? wrong : right);
            }
        }
    }

    public void Observe(ReadOnlySpan<DraftRequest> requests, ReadOnlySpan<Acceptance> acceptances, TokenForest forest)
    {
        Assert.Equal(requests.Length, acceptances.Length);
        for (int i = 0; i < requests.Length; i++)
        {
            Assert.Equal((requests[i].Tree, requests[i].Sequence), (acceptances[i].Tree, acceptances[i].Sequence));
            int[] answer = AnswerOf(requests[i]);
            ReadOnlySpan<int> generated = requests[i].Path.Generated;
            int shared = Math.Min(answer.Length, generated.Length);
            Assert.Equal(answer.AsSpan(0, shared).ToArray(), generated[..shared].ToArray());
            Observed++;
        }
    }

    public void Release(int sequence) => Released++;

    public void Dispose()
    {
    }

    private int[] AnswerOf(in DraftRequest request)
    {
        foreach ((int[] prompt, int[] answer) in _script)
        {
            if (request.Path.Tokens[..request.Path.PromptCount].SequenceEqual(prompt)) return answer;
        }

        return [];
    }
}
