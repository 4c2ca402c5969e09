namespace Foretoken.Training;

/// <summary>A recipe or a run directory cannot be used; the message names the file, the key, the rule and the remedy.</summary>
public sealed class RecipeException(string message) : Exception(message);
