namespace Foretoken.Backends.Cuda;

/// <summary>
/// Marks a partial class over the functions of a native library that may be absent. The generator writes a table of function pointers, which
/// <c>NativeLibrary</c> or a test fills, and the bodies of the methods marked with <see cref="NativeFunctionAttribute"/>.
/// The class declares <c>void Fail(TResult result, string call)</c>, which throws for a result other than 0.
/// </summary>
/// <param name="result">Enumeration that every function returns; 0 is success.</param>
/// <param name="libraries">File names to try, in this order.</param>
[AttributeUsage(AttributeTargets.Class)]
internal sealed class NativeTableAttribute(Type result, params string[] libraries) : Attribute
{
    public Type Result { get; } = result;

    public string[] Libraries { get; } = libraries;
}

/// <summary>
/// The export that a partial method calls. <c>out T</c> is passed as <c>T*</c>. A method that returns nothing is checked and throws; one that returns
/// the result hands it on.
/// </summary>
[AttributeUsage(AttributeTargets.Method)]
internal sealed class NativeFunctionAttribute(string export) : Attribute
{
    public string Export { get; } = export;
}
