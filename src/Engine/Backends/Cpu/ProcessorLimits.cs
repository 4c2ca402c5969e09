using System.Globalization;

namespace Foretoken.Backends.Cpu;

/// <summary>
/// How many processors this process may keep busy. Beside the runtime's count, which knows the affinity and the limit of the process's own control group, this
/// looks at the groups above it: a container in a limited slice is as limited as the slice.
/// </summary>
/// <param name="Processors">What the runtime counts.</param>
/// <param name="Allowed">Processors of the affinity mask; null = not known.</param>
/// <param name="Quota">Processors' worth of time that control groups grant, for example 1.5; null = no limit.</param>
internal readonly record struct ProcessorLimits(int Processors, int? Allowed, double? Quota)
{
    private const long DefaultPeriod = 100_000; // microseconds, where a group names none

    /// <summary>Those of this process, as it began.</summary>
    public static ProcessorLimits Current { get; } =
        OperatingSystem.IsLinux() ? Of(Environment.ProcessorCount, ReadFile) : new ProcessorLimits(Environment.ProcessorCount, null, null);

    /// <summary>
    /// Threads that make sense. A fraction counts as a whole: one and a half processors do more with two threads that pause a quarter of the time than with one.
    /// </summary>
    public int Threads => Math.Max(1, Math.Min(Processors, Math.Min(Allowed ?? int.MaxValue, (int)Math.Ceiling(Math.Min(Quota ?? int.MaxValue, int.MaxValue)))));

    /// <summary>The limits that follow from the contents of files.</summary>
    /// <param name="processors">What the runtime counts.</param>
    /// <param name="read">The text of a file; null where it cannot be read.</param>
    public static ProcessorLimits Of(int processors, Func<string, string?> read)
    {
        string groups = read("/proc/self/cgroup") ?? "";
        double? quota = null;
        foreach (string line in Lines(read("/proc/self/mountinfo")))
        {
            if (Mount.Parse(line) is not { } mount || PathOf(groups, mount.IsUnified) is not { } path) continue;
            for (string? folder = mount.FolderOf(path); folder is not null; folder = mount.Above(folder))
            {
                double? granted = mount.IsUnified
                    ? Share(read($"{folder}/cpu.max"))
                    : read($"{folder}/cpu.cfs_quota_us")?.Trim() is { Length: > 0 } given ? Share($"{given} {read($"{folder}/cpu.cfs_period_us")}") : null;
                if (granted < (quota ?? double.PositiveInfinity)) quota = granted;
            }
        }

        return new ProcessorLimits(processors, CountOf(read("/proc/self/status")), quota);
    }

    /// <summary>For reports: what limits, where something does.</summary>
    public override string ToString() => Quota is { } quota && quota < Processors
        ? string.Create(CultureInfo.InvariantCulture, $"{Processors} processors, of which control groups grant {quota:0.##}")
        : Allowed < Processors ? $"{Processors} processors, of which the affinity leaves {Allowed}" : $"{Processors} processors";

    /// <summary>The process's group in the hierarchy of version 2, or in that of the cpu controller of version 1: lines <c>number:controllers:path</c>.</summary>
    private static string? PathOf(string groups, bool unified)
    {
        foreach (string line in Lines(groups))
        {
            string[] parts = line.Split(':', 3);
            if (parts.Length == 3 && (unified ? parts[0] == "0" && parts[1].Length == 0 : parts[1].Split(',').Contains("cpu"))) return parts[2];
        }

        return null;
    }

    /// <summary>Processors' worth of <c>quota period</c> in microseconds; null for <c>max</c>, −1 and what is no limit.</summary>
    private static double? Share(string? text)
    {
        string[] parts = (text ?? "").Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries);
        if (parts.Length == 0 || !long.TryParse(parts[0], NumberStyles.None, CultureInfo.InvariantCulture, out long quota) || quota == 0) return null;
        long period = DefaultPeriod;
        if (parts.Length > 1 && (!long.TryParse(parts[1], NumberStyles.None, CultureInfo.InvariantCulture, out period) || period == 0)) return null;
        return (double)quota / period;
    }

    /// <summary>Processors of the line <c>Cpus_allowed_list: 0-3,8</c>.</summary>
    private static int? CountOf(string? status)
    {
        const string name = "Cpus_allowed_list:";
        if (Lines(status).FirstOrDefault(l => l.StartsWith(name, StringComparison.Ordinal)) is not { } line) return null;
        long count = 0;
        foreach (string range in line[name.Length..].Split(',', StringSplitOptions.TrimEntries))
        {
            string[] ends = range.Split('-');
            if (ends.Length > 2 || !int.TryParse(ends[0], NumberStyles.None, CultureInfo.InvariantCulture, out int first)
                || !int.TryParse(ends[^1], NumberStyles.None, CultureInfo.InvariantCulture, out int last) || last < first)
            {
                return null;
            }

            count += (long)last - first + 1;
        }

        return (int)Math.Min(count, int.MaxValue);
    }

    private static string[] Lines(string? text) => (text ?? "").Split('\n', StringSplitOptions.RemoveEmptyEntries);

    private static string? ReadFile(string path)
    {
        try
        {
            return File.ReadAllText(path);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return null; // the group above may be out of sight
        }
    }

    /// <summary>A mounted hierarchy of control groups.</summary>
    /// <param name="Root">The group that stands at <paramref name="Point"/>.</param>
    /// <param name="Point">A folder.</param>
    /// <param name="IsUnified">Version 2; otherwise version 1 with the cpu controller.</param>
    private sealed record Mount(string Root, string Point, bool IsUnified)
    {
        /// <summary>A line of mountinfo (proc(5)): <c>id parent device root point options [fields] - type source options</c>; null for other mounts.</summary>
        public static Mount? Parse(string line)
        {
            string[] words = line.Split(' ');
            int dash = Array.IndexOf(words, "-");
            if (dash < 6 || words.Length < dash + 4) return null;
            bool unified = words[dash + 1] == "cgroup2";
            if (!unified && (words[dash + 1] != "cgroup" || !words[dash + 3].Split(',').Contains("cpu"))) return null;
            return new Mount(Unescaped(words[3]), Unescaped(words[4]).TrimEnd('/'), unified);
        }

        /// <summary>Where a group's files are. One that is not below the root, as in a container that sees its own part, is taken for the root.</summary>
        public string FolderOf(string group)
        {
            string root = Root.TrimEnd('/');
            string inside = group.StartsWith(root + "/", StringComparison.Ordinal) ? group[root.Length..].TrimEnd('/') : "";
            return inside.Split('/').Contains("..") ? Point : Point + inside;
        }

        /// <summary>The folder of the group above; null above the mount.</summary>
        public string? Above(string folder) => folder.Length > Point.Length ? folder[..folder.LastIndexOf('/')] : null;

        // blanks, tabs, line ends and backslashes are written as octal numbers
        private static string Unescaped(string text) =>
            text.Replace("\\040", " ", StringComparison.Ordinal).Replace("\\011", "\t", StringComparison.Ordinal).Replace("\\012", "\n", StringComparison.Ordinal)
                .Replace("\\134", "\\", StringComparison.Ordinal);
    }
}
