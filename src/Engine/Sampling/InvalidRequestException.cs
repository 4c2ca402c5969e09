namespace Foretoken.Sampling;

/// <summary>A request cannot run as asked: an option outside its range, a prompt that does not fit. Thrown before anything of the request runs.</summary>
public sealed class InvalidRequestException(string field, string message) : Exception(message)
{
    /// <summary>The option or input at fault, as the API and the command line name it, for example <c>top-p</c>.</summary>
    public string Field { get; } = field;
}
