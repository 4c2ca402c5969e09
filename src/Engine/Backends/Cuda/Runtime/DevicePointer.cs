using System.Globalization;

namespace Foretoken.Backends.Cuda;

/// <summary>An address in a device's memory, of elements of type <typeparamref name="T"/>. The host cannot read it.</summary>
internal readonly struct DevicePointer<T>(ulong address) : IEquatable<DevicePointer<T>>
    where T : unmanaged
{
    public ulong Address { get; } = address;

    public bool IsNull => Address == 0;

    /// <summary>The address <paramref name="elements"/> further on.</summary>
    public static unsafe DevicePointer<T> operator +(DevicePointer<T> pointer, long elements) =>
        new(checked((ulong)((long)pointer.Address + (elements * sizeof(T)))));

    public static bool operator ==(DevicePointer<T> left, DevicePointer<T> right) => left.Address == right.Address;

    public static bool operator !=(DevicePointer<T> left, DevicePointer<T> right) => left.Address != right.Address;

    /// <summary>The same address of other elements.</summary>
    public DevicePointer<TOther> As<TOther>()
        where TOther : unmanaged => new(Address);

    public bool Equals(DevicePointer<T> other) => Address == other.Address;

    public override bool Equals(object? obj) => obj is DevicePointer<T> other && Equals(other);

    public override int GetHashCode() => Address.GetHashCode();

    public override string ToString() => string.Create(CultureInfo.InvariantCulture, $"0x{Address:x}");
}
