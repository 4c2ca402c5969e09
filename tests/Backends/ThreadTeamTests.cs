using Foretoken.Backends.Cpu;

namespace Foretoken.Tests.Backends;

public class ThreadTeamTests
{
    private struct Count : IParallelJob
    {
        public int[] Hits;

        public readonly void Execute(int chunk, int thread) => Interlocked.Increment(ref Hits[chunk]);
    }

    private struct Fail : IParallelJob
    {
        public readonly void Execute(int chunk, int thread)
        {
            if (chunk == 5) throw new ArithmeticException("chunk five");
        }
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(5)]
    public void Every_chunk_runs_exactly_once(int threads)
    {
        using var team = new ThreadTeam(threads);
        for (int round = 0; round < 300; round++)
        {
            var job = new Count { Hits = new int[round % 37] };
            team.Run(ref job, job.Hits.Length);
            Assert.All(job.Hits, h => Assert.Equal(1, h));
        }
    }

    [Fact]
    public void Jobs_of_many_chunks_are_whole_too()
    {
        using var team = new ThreadTeam(3);
        foreach (int chunks in new[] { 65_534, 65_535, 65_536, 131_071, 200_001 })
        {
            var job = new Count { Hits = new int[chunks] };
            team.Run(ref job, chunks);
            Assert.All(job.Hits, h => Assert.Equal(1, h));
        }
    }

    [Fact]
    public void A_thread_without_work_takes_over_the_share_of_a_busy_one()
    {
        using var team = new ThreadTeam(2);
        var job = new HoldFirst { Threads = new int[40] };
        team.Run(ref job, 40);
        Assert.Single(job.Threads, t => t == job.Threads[0]); // whoever ran the first chunk was held by it
    }

    /// <summary>The first chunk ends when all others have run.</summary>
    private struct HoldFirst : IParallelJob
    {
        public int[] Threads;

        public readonly void Execute(int chunk, int thread)
        {
            Volatile.Write(ref Threads[chunk], thread + 1);
            if (chunk != 0) return;
            for (int c = 1; c < Threads.Length; c++)
            {
                while (Volatile.Read(ref Threads[c]) == 0) Thread.Yield();
            }
        }
    }

    [Fact]
    public void Late_threads_never_touch_a_finished_job()
    {
        using var team = new ThreadTeam(4); // more threads than cores: some come after the job has ended
        var total = new int[40];
        for (int round = 0; round < 20_000; round++)
        {
            int chunks = 2 + round % 39;
            var job = new Count { Hits = total };
            Array.Clear(total);
            team.Run(ref job, chunks);
            for (int c = 0; c < total.Length; c++) Assert.Equal(c < chunks ? 1 : 0, total[c]);
        }
    }

    /// <summary>A thread that holds the ticket of a finished small job must not take it for a chunk of the larger one that begins at that moment.</summary>
    [Theory]
    [InlineData(2)]
    [InlineData(4)]
    public void Late_threads_take_no_chunk_of_a_larger_job_before_it_begins(int threads)
    {
        using var team = new ThreadTeam(threads);
        var total = new int[6];
        for (int round = 0; round < 100_000; round++)
        {
            int chunks = round % 2 == 0 ? 2 : 6;
            var job = new Count { Hits = total };
            team.Run(ref job, chunks);
            for (int c = 0; c < total.Length; c++) Assert.Equal(c < chunks ? 1 : 0, total[c]);
            Array.Clear(total);
        }
    }

    [Theory]
    [InlineData(1)]
    [InlineData(3)]
    public void A_failure_is_reported_alike_with_and_without_other_threads(int threads)
    {
        using var team = new ThreadTeam(threads);
        var fail = default(Fail);
        var e = Assert.Throws<InvalidOperationException>(() => team.Run(ref fail, 10));
        Assert.IsType<ArithmeticException>(e.InnerException);
    }

    [Fact]
    public void A_late_thread_cannot_draw_a_chunk_of_a_job_that_is_being_written()
    {
        using var team = new ThreadTeam(2);
        var hits = new int[64];
        for (int round = 0; round < 4_000_000; round++)
        {
            int chunks = round % 2 == 0 ? 2 : 64; // the number of a small job's end is a chunk of the large one
            var job = new Count { Hits = hits };
            team.Run(ref job, chunks);
        }

        Assert.Equal(4_000_000, hits[0]);
        Assert.Equal(4_000_000, hits[1]);
        Assert.All(hits[2..], h => Assert.Equal(2_000_000, h));
    }

    [Fact]
    public void Threads_that_fell_asleep_wake_up()
    {
        using var team = new ThreadTeam(2);
        for (int round = 0; round < 3; round++)
        {
            Thread.Sleep(60);
            var job = new Count { Hits = new int[64] };
            team.Run(ref job, 64);
            Assert.Equal(64, job.Hits.Sum());
        }
    }

    [Fact]
    public void A_failing_chunk_is_reported_and_the_team_stays_usable()
    {
        using var team = new ThreadTeam(2);
        var fail = default(Fail);
        Exception e = Assert.ThrowsAny<Exception>(() => team.Run(ref fail, 10));
        Assert.Contains("chunk five", e.Message, StringComparison.Ordinal);
        var job = new Count { Hits = new int[9] };
        team.Run(ref job, 9);
        Assert.Equal(9, job.Hits.Sum());
    }

    [Fact]
    public void A_fork_join_allocates_nothing()
    {
        using var team = new ThreadTeam(2);
        var job = new Count { Hits = new int[16] };
        team.Run(ref job, 16);
        long before = GC.GetAllocatedBytesForCurrentThread();
        for (int i = 0; i < 1000; i++) team.Run(ref job, 16);
        Assert.Equal(0, GC.GetAllocatedBytesForCurrentThread() - before);
    }
}
