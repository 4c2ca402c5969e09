using System.Text;

namespace Foretoken.Tokenization;

/// <summary>
/// The byte-to-character alphabet of byte-level BPE (introduced by GPT-2): printable Latin-1 bytes stand for themselves, the other 68
/// bytes are shifted to U+0100 and up, so that every byte string can be written as visible text in a vocabulary file.
/// </summary>
internal static class ByteAlphabet
{
    private static readonly char[] s_byteToChar = BuildByteToChar();
    private static readonly short[] s_charToByte = BuildCharToByte();

    /// <summary>The character that stands for <paramref name="value"/>.</summary>
    public static char ToChar(byte value) => s_byteToChar[value];

    /// <summary>The byte that <paramref name="symbol"/> stands for, or -1 if it is not in the alphabet.</summary>
    public static int ToByte(char symbol) => symbol < s_charToByte.Length ? s_charToByte[symbol] : -1;

    /// <summary>Writes <paramref name="bytes"/> in the alphabet, one character per byte.</summary>
    public static string ToText(ReadOnlySpan<byte> bytes)
    {
        var text = new StringBuilder(bytes.Length);
        foreach (byte value in bytes)
            text.Append(s_byteToChar[value]);
        return text.ToString();
    }

    /// <summary>
    /// The bytes of a vocabulary entry. An entry with any character outside the alphabet (an added token such as "é ü") stands for its own UTF-8.
    /// </summary>
    public static byte[] ToBytes(string token)
    {
        var bytes = new byte[token.Length];
        for (int i = 0; i < token.Length; i++)
        {
            int value = ToByte(token[i]);
            if (value < 0)
                return Encoding.UTF8.GetBytes(token);
            bytes[i] = (byte)value;
        }
        return bytes;
    }

    private static bool IsPrintableLatin1(int value) => value is >= 0x21 and <= 0x7E or >= 0xA1 and <= 0xAC or >= 0xAE and <= 0xFF;

    private static char[] BuildByteToChar()
    {
        var table = new char[256];
        int shifted = 0;
        for (int value = 0; value < 256; value++)
            table[value] = IsPrintableLatin1(value) ? (char)value : (char)(256 + shifted++);
        return table;
    }

    private static short[] BuildCharToByte()
    {
        var table = new short[256 + 68];
        Array.Fill(table, (short)-1);
        for (int value = 0; value < 256; value++)
            table[s_byteToChar[value]] = (short)value;
        return table;
    }
}
