namespace Foretoken.Memory;

/// <summary>A buffer does not fit into the memory that was planned or that the system has. The message names the buffer, its bytes and the remedy.</summary>
public sealed class OutOfMemoryBudgetException(string message, Exception? inner = null) : Exception(message, inner);
