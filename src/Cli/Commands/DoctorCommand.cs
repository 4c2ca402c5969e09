using System.Globalization;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics.Arm;
using System.Runtime.Intrinsics.X86;
using Foretoken.Backends.Cpu;
using Foretoken.Backends.Cuda;
using Foretoken.Backends.Cpu.Emitter;
using Foretoken.Cli.Benchmarks;
using Foretoken.Cli.Options;
using Foretoken.Cli.Output;

namespace Foretoken.Cli.Commands;

/// <summary>What this machine offers and what the engine will use of it.</summary>
internal sealed class DoctorCommand : CliCommand
{
    private const int ProbeRuns = 5;
    private readonly Flag<int> _threads;
    private readonly Switch _calibrate;
    private readonly Switch _cuda;
    private readonly Flag<string?> _model;
    private readonly Switch _json;

    public DoctorCommand()
        : base("doctor", "Checks the machine: processor features, memory bandwidth, CUDA devices, models found.")
    {
        _threads = Add(ModelFlags.Threads());
        _calibrate = Add(new Switch("--calibrate", "Also measures what passes of several rows cost, with --model: what speculation has to work with."));
        _cuda = Add(new Switch("--cuda", "Also holds the CUDA device to the processor and to itself, with --model: kernels, logits, answers. Exit code 1 when something differs."));
        _model = Add(ModelFlags.Model());
        _json = Add(new Switch("--json", "One JSON object."));
    }

    public override int Run(CommandContext context)
    {
        CliHost host = context.Host;
        int threads = _threads.Get(context);
        bool json = _json.Get(context);
        threads = threads == 0 ? ProcessorLimits.Current.Threads : threads;
        string? model = _model.Get(context);
        bool calibrate = _calibrate.Get(context);
        bool cuda = _cuda.Get(context);
        if (model is not null && !calibrate && !cuda) throw new UsageException($"{_model.Name} names the model of {_calibrate.Name} and {_cuda.Name}: give one of them.");
        IEnumerable<(string Name, string Value)> all = Findings(threads, host);
        if (calibrate) all = all.Concat(Calibration.Run(ModelLocator.Find(model, host), threads, host));
        CudaPlatform platform = host.Cuda ?? CudaPlatform.Find();
        if (cuda)
        {
            _ = platform.Require(0);
            all = all.Concat(new CudaCheck(ModelLocator.Find(model, host), platform, threads, host.Interrupt).Run());
        }

        int code = ExitCode.Success;
        void Each(Action<string, string> write)
        {
            foreach ((string name, string value) in all)
            {
                write(name, value);
                if (value.StartsWith(CudaCheck.Failure, StringComparison.Ordinal)) code = ExitCode.RunError;
            }
        }

        if (json)
        {
            host.Output.WriteLine(JsonText.Object(w => Each((name, value) => w.WriteString(name.Replace(' ', '_'), value))));
            return code;
        }

        Each((name, value) =>
        {
            host.Output.WriteLine($"{name,-18}{value}");
            host.Output.Flush(); // whoever stops it half-way has what was found
        });
        return code;
    }

    private static IEnumerable<(string Name, string Value)> Findings(int threads, CliHost host)
    {
        yield return ("foretoken", CliApplication.Version);
        yield return ("runtime", $"{RuntimeInformation.FrameworkDescription}, {RuntimeInformation.RuntimeIdentifier}");
        yield return ("system", RuntimeInformation.OSDescription);
        yield return ("processor", ProcessorName());
        yield return ("vector features", string.Join(' ', Features()));
        yield return ("kernels", $"{IsaLevels.Best} ({string.Join(", ", Enum.GetValues<IsaLevel>().Where(IsaLevels.IsSupported))} supported)");
        yield return ("emitter", EmitterSupport.WhyNot is { } reason ? $"off: {reason}" : "on: 512-bit integer kernels are written at start");
        yield return ("threads", string.Create(CultureInfo.InvariantCulture, $"{threads} of {ProcessorLimits.Current}"));
        GCMemoryInfo memory = GC.GetGCMemoryInfo();
        yield return ("memory", string.Create(CultureInfo.InvariantCulture, $"{memory.TotalAvailableMemoryBytes / 1e9:F1} GB for this process"));
        yield return ("read bandwidth", Bandwidth(threads, host));
        foreach ((string Name, string Value) finding in CudaFindings(host.Cuda ?? CudaPlatform.Find())) yield return finding;
        IReadOnlyList<string> models = ModelLocator.Installed(host);
        yield return ("models", models.Count == 0 ? $"none in {Path.Combine(host.BaseDirectory, "models")}" : string.Join(", ", models));
    }

    private static IEnumerable<(string Name, string Value)> CudaFindings(CudaPlatform platform)
    {
        yield return ("cuda", platform.IsUsable ? $"driver for CUDA {CudaPlatform.VersionText(platform.DriverVersion)}" : $"none: {platform.Reason}");
        foreach (CudaDeviceInfo device in platform.Devices)
        {
            string state = device.Refusal is not null ? "too old"
                : CudaSelfTest.Run(platform, device.Ordinal) is { } wrong ? $"self-test FAILED: {wrong}"
                : "self-test passed";
            yield return (string.Create(CultureInfo.InvariantCulture, $"cuda device {device.Ordinal}"), $"{device}, {state}{Power(device)}");
        }
    }

    private static string Power(CudaDeviceInfo device)
    {
        using PowerMeter? meter = PowerMeter.TryOpen(device.Capabilities.PciBusId, out _);
        if (meter is null) return "";
        PowerReading reading = meter.Read();
        return (reading.Watts is { } watts ? string.Create(CultureInfo.InvariantCulture, $", {watts:F0} W") : "")
            + (reading.UsedBytes is { } used ? string.Create(CultureInfo.InvariantCulture, $", {used / 1e9:F1} GB in use") : "");
    }

    private static string Bandwidth(int threads, CliHost host)
    {
        using var team = new ThreadTeam(threads);
        using var probe = new MemoryProbe(team);
        var runs = new double[ProbeRuns];
        for (int i = 0; i < runs.Length; i++)
        {
            host.Interrupt.ThrowIfCancellationRequested();
            runs[i] = probe.Run();
        }

        Array.Sort(runs);
        return string.Create(CultureInfo.InvariantCulture, $"{runs[ProbeRuns / 2]:F1} GB/s (median of {ProbeRuns}, {runs[0]:F1} to {runs[^1]:F1})");
    }

    private static IEnumerable<string> Features()
    {
        (string Name, bool Supported)[] all =
        [
            ("SSE4.2", Sse42.IsSupported), ("AVX", Avx.IsSupported), ("AVX2", Avx2.IsSupported), ("FMA", Fma.IsSupported), ("AVX-VNNI", AvxVnni.IsSupported),
            ("AVX-512F", Avx512F.IsSupported), ("AVX-512BW", Avx512BW.IsSupported), ("AVX-512DQ", Avx512DQ.IsSupported),
            ("AVX-512VBMI", Avx512Vbmi.IsSupported),
            ("AdvSimd", AdvSimd.IsSupported), ("Dp", Dp.IsSupported),
        ];
        return all.Where(f => f.Supported).Select(f => f.Name).DefaultIfEmpty("none");
    }

    private static string ProcessorName()
    {
        const string cpuInfo = "/proc/cpuinfo", key = "model name";
        if (File.Exists(cpuInfo) && File.ReadLines(cpuInfo).FirstOrDefault(l => l.StartsWith(key, StringComparison.Ordinal)) is { } line)
            return line[(line.IndexOf(':', StringComparison.Ordinal) + 1)..].Trim();
        return RuntimeInformation.ProcessArchitecture.ToString();
    }
}
