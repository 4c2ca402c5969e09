using System.Text.RegularExpressions;
using Foretoken.Cli;
using Foretoken.Cli.Options;
using Foretoken.Tests.Fixtures;

namespace Foretoken.Tests.Cli;

/// <summary>README and docs say what is true.</summary>
public sealed partial class DocumentationTests
{
    private static string Root => RepoFiles.Root;

    [Theory]
    [InlineData("README.md")]
    [InlineData("docs/map.md")]
    [InlineData("docs/step.md")]
    [InlineData("docs/cpu.md")]
    [InlineData("docs/gguf.md")]
    [InlineData("docs/cuda.md")]
    [InlineData("docs/seam.md")]
    [InlineData("docs/environment.md")]
    public void Links_lead_to_files(string page)
    {
        string path = Path.Combine(Root, page), text = File.ReadAllText(path);
        string[] targets = [.. LinkPattern().Matches(text).Select(m => m.Groups[1].Value).Where(t => !t.StartsWith("http", StringComparison.Ordinal))];
        Assert.All(targets, t => Assert.True(File.Exists(Path.Combine(Path.GetDirectoryName(path)!, t)), $"{page} links to {t}, which does not exist."));
    }

    [Fact]
    public void Folders_of_the_map_exist_and_every_source_folder_is_on_it()
    {
        string map = File.ReadAllText(Path.Combine(Root, "docs/map.md"));
        string[] listed = [.. FolderPattern().Matches(map).Select(m => m.Groups[1].Value)];
        Assert.All(listed, folder => Assert.True(Path.Exists(Path.Combine(Root, folder)), $"docs/map.md lists {folder}, which does not exist."));
        foreach (string folder in Directory.GetDirectories(Path.Combine(Root, "src/Engine")).Select(d => Path.GetFileName(d)!))
            if (folder is not ("bin" or "obj")) Assert.Contains($"src/Engine/{folder}", listed);
    }

    [Fact]
    public void Readme_lists_every_command_and_the_test_command_of_ci()
    {
        string readme = File.ReadAllText(Path.Combine(Root, "README.md"));
        foreach (var command in CliApplication.Commands()) Assert.Matches($"`{command.Name}[ `]", readme);
        const string test = "dotnet test Engine.sln -c Release";
        Assert.Contains(test, readme, StringComparison.Ordinal);
        Assert.Contains(test, File.ReadAllText(Path.Combine(Root, ".ci/run")), StringComparison.Ordinal);
    }

    [Fact]
    public void Every_environment_variable_in_code_and_scripts_is_documented_and_known()
    {
        string page = File.ReadAllText(Path.Combine(Root, "docs/environment.md"));
        HashSet<string> twins = [.. CliApplication.Commands().SelectMany(c => c.Flags).Select(f => f.EnvironmentName)], known = EnvironmentCheck.Known(CliApplication.Commands());
        IEnumerable<string> files = Directory.EnumerateFiles(Path.Combine(Root, "src"), "*.cs", SearchOption.AllDirectories)
            .Concat(Directory.EnumerateFiles(Path.Combine(Root, "perf"), "*.sh")).Append(Path.Combine(Root, ".ci/run")).Append(Path.Combine(Root, "build.cake"));
        string[] names = [.. files.Where(f => !f.Contains("/obj/", StringComparison.Ordinal)).SelectMany(f => VariablePattern().Matches(File.ReadAllText(f)).Select(m => m.Value)), .. EnvironmentCheck.Elsewhere];
        Assert.Contains("FORETOKEN_EMITTER", names);
        foreach (string name in names.Distinct().Except(twins))
        {
            Assert.Contains($"| `{name}` |", page, StringComparison.Ordinal);
            Assert.Contains(name, known); // no warning about it
        }
    }

    [Fact]
    public void Readme_shows_what_the_shipped_model_answers()
    {
        if (!File.Exists(Path.Combine(Root, "models/reasoner/model.safetensors"))) return;
        Match example = ExamplePattern().Match(File.ReadAllText(Path.Combine(Root, "README.md")).ReplaceLineEndings("\n"));
        Assert.True(example.Success);
        var host = new CliTestHost { BaseDirectory = Root };
        Assert.Equal(example.Groups[2].Value, host.Run("run", example.Groups[1].Value).Output);
    }

    [GeneratedRegex("FORETOKEN_[A-Z_]*[A-Z]")]
    private static partial Regex VariablePattern();

    [GeneratedRegex(@"\]\(([^)#]+)\)")]
    private static partial Regex LinkPattern();

    [GeneratedRegex(@"^\| `([^`]+)`", RegexOptions.Multiline)]
    private static partial Regex FolderPattern();

    [GeneratedRegex("-- run \"([^\"]+)\"\n(.+?\n)\n", RegexOptions.Singleline)]
    private static partial Regex ExamplePattern();
}
