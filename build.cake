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
    .Does(() => RunTests("Category!=Slow"));

Task("Slow")
    .Description("Runs the tests of the slow category.")
    .IsDependentOn("Build")
    .Does(() => RunTests("Category=Slow"));

Task("Bench")
    .Description("Measures decode and prefill of a random Llama-3.2-1B-shaped int8 model beside the machine's read bandwidth.")
    .IsDependentOn("Build")
    .Does(() =>
    {
        foreach (var kind in new[] { "decode", "rows", "prefill" })
            Foretoken($"bench {kind} --shape llama-3.2-1b --type int8 --markdown");
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

void RunTests(string filter) => DotNetTest("tests/Tests.csproj", new DotNetTestSettings
{
    Configuration = configuration,
    NoBuild = true,
    NoLogo = true,
    Filter = filter,
});

void Foretoken(string arguments) => Run("dotnet", $"run -c {configuration} --no-build --project src/Cli -- {arguments}");

void Run(string command, string arguments)
{
    var exitCode = StartProcess(command, new ProcessSettings { Arguments = arguments });
    if (exitCode != 0) throw new Exception($"'{command} {arguments}' ended with exit code {exitCode}.");
}

RunTarget(target);
