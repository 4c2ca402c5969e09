namespace Foretoken.Generation;

/// <summary>A request failed while it ran; the message says why. Others are not affected.</summary>
public sealed class GenerationException(string message, Exception? inner = null) : Exception(message, inner);
