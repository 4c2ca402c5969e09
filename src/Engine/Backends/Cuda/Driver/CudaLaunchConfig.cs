using System.Runtime.InteropServices;

namespace Foretoken.Backends.Cuda;

/// <summary>CUlaunchConfig: 56 bytes.</summary>
[StructLayout(LayoutKind.Explicit, Size = 56)]
internal unsafe struct CudaLaunchConfig
{
    [FieldOffset(0)]
    public uint GridX;

    [FieldOffset(4)]
    public uint GridY;

    [FieldOffset(8)]
    public uint GridZ;

    [FieldOffset(12)]
    public uint BlockX;

    [FieldOffset(16)]
    public uint BlockY;

    [FieldOffset(20)]
    public uint BlockZ;

    [FieldOffset(24)]
    public uint SharedBytes;

    [FieldOffset(32)]
    public nint Stream;

    [FieldOffset(40)]
    public CudaLaunchAttribute* Attributes;

    [FieldOffset(48)]
    public uint AttributeCount;
}

/// <summary>CUlaunchAttribute: 72 bytes, of which the value takes up to 64 from byte 8 on.</summary>
[StructLayout(LayoutKind.Explicit, Size = 72)]
internal struct CudaLaunchAttribute
{
    [FieldOffset(0)]
    public CudaLaunchAttributeId Id;

    /// <summary>The value of the attributes that are one integer.</summary>
    [FieldOffset(8)]
    public int Value;
}
