using System.Globalization;
using Foretoken.Models;

namespace Foretoken.Cli.Output;

/// <summary>Draws the loading or writing of a model as a progress line.</summary>
internal sealed class LoadReport : IProgress<LoadProgress>
{
    private readonly ProgressLine _line;
    private readonly string _verb;

    private LoadReport(ProgressLine line, string verb) => (_line, _verb) = (line, verb);

    public static LoadReport To(ProgressLine line, string verb = "loading") => new(line, verb);

    /// <summary>Says on stderr how the weights are held, where that is not what the file suggests.</summary>
    public static void WriteNote(LoadedModel model, CliHost host)
    {
        if (model.Note is { } note) host.Error.WriteLine($"[{Path.GetFileName(Path.TrimEndingDirectorySeparator(model.Origin))}: {note}]");
    }

    public void Report(LoadProgress value)
    {
        string text = string.Create(CultureInfo.InvariantCulture, $"{_verb} {value.BytesRead / 1e6:F1} of {value.TotalBytes / 1e6:F1} MB");
        _line.Report((text, value.TotalBytes == 0 ? 1 : (double)value.BytesRead / value.TotalBytes));
    }
}
