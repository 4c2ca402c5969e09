using System.Reflection;
using System.Runtime.InteropServices;
using System.Text;
using Foretoken.Backends.Cuda.Kernels;

namespace Foretoken.Backends.Cuda;

/// <summary>The kernels of a device: the PTX that the assembly carries, compiled by the driver, with one function per kernel.</summary>
internal sealed unsafe class CudaKernels
{
    private const int LogBytes = 16 << 10;
    private readonly nint[] _functions; // [kernels of the registry] 0 = not loaded

    private CudaKernels(nint[] functions, IReadOnlyList<CudaKernelUse> uses) => (_functions, Uses) = (functions, uses);

    /// <summary>Before anything is loaded.</summary>
    public static CudaKernels None { get; } = new([], []);

    /// <summary>Loaded kernels and what they take on the device.</summary>
    public IReadOnlyList<CudaKernelUse> Uses { get; }

    /// <summary>Kernels whose registers spill or that index local arrays. None of ours should.</summary>
    public IEnumerable<CudaKernelUse> Spilling => Uses.Where(u => u.LocalBytes > 0);

    /// <summary>The function of a kernel of <see cref="KernelRegistry"/>.</summary>
    public nint Function(int kernel)
    {
        nint function = (uint)kernel < (uint)_functions.Length ? _functions[kernel] : 0;
        return function != 0 ? function : throw new InvalidOperationException($"The kernel {KernelRegistry.All[kernel].EntryPoint} was not loaded on this device.");
    }

    /// <summary>Compiles modules for a device and looks up their kernels.</summary>
    /// <param name="device">What they are compiled for.</param>
    /// <param name="modules">Names of modules; null = all.</param>
    public static CudaKernels Load(CudaDevice device, IReadOnlyCollection<string>? modules)
    {
        var functions = new nint[KernelRegistry.All.Length];
        var uses = new List<CudaKernelUse>();
        var loaded = new Dictionary<string, CudaModule>(StringComparer.Ordinal);
        for (int i = 0; i < functions.Length; i++)
        {
            CudaKernelInfo kernel = KernelRegistry.All[i];
            if (modules is not null && !modules.Contains(kernel.Module)) continue;
            if (!loaded.TryGetValue(kernel.Module, out CudaModule? module))
                loaded[kernel.Module] = module = CudaModule.Load(device, $"cu/{kernel.Module}.ptx", ReadPtx(kernel.Module));
            functions[i] = module.Function(kernel.EntryPoint);
            uses.Add(Use(device, kernel, functions[i]));
        }

        return new CudaKernels(functions, uses);
    }

    /// <summary>The PTX of a module as the assembly carries it.</summary>
    public static string ReadPtx(string module)
    {
        using Stream stream = Assembly.GetExecutingAssembly().GetManifestResourceStream($"cu/{module}.ptx")
            ?? throw new InvalidOperationException($"The assembly does not carry cu/ptx/{module}.ptx.");
        using var reader = new StreamReader(stream, Encoding.UTF8);
        return reader.ReadToEnd();
    }

    private static CudaKernelUse Use(CudaDevice device, CudaKernelInfo kernel, nint function)
    {
        CudaDriver driver = device.Driver;
        int Attribute(CudaFunctionAttribute attribute)
        {
            driver.FuncGetAttribute(out int value, attribute, function);
            return value;
        }

        var use = new CudaKernelUse(
            kernel, Attribute(CudaFunctionAttribute.Registers), Attribute(CudaFunctionAttribute.StaticSharedBytes), Attribute(CudaFunctionAttribute.LocalBytes),
            Attribute(CudaFunctionAttribute.MaxThreadsPerBlock));
        if (kernel.DynamicShared)
        {
            // more than 48 KB per block is only given to kernels that asked for it
            int most = device.Info.Capabilities.SharedPerBlock - use.StaticSharedBytes;
            driver.FuncSetAttribute(function, CudaFunctionAttribute.MaxDynamicSharedBytes, most);
        }

        return use;
    }

    /// <summary>A loaded module.</summary>
    internal sealed class CudaModule : CudaResource
    {
        private readonly nint _handle;

        private CudaModule(CudaDevice device, nint handle)
            : base(device, CudaHandleKind.Module) => _handle = handle;

        /// <summary>Has the driver compile PTX.</summary>
        /// <param name="device">What it is compiled for.</param>
        /// <param name="name">What messages call it.</param>
        /// <param name="ptx">PTX text.</param>
        /// <exception cref="CudaException">The driver refuses it; the message carries the log of its compiler.</exception>
        public static CudaModule Load(CudaDevice device, string name, string ptx)
        {
            byte[] image = [.. Encoding.UTF8.GetBytes(ptx), 0];
            var log = new byte[LogBytes];
            CudaResult result;
            nint module;
            fixed (byte* text = image, errors = log)
            {
                CudaJitOption* options = stackalloc CudaJitOption[] { CudaJitOption.ErrorLogBuffer, CudaJitOption.ErrorLogBytes };
                void** values = stackalloc void*[] { errors, (void*)(nint)LogBytes };
                result = device.Driver.ModuleLoadDataEx(out module, text, 2, options, values);
            }

            if (result == CudaResult.Success) return new CudaModule(device, module);
            int end = Array.IndexOf(log, (byte)0);
            string detail = Encoding.UTF8.GetString(log, 0, end < 0 ? LogBytes : end).Trim();
            throw device.Driver.Error(result, "cuModuleLoadDataEx", $"{name} cannot be loaded{(detail.Length > 0 ? ": " + detail : ".")}");
        }

        public nint Function(string entryPoint)
        {
            Span<byte> name = stackalloc byte[Encoding.UTF8.GetMaxByteCount(entryPoint.Length) + 1];
            name.Clear();
            Encoding.UTF8.GetBytes(entryPoint, name);
            fixed (byte* text = name)
            {
                Driver.ModuleGetFunction(out nint function, _handle, text);
                return function;
            }
        }

        protected override CudaResult Free() => Driver.ModuleUnload(_handle);
    }
}
