using System.Text;

namespace Foretoken.Generators.Kernels;

/// <summary>C# names of C names.</summary>
internal static class Names
{
    /// <summary>What underscores part; a name of underscores alone is one word.</summary>
    public static string[] Words(string name) => name.Split(['_'], StringSplitOptions.RemoveEmptyEntries) is { Length: > 0 } words ? words : [name];

    /// <summary><c>matmul_bf16_n8</c> becomes <c>MatmulBf16N8</c>, <c>kvStride</c> becomes <c>KvStride</c>.</summary>
    public static string Pascal(string name)
    {
        var result = new StringBuilder();
        bool start = true;
        foreach (char c in name)
        {
            if (c == '_')
            {
                start = true;
                continue;
            }

            result.Append(start ? char.ToUpperInvariant(c) : c);
            start = false;
        }

        return result.Length == 0 || char.IsDigit(result[0]) ? "_" + result : result.ToString();
    }
}
