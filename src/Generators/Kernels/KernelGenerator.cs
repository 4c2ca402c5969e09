using System.Collections.Immutable;
using Microsoft.CodeAnalysis;

namespace Foretoken.Generators.Kernels;

/// <summary>
/// Reads <c>cu/*.cu</c>, <c>cu/*.cuh</c> and <c>cu/ptx/*.ptx</c> among the additional files and writes one typed launch struct per kernel, or for several kernels
/// of one signature (<see cref="LaunchFamily"/>), and the list of all kernels. Each file is read again only when it changes, and only modules whose outcome changed are written again.
/// </summary>
[Generator(LanguageNames.CSharp)]
public sealed class KernelGenerator : IIncrementalGenerator
{
    internal const string SourceStep = "CudaSources", PtxStep = "Ptx", ModuleStep = "LaunchModules", RegistryStep = "KernelRegistry";

    public void Initialize(IncrementalGeneratorInitializationContext context)
    {
        IncrementalValuesProvider<CppFile> files = context.AdditionalTextsProvider
            .Where(static f => HasExtension(f, ".cu") || HasExtension(f, ".cuh"))
            .Select(static (f, cancel) => f.GetText(cancel) is { } text ? CppReader.Read(f.Path, text) : null)
            .Where(static f => f is not null)
            .Select(static (f, _) => f!)
            .WithTrackingName(SourceStep);
        IncrementalValueProvider<ImmutableArray<PtxFile>> ptx = context.AdditionalTextsProvider
            .Where(static f => HasExtension(f, ".ptx"))
            .Select(static (f, cancel) => f.GetText(cancel) is { } text ? PtxReader.Read(f.Path, text) : null)
            .Where(static f => f is not null)
            .Select(static (f, _) => f!)
            .WithTrackingName(PtxStep)
            .Collect();
        IncrementalValueProvider<ImmutableArray<CppFile>> headers = files.Where(static f => !f.IsSource).Collect();
        IncrementalValuesProvider<LaunchModule> modules = files.Where(static f => f.IsSource)
            .Combine(headers).Combine(ptx)
            .Select(static (input, _) => ModuleResolver.Resolve(input.Left.Left, input.Left.Right, input.Right))
            .WithTrackingName(ModuleStep);
        context.RegisterSourceOutput(modules, static (output, module) =>
        {
            foreach (Finding finding in module.Findings) output.ReportDiagnostic(finding.ToDiagnostic());
            if (module.Kernels.Count > 0) output.AddSource($"Kernels.{module.Module}.g.cs", LaunchEmitter.EmitModule(module));
        });
        context.RegisterSourceOutput(
            ptx.Combine(files.Where(static f => f.IsSource).Select(static (f, _) => f.Module).Collect()),
            static (output, input) =>
            {
                foreach (PtxFile file in input.Left.Where(f => !input.Right.Contains(f.Module)))
                    output.ReportDiagnostic(new Finding(Rules.PtxWithoutSource, file.Place, $"cu/ptx/{file.Module}.ptx", $"cu/{file.Module}.cu").ToDiagnostic());
            });
        context.RegisterSourceOutput(
            modules.Collect().Select(static (all, _) => KernelRegistry.Of(all)).WithTrackingName(RegistryStep), static (output, registry) =>
        {
            foreach (Finding finding in registry.Findings) output.ReportDiagnostic(finding.ToDiagnostic());
            output.AddSource("KernelRegistry.g.cs", LaunchEmitter.EmitRegistry(registry));
            if (registry.Structs.Count > 0) output.AddSource("KernelStructs.g.cs", LaunchEmitter.EmitStructs(registry));
        });
    }

    private static bool HasExtension(AdditionalText file, string extension) =>
        Path.GetExtension(file.Path).Equals(extension, StringComparison.OrdinalIgnoreCase);
}

/// <summary>One kernel of the list of all.</summary>
internal sealed record RegisteredKernel(string Name, string Struct, string Module, int MaxThreads, bool DynamicShared);

/// <summary>The list of all kernels, in the order of their names: a kernel's number is its place in it.</summary>
internal sealed record KernelRegistry(EquatableArray<RegisteredKernel> Kernels, EquatableArray<LaunchStruct> Structs, EquatableArray<Finding> Findings)
{
    public static KernelRegistry Of(IEnumerable<LaunchModule> modules)
    {
        var kernels = new List<RegisteredKernel>();
        var findings = new List<Finding>();
        var taken = new Dictionary<string, string>(StringComparer.Ordinal);
        foreach (LaunchModule module in modules.OrderBy(m => m.Module, StringComparer.Ordinal))
        {
            foreach (LaunchKernel kernel in module.Kernels)
            {
                if (taken.TryGetValue(kernel.Struct, out string? other))
                    findings.Add(new Finding(Rules.NameTaken, kernel.Place, kernel.Name, kernel.Struct, other));
                taken[kernel.Struct] = $"{kernel.Name} of {module.Module}.cu";
                kernels.Add(new RegisteredKernel(kernel.Name, kernel.Struct, module.Module, kernel.MaxThreads, kernel.DynamicShared));
            }
        }

        foreach (LaunchModule module in modules.OrderBy(m => m.Module, StringComparer.Ordinal)) TakeFamilyNames(module, taken, findings);

        return new KernelRegistry(new(kernels.OrderBy(k => k.Name, StringComparer.Ordinal)), new(DistinctStructs(modules, taken, findings)), new(findings));
    }

    /// <summary>The struct and the enumeration of kernels of one signature have names that no kernel and no other family may have.</summary>
    private static void TakeFamilyNames(LaunchModule module, Dictionary<string, string> taken, List<Finding> findings)
    {
        foreach (LaunchFamily family in LaunchFamily.Of(module.Kernels).Where(f => f.IsChoice))
        {
            LaunchKernel first = family.Kernels[0];
            foreach (string name in new[] { family.Struct, family.Choice })
            {
                if (taken.TryGetValue(name, out string? other)) findings.Add(new Finding(Rules.NameTaken, first.Place, $"{first.Name} and those of its signature", name, other));
                taken[name] = $"the launch of {first.Name} of {module.Module}.cu";
            }
        }
    }

    /// <summary>Structures by name; one of another layout, or with a kernel's name, is refused.</summary>
    private static IEnumerable<LaunchStruct> DistinctStructs(IEnumerable<LaunchModule> modules, Dictionary<string, string> kernels, List<Finding> findings)
    {
        var found = new Dictionary<string, LaunchStruct>(StringComparer.Ordinal);
        foreach (LaunchModule module in modules.OrderBy(m => m.Module, StringComparer.Ordinal))
        {
            foreach (LaunchStruct structure in module.Structs)
            {
                if (kernels.TryGetValue(structure.Name, out string? kernel))
                    findings.Add(new Finding(Rules.NameTaken, structure.Place, structure.CppName, structure.Name, kernel));
                else if (!found.TryGetValue(structure.Name, out LaunchStruct? other))
                    found[structure.Name] = structure;
                else if (structure with { Place = other.Place } != other)
                    findings.Add(new Finding(Rules.NameTaken, structure.Place, structure.CppName, structure.Name, $"another structure of {System.IO.Path.GetFileName(other.Place.Path)}"));
            }
        }

        return found.OrderBy(f => f.Key, StringComparer.Ordinal).Select(f => f.Value);
    }
}
