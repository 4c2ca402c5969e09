namespace Foretoken.Tests.Seam;

/// <summary>
/// A small selection of a product that holds every combination of values of any <c>strength</c> axes: strength 2 is pairwise. Greedy and without
/// randomness: each row begins with what is not covered yet and takes, axis by axis, the value that covers the most.
/// </summary>
public static class CoveringArray
{
    public static List<int[]> Rows(int[] levels, int strength)
    {
        int[][] subsets = [.. Subsets(levels.Length, strength)];
        var missing = new SortedSet<ulong>();
        foreach (int[] axes in subsets) AddAll(missing, levels, axes, 0, 0);
        var rows = new List<int[]>();
        while (missing.Count > 0)
        {
            int[] row = Decode(missing.Min, levels.Length);
            for (int axis = 0; axis < levels.Length; axis++)
            {
                if (row[axis] >= 0) continue;
                int best = 0, most = -1;
                for (int v = 0; v < levels[axis]; v++)
                {
                    row[axis] = (v + rows.Count) % levels[axis]; // equals take turns
                    int covered = subsets.Count(s => s.Contains(axis) && Array.TrueForAll(s, a => row[a] >= 0) && missing.Contains(Key(row, s)));
                    if (covered > most) (best, most) = (row[axis], covered);
                }

                row[axis] = best;
            }

            foreach (int[] axes in subsets) missing.Remove(Key(row, axes));
            rows.Add(row);
        }

        return rows;
    }

    private static IEnumerable<int[]> Subsets(int count, int size) => size == 0
        ? [[]]
        : Enumerable.Range(0, count).SelectMany(last => Subsets(last, size - 1).Select(s => (int[])[.. s, last]));

    /// <summary>Four bits per axis: its value plus one, or zero where the axis is left open.</summary>
    private static ulong Key(int[] row, int[] axes)
    {
        ulong key = 0;
        foreach (int axis in axes) key |= (ulong)(row[axis] + 1) << 4 * axis;
        return key;
    }

    private static int[] Decode(ulong key, int axes) => [.. Enumerable.Range(0, axes).Select(a => (int)(key >> 4 * a & 15) - 1)];

    private static void AddAll(SortedSet<ulong> keys, int[] levels, int[] axes, int done, ulong key)
    {
        if (done == axes.Length)
        {
            keys.Add(key);
            return;
        }

        for (int v = 0; v < levels[axes[done]]; v++) AddAll(keys, levels, axes, done + 1, key | (ulong)(v + 1) << 4 * axes[done]);
    }
}
