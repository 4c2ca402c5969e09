using Foretoken.Backends;
using Foretoken.Backends.Cuda;
using Foretoken.Generation;
using Foretoken.Memory;
using Foretoken.Models;
using Foretoken.Ptx;
using Foretoken.Ptx.Driver;
using Foretoken.Sampling;
using Foretoken.Speculation;
using Foretoken.Tests.Fixtures;

namespace Foretoken.Tests.Backends.Cuda;

/// <summary>
/// Every driver call of a whole run fails in turn: start of the driver, loading, reading a prompt, speculative steps, a second request over stored pages, disposal.
/// The error names the call, nothing leaks, and where the device is not lost the very same engine goes on and says what it would have said.
/// </summary>
public sealed class CudaFaultTests : IDisposable
{
    private const int Stride = 47; // of the fast sample; coprime to the calls of a pass, so that no operation falls between
    private readonly TempDirectory _directory = new();

    public CudaFaultTests() => new TinyModel { Layers = 1, Hidden = 32, HeadDim = 8, Intermediate = 48, Vocab = 61, MaxPositions = 64, Seed = 8 }.Write(_directory.Path);

    public void Dispose() => _directory.Dispose();

    [Theory]
    [InlineData(CuResult.OutOfMemory)]
    [InlineData(CuResult.Unknown)]
    [InlineData(CuResult.LaunchFailed)] // the device is lost: every later call fails too
    public void A_failing_call_is_named_leaks_nothing_and_leaves_an_engine_that_works(int fault) => Sweep(fault, Stride);

    [Theory]
    [Trait("Category", "Slow")]
    [InlineData(CuResult.OutOfMemory)]
    [InlineData(CuResult.IllegalAddress)]
    public void Every_failing_call_is_named_leaks_nothing_and_leaves_an_engine_that_works(int fault) => Sweep(fault, 1);

    private void Sweep(int fault, int stride)
    {
        int[] expected;
        long calls;
        using (PtxDriver driver = NewDriver())
        {
            expected = Answer(driver);
            calls = driver.Calls;
            Assert.InRange(calls, 200, 5000);
            Assert.Empty(driver.Leaks);
        }

        var unseen = new HashSet<string>();
        int repaired = 0;
        for (long call = 1 + fault % stride; call <= calls; call += stride)
        {
            using PtxDriver driver = NewDriver();
            (driver.FaultAtCall, driver.FaultResult) = (call, fault);
            bool lost = fault is >= 700 and < 720;
            int[]? answer = null, again = null;
            Exception? error = Record.Exception(() => answer = Answer(driver, retry: !lost, out again));
            string at = $"call {call} of {calls}, {driver.FaultCall}";
            if (error is null)
            {
                Assert.True(expected.AsSpan().SequenceEqual(answer), at);
                if (again is null) unseen.Add(driver.FaultCall!);
                else repaired++;
            }
            else
            {
                Assert.True(error is CudaException or CudaUnavailableException or OutOfMemoryBudgetException, $"{at}: {error}");
                Assert.True(NamesCall(error, driver.FaultCall!) || (lost && MayFailUnseen(driver.FaultCall!)), $"{at}: {error}");
            }

            Assert.True(driver.Leaks.Count == 0, $"{at}: {string.Join(", ", driver.Leaks)}");
            if (lost || (stride == 1 && call % 5 > 0)) continue;
            Assert.True(expected.AsSpan().SequenceEqual(Answer(driver)), $"{at}: a fresh engine answers otherwise");
            Assert.Empty(driver.Leaks);
        }

        Assert.All(unseen, c => Assert.True(MayFailUnseen(c), $"{c} failed and nobody saw it"));
        Assert.True(fault is >= 700 and < 720 || repaired > (stride == 1 ? 100 : 1), $"{repaired} passes failed and were repaired");
    }

    /// <summary>What gives something back: it is done whatever it reports, and a lost device is met at the next call.</summary>
    private static bool MayFailUnseen(string call) => call.Contains("Free", StringComparison.Ordinal) || call.Contains("Destroy", StringComparison.Ordinal)
        || call.Contains("Unload", StringComparison.Ordinal) || call is "cuDevicePrimaryCtxRelease_v2" or "cuCtxSetCurrent";

    private static bool NamesCall(Exception error, string call)
    {
        for (Exception? e = error; e is not null; e = e.InnerException)
        {
            if (e.Message.Contains(call, StringComparison.Ordinal)) return true;
        }

        return false;
    }

    private static PtxDriver NewDriver() => new(new PtxMachineOptions { Threads = 1, Count = false, GlobalBytes = 64 << 20 });

    private int[] Answer(PtxDriver driver) => Answer(driver, retry: false, out _);

    /// <summary>The tokens of three requests.</summary>
    /// <param name="driver">The device.</param>
    /// <param name="retry">A request that fails is made again.</param>
    /// <param name="again">The tokens of the one that was; null when none failed.</param>
    private int[] Answer(PtxDriver driver, bool retry, out int[]? again)
    {
        CudaPlatform platform = CudaPlatform.Over(new CudaDriver(PtxDriver.Fill<CudaDriverTable>()));
        using ModelSource source = ModelLoader.Open(_directory.Path);
        using LanguageModel model = LanguageModel.Load(source, tokenizer: null, new LanguageModelOptions
        {
            Device = ComputeDevice.Cuda, CudaPlatform = platform, ContextLength = 64, MaxSequences = 2, MaxRows = 24, PrefillChunk = 8, MaxPrefixes = 2, WeightType = WeightType.BF16,
            Draft = new NgramOptions { MinMatch = 1 },
        });
        int[] prompt = [.. Enumerable.Range(0, 33).Select(i => i * i % 7 + 3)];
        var tokens = new List<int>();
        again = null;
        foreach (float temperature in new[] { 0f, 0.8f, 0f })
        {
            var options = new GenerationOptions { MaxTokens = 6, IgnoreEndTokens = true, Sampling = new SamplingOptions { Temperature = temperature, Seed = 5 } };
            try
            {
                tokens.AddRange(Complete(model, prompt, options));
            }
            catch (CudaException) when (retry && driver.FaultCall is not null)
            {
                tokens.AddRange(again = Complete(model, prompt, options));
            }
        }

        Assert.True(driver.FaultCall is not null || model.Cache.Statistics.Prefixes.ReusedTokens > 0, "no prefix was reused");
        return [.. tokens];
    }

    private static int[] Complete(LanguageModel model, int[] prompt, GenerationOptions options)
    {
        using GenerationSession session = model.Generate(prompt, options);
        GenerationResult result = session.Complete();
        Assert.True(result.Statistics.DraftedTokens > 0, "nothing was drafted");
        return [.. result.Tokens];
    }
}
