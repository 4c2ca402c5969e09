using System.Globalization;
using System.Runtime.InteropServices;
using System.Text.Json;

namespace Foretoken.Training;

/// <summary>
/// Checkpoints of a run directory: <c>checkpoint-STEP/</c> with <c>state.json</c> and the flat f32 arrays <c>values.f32</c>, <c>first.f32</c>,
/// <c>second.f32</c>. Written beside and renamed, so that a checkpoint is there wholly or not at all; the last two are kept.
/// </summary>
internal static unsafe class Checkpoint
{
    private const string Prefix = "checkpoint-";
    private const int Kept = 2;

    /// <summary>Name and seed, by which a run is known: another seed draws other examples. Lengths and rates may change between resumptions.</summary>
    public static string Identify(string name, ulong seed) => string.Create(CultureInfo.InvariantCulture, $"{name}, seed {seed}");

    /// <summary>Writes the checkpoint of <paramref name="state"/>'s step; of older ones it leaves the latest.</summary>
    /// <exception cref="RecipeException">It cannot be written. Nothing of it stays, and the older ones do.</exception>
    public static void Write(string runDirectory, string recipe, RunState state, ITrainable model, Optimizer optimizer)
    {
        string final = Path.Combine(runDirectory, Prefix + state.Step.ToString(CultureInfo.InvariantCulture)), temporary = final + ".tmp";
        state.Recipe = recipe;
        state.Layout = Layout(model.Parameters);
        try
        {
            if (Directory.Exists(temporary)) Directory.Delete(temporary, recursive: true);
            Directory.CreateDirectory(temporary);
            WriteArray(Path.Combine(temporary, "values.f32"), model.Values);
            WriteArray(Path.Combine(temporary, "first.f32"), optimizer.First);
            WriteArray(Path.Combine(temporary, "second.f32"), optimizer.Second);
            File.WriteAllBytes(Path.Combine(temporary, "state.json"), JsonSerializer.SerializeToUtf8Bytes(state, RecipeJson.Default.RunState));
            if (Directory.Exists(final)) Directory.Delete(final, recursive: true);
            Directory.Move(temporary, final);
            foreach ((_, string path) in All(runDirectory).SkipLast(Kept)) Directory.Delete(path, recursive: true);
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            if (Directory.Exists(temporary)) Directory.Delete(temporary, recursive: true); // a full disk needs the room
            throw new RecipeException($"{final}: the checkpoint cannot be written ({exception.Message.TrimEnd('.')}); make room or see to the permissions, and go on from the one before with --resume.");
        }
    }

    /// <summary>Reads the latest checkpoint of the directory, or returns null when it has none.</summary>
    /// <exception cref="RecipeException">The checkpoint is damaged, or of another recipe.</exception>
    public static RunState? ReadLatest(string runDirectory, string recipe, ITrainable model, Optimizer optimizer)
    {
        (int Step, string Path) latest = All(runDirectory).LastOrDefault();
        if (latest.Path is null) return null;
        string statePath = Path.Combine(latest.Path, "state.json");
        RunState state;
        try
        {
            state = JsonSerializer.Deserialize(File.ReadAllBytes(statePath), RecipeJson.Default.RunState) ?? throw new RecipeException($"{statePath}: the state is empty.");
        }
        catch (Exception exception) when (exception is JsonException or IOException)
        {
            throw new RecipeException($"{statePath}: the checkpoint cannot be read ({exception.Message.Split(" Path:")[0].TrimEnd('.')}); delete its directory to resume from the one before.");
        }
        if (state.Layout != Layout(model.Parameters))
            throw new RecipeException($"{statePath}: the checkpoint's tensors are not those of the recipe's model; use another --out directory.");
        if (state.Recipe.Length > 0 && state.Recipe != recipe)
            throw new RecipeException($"{statePath}: the checkpoint is of the recipe {state.Recipe}, and not of {recipe}; use another --out directory.");
        ReadArray(Path.Combine(latest.Path, "values.f32"), model.Values);
        ReadArray(Path.Combine(latest.Path, "first.f32"), optimizer.First);
        ReadArray(Path.Combine(latest.Path, "second.f32"), optimizer.Second);
        return state;
    }

    /// <summary>True when the directory holds a checkpoint.</summary>
    public static bool Exists(string runDirectory) => All(runDirectory).Any();

    private static IEnumerable<(int Step, string Path)> All(string runDirectory)
    {
        if (!Directory.Exists(runDirectory)) return [];
        return Directory.GetDirectories(runDirectory, Prefix + "*")
            .Select(path => (int.TryParse(Path.GetFileName(path).AsSpan(Prefix.Length), CultureInfo.InvariantCulture, out int step) ? step : -1, path))
            .Where(entry => entry.Item1 >= 0).OrderBy(entry => entry.Item1);
    }

    private static string Layout(ParameterSet parameters) =>
        string.Join(' ', parameters.Parameters.Select(p => string.Create(CultureInfo.InvariantCulture, $"{p.Name}[{p.Rows},{p.Columns}]")));

    private static void WriteArray(string path, FloatBuffer buffer)
    {
        using FileStream stream = File.Create(path);
        stream.Write(MemoryMarshal.AsBytes(buffer.Span));
        stream.Flush(flushToDisk: true);
    }

    private static void ReadArray(string path, FloatBuffer buffer)
    {
        long bytes = buffer.Count * sizeof(float);
        if (!File.Exists(path) || new FileInfo(path).Length != bytes)
            throw new RecipeException($"{path}: the checkpoint file must have {bytes} bytes; delete its directory to resume from the one before.");
        using FileStream stream = File.OpenRead(path);
        stream.ReadExactly(MemoryMarshal.AsBytes(buffer.Span));
    }
}
