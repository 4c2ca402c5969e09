namespace Foretoken.Generators.Kernels;

/// <summary>Brings a source, its headers and its PTX together, checks that they agree, and gives every parameter its C# type.</summary>
internal static class ModuleResolver
{
    private static readonly HashSet<string> Reserved = new(StringComparer.Ordinal)
    {
        "Kernel", "Grid", "Block", "SharedBytes", "Options", "Launch", "Index", "EntryPoint", "Module", "MaxThreads", "ToString", "Equals", "GetHashCode", "GetType",
    };

    public static LaunchModule Resolve(CppFile source, IReadOnlyList<CppFile> headers, IReadOnlyList<PtxFile> ptxFiles)
    {
        var findings = new List<Finding>(source.Findings);
        Dictionary<string, CppFile> byName = headers.GroupBy(h => h.Name).ToDictionary(g => g.Key, g => g.First(), StringComparer.Ordinal);
        IReadOnlyCollection<CppFile> closure = ContentHash.Closure(source, byName);
        foreach (CppFile file in closure.Append(source))
        {
            foreach (CppInclude include in file.Includes.Where(i => !byName.ContainsKey(i.Name)))
                findings.Add(new Finding(Rules.HeaderMissing, include.Place, file.Name, include.Name));
        }

        PtxFile? ptx = ptxFiles.FirstOrDefault(p => p.Module == source.Module);
        bool current = CheckPtx(source, ptx, ContentHash.OfModule(source, byName), findings);
        var structs = new StructMapper(closure.Append(source).SelectMany(f => f.Structs));
        var kernels = new List<LaunchKernel>();
        foreach (CppKernel kernel in source.Kernels)
        {
            PtxEntry? entry = ptx?.Entries.FirstOrDefault(e => e.Name == kernel.Name);
            if (current && entry is null)
            {
                findings.Add(new Finding(Rules.EntryUnmatched, kernel.Place, $"cu/ptx/{source.Module}.ptx has no entry {kernel.Name}. Run: dotnet cake --target=Ptx."));
            }

            if (Map(kernel, current ? entry : null, ptx, structs, findings) is { } mapped) kernels.Add(mapped);
        }

        if (current)
        {
            foreach (PtxEntry entry in ptx!.Entries.Where(e => source.Kernels.All(k => k.Name != e.Name)))
            {
                findings.Add(new Finding(
                    Rules.EntryUnmatched, entry.Place,
                    $"{source.Name} has no spelled-out signature extern \"C\" __global__ void {entry.Name}(...): kernels made by macros or templates get no launch struct."));
            }
        }

        return new LaunchModule(source.Module, new(kernels), new(structs.Used), new(findings));
    }

    private static bool CheckPtx(CppFile source, PtxFile? ptx, string hash, List<Finding> findings)
    {
        if (ptx is null)
        {
            findings.Add(new Finding(Rules.PtxMissing, source.Place, source.Name, $"cu/ptx/{source.Module}.ptx"));
            return false;
        }

        findings.AddRange(ptx.Findings);
        if (ptx.SourceHash == hash) return true;
        string reason = ptx.SourceHash is null ? "it carries no stamp" : $"stamped {ptx.SourceHash.Substring(0, 12)}, the sources have {hash.Substring(0, 12)}";
        findings.Add(new Finding(Rules.PtxStale, source.Place, $"cu/ptx/{source.Module}.ptx", reason));
        return false;
    }

    private static LaunchKernel? Map(CppKernel kernel, PtxEntry? entry, PtxFile? ptx, StructMapper structs, List<Finding> findings)
    {
        string ptxName = $"cu/ptx/{ptx?.Module}.ptx";
        if (entry is not null && entry.Parameters.Count != kernel.Parameters.Count)
        {
            findings.Add(new Finding(
                Rules.ParameterCount, kernel.Place, kernel.Name, $"{kernel.Parameters.Count}", $"{entry.Parameters.Count}", ptxName));
            entry = null;
        }

        var parameters = new List<LaunchParameter>();
        bool complete = true;
        for (int i = 0; i < kernel.Parameters.Count; i++)
        {
            CppParameter p = kernel.Parameters[i];
            if (structs.Find(p.CppType, out string reason) is not { } type)
            {
                findings.Add(new Finding(Rules.NoMapping, p.Place, p.Name, kernel.Name, p.CppType, reason));
                complete = false;
                continue;
            }

            if (entry is not null && entry.Parameters[i] != type.Shape)
                findings.Add(new Finding(Rules.ParameterKind, p.Place, p.Name, kernel.Name, type.Shape.ToString(), entry.Parameters[i].ToString(), ptxName));
            string property = Names.Pascal(p.Name);
            if (Reserved.Contains(property)) property += "Argument";
            if (parameters.Any(o => o.Property == property))
            {
                findings.Add(new Finding(Rules.NameTaken, p.Place, p.Name, property, "another parameter"));
                complete = false;
            }

            parameters.Add(new LaunchParameter(type.CsType, property, p.Name));
        }

        return complete
            ? new LaunchKernel(kernel.Name, Names.Pascal(kernel.Name), kernel.Signature, entry?.MaxThreads ?? 0, ptx?.DynamicShared ?? false, new(parameters), kernel.Place)
            : null;
    }
}
