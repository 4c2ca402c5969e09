// The build, as targets of a local tool:  dotnet tool restore && dotnet cake --target=Test
// Build, Test, Slow, Bench, Ptx, PtxCheck, Publish, Gpu, Ci. Run from the repository root.

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
        RequireClang();
        EnsureDirectoryExists("cu/ptx");
        foreach (var source in GetFiles("cu/*.cu")) System.IO.File.WriteAllText(PtxOf(source), CompilePtx(source));
    });

Task("PtxCheck")
    .Description("Holds the committed PTX to its sources: byte for byte where the compiler that made it is installed, else by the stamped hash. nvcc's branches are checked too.")
    .Does(() =>
    {
        var installed = ClangVersion();
        foreach (var source in GetFiles("cu/*.cu"))
        {
            var name = $"cu/ptx/{source.GetFilenameWithoutExtension()}.ptx";
            if (!FileExists(PtxOf(source))) throw new Exception($"{name} is missing. Run: dotnet cake --target=Ptx");
            var committed = System.IO.File.ReadAllText(PtxOf(source)).Replace("\r\n", "\n");
            if (!committed.Contains($"// source sha256: {SourceHash(source)}\n"))
                throw new Exception($"{name} was not made from the committed sources. Run: dotnet cake --target=Ptx");
            var same = installed != null && committed.Contains($"// compiler: {installed}\n");
            if (same && CompilePtx(source) != committed)
                throw new Exception($"{name} is not what {installed} makes of its source. Run: dotnet cake --target=Ptx");
            Information($"{name}: {(same ? $"equal byte for byte to the output of {installed}" : "its stamp is that of the sources; the compiler that made it is not installed")}");
            if (installed != null)
                Run("clang-19", $"-x cuda --cuda-device-only -nocudainc -nocudalib -fsyntax-only -std=c++17 --cuda-gpu-arch=sm_80 -Wall -Wextra -Werror -D__NVCC__ -include cu/check/nvcc_names.h {source.FullPath}");
            if (Context.Tools.Resolve("nvcc") != null) Run("nvcc", $"-ptx -arch=sm_80 -std=c++17 -fmad=false {source.FullPath} -o {System.IO.Path.GetTempPath()}/nvcc.ptx");
        }
    });

Task("Publish")
    .Description("Writes the self-contained executable and the models it ships with.")
    .Does(() => Publish(runtime, compressed: false));

Task("Gpu")
    .Description("Writes what perf/gpu.sh takes to a machine with a GPU: artifacts/gpu, the executable compressed, less than 64 MiB in all.")
    .Does(() =>
    {
        const long most = 64 << 20;
        CleanDirectory(Directory(artifacts) + Directory("gpu"));
        Publish("gpu", compressed: true);
        var bytes = GetFiles($"{artifacts}/gpu/**/*").Sum(file => new System.IO.FileInfo(file.FullPath).Length);
        Information($"{artifacts}/gpu: {bytes:N0} bytes. On the machine with the GPU: perf/gpu.sh {artifacts}/gpu");
        if (bytes > most) throw new Exception($"{artifacts}/gpu is larger than the {most:N0} bytes that travel.");
    });

Task("Ci")
    .Description("What runs on every change: build, tests, allocation gate, short slow tests, totals.")
    .Does(() => Run("bash", ".ci/run"));

// The PTX of a source: clang's output under a stamp that names the content of the source and its headers, the compiler and the options.
// No contraction: what is fused is written as fused, so that every compiler and machine gives the same bits.
string CompilePtx(FilePath source)
{
    const string options = "-x cuda --cuda-device-only -nocudainc -nocudalib -S -O3 -std=c++17 -ffp-contract=off --cuda-gpu-arch=sm_80 --cuda-feature=+ptx80";
    var output = System.IO.Path.GetTempFileName();
    Run("clang-19", $"{options} -Wall -Wextra -Werror {source.FullPath} -o {output}");
    var ptx = System.IO.File.ReadAllText(output).Replace("\r\n", "\n");
    System.IO.File.Delete(output);
    return $"// PTX of cu/{source.GetFilename()}, made by: dotnet cake --target=Ptx\n// source sha256: {SourceHash(source)}\n// compiler: {ClangVersion()}\n"
        + $"// options: {options}\n{ptx}";
}

// SHA-256 over one line "HASH  NAME" for the source and each header that it includes, directly or through others, in the order of their names.
// src/Generators/Kernels/ContentHash.cs computes the same and refuses to build with stale PTX.
string SourceHash(FilePath source)
{
    var headers = new SortedDictionary<string, string>(StringComparer.Ordinal);
    var open = new Stack<string>(new[] { source.FullPath });
    while (open.Count > 0)
    {
        var includes = System.Text.RegularExpressions.Regex.Matches(System.IO.File.ReadAllText(open.Pop()), "^[ \t]*#[ \t]*include[ \t]*\"([^\"\n]+)\"", System.Text.RegularExpressions.RegexOptions.Multiline);
        foreach (System.Text.RegularExpressions.Match include in includes)
        {
            var name = include.Groups[1].Value;
            if (headers.ContainsKey(name)) continue;
            var path = System.IO.Path.Combine(source.GetDirectory().FullPath, name);
            headers[name] = $"{Sha256(System.IO.File.ReadAllText(path))}  {name}\n";
            open.Push(path);
        }
    }

    return Sha256($"{Sha256(System.IO.File.ReadAllText(source.FullPath))}  {source.GetFilename()}\n{string.Concat(headers.Values)}");
}

string Sha256(string text) =>
    Convert.ToHexString(System.Security.Cryptography.SHA256.HashData(System.Text.Encoding.UTF8.GetBytes(text.Replace("\r\n", "\n")))).ToLowerInvariant();

string PtxOf(FilePath source) => $"{source.GetDirectory().FullPath}/ptx/{source.GetFilenameWithoutExtension()}.ptx";

// First line of clang's version, for example "Debian clang version 19.1.7 (3~deb12u1)"; null where it is not installed.
string ClangVersion()
{
    if (Context.Tools.Resolve("clang-19") == null) return null;
    StartProcess("clang-19", new ProcessSettings { Arguments = "--version", RedirectStandardOutput = true }, out var lines);
    return lines.First().Trim();
}

void RequireClang()
{
    if (Context.Tools.Resolve("clang-19") == null && EnvironmentVariable("CI") == "true" && Context.Tools.Resolve("apt-get") != null)
    {
        StartProcess("apt-get", "update -qq");
        StartProcess("apt-get", "install -y -qq clang-19");
    }

    if (ClangVersion() == null)
        throw new Exception("clang-19 is not on PATH. Debian and Ubuntu: apt-get install clang-19. Only changes of cu/*.cu need it: the PTX is committed.");
}

void Publish(string folder, bool compressed) => DotNetPublish("src/Cli/Cli.csproj", new DotNetPublishSettings
{
    Configuration = configuration,
    Runtime = runtime,
    SelfContained = true,
    PublishSingleFile = true,
    EnableCompressionInSingleFile = compressed,
    NoLogo = true,
    OutputDirectory = Directory(artifacts) + Directory(folder),
    MSBuildSettings = new DotNetMSBuildSettings().WithProperty("DebugType", "none").WithProperty("PublishDocumentationFiles", "false"),
});

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
