using System.CommandLine;
using Foretoken.Cli.Options;
using Foretoken.Training;

namespace Foretoken.Cli.Commands;

/// <summary>Trains a model by a recipe; the result on stdout is the path of the model's directory.</summary>
internal sealed class TrainCliCommand : CliCommand
{
    private readonly Argument<string> _recipe;
    private readonly Flag<string?> _out;
    private readonly Switch _resume;
    private readonly Flag<int> _threads;

    public TrainCliCommand()
        : base("train", "Trains a model by a recipe, with checkpoints; Ctrl-C writes one and stops.")
    {
        _recipe = AddArgument("RECIPE", "The recipe's JSON file.");
        _out = Add(new Flag<string?>(
            "--out", "DIR", "Receives checkpoints, metrics and the model. Without it, runs/ and the recipe's name.", Parse.NotEmpty, null));
        _resume = Add(new Switch("--resume", "Go on from the latest checkpoint of the output folder."));
        _threads = Add(ModelFlags.Threads());
    }

    public override int Run(CommandContext context)
    {
        CliHost host = context.Host;
        string recipe = Value(context, _recipe) ?? throw new UsageException("RECIPE is missing: give the path of a recipe's JSON file.");
        string output = _out.Get(context) ?? Path.Combine("runs", Path.GetFileNameWithoutExtension(recipe));
        bool resume = _resume.Get(context);
        int threads = _threads.Get(context);
        if (File.Exists(output)) throw new RunException($"{output}: --out names a file: give a folder.");
        int code = TrainCommand.Run(recipe, output, resume, host.Error, host.Interrupt, threads == 0 ? null : threads);
        if (code == ExitCode.Success) host.Output.WriteLine(Path.Combine(output, "model"));
        return code;
    }
}
