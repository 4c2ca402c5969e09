using System.Buffers;
using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;

namespace Foretoken.Cli.Output;

/// <summary>Writes JSON values as one line of text. No reflection: the executable is trimmed later.</summary>
internal static class JsonText
{
    private static readonly JsonWriterOptions s_options = new() { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    /// <summary>One line of JSON.</summary>
    public static string Line(Action<Utf8JsonWriter> write)
    {
        var buffer = new ArrayBufferWriter<byte>();
        using (var writer = new Utf8JsonWriter(buffer, s_options)) write(writer);
        return Encoding.UTF8.GetString(buffer.WrittenSpan);
    }

    /// <summary>One object as one line.</summary>
    public static string Object(Action<Utf8JsonWriter> writeMembers) => Line(w =>
    {
        w.WriteStartObject();
        writeMembers(w);
        w.WriteEndObject();
    });

    /// <summary>A number rounded to <paramref name="digits"/> places, so that outputs stay readable; not-a-number becomes null.</summary>
    public static void WriteRounded(this Utf8JsonWriter writer, string name, double value, int digits)
    {
        if (double.IsFinite(value)) writer.WriteNumber(name, Math.Round(value, digits));
        else writer.WriteNull(name);
    }
}
