namespace Foretoken.Generators.Kernels;

/// <summary>
/// What one launch struct launches: a kernel, or kernels of a source that take the same parameters (in names, types and order) and whose names begin with the
/// same words. <c>attend_kv_bf16</c> and <c>attend_kv_f32</c> are <c>AttendKv</c>, told apart by a value of <c>AttendKvKernel</c>: <c>Bf16</c> or <c>F32</c>.
/// </summary>
/// <param name="Struct">Name of the launch struct.</param>
/// <param name="Kernels">At least one.</param>
/// <param name="Words">Words that their names share; 0 for a kernel by itself.</param>
internal sealed record LaunchFamily(string Struct, EquatableArray<LaunchKernel> Kernels, int Words)
{
    /// <summary>Whether a launch says which kernel it means.</summary>
    public bool IsChoice => Kernels.Count > 1;

    /// <summary>Name of the enumeration of its kernels.</summary>
    public string Choice => Struct + "Kernel";

    /// <summary>What all of them take.</summary>
    public EquatableArray<LaunchParameter> Parameters => Kernels[0].Parameters;

    /// <summary>Most threads of a block that every one of them was compiled for; 0 where none names a limit.</summary>
    public int MaxThreads => Kernels.Select(k => k.MaxThreads).Where(t => t > 0).DefaultIfEmpty(0).Min();

    /// <summary>The families of a source, in the order of their first kernels.</summary>
    public static IEnumerable<LaunchFamily> Of(IEnumerable<LaunchKernel> kernels) =>
        kernels.GroupBy(k => (Names.Words(k.Name)[0], k.Parameters)).SelectMany(alike => OfAlike([.. alike]));

    /// <summary>The name of one of its kernels in the enumeration: what the shared words leave.</summary>
    public string Member(LaunchKernel kernel) => Names.Pascal(string.Join("_", Names.Words(kernel.Name).Skip(Words)));

    private static IEnumerable<LaunchFamily> OfAlike(LaunchKernel[] kernels)
    {
        string[][] names = [.. kernels.Select(k => Names.Words(k.Name))];
        int words = 0, most = names.Min(n => n.Length) - 1; // every kernel keeps a word of its own
        while (words < most && names.All(n => n[words] == names[0][words])) words++;
        return kernels.Length == 1 || words == 0
            ? kernels.Select(k => new LaunchFamily(k.Struct, new([k]), 0))
            : [new LaunchFamily(Names.Pascal(string.Join("_", names[0].Take(words))), new(kernels), words)];
    }
}
