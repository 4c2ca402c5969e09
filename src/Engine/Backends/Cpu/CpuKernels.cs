using System.Runtime.Intrinsics.X86;
using Foretoken.Backends.Cpu.Emitter;
using Foretoken.Backends.Cpu.Kernels;
using Foretoken.Backends.Cpu.Lanes;

namespace Foretoken.Backends.Cpu;

/// <summary>The vectorised operations of one <see cref="IsaLevel"/>: chosen once, so that a pass pays one virtual call per operation.</summary>
internal abstract class CpuKernels
{
    /// <summary>Bytes of product scratch per thread.</summary>
    public const int ProductScratchBytes = 2 * PanelTile.SecondSumsOffset;

    /// <summary>The kernels of a level, with the integer kernels that fit the machine.</summary>
    public static CpuKernels For(IsaLevel level) => level switch
    {
        IsaLevel.Emitted => new EmittedKernels(),
        IsaLevel.Avx512 when AvxVnni.IsSupported => new VnniKernels<Lanes512>(),
        IsaLevel.Avx512 => new Avx2Kernels<Lanes512>(),
        IsaLevel.Avx2 when AvxVnni.IsSupported => new VnniKernels<Lanes256>(),
        IsaLevel.Avx2 => new Avx2Kernels<Lanes256>(),
        _ => new PortableKernels(),
    };

    /// <summary>Prepares rows for the product's matrix and points the product at them.</summary>
    public abstract void PrepareInput(in RowInputArguments arguments, ref ProductArguments product, ThreadTeam team);

    public abstract void Multiply(in ProductArguments arguments, ThreadTeam team);

    public abstract void RotateHeads(in HeadRotationArguments arguments, ThreadTeam team);
}

/// <summary>Float kernels and row operations, which are the same source for every width.</summary>
internal abstract class CpuKernels<TLanes> : CpuKernels
    where TLanes : struct, ILanes<TLanes>
{
    public override void PrepareInput(in RowInputArguments arguments, ref ProductArguments product, ThreadTeam team) =>
        RowInput<TLanes>.Run(arguments, ref product, team);

    public override void Multiply(in ProductArguments arguments, ThreadTeam team)
    {
        switch (arguments.Matrix.Type)
        {
            case WeightType.F32: PanelProduct<TLanes, FloatPanelKernel<TLanes, F32Weights>>.Run(arguments, team); break;
            case WeightType.BF16: PanelProduct<TLanes, FloatPanelKernel<TLanes, BFloat16Weights>>.Run(arguments, team); break;
            case WeightType.F16: PanelProduct<TLanes, FloatPanelKernel<TLanes, HalfWeights>>.Run(arguments, team); break;
            case WeightType.BF16Rounded: MultiplyRounded(arguments, team); break;
            default: MultiplyIntegers(arguments, team); break;
        }
    }

    protected virtual void MultiplyRounded(in ProductArguments arguments, ThreadTeam team) =>
        PanelProduct<TLanes, RoundedPanelKernel<TLanes>>.Run(arguments, team);

    /// <summary>4-bit products by 512-bit multiplications of bytes, where the lanes are as wide.</summary>
    /// <returns>False if the product is none of these.</returns>
    protected static bool MultiplyNibbles(in ProductArguments arguments, ThreadTeam team)
    {
        if (typeof(TLanes) != typeof(Lanes512)) return false;
        switch (arguments.Matrix.Type)
        {
            case WeightType.Int4: PanelProduct<TLanes, NibbleKernel<Int4Format>>.Run(arguments, team); return true;
            case WeightType.Q4K: PanelProduct<TLanes, NibbleKernel<Q4KFormat>>.Run(arguments, team); return true;
            default: return false;
        }
    }

    public override void RotateHeads(in HeadRotationArguments arguments, ThreadTeam team) => HeadRotation<TLanes>.Run(arguments, team);

    protected abstract void MultiplyIntegers(in ProductArguments arguments, ThreadTeam team);
}

/// <summary>Integer products by 256-bit VNNI; 4-bit ones by 512-bit multiplications of bytes where there are such.</summary>
internal sealed class VnniKernels<TLanes> : CpuKernels<TLanes>
    where TLanes : struct, ILanes<TLanes>
{
    protected override void MultiplyIntegers(in ProductArguments arguments, ThreadTeam team)
    {
        if (MultiplyNibbles(arguments, team)) return;
        switch (arguments.Matrix.Type)
        {
            case WeightType.Int8: PanelProduct<TLanes, VnniKernel<Int8Format>>.Run(arguments, team); break;
            case WeightType.Int4: PanelProduct<TLanes, VnniKernel<Int4Format>>.Run(arguments, team); break;
            case WeightType.Q4K: PanelProduct<TLanes, VnniKernel<Q4KFormat>>.Run(arguments, team); break;
            default: PanelProduct<TLanes, VnniKernel<Q6KFormat>>.Run(arguments, team); break;
        }
    }
}

/// <summary>Integer products by 256-bit multiplications of 16-bit pairs.</summary>
internal sealed class Avx2Kernels<TLanes> : CpuKernels<TLanes>
    where TLanes : struct, ILanes<TLanes>
{
    protected override void MultiplyIntegers(in ProductArguments arguments, ThreadTeam team)
    {
        if (MultiplyNibbles(arguments, team)) return;
        switch (arguments.Matrix.Type)
        {
            case WeightType.Int8: PanelProduct<TLanes, IntegerAvx2Kernel<Int8Format>>.Run(arguments, team); break;
            case WeightType.Int4: PanelProduct<TLanes, IntegerAvx2Kernel<Int4Format>>.Run(arguments, team); break;
            case WeightType.Q4K: PanelProduct<TLanes, IntegerAvx2Kernel<Q4KFormat>>.Run(arguments, team); break;
            default: PanelProduct<TLanes, IntegerAvx2Kernel<Q6KFormat>>.Run(arguments, team); break;
        }
    }
}

/// <summary>Integer products by 128-bit vectors of the base library.</summary>
internal sealed class PortableKernels : CpuKernels<Lanes128>
{
    protected override void MultiplyIntegers(in ProductArguments arguments, ThreadTeam team)
    {
        switch (arguments.Matrix.Type)
        {
            case WeightType.Int8: PanelProduct<Lanes128, IntegerPortableKernel<Int8Format>>.Run(arguments, team); break;
            case WeightType.Int4: PanelProduct<Lanes128, IntegerPortableKernel<Int4Format>>.Run(arguments, team); break;
            case WeightType.Q4K: PanelProduct<Lanes128, IntegerPortableKernel<Q4KFormat>>.Run(arguments, team); break;
            default: PanelProduct<Lanes128, IntegerPortableKernel<Q6KFormat>>.Run(arguments, team); break;
        }
    }
}

/// <summary>Integer and bfloat16 products by machine code written at the first use of a type.</summary>
internal sealed class EmittedKernels : CpuKernels<Lanes512>
{
    protected override void MultiplyRounded(in ProductArguments arguments, ThreadTeam team)
    {
        if (EmitterSupport.HasBFloat16) PanelProduct<Lanes512, EmittedKernel<BFloat16TileCode>>.Run(arguments, team);
        else base.MultiplyRounded(arguments, team);
    }

    protected override void MultiplyIntegers(in ProductArguments arguments, ThreadTeam team)
    {
        switch (arguments.Matrix.Type)
        {
            case WeightType.Int8: PanelProduct<Lanes512, EmittedKernel<Int8TileCode>>.Run(arguments, team); break;
            case WeightType.Int4: PanelProduct<Lanes512, EmittedKernel<Int4TileCode>>.Run(arguments, team); break;
            case WeightType.Q4K: PanelProduct<Lanes512, EmittedKernel<Q4KTileCode>>.Run(arguments, team); break;
            default: PanelProduct<Lanes512, EmittedKernel<Q6KTileCode>>.Run(arguments, team); break;
        }
    }
}
