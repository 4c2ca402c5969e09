namespace Foretoken.Formats;

/// <summary>
/// A model file is missing, malformed, contradictory or asks for something that this engine does not compute. The message names the file, the
/// field, the rule that was broken and what to do about it.
/// </summary>
public sealed class ModelFormatException : Exception
{
    /// <param name="file">Path of the file that was read.</param>
    /// <param name="field">Field, tensor or part of the file, for example <c>rope_scaling.factor</c>.</param>
    /// <param name="rule">What was expected and what was found, as a clause that follows the field's name.</param>
    /// <param name="remedy">What the user can do, as a sentence.</param>
    /// <param name="inner">The cause, where there is one.</param>
    public ModelFormatException(string file, string field, string rule, string remedy, Exception? inner = null)
        : base($"{file}: {field} {rule.TrimEnd('.')}. {remedy}", inner)
    {
        File = file;
        Field = field;
        Rule = rule;
        Remedy = remedy;
    }

    /// <summary>Path of the file that was read.</summary>
    public string File { get; }

    /// <summary>Field, tensor or part of the file.</summary>
    public string Field { get; }

    /// <summary>What was expected and what was found.</summary>
    public string Rule { get; }

    /// <summary>What the user can do.</summary>
    public string Remedy { get; }
}
