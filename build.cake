// The build, as targets of a local tool:  dotnet tool restore && dotnet cake --target=Test
// Build, Test, Slow, Bench, Publish, Ci. Run from the repository root.

var target = Argument("target", "Test");
var configuration = Argument("configuration", "Release");
var runtime = Argument("runtime", "linux-x64");
var artifacts = Argument("artifacts", "artifacts");

Task("Build")
    .Description("Compiles the solution.")
    .Does(() => DotNetBuild("Engine.sln", new DotNetBuildSettings { Configuration = configuration, NoLogo = true }));

Task("Test")
    .Description("Runs the fast tests, as the README does.")
    .IsDependentOn("Build")
    .Does(() => RunTests("tests/fast.runsettings"));

Task("Slow")
    .Description("Runs the tests of the slow category.")
    .IsDependentOn("Build")
    .Does(() => RunTests("tests/slow.runsettings"));

Task("Bench")
    .Description("Measures decode and prefill of a random Llama-3.2-1B-shaped int8 model beside the machine's read bandwidth.")
    .IsDependentOn("Build")
    .Does(() =>
    {
        foreach (var kind in new[] { "decode", "rows", "prefill" })
            Foretoken($"bench {kind} --shape llama-3.2-1b --type int8 --markdown");
    });

Task("Ptx")
    .Description("Compiles cu/*.cu to cu/ptx/*.ptx; needed only by those who change a CUDA kernel.")
    .Does(() =>
    {
        var sources = GetFiles("cu/*.cu");
        if (sources.Count == 0)
        {
            Information("cu/ holds no CUDA sources: nothing to compile.");
            return;
        }

        if (Context.Tools.Resolve("clang-19") == null)
            throw new Exception("clang-19 is not on PATH. Debian and Ubuntu: apt-get install clang-19. Only changes of cu/*.cu need it.");
        EnsureDirectoryExists("cu/ptx");
        foreach (var source in sources)
            Run("clang-19", "-x cuda --cuda-device-only -nocudainc -nocudalib -S -O3 -ffp-contract=off --cuda-gpu-arch=sm_80 --cuda-feature=+ptx80 "
                + $"{source.FullPath} -o cu/ptx/{source.GetFilenameWithoutExtension()}.ptx");
    });

Task("Publish")
    .Description("Writes the self-contained executable and the models it ships with.")
    .Does(() => DotNetPublish("src/Cli/Cli.csproj", new DotNetPublishSettings
    {
        Configuration = configuration,
        Runtime = runtime,
        SelfContained = true,
        PublishSingleFile = true,
        NoLogo = true,
        OutputDirectory = Directory(artifacts) + Directory(runtime),
        MSBuildSettings = new DotNetMSBuildSettings().WithProperty("DebugType", "none").WithProperty("PublishDocumentationFiles", "false"),
    }));

Task("Ci")
    .Description("What runs on every change: build, tests, allocation gate, short slow tests, totals.")
    .Does(() => Run("bash", ".ci/run"));

void RunTests(string settings) => DotNetTest("tests/Tests.csproj", new DotNetTestSettings
{
    Configuration = configuration,
    NoBuild = true,
    NoLogo = true,
    Settings = settings,
});

void Foretoken(string arguments) => Run("dotnet", $"run -c {configuration} --no-build --project src/Cli -- {arguments}");

void Run(string command, string arguments)
{
    var exitCode = StartProcess(command, new ProcessSettings { Arguments = arguments });
    if (exitCode != 0) throw new Exception($"'{command} {arguments}' ended with exit code {exitCode}.");
}

RunTarget(target);
