using System.Runtime.InteropServices;

namespace Foretoken.Backends.Cuda;

/// <content>How a result becomes an exception.</content>
internal sealed unsafe partial class CudaDriver
{
    /// <summary>The driver's name of a result, for example <c>CUDA_ERROR_OUT_OF_MEMORY</c>; its number where the driver does not know it.</summary>
    public string NameOf(CudaResult result) =>
        GetErrorName(result, out byte* name) == CudaResult.Success && name is not null ? Marshal.PtrToStringUTF8((nint)name)! : $"CUDA error {(int)result}";

    /// <summary>The driver's text for a result.</summary>
    public string TextOf(CudaResult result) =>
        GetErrorString(result, out byte* text) == CudaResult.Success && text is not null ? Marshal.PtrToStringUTF8((nint)text)! : "the driver has no text for it";

    /// <summary>The exception for a result that a call answered with.</summary>
    public CudaException Error(CudaResult result, string call, string? detail = null) => new(result, NameOf(result), TextOf(result), call, detail);

    private void Fail(CudaResult result, string call) => throw Error(result, call);
}
