using System.Buffers.Binary;
using Foretoken.Backends;
using Foretoken.Formats;
using Foretoken.Models;
using Foretoken.Numerics;

namespace Foretoken.Speculation.Trained;

/// <summary>
/// The tensors of a trained drafter's directory: all its safetensors files together, whatever they are called. Shapes are checked as tensors are taken, and
/// a tensor that nobody takes is an error, as leaving it out would change what the drafter says.
/// </summary>
internal sealed class DraftWeights : IDisposable
{
    private readonly List<SafetensorsFile> _files = [];
    private readonly Dictionary<string, (StoredTensor Tensor, SafetensorsFile File)> _tensors = new(StringComparer.Ordinal);
    private readonly HashSet<string> _taken = new(StringComparer.Ordinal);
    private readonly ThreadLocal<RowWindow> _windows = new(() => new RowWindow());

    /// <exception cref="ModelFormatException">There are no safetensors, or one breaks a rule.</exception>
    public DraftWeights(string directory)
    {
        Directory = directory;
        try
        {
            foreach (string path in System.IO.Directory.EnumerateFiles(directory, "*.safetensors").Order(StringComparer.Ordinal)) Add(path);
            if (_files.Count == 0) throw NoWeights(directory);
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    public string Directory { get; }

    public IEnumerable<string> Names => _tensors.Keys;

    /// <summary>Type in which matrices are held where nobody asks for another: bf16 if all are, else f32.</summary>
    public WeightType DefaultType =>
        _tensors.Values.Where(t => t.Tensor.Shape.Count == 2).All(t => t.Tensor.Type == DType.BF16) ? WeightType.BF16 : WeightType.F32;

    public bool Has(string name) => _tensors.ContainsKey(name);

    /// <summary>Rows of a stored matrix or elements of a stored vector.</summary>
    public int Rows(string name) => checked((int)Find(name, null).Tensor.Shape[0]);

    /// <summary>A matrix. // [outFeatures, inFeatures]</summary>
    /// <exception cref="ModelFormatException">It is missing, or has another shape or no float type.</exception>
    public IRowSource Matrix(string name, int outFeatures, int inFeatures)
    {
        (StoredTensor tensor, SafetensorsFile file) = Find(name, [outFeatures, inFeatures]);
        CheckFloat(tensor);
        return new TensorRows(file, tensor, _windows);
    }

    /// <summary>A vector of floats. // [elements]</summary>
    /// <exception cref="ModelFormatException">See <see cref="Matrix"/>.</exception>
    public float[] Vector(string name, int elements)
    {
        (StoredTensor tensor, SafetensorsFile file) = Find(name, [elements]);
        CheckFloat(tensor);
        var values = new float[elements];
        DTypeConverter.ToSingle(tensor.Type, Bytes(tensor, file), values);
        return FiniteCheck.AllFinite(values) ? values : throw TensorRows.NotFinite(tensor, "its elements");
    }

    /// <summary>Checks what <see cref="Vector"/> would read, by the file's header. // [elements]</summary>
    /// <exception cref="ModelFormatException">See <see cref="Matrix"/>.</exception>
    public void CheckVector(string name, int elements) => CheckFloat(Find(name, [elements]).Tensor);

    /// <summary>Checks what <see cref="Integers"/> would read, by the file's header. // [elements]</summary>
    /// <exception cref="ModelFormatException">See <see cref="Integers"/>.</exception>
    public void CheckIntegers(string name, int elements) => FindIntegers(name, elements);

    /// <summary>Checks what <see cref="Flags"/> would read, by the file's header. // [elements]</summary>
    /// <exception cref="ModelFormatException">See <see cref="Flags"/>.</exception>
    public void CheckFlags(string name, int elements) => FindFlags(name, elements);

    /// <summary>A vector of whole numbers: I64 or I32. // [elements]</summary>
    /// <exception cref="ModelFormatException">It is missing, or has another shape or type.</exception>
    public long[] Integers(string name, int elements)
    {
        (StoredTensor tensor, SafetensorsFile file) = FindIntegers(name, elements);
        byte[] bytes = Bytes(tensor, file);
        var values = new long[elements];
        for (int i = 0; i < elements; i++)
            values[i] = tensor.Type == DType.I64 ? BinaryPrimitives.ReadInt64LittleEndian(bytes.AsSpan(8 * i)) : BinaryPrimitives.ReadInt32LittleEndian(bytes.AsSpan(4 * i));

        return values;
    }

    /// <summary>A vector of yes and no: BOOL or U8. // [elements]</summary>
    /// <exception cref="ModelFormatException">It is missing, or has another shape or type.</exception>
    public bool[] Flags(string name, int elements)
    {
        (StoredTensor tensor, SafetensorsFile file) = FindFlags(name, elements);
        return [.. Bytes(tensor, file).Select(b => b != 0)];
    }

    /// <summary>Says that a tensor is known and not needed.</summary>
    public void Ignore(string name) => _taken.Add(name);

    /// <exception cref="ModelFormatException">A tensor was not taken.</exception>
    public void CheckComplete(string what)
    {
        foreach ((string name, (StoredTensor tensor, _)) in _tensors)
        {
            if (!_taken.Contains(name) && !name.EndsWith("rotary_emb.inv_freq", StringComparison.Ordinal))
                throw new ModelFormatException(tensor.File, $"\"{name}\"", $"is not a weight of {what} with this config.json", "Leaving it out would change what is drafted: use a supported drafter.");
        }
    }

    /// <summary>Called after the last read.</summary>
    /// <exception cref="ModelFormatException">A file was changed since it was opened.</exception>
    public void VerifyUnchanged()
    {
        foreach (SafetensorsFile file in _files) file.VerifyUnchanged();
    }

    /// <summary>An error about a tensor.</summary>
    public ModelFormatException Broken(string name, string rule, string remedy) =>
        new(_tensors.TryGetValue(name, out var found) ? found.Tensor.File : Directory, $"\"{name}\"", rule, remedy);

    public void Dispose()
    {
        foreach (SafetensorsFile file in _files) file.Dispose();
        _windows.Dispose();
    }

    private void Add(string path)
    {
        var file = new SafetensorsFile(path);
        _files.Add(file);
        foreach (StoredTensor tensor in file.Tensors)
        {
            if (!_tensors.TryAdd(tensor.Name, (tensor, file)))
                throw new ModelFormatException(path, $"\"{tensor.Name}\"", $"is also in {_tensors[tensor.Name].Tensor.File}", "Every tensor must be in one file: remove the copy.");
        }
    }

    private (StoredTensor Tensor, SafetensorsFile File) Find(string name, long[]? shape)
    {
        if (!_tensors.TryGetValue(name, out var found))
        {
            throw new ModelFormatException(_files.Count == 1 ? _files[0].FilePath : Directory, $"\"{name}\"", "is missing" + (shape is null ? "" : $"; its shape should be {StoredTensor.FormatShape(shape)}"),
                "Weights and config.json must belong to the same complete drafter: download it again.");
        }

        if (shape is not null && !found.Tensor.Shape.SequenceEqual(shape))
        {
            throw Broken(name, $"has shape {found.Tensor.ShapeText}, but its config.json and the model that it drafts for ask for {StoredTensor.FormatShape(shape)}",
                "Use a drafter that was trained for this model.");
        }

        _taken.Add(name);
        return found;
    }

    private (StoredTensor Tensor, SafetensorsFile File) FindIntegers(string name, int elements)
    {
        var found = Find(name, [elements]);
        return found.Tensor.Type is DType.I64 or DType.I32 ? found
            : throw Broken(name, $"has type {found.Tensor.Type.FileName()}: it must be I64 or I32", "Write it again as whole numbers.");
    }

    private (StoredTensor Tensor, SafetensorsFile File) FindFlags(string name, int elements)
    {
        var found = Find(name, [elements]);
        return found.Tensor.Type is DType.Bool or DType.U8 ? found
            : throw Broken(name, $"has type {found.Tensor.Type.FileName()}: it must be BOOL or U8", "Write it again as booleans.");
    }

    private void CheckFloat(StoredTensor tensor)
    {
        if (tensor.Type is not (DType.F32 or DType.F16 or DType.BF16 or DType.F64))
            throw Broken(tensor.Name, $"has type {tensor.Type.FileName()}, and only F32, F16, BF16 and F64 weights are supported", "Use the unquantised drafter.");
    }

    private static byte[] Bytes(StoredTensor tensor, SafetensorsFile file)
    {
        var bytes = new byte[tensor.Bytes];
        file.Read(tensor, 0, bytes);
        return bytes;
    }

    private static ModelFormatException NoWeights(string directory)
    {
        string? pickle = System.IO.Directory.EnumerateFiles(directory)
            .FirstOrDefault(f => Path.GetExtension(f) is ".pt" or ".pth" or ".bin");
        if (pickle is null) return new ModelFormatException(directory, "weights", "are missing: there is no .safetensors file", "Download the drafter's safetensors files.");
        string name = Path.GetFileName(pickle), target = Path.ChangeExtension(name, ".safetensors");
        return new ModelFormatException(pickle, "file", "is a Python pickle, which is never loaded because it can run code",
            $"Convert it once where you trust it: python -c \"import torch; from safetensors.torch import save_file; save_file({{k: v.contiguous() for k, v in torch.load('{name}', map_location='cpu', weights_only=True).items()}}, '{target}')\".");
    }
}
