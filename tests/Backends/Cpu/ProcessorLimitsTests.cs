using Foretoken.Backends.Cpu;

namespace Foretoken.Tests.Backends.Cpu;

/// <summary>How many threads a process takes, from the files that Linux shows it.</summary>
public sealed class ProcessorLimitsTests
{
    private const string Unified = "30 23 0:26 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:9 - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot";
    private const string Cpu = "33 25 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:15 - cgroup cgroup rw,cpu,cpuacct";
    private const string Memory = "34 25 0:30 / /sys/fs/cgroup/memory rw,nosuid shared:16 - cgroup cgroup rw,memory";

    [Theory]
    [InlineData("max 100000", null, 16)]
    [InlineData("max", null, 16)]
    [InlineData("200000 100000\n", 2.0, 2)]
    [InlineData("150000 100000", 1.5, 2)] // a fraction counts as a whole
    [InlineData("100001 100000", 1.00001, 2)]
    [InlineData("50000 100000", 0.5, 1)]
    [InlineData("1000 1000000", 0.001, 1)]
    [InlineData("25000 50000", 0.5, 1)] // another period
    [InlineData("300000", 3.0, 3)] // the period that a group has without naming one
    [InlineData("9000000000000000000 1", 9e18, 16)]
    [InlineData("6400000 100000", 64.0, 16)] // more than there are
    [InlineData("", null, 16)]
    [InlineData("garbage 100000", null, 16)]
    [InlineData("100000 garbage", null, 16)]
    [InlineData("100000 0", null, 16)]
    [InlineData("0 100000", null, 16)]
    [InlineData("-1 100000", null, 16)]
    [InlineData("99999999999999999999 100000", null, 16)]
    public void Quota_of_version_2_is_rounded_up(string max, double? quota, int threads)
    {
        ProcessorLimits limits = Of(16, ("/proc/self/cgroup", "0::/user.slice"), ("/proc/self/mountinfo", Unified), ("/sys/fs/cgroup/user.slice/cpu.max", max));
        Assert.Equal((quota, threads), (limits.Quota, limits.Threads));
    }

    [Theory]
    [InlineData("max 100000", "400000 100000", "300000 100000", 3)] // a slice above limits
    [InlineData("100000 100000", "max 100000", "max 100000", 1)]
    [InlineData("800000 100000", "250000 100000", "max 100000", 3)]
    [InlineData("max 100000", "max 100000", null, 16)] // the uppermost has no such file
    [InlineData(null, "200000 100000", null, 2)] // the own group has none: the controller is not switched on for it
    public void Least_quota_of_a_group_and_those_above_it_counts(string? own, string? above, string? uppermost, int threads)
    {
        ProcessorLimits limits = Of(
            16, ("/proc/self/cgroup", "0::/a.slice/b.scope/c"), ("/proc/self/mountinfo", Unified), ("/sys/fs/cgroup/a.slice/b.scope/c/cpu.max", own),
            ("/sys/fs/cgroup/a.slice/b.scope/cpu.max", above), ("/sys/fs/cgroup/a.slice/cpu.max", uppermost));
        Assert.Equal(threads, limits.Threads);
    }

    [Theory]
    [InlineData("-1\n", "100000\n", null, 16)]
    [InlineData("250000\n", "100000\n", 2.5, 3)]
    [InlineData("50000", "200000", 0.25, 1)]
    [InlineData("50000", null, 0.5, 1)]
    [InlineData(null, null, null, 16)]
    [InlineData(null, "100000", null, 16)] // the period is no quota
    [InlineData("", "100000", null, 16)]
    public void Quota_of_version_1_is_that_of_the_cpu_controller(string? quota, string? period, double? share, int threads)
    {
        ProcessorLimits limits = Of(
            16, ("/proc/self/cgroup", "12:memory:/wrong\n5:cpu,cpuacct:/job\n1:name=systemd:/wrong\n"), ("/proc/self/mountinfo", $"{Memory}\n{Cpu}\n"),
            ("/sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_quota_us", quota), ("/sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_period_us", period),
            ("/sys/fs/cgroup/cpu,cpuacct/wrong/cpu.cfs_quota_us", "100"), ("/sys/fs/cgroup/memory/wrong/cpu.cfs_quota_us", "100"));
        Assert.Equal((share, threads), (limits.Quota, limits.Threads));
    }

    [Fact]
    public void Both_versions_side_by_side_are_looked_at()
    {
        (string, string?)[] files =
        [
            ("/proc/self/cgroup", "5:cpu,cpuacct:/job\n0::/slice"), ("/proc/self/mountinfo", $"{Cpu}\n{Unified.Replace("/sys/fs/cgroup ", "/sys/fs/cgroup/unified ", StringComparison.Ordinal)}"),
            ("/sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_quota_us", "400000"), ("/sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_period_us", "100000"),
        ];
        Assert.Equal(4, Of(16, files).Threads);
        Assert.Equal(2, Of(16, [.. files, ("/sys/fs/cgroup/unified/slice/cpu.max", "200000 100000")]).Threads);
    }

    [Theory]
    [InlineData("/docker/abc", "0::/docker/abc/app", "/sys/fs/cgroup/app")] // the container's group stands at the mount, the path is the host's
    [InlineData("/docker/abc", "0::/docker/abc", "/sys/fs/cgroup")]
    [InlineData("/docker/abc", "0::/docker/abcdef", "/sys/fs/cgroup")] // another group whose name begins alike
    [InlineData("/", "0::/", "/sys/fs/cgroup")] // a namespace of its own
    [InlineData("/", "0::/../../other", "/sys/fs/cgroup")] // outside of the namespace
    [InlineData("/", "0::/a b\\c:d", "/sys/fs/cgroup/a b\\c:d")]
    public void Group_is_found_below_the_mount(string root, string group, string folder)
    {
        string mount = Unified.Replace(" / ", $" {root} ", StringComparison.Ordinal);
        Assert.Equal(3, Of(16, ("/proc/self/cgroup", group), ("/proc/self/mountinfo", mount), ($"{folder}/cpu.max", "300000 100000")).Threads);
    }

    [Fact]
    public void Mount_point_with_blanks_is_read()
    {
        string mount = Unified.Replace("/sys/fs/cgroup ", "/mnt/my\\040groups\\134x ", StringComparison.Ordinal);
        Assert.Equal(3, Of(16, ("/proc/self/cgroup", "0::/a"), ("/proc/self/mountinfo", mount), ("/mnt/my groups\\x/a/cpu.max", "300000 100000")).Threads);
    }

    [Theory]
    [InlineData("Cpus_allowed_list:\t0-3", 4, 4)]
    [InlineData("Name:\tx\nCpus_allowed:\tff\nCpus_allowed_list:\t0\nMems_allowed:\t1", 1, 1)]
    [InlineData("Cpus_allowed_list:\t0-1,4,6-7", 5, 5)]
    [InlineData("Cpus_allowed_list:\t0-127", 128, 16)]
    [InlineData("Cpus_allowed_list:\t0-2147483647,5-2147483647", int.MaxValue, 16)]
    [InlineData("Cpus_allowed_list:\t", null, 16)]
    [InlineData("Cpus_allowed_list:\t3-1", null, 16)]
    [InlineData("Cpus_allowed_list:\t0-1-2", null, 16)]
    [InlineData("Cpus_allowed_list:\t0,x", null, 16)]
    [InlineData("", null, 16)]
    public void Affinity_is_counted(string status, int? allowed, int threads)
    {
        ProcessorLimits limits = Of(16, ("/proc/self/status", status));
        Assert.Equal((allowed, threads), (limits.Allowed, limits.Threads));
    }

    [Fact]
    public void The_least_limit_decides_and_reports_name_it()
    {
        (string, string?)[] files =
        [
            ("/proc/self/status", "Cpus_allowed_list:\t0-5"), ("/proc/self/cgroup", "0::/a"), ("/proc/self/mountinfo", Unified),
            ("/sys/fs/cgroup/a/cpu.max", "250000 100000"),
        ];
        Assert.Equal((3, "16 processors, of which control groups grant 2.5"), (Of(16, files).Threads, Of(16, files).ToString()));
        Assert.Equal((2, "2 processors"), (Of(2, files).Threads, Of(2, files).ToString()));
        Assert.Equal((6, "8 processors, of which the affinity leaves 6"), (Of(8, files[0]).Threads, Of(8, files[0]).ToString()));
    }

    [Fact]
    public void Mountinfo_cut_anywhere_is_read_without_failing()
    {
        string text = $"{Memory}\n{Cpu}\n{Unified}\nnot a mount\n- - - -";
        for (int length = 0; length <= text.Length; length++)
            Assert.InRange(Of(16, ("/proc/self/cgroup", "0::/a\n5:cpu:/b\n:\nx"), ("/proc/self/mountinfo", text[..length])).Threads, 1, 16);
    }

    [Fact]
    public void This_process_has_a_processor() => Assert.InRange(ProcessorLimits.Current.Threads, 1, Environment.ProcessorCount);

    private static ProcessorLimits Of(int processors, params (string Path, string? Text)[] files) =>
        ProcessorLimits.Of(processors, path => files.FirstOrDefault(f => f.Path == path).Text);
}
