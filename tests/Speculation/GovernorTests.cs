using Foretoken.Memory;
using Foretoken.Numerics;
using Foretoken.Sampling;
using Foretoken.Speculation;

namespace Foretoken.Tests.Speculation;

/// <summary>The Governor's parts, on costs and acceptances that are set.</summary>
public class GovernorTests
{
    [Fact]
    public void Costs_follow_what_was_measured_and_extend_to_row_counts_that_were_not()
    {
        var model = new StepCostModel(32) { PriorPerKey = 0 };
        for (int i = 0; i < 50; i++) model.Observe(new StepCost(1, 0, 100, 0, 1000 + i % 2 * 10));
        Assert.InRange(model.Predict(1, 100), 990, 1020);
        double before = model.Predict(8, 100);
        Assert.InRange(before, 1500, 2200); // the prior's slope
        for (int i = 0; i < 50; i++) model.Observe(new StepCost(4, 0, 400, 0, 1150)); // 5 % a row
        Assert.InRange(model.Predict(4, 400), 1140, 1160);
        Assert.InRange(model.Predict(8, 100), 1250, 1450);
        for (int i = 0; i < 50; i++) model.Observe(new StepCost(3, 0, 300, 0, 1400)); // a row count that kernels dislike
        Assert.True(model.Predict(3, 100) > model.Predict(4, 100));
        double stable = model.Predict(4, 400);
        model.Observe(new StepCost(4, 0, 400, 0, 100_000)); // an interruption
        Assert.InRange(model.Predict(4, 400), stable, 1.05 * stable);
        model.Observe(new StepCost(4, 60, 400, 0, 100)); // beside a prompt: another kind of pass
        Assert.InRange(model.Predict(4, 400), stable, 1.05 * stable);
    }

    [Fact]
    public void Counts_of_passes_end_where_more_of_them_say_nothing()
    {
        var model = new StepCostModel(4);
        for (int i = 0; i < 70_000; i++) model.Observe(new StepCost(1 + i % 2, 0, 0, 0, 1000 + i % 2 * 200));
        int seen = model.Seen(1);
        for (int i = 0; i < 70_000; i++) model.Observe(new StepCost(1, 0, 0, 0, 1000));
        Assert.InRange(model.Seen(1), seen, 65_536);
        Assert.InRange(model.Fixed(1), 990, 1010);
    }

    [Fact]
    public void A_slower_machine_makes_all_row_counts_dearer_and_an_interruption_none()
    {
        var model = new PacedCostModel(8);
        for (int i = 0; i < 200; i++) model.Observe(new StepCost(1 + i % 2 * 3, 0, 0, 0, i % 2 == 0 ? 1000 : 1300), plain: false);
        Assert.InRange(model.Fixed(4), 1280, 1320);
        model.Observe(new StepCost(1, 0, 0, 0, 20_000), plain: false);
        Assert.InRange(model.Fixed(4), 1280, 1320);
        Assert.InRange(model.Judge(4, 0, 20_000), 1900, 2000);
        for (int i = 0; i < 3; i++) model.Observe(new StepCost(1, 0, 0, 0, 2000), plain: false);
        Assert.InRange(model.Fixed(1), 1950, 2050);
        Assert.InRange(model.Fixed(4), 2400, 2700);
        for (int i = 0; i < 400; i++) model.Observe(new StepCost(1, 0, 0, 0, 2000), plain: false); // alone it tells the pace, and not how it compares
        Assert.InRange(model.Fixed(4), 2400, 2700);
    }

    [Fact]
    public void A_pass_without_drafts_is_needed_soon_where_the_pace_has_changed_with_drafts_alone()
    {
        var model = new PacedCostModel(8);
        for (int i = 0; i < 80; i++) model.Observe(new StepCost(1 + i % 2 * 3, 0, 0, 0, i % 2 == 0 ? 1000 : 1300), plain: i % 2 == 0);
        for (int i = 0; i < 5; i++) model.Observe(new StepCost(4, 0, 0, 0, 1300), plain: false);
        Assert.True(model.Knows(1, 256));
        for (int i = 0; i < 5; i++) model.Observe(new StepCost(4, 0, 0, 0, 3900), plain: false);
        Assert.False(model.Knows(1, 256)); // a slower machine, or dearer rows?
        model.Observe(new StepCost(1, 0, 0, 0, 1000), plain: true);
        Assert.True(model.Knows(1, 256));
        for (int i = 0; i < 4; i++) model.Observe(new StepCost(4, 0, 0, 0, 3900), plain: false);
        Assert.False(model.Knows(1, 256)); // dearer rows, but one pass may be chance
        for (int i = 0; i < 5; i++) model.Observe(new StepCost(1, 0, 0, 0, 3000), plain: true);
        for (int i = 0; i < 10; i++) model.Observe(new StepCost(4, 0, 0, 0, 3900), plain: false);
        Assert.True(model.Knows(1, 256)); // a slower machine
    }

    [Fact]
    public void Hidden_states_of_all_sequences_are_kept_also_where_only_one_had_room_for_drafts()
    {
        var forest = new TokenForest(2, 14);
        for (int t = 0; t < 2; t++) forest.AddTree(5);
        var costs = new PacedCostModel(8, 2);
        costs.Begin(2);
        for (int i = 0; i < 8; i++) costs.Observe(new StepCost(2, 0, 0, 0, 1000), plain: true);
        var arm = new DrafterArm(new SetDrafter { RunsModel = true }, forest, 6, 2, readsHidden: true);
        arm.BeginStep(1, 2, allowed: true, spares: false);
        arm.Asked([Request(0, 24), Request(1, 0)], 100, 1, costs, 1000, probe: false);
        Assert.Equal(1, arm.CalledSequences);
        for (int step = 2; step < 4; step++) arm.BeginStep(step, 2, allowed: true, spares: false);
        Assert.True(arm.Feed.WasOnForAll);
    }

    [Fact]
    public void Hidden_states_are_asked_for_again_only_once_a_promise_has_held_again()
    {
        var arm = new DrafterArm(new SetDrafter { RunsModel = true }, new TokenForest(1, 8), 6, 1, readsHidden: true);
        for (int round = 0, step = 1; round < 2; round++)
        {
            for (int i = 0; i < 3; i++) arm.Promises(true, step++);
            arm.BeginStep(step, 1, allowed: true, spares: false);
            Assert.False(arm.Feed.IsOn);
            arm.Promises(true, step++);
            arm.BeginStep(step, 1, allowed: true, spares: false);
            Assert.True(arm.Feed.IsOn);
            step += 100;
        }
    }

    [Fact]
    public void Keys_cost_what_their_bytes_do_beside_those_of_the_weights()
    {
        var model = new StepCostModel(8) { PriorPerKey = 0.0005 };
        for (int i = 0; i < 4000; i++) model.Observe(new StepCost(1, 0, 200 + i, 0, 1000 + (200 + i) / 2));
        Assert.InRange(model.Predict(1, 4200), 3050, 3150);
        Assert.InRange(model.Predict(1, 200), 1080, 1120);
        Assert.InRange(model.PerKey, 0.49, 0.51);
    }

    [Fact]
    public void Acceptance_is_learned_per_confidence_and_depth_and_adjusted_per_request()
    {
        var model = new AcceptanceModel(2);
        Assert.InRange(model.Estimate(0.5f, 1, 0), 0.4f, 0.5f);
        var random = new SeededRandom(1);
        for (int i = 0; i < 2000; i++)
        {
            model.Observe(0.9f, 1, 0, random.Chance(0.6)); // overconfident
            model.Observe(0.2f, 2, 0, random.Chance(0.5)); // underconfident
        }

        Assert.InRange(model.Estimate(0.9f, 1, 0), 0.5f, 0.72f);
        Assert.InRange(model.Estimate(0.2f, 2, 0), 0.4f, 0.62f);
        float common = model.Estimate(0.9f, 1, 1);
        for (int i = 0; i < 30; i++) model.Observe(0.9f, 1, 1, false);
        Assert.True(model.Estimate(0.9f, 1, 1) < 0.5f * common);
        model.Release(1);
        Assert.True(model.Estimate(0.9f, 1, 1) > 0.6f * common);
    }

    [Fact]
    public void What_reading_took_is_owed_until_it_is_paid_also_where_more_is_lent_meanwhile()
    {
        var limit = new SpendingLimit(0);
        double full = limit.Balance;
        limit.Count(0, full + 10, 0, 1, invests: false); // owes 12, as 2 are left to it
        Assert.Equal(2, limit.Balance);
        limit.Count(0, 0, full - 2, 1, invests: false);
        Assert.True(limit.Lends);
        limit.Count(0, full + 70, 0, 1, invests: false); // 72 more
        limit.Count(0, 0, full - 2 + 69, 1, invests: false);
        Assert.False(limit.Lends); // 15 are still owed
        limit.Count(0, 0, 1, 1, invests: false);
        Assert.True(limit.Lends);
    }

    [Fact]
    public void A_pass_of_more_rows_is_not_thought_to_take_less()
    {
        DraftRequest[] requests = [Request(0, 24)];
        var forest = new TokenForest(1, 8);
        forest.Add(forest.Root(forest.AddTree(5)), 7, 0.9f);
        var costs = new PacedCostModel(8);
        for (int i = 0; i < 40; i++) costs.Observe(new StepCost(2, 0, 0, 0, 1000), plain: false);
        for (int i = 0; i < 40; i++) costs.Observe(new StepCost(1 + i % 2, 0, 0, 0, i % 2 == 0 ? 1500 : 1000), plain: i % 2 == 0); // interrupted
        Assert.True(costs.PredictPlain(1, 0) > 1.1 * costs.Predict(2, 0));
        var wrong = new AcceptanceModel(1);
        for (int i = 0; i < 300; i++) wrong.Observe(0.9f, 1, 0, false);
        var selection = new DraftSelection(1, 8, new MemoryPlan());
        selection.Begin(requests);
        selection.Merge(requests, forest, wrong, 0);
        Assert.Equal(0, selection.Choose(requests, costs, 0, 0, 0).Nodes);
    }

    /// <summary>Against the dynamic programme over all trees of n nodes, of two requests of different acceptance.</summary>
    [Fact]
    public void The_chosen_nodes_have_the_largest_expected_number_of_accepted_tokens()
    {
        DraftRequest[] requests = [Request(0, 24), Request(1, 24)];
        var forest = new TokenForest(2, 2 * 41);
        var random = new SeededRandom(7);
        foreach (DraftRequest r in requests)
        {
            int tree = forest.AddTree(5);
            var nodes = new List<int> { forest.Root(tree) };
            for (int i = 0; i < 14; i++) nodes.Add(forest.Add(nodes[random.Next(nodes.Count)], 100 + i, 0.1f + 0.8f * random.Next(100) / 100f));
        }

        var acceptance = new AcceptanceModel(2);
        var costs = new PacedCostModel(64);
        costs.Observe(new StepCost(1, 0, 0, 0, 1_000_000), plain: true);
        var selection = new DraftSelection(2, 80, new MemoryPlan());
        selection.Begin(requests);
        selection.Merge(requests, forest, acceptance, 0);
        Choice choice = selection.Choose(requests, costs, 0, 0, 0);
        Assert.InRange(choice.Nodes, 1, 28);

        double bestRate = 2 / costs.Predict(2, 0);
        for (int nodes = 1; nodes <= 28; nodes++)
        {
            double most = 0;
            for (int first = Math.Max(0, nodes - 14); first <= Math.Min(nodes, 14); first++)
                most = Math.Max(most, BestTree(forest, acceptance, 0, first) + BestTree(forest, acceptance, 1, nodes - first));
            bestRate = Math.Max(bestRate, (2 + most) / costs.Predict(2 + nodes, 0));
        }

        Assert.True(bestRate > 1.06 * 2 / costs.Predict(2, 0)); // beyond the margin that drafts must win by
        Assert.Equal(bestRate, choice.Rate, 1e-6 * bestRate);
        var verified = new TokenForest(2, 60);
        verified.AddTree(5);
        verified.AddTree(5);
        selection.CopyTo(verified);
        Assert.Equal(2 + choice.Nodes, verified.Count);
    }

    [Fact]
    public void What_contradicts_a_sure_draft_is_left_out()
    {
        DraftRequest[] requests = [Request(0, 24)];
        TokenForest sure = new(1, 8), other = new(1, 8);
        sure.Add(sure.Root(sure.AddTree(5)), 7, 0.99f);
        int node = other.Add(other.Root(other.AddTree(5)), 8, 0.9f);
        other.Add(node, 9, 0.9f);
        var costs = new PacedCostModel(64);
        costs.Observe(new StepCost(1, 0, 0, 0, 1_000_000), plain: true);
        var trusted = new AcceptanceModel(1);
        for (int i = 0; i < 300; i++) trusted.Observe(0.99f, 1, 0, true);
        var selection = new DraftSelection(1, 80, new MemoryPlan());
        selection.Begin(requests);
        selection.Merge(requests, other, new AcceptanceModel(1), 0);
        Assert.Equal(2, selection.Choose(requests, costs, 0, 0, 0).Nodes);
        selection.Merge(requests, sure, trusted, 1);
        Assert.Equal(1, selection.Choose(requests, costs, 0, 0, 0).Nodes);
        Assert.Equal((0, 1), (selection.ChosenOf(0).Nodes, selection.ChosenOf(1).Nodes));
    }

    [Fact]
    public void Unlikely_drafts_are_left_out_and_limits_are_kept()
    {
        DraftRequest[] requests = [Request(0, 3), Request(1, 0)];
        var forest = new TokenForest(2, 40);
        for (int t = 0; t < 2; t++)
        {
            int node = forest.Root(forest.AddTree(5));
            for (int i = 0; i < 8; i++) node = forest.Add(node, i, 1f);
        }

        var costs = new PacedCostModel(64);
        costs.Observe(new StepCost(1, 0, 0, 0, 1000), plain: true);
        var selection = new DraftSelection(2, 80, new MemoryPlan());
        selection.Begin(requests);
        selection.Merge(requests, forest, new AcceptanceModel(2), 0);
        Assert.Equal(3, selection.Choose(requests, costs, 0, 0, 0).Nodes); // the first request's limit; the second's is 0
        var doubtful = new AcceptanceModel(2);
        for (int i = 0; i < 300; i++)
        {
            for (int depth = 1; depth < 5; depth++) doubtful.Observe(1f, depth, 0, false);
        }

        selection.Begin(requests);
        selection.Merge(requests, forest, doubtful, 0);
        Assert.Equal(0, selection.Choose(requests, costs, 0, 0, 0).Nodes);
    }

    /// <summary>Largest sum of path probabilities over subtrees of n drafted nodes: children are decided one after the other.</summary>
    private static double BestTree(TokenForest forest, AcceptanceModel acceptance, int tree, int nodes)
    {
        double[] Best(int node, double path)
        {
            var best = new double[nodes + 1];
            best.AsSpan(1).Fill(double.NegativeInfinity);
            for (int child = forest.FirstChild(node); child >= 0; child = forest.NextSibling(child))
            {
                float sure = 0, estimate = Estimate(child);
                for (int other = forest.FirstChild(node); other >= 0; other = forest.NextSibling(other)) sure = other == child ? sure : Math.Max(sure, Estimate(other));
                double own = path * (estimate <= sure ? Math.Min(estimate, 1 - sure) : estimate); // at most one sibling is right
                double[] below = Best(child, own), joined = (double[])best.Clone();
                for (int before = 0; before < nodes; before++)
                {
                    for (int inside = 0; before + 1 + inside <= nodes; inside++)
                        joined[before + 1 + inside] = Math.Max(joined[before + 1 + inside], best[before] + own + below[inside]);
                }

                best = joined;
            }

            return best;
        }

        return Best(forest.Root(tree), 1)[nodes];

        float Estimate(int node) => acceptance.Estimate(forest.Confidence(node), forest.Depth(node), tree);
    }

    private static DraftRequest Request(int index, int nodes)
    {
        var path = new TokenHistory([1, 2, 5], 100);
        return new DraftRequest(index, index, path, SamplingOptions.Greedy, nodes, 30);
    }

    [Fact]
    public void A_sequence_that_drafters_are_tried_with_is_waited_for_while_its_prompt_is_read()
    {
        var feed = new HiddenStateFeed(maxSequences: 4);
        var path = new TokenHistory([1, 2, 3], 8);
        DraftRequest Request(int sequence) => new(0, sequence, path, SamplingOptions.Greedy, 4, 4);
        feed.WantOne(step: 1);
        feed.BeginStep(1, sequences: 1, allowed: true, spares: true, isNew: true);
        Assert.True(feed.Committed(3)); // the first rows of its prompt
        Assert.False(feed.HasTrial([Request(0)], 2));
        Assert.True(feed.HasTrial([Request(0), Request(3)], 2));
        feed.Release(3);
        Assert.False(feed.HasTrial([Request(0)], 3));
    }
}
