using System.Runtime.InteropServices;
using System.Text.Json;
using Foretoken.Formats;

namespace Foretoken.Training;

/// <summary>
/// Writes the decisions of a frozen model as an adapter directory: <c>adapter_config.json</c> with the <c>dms_*</c> keys of the published configuration and
/// <c>adapter_model.safetensors</c> in f32.
/// </summary>
public static unsafe class AdapterExport
{
    /// <summary>Writes the adapter of <paramref name="model"/>; every file is replaced by a rename.</summary>
    public static void Write(TransformerModel model, DmsRecipe recipe, string directory)
    {
        Directory.CreateDirectory(directory);
        ModelExport.WriteJson(directory, "adapter_config.json", json => WriteKeys(json, recipe));
        SafetensorsWriter.Write(Path.Combine(directory, "adapter_model.safetensors"),
            model.Parameters.Parameters.Where(DecisionAdapter.Owns).Select(p => Entry(model, p)), new Dictionary<string, string> { ["format"] = "pt" });
    }

    /// <summary>A tensor in f32: decisions are thresholds, which rounding would move.</summary>
    internal static SafetensorsEntry Entry(TransformerModel model, Parameter p) => new(
        p.Name, "F32", p.IsVector ? [p.Columns] : [p.Rows, p.Columns],
        MemoryMarshal.AsBytes(new ReadOnlySpan<float>(model.Values.Pointer + p.Offset, checked((int)p.Count))).ToArray());

    /// <summary>The configuration keys of delayed eviction.</summary>
    internal static void WriteKeys(Utf8JsonWriter json, DmsRecipe recipe)
    {
        json.WriteString("dms_alpha_per", "head");
        json.WriteNumber("dms_alpha_scale", recipe.AlphaScale);
        json.WriteNumber("dms_cr", recipe.TargetCr);
        json.WriteNumber("dms_initial_alpha_offset", recipe.InitialAlphaOffset);
        json.WriteBoolean("dms_separate_alpha", recipe.Decision == "adapter");
        json.WriteNumber("dms_tau", recipe.Tau);
        json.WriteNumber("dms_window_size", recipe.Window);
    }
}
