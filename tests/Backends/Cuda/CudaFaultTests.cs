using Foretoken.Backends;
using Foretoken.Backends.Cuda;
using Foretoken.Generation;
using Foretoken.Memory;
using Foretoken.Ptx.Driver;
using Foretoken.Tests.Backends.Cuda.Kernels;
using Foretoken.Tests.Fixtures;

namespace Foretoken.Tests.Backends.Cuda;

/// <summary>Driver calls that fail while a model loads and answers: a clear error, and nothing leaks.</summary>
public sealed class CudaFaultTests
{
    private const int Points = 9; // spread over all calls

    [Theory]
    [InlineData(CuResult.OutOfMemory)]
    [InlineData(CuResult.LaunchFailed)]
    public void A_failing_call_gives_a_clear_error_and_leaks_nothing(int fault)
    {
        using var directory = new TempDirectory();
        new TinyModel { Layers = 1, Hidden = 32, Intermediate = 64, Vocab = 300 }.Write(directory.Path);
        long calls;
        using (var machine = new MachineDevice())
        {
            Assert.Null(Answer(directory.Path, machine));
            calls = machine.Driver.Calls;
        }

        int failed = 0;
        for (int i = 0; i < Points; i++)
        {
            using var machine = new MachineDevice();
            machine.Driver.FaultResult = fault;
            machine.Driver.FaultAtCall = machine.Driver.Calls + 1 + i * (calls - machine.Driver.Calls - 1) / Points;
            Exception? error = Answer(directory.Path, machine);
            failed += error is null ? 0 : 1;
            if (error is not null)
            {
                Assert.True(error is CudaException or CudaUnavailableException or OutOfMemoryBudgetException or GenerationException, error.ToString());
                Assert.NotEqual("", error.Message);
            }

            Assert.Empty(machine.Driver.Leaks);
        }

        Assert.True(failed > Points / 2, $"{failed} of {Points} faults were seen");
    }

    private static Exception? Answer(string directory, MachineDevice machine) => Record.Exception(() =>
    {
        using LanguageModel model = LanguageModel.Load(directory, new LanguageModelOptions
        {
            Device = ComputeDevice.Cuda, CudaPlatform = machine.Platform, ContextLength = 32, MaxSequences = 1, MaxRows = 8, PrefillChunk = 8,
        });
        using GenerationSession session = model.Generate([3, 50, 77], new GenerationOptions { MaxTokens = 4 });
        while (session.MoveNext()) { }
    });
}
