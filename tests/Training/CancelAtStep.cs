using System.Globalization;

namespace Foretoken.Tests.Training;

/// <summary>Cancels the run when its progress report reaches a step.</summary>
internal sealed class CancelAtStep : StringWriter
{
    private static CancellationTokenSource s_source = new();
    private readonly string _line;

    public CancelAtStep(int step)
    {
        s_source = new CancellationTokenSource();
        _line = string.Create(CultureInfo.InvariantCulture, $"step {step} ");
    }

    public static CancellationToken Token => s_source.Token;

    public override void WriteLine(System.Text.StringBuilder? value) => WriteLine(value?.ToString());

    public override void WriteLine(string? value)
    {
        if (value?.StartsWith(_line, StringComparison.Ordinal) == true) s_source.Cancel();
    }
}
