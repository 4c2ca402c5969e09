using System.Reflection;
using Foretoken.Numerics;
using Foretoken.Training.Tasks;

namespace Foretoken.Tests.Tasks;

public class TaskSplitTests
{
    private const int SamplesPerBucket = 20_000;

    public static TheoryData<int> TaskIndices => [0, 1, 2, 3, 4, 5];

    [Theory, MemberData(nameof(TaskIndices))]
    public void Train_and_held_out_problems_never_share_a_canonical_key(int index)
    {
        ITask task = Task(index);
        HashSet<string> train = [], heldOut = [], heldOutPrompts = [];
        for (int i = 0; i < SamplesPerBucket; i++)
        {
            train.Add(task.Generate(new SeededRandom(1, (ulong)i), i % task.Levels, Split.Train).Key);
        }
        for (int i = 0; i < SamplesPerBucket / 10; i++)
        {
            TaskExample example = task.Generate(new SeededRandom(2, (ulong)i), i % task.Levels, Split.HeldOut);
            heldOut.Add(example.Key);
            heldOutPrompts.Add(example.Prompt);
        }
        Assert.Empty(train.Intersect(heldOut));
        Assert.True(train.Count > SamplesPerBucket / 4, $"only {train.Count} different problems");
        Assert.True(heldOut.Count > SamplesPerBucket / 50, $"only {heldOut.Count} different held-out problems");
        Assert.True(heldOutPrompts.Count >= heldOut.Count);
    }

    [Fact]
    public void The_training_bucket_of_backward_lookups_never_shows_a_held_out_mapping()
    {
        ITask backward = TaskMixture.Known().Single(task => task.Bucket == "mapping-reverse");
        for (int i = 0; i < 2000; i++)
        {
            string key = backward.Generate(new SeededRandom(8, (ulong)i), i % backward.Levels, Split.Train).Key;
            Assert.StartsWith("mapping/", key, StringComparison.Ordinal);
            Assert.Equal(Split.Train, TaskSplit.Of(key));
        }
    }

    [Theory, MemberData(nameof(TaskIndices))]
    public void Prompts_of_train_and_held_out_problems_differ(int index)
    {
        ITask task = Task(index);
        HashSet<string> train = [];
        for (int i = 0; i < 4000; i++)
        {
            train.Add(task.Generate(new SeededRandom(3, (ulong)i), i % task.Levels, Split.Train).Prompt.ToLowerInvariant());
        }
        for (int i = 0; i < 400; i++)
        {
            Assert.DoesNotContain(task.Generate(new SeededRandom(4, (ulong)i), i % task.Levels, Split.HeldOut).Prompt.ToLowerInvariant(), train);
        }
    }

    [Theory]
    [InlineData("a+b", new[] { 34, 12 }, new[] { 12, 34 })]
    [InlineData("a*b+c", new[] { 3, 7, 5 }, new[] { 7, 3, 5 })]
    public void Commuted_operands_are_the_same_problem(string shape, int[] first, int[] second) =>
        Assert.Equal(Expression.FromShape(shape, first).Canonical(), Expression.FromShape(shape, second).Canonical());

    [Fact]
    public void Different_problems_have_different_keys()
    {
        Assert.NotEqual(Expression.FromShape("a-b", [34, 12]).Canonical(), Expression.FromShape("a-b", [12, 34]).Canonical());
        Assert.NotEqual(Expression.FromShape("a+b", [1, 23]).Canonical(), Expression.FromShape("a+b", [12, 3]).Canonical());
    }

    [Fact]
    public void About_one_key_in_ten_is_held_out()
    {
        int heldOut = Enumerable.Range(0, 20_000).Count(i => TaskSplit.Of($"arithmetic/({i}+{i + 1})") == Split.HeldOut);
        Assert.InRange(heldOut, 1800, 2200);
    }

    [Theory, MemberData(nameof(TaskIndices))]
    public void Every_task_has_at_least_twenty_templates_and_held_out_ones_that_training_never_shows(int index)
    {
        PhraseSet[] sets = [.. PhraseSets(index)];
        Assert.True(sets.Sum(set => set.Seen.Count) >= 20);
        foreach (PhraseSet set in sets)
        {
            Assert.NotEmpty(set.HeldOut);
            Assert.Empty(set.Seen.Intersect(set.HeldOut));
            Assert.Equal(set.Seen.Count, set.Seen.Distinct().Count());
        }
    }

    [Fact]
    public void Unseen_phrasing_uses_only_held_out_templates_and_training_only_seen_ones()
    {
        var set = new PhraseSet(["a", "b"], ["c", "d"]);
        var random = new SeededRandom(5);
        Assert.Equal(["a", "b"], Enumerable.Range(0, 100).Select(_ => new Phrasing(random, unseen: false).Pick(set)).Distinct().Order());
        Assert.Equal(["c", "d"], Enumerable.Range(0, 100).Select(_ => new Phrasing(random, unseen: true).Pick(set)).Distinct().Order());
    }

    private static ITask Task(int index) => TaskMixture.Default().Tasks[index];

    private static IEnumerable<PhraseSet> PhraseSets(int index)
    {
        Type type = index == 0 ? typeof(ArithmeticTask).Assembly.GetType("Foretoken.Training.Tasks.ArithmeticPhrases", throwOnError: true)! : Task(index).GetType();
        foreach (FieldInfo field in type.GetFields(BindingFlags.Static | BindingFlags.Public | BindingFlags.NonPublic))
        {
            switch (field.GetValue(null))
            {
                case PhraseSet set:
                    yield return set;
                    break;
                case Dictionary<char, PhraseSet> byOperation:
                    foreach (PhraseSet set in byOperation.Values)
                    {
                        yield return set;
                    }
                    break;
                case Dictionary<string, PhraseSet> byShape:
                    foreach (PhraseSet set in byShape.Values)
                    {
                        yield return set;
                    }
                    break;
            }
        }
    }
}
