namespace Foretoken.Generators.Driver;

/// <summary>The C# of a <see cref="NativeTable"/>.</summary>
internal static class NativeTableEmitter
{
    public static string Emit(NativeTable table)
    {
        var w = new SourceWriter(nameof(NativeTableGenerator), table.Name);
        if (table.Namespace.Length > 0) w.Line($"namespace {table.Namespace};").Line();
        EmitTable(w, table);
        w.Line();
        EmitClass(w, table);
        return w.ToString();
    }

    private static void EmitTable(SourceWriter w, NativeTable table)
    {
        string name = table.Name + "Table";
        w.Line($"/// <summary>The functions behind <see cref=\"{table.Name}\"/>, each under the name of its export. A test fills it with its own.</summary>");
        w.Open($"internal unsafe struct {name}");
        foreach (NativeFunction f in table.Functions) w.Line($"public {PointerType(f, table)} {f.Export};");
        w.Line().Line("/// <summary>Names of all exports, in the order of the fields.</summary>");
        w.Open($"public static global::System.ReadOnlySpan<string> Exports => new string[]");
        foreach (NativeFunction f in table.Functions) w.Line($"\"{f.Export}\",");
        w.Close("};");
        w.Line().Line("/// <summary>Name of the first export that is not there; null when all are.</summary>");
        w.Open("public readonly string? FirstMissing()");
        foreach (NativeFunction f in table.Functions) w.Line($"if ({f.Export} == null) return \"{f.Export}\";");
        w.Line("return null;").Close();
        w.Line().Line("/// <summary>Takes each export from a loaded library; those that it lacks stay null.</summary>");
        w.Open($"public static {name} Of(nint library)");
        w.Line($"var table = default({name});");
        w.Line("nint address;");
        foreach (NativeFunction f in table.Functions)
        {
            w.Line($"if (global::System.Runtime.InteropServices.NativeLibrary.TryGetExport(library, \"{f.Export}\", out address))");
            w.Line($"    table.{f.Export} = ({PointerType(f, table)})address;");
        }

        w.Line("return table;").Close().Close();
    }

    private static void EmitClass(SourceWriter w, NativeTable table)
    {
        string name = table.Name + "Table", libraries = string.Join(", ", table.Libraries.Select(l => $"\"{l}\""));
        w.Open($"unsafe partial class {table.Name}");
        w.Line($"private readonly {name} _table;").Line();
        w.Line("/// <summary>Calls the functions of <paramref name=\"table\"/>, which must all be there.</summary>");
        w.Open($"public {table.Name}(in {name} table)");
        w.Line("if (table.FirstMissing() is { } missing) throw new global::System.ArgumentException($\"The function {missing} is missing.\", nameof(table));");
        w.Line("_table = table;").Close().Line();
        w.Line("/// <summary>File names that are tried, in this order.</summary>");
        w.Line($"public static global::System.ReadOnlySpan<string> Libraries => new string[] {{ {libraries} }};").Line();
        w.Line("/// <summary>Loads the first library that is there. Null with the reason where none is or a function is missing.</summary>");
        w.Open($"public static {table.Name}? TryLoad(out string reason)");
        w.Open("foreach (string library in Libraries)");
        w.Line("if (!global::System.Runtime.InteropServices.NativeLibrary.TryLoad(library, out nint handle)) continue;");
        w.Line($"{name} table = {name}.Of(handle);");
        w.Line("string? missing = table.FirstMissing();");
        w.Line("reason = missing is null ? \"\" : $\"{library} has no function {missing}: it is older than this build needs\";");
        w.Line($"if (missing is null) return new {table.Name}(table);");
        w.Line("global::System.Runtime.InteropServices.NativeLibrary.Free(handle);");
        w.Line("return null;").Close();
        w.Line("reason = $\"{string.Join(\" and \", Libraries.ToArray())} cannot be loaded\";");
        w.Line("return null;").Close();
        foreach (NativeFunction f in table.Functions) EmitMethod(w, f, table);
        w.Close();
    }

    private static void EmitMethod(SourceWriter w, NativeFunction f, NativeTable table)
    {
        string parameters = string.Join(", ", f.Parameters.Select(p => $"{(p.IsOut ? "out " : "")}{p.Type} @{p.Name}"));
        string arguments = string.Join(", ", f.Parameters.Select(p => p.IsOut ? $"&out_{p.Name}" : $"@{p.Name}"));
        w.Line().Open($"{f.Access} partial {(f.Checked ? "void" : table.Result)} {f.Method}({parameters})");
        foreach (NativeParameter p in f.Parameters.Where(p => p.IsOut)) w.Line($"{p.Type} out_{p.Name} = default;");
        w.Line($"{table.Result} result_ = _table.{f.Export}({arguments});");
        foreach (NativeParameter p in f.Parameters.Where(p => p.IsOut)) w.Line($"@{p.Name} = out_{p.Name};");
        w.Line(f.Checked ? $"if (result_ != 0) Fail(result_, \"{f.Export}\");" : "return result_;");
        w.Close();
    }

    private static string PointerType(NativeFunction f, NativeTable table) =>
        $"delegate* unmanaged<{string.Concat(f.Parameters.Select(p => p.Type + (p.IsOut ? "*, " : ", ")))}{table.Result}>";
}
