namespace Foretoken.Formats;

/// <summary>
/// All weights of a Hugging Face directory: <c>model.safetensors</c>, or the shards that <c>model.safetensors.index.json</c> lists. Index and shards
/// must agree exactly.
/// </summary>
public sealed class SafetensorsModel : IDisposable
{
    /// <summary>Name of an unsharded file.</summary>
    public const string SingleName = "model.safetensors";

    /// <summary>Name of the list of shards.</summary>
    public const string IndexName = "model.safetensors.index.json";

    private const string DownloadAgain = "Download the model again.";
    private readonly List<SafetensorsFile> _files = [];
    private readonly Dictionary<string, StoredTensor> _tensors = new(StringComparer.Ordinal);
    private readonly Dictionary<string, SafetensorsFile> _fileOf = new(StringComparer.Ordinal);

    /// <summary>Opens and checks the weights of a directory.</summary>
    /// <exception cref="ModelFormatException">No safetensors there, or one of them breaks a rule.</exception>
    public SafetensorsModel(string directory)
    {
        try
        {
            string single = Path.Combine(directory, SingleName), index = Path.Combine(directory, IndexName);
            if (File.Exists(single)) Add(single);
            else if (File.Exists(index)) AddShards(directory, index);
            else throw NoWeights(directory, single);
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    /// <summary>Every tensor by name.</summary>
    public IReadOnlyDictionary<string, StoredTensor> Tensors => _tensors;

    /// <summary>The files, in the order of their names.</summary>
    public IReadOnlyList<SafetensorsFile> Files => _files;

    /// <summary>The open file that holds a tensor of <see cref="Tensors"/>.</summary>
    public TensorFile FileOf(string tensor) => _fileOf[tensor];

    /// <summary>Checks that nobody wrote to a file since it was opened.</summary>
    public void VerifyUnchanged()
    {
        foreach (SafetensorsFile file in _files) file.VerifyUnchanged();
    }

    /// <summary>Closes all files.</summary>
    public void Dispose()
    {
        foreach (SafetensorsFile file in _files) file.Dispose();
    }

    private void Add(string path)
    {
        var file = new SafetensorsFile(path);
        _files.Add(file);
        foreach (StoredTensor tensor in file.Tensors)
        {
            if (!_tensors.TryAdd(tensor.Name, tensor))
                throw new ModelFormatException(path, $"\"{tensor.Name}\"", $"is also in {_tensors[tensor.Name].File}", $"Every tensor must be in one shard. {DownloadAgain}");
            _fileOf.Add(tensor.Name, file);
        }
    }

    private void AddShards(string directory, string index)
    {
        JsonFields map = JsonFields.Read(index).Object("weight_map")
            ?? throw new ModelFormatException(index, "weight_map", "is missing", DownloadAgain);
        var shardOf = new Dictionary<string, string>(StringComparer.Ordinal);
        foreach ((string tensor, string shard) in map.TextEntries())
        {
            if (!IsPlainFileName(shard))
                throw map.Broken(tensor, $"must be the name of a .safetensors file in the same directory, but is \"{shard}\"", DownloadAgain);
            shardOf.Add(tensor, shard);
        }

        if (shardOf.Count == 0) throw new ModelFormatException(index, "weight_map", "lists no tensors", DownloadAgain);
        foreach (string shard in shardOf.Values.Distinct().Order(StringComparer.Ordinal))
        {
            string path = Path.Combine(directory, shard);
            if (!File.Exists(path)) throw new ModelFormatException(index, "weight_map", $"names {shard}, which is not in the directory", DownloadAgain);
            Add(path);
        }

        foreach ((string tensor, string shard) in shardOf)
        {
            if (!_tensors.TryGetValue(tensor, out StoredTensor? found) || Path.GetFileName(found.File) != shard)
                throw map.Broken(tensor, $"is not in {shard}, where the index expects it", DownloadAgain);
        }

        foreach (StoredTensor tensor in _tensors.Values)
        {
            if (!shardOf.ContainsKey(tensor.Name))
                throw new ModelFormatException(tensor.File, $"\"{tensor.Name}\"", $"is not listed in {IndexName}", DownloadAgain);
        }
    }

    /// <summary>Index entries come from strangers: a name may not lead out of the directory on any system.</summary>
    private static bool IsPlainFileName(string name) =>
        name.EndsWith(".safetensors", StringComparison.Ordinal) && name[0] != '.' && name.IndexOfAny(['/', '\\', ':', '\0']) < 0;

    private static ModelFormatException NoWeights(string directory, string single)
    {
        bool pickle = Directory.Exists(directory) && Directory.EnumerateFiles(directory, "pytorch_model*.bin").Any();
        return new ModelFormatException(single, "file", pickle ? "does not exist, only pickled weights do, which are never loaded because they can run code" : "does not exist",
            pickle ? "Convert the model with the safetensors library, or download its safetensors files." : $"The directory needs {SingleName} or {IndexName} with its shards.");
    }
}
