namespace Foretoken.Backends.Cuda;

/// <summary>A call of the CUDA driver failed. The message names the call, the driver's name of the error and its text.</summary>
public sealed class CudaException : Exception
{
    internal CudaException(CudaResult result, string name, string text, string call, string? detail = null, Exception? inner = null)
        : base($"{call} failed with {name} ({(int)result}): {text}{(detail is null ? "." : $". {detail}")}", inner) =>
        (Result, Name, Text, Call) = ((int)result, name, text, call);

    /// <summary>The driver's number of the error (CUresult).</summary>
    public int Result { get; }

    /// <summary>The driver's name of the error, for example <c>CUDA_ERROR_ILLEGAL_ADDRESS</c>.</summary>
    public string Name { get; }

    /// <summary>The driver's text for the error.</summary>
    public string Text { get; }

    /// <summary>The export that was called.</summary>
    public string Call { get; }
}
