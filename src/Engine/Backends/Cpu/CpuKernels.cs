using Foretoken.Backends.Cpu.Kernels;
using Foretoken.Backends.Cpu.Lanes;

namespace Foretoken.Backends.Cpu;

/// <summary>The vectorised operations of one <see cref="IsaLevel"/>: chosen once, so that a pass pays one virtual call per operation.</summary>
internal abstract class CpuKernels
{
    /// <summary>Bytes of product scratch per thread.</summary>
    public const int ProductScratchBytes = 2 * 64 * PanelMatrix.PanelRows * sizeof(float);

    /// <summary>The kernels of a level, with the 8-bit kernel that fits the machine.</summary>
    public static CpuKernels For(IsaLevel level) => level switch
    {
        IsaLevel.Emitted => new CpuKernels<Lanes512, Int8EmittedKernel>(),
        IsaLevel.Avx512 when System.Runtime.Intrinsics.X86.AvxVnni.IsSupported => new CpuKernels<Lanes512, Int8VnniKernel>(),
        IsaLevel.Avx512 => new CpuKernels<Lanes512, Int8Avx2Kernel>(),
        IsaLevel.Avx2 when System.Runtime.Intrinsics.X86.AvxVnni.IsSupported => new CpuKernels<Lanes256, Int8VnniKernel>(),
        IsaLevel.Avx2 => new CpuKernels<Lanes256, Int8Avx2Kernel>(),
        _ => new CpuKernels<Lanes128, Int8PortableKernel>(),
    };

    /// <summary>Prepares rows for the product's matrix and points the product at them.</summary>
    public abstract void PrepareInput(in RowInputArguments arguments, ref ProductArguments product, ThreadTeam team);

    public abstract void Multiply(in ProductArguments arguments, ThreadTeam team);

    public abstract void RotateHeads(in HeadRotationArguments arguments, ThreadTeam team);
}

/// <inheritdoc cref="CpuKernels"/>
internal sealed class CpuKernels<TLanes, TInt8> : CpuKernels
    where TLanes : struct, ILanes<TLanes>
    where TInt8 : struct, IPanelKernel
{
    public override void PrepareInput(in RowInputArguments arguments, ref ProductArguments product, ThreadTeam team) =>
        RowInput<TLanes>.Run(arguments, ref product, team);

    public override void Multiply(in ProductArguments arguments, ThreadTeam team)
    {
        switch (arguments.Matrix.Type)
        {
            case WeightType.F32: PanelProduct<TLanes, FloatPanelKernel<TLanes, F32Weights>>.Run(arguments, team); break;
            case WeightType.BF16: PanelProduct<TLanes, FloatPanelKernel<TLanes, BFloat16Weights>>.Run(arguments, team); break;
            default: PanelProduct<TLanes, TInt8>.Run(arguments, team); break;
        }
    }

    public override void RotateHeads(in HeadRotationArguments arguments, ThreadTeam team) => HeadRotation<TLanes>.Run(arguments, team);
}
