using Foretoken.Speculation;

namespace Foretoken.Tests.Speculation;

public class TokenForestTests
{
    [Fact]
    public void Trees_grow_in_turn_and_are_visited_parents_first()
    {
        var forest = new TokenForest(4, 32);
        int a = forest.AddTree(100), b = forest.AddTree(200);
        int a1 = forest.Add(forest.Root(a), 1);
        int b1 = forest.Add(forest.Root(b), 1);
        int a2 = forest.Add(forest.Root(a), 2);
        int a11 = forest.Add(a1, 5);
        int b11 = forest.Add(b1, 6);

        Assert.Equal([forest.Root(a), a1, a2, a11], Visit(forest, a));
        Assert.Equal([forest.Root(b), b1, b11], Visit(forest, b));
        Assert.Equal((4, 3, 7), (forest.CountOf(a), forest.CountOf(b), forest.Count));
        Assert.Equal((0, 1, 2), (forest.Depth(forest.Root(a)), forest.Depth(a2), forest.Depth(a11)));
        Assert.Equal(a2, forest.FindChild(forest.Root(a), 2));
        Assert.Equal(-1, forest.FindChild(forest.Root(a), 5));
        Assert.Equal(-1, forest.FindChild(a2, 5));
        Assert.Equal((a1, -1), (forest.Parent(a11), forest.Parent(forest.Root(a))));
    }

    [Fact]
    public void The_same_path_proposed_twice_is_one_node()
    {
        var forest = new TokenForest(1, 16);
        int root = forest.Root(forest.AddTree(9));
        int first = forest.Add(root, 4);
        int below = forest.Add(first, 4);
        Assert.NotEqual(first, below);
        Assert.Equal(first, forest.Add(root, 4));
        Assert.Equal(below, forest.Add(first, 4));
        Assert.Equal(3, forest.Count);
    }

    [Fact]
    public void Limits_of_nodes_depth_and_capacity_refuse_a_draft_but_not_a_known_one()
    {
        var forest = new TokenForest(2, 6);
        int narrow = forest.Root(forest.AddTree(1, maxNodes: 2)), flat = forest.Root(forest.AddTree(2, maxDepth: 1));
        int first = forest.Add(narrow, 10);
        int second = forest.Add(first, 11);
        Assert.Equal(-1, forest.Add(second, 12));
        Assert.Equal(second, forest.Add(first, 11));
        int child = forest.Add(flat, 20);
        Assert.Equal(-1, forest.Add(child, 21));
        Assert.True(forest.Add(flat, 22) >= 0);
        Assert.Equal(-1, forest.Add(flat, 23)); // six nodes in all
        forest.Clear();
        Assert.Equal(0, forest.AddTree(3));
        Assert.Equal(1, forest.Count);
        Assert.Equal(-1, forest.FindChild(0, 10));
    }

    private static List<int> Visit(TokenForest forest, int tree)
    {
        var nodes = new List<int>();
        for (int node = forest.Root(tree); node >= 0; node = forest.Next(node)) nodes.Add(node);
        return nodes;
    }
}
