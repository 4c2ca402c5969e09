using System.Text;
using Foretoken.Tokenization;

namespace Foretoken.Cli.Output;

/// <summary>
/// Marks an answer's text as it streams: accepted drafts, the drafts that were rejected where they would have stood, and the model's own tokens. In
/// colour green, red and yellow; in plain text <c>(+accepted)</c>, <c>(-rejected)</c> and unmarked. Text that is held back as the beginning of a stop
/// string is marked when it is shown.
/// </summary>
internal sealed class DraftMarks(DraftTrace trace, BpeTokenizer tokenizer, bool color)
{
    private const string Green = "\u001b[32m", Red = "\u001b[9;31m", Yellow = "\u001b[33m", Reset = "\u001b[0m";
    private readonly IncrementalDetokenizer _detokenizer = new(tokenizer, skipSpecialTokens: true);
    private readonly Queue<(Kind Kind, int Characters, string Rejected)> _pieces = [];
    private readonly StringBuilder _marked = new();
    private int _steps;
    private Kind _open;

    private enum Kind
    {
        None,
        Accepted,
        Rejected,
        Bonus,
    }

    /// <summary>What the marks mean.</summary>
    public string Legend => color
        ? $"[{Green}accepted drafts{Reset}, {Red}rejected drafts{Reset}, {Yellow}the model's own tokens{Reset}]"
        : "[(+accepted drafts), (-rejected drafts), the model's own tokens unmarked]";

    /// <summary>The text that the answer has grown by, marked.</summary>
    public string Mark(string text)
    {
        _marked.Clear();
        for (; _steps < trace.Steps.Count; _steps++) Enqueue(trace.Steps[_steps]);
        int at = 0;
        while (_pieces.TryPeek(out var piece))
        {
            if (piece.Kind == Kind.Rejected) Append(Kind.Rejected, piece.Rejected);
            int shown = Math.Min(piece.Characters, text.Length - at);
            Append(piece.Kind, text.AsSpan(at, shown));
            at += shown;
            if (shown < piece.Characters)
            {
                Shorten(piece.Characters - shown);
                break;
            }

            _ = _pieces.Dequeue();
        }

        Append(Kind.Bonus, text.AsSpan(at)); // what the detokenizer held back to the end
        Open(Kind.None);
        return _marked.ToString();
    }

    private void Enqueue(DraftStep step)
    {
        foreach (int token in step.Accepted) _pieces.Enqueue((Kind.Accepted, Characters(token), ""));
        if (step.Rejected.Length > 0) _pieces.Enqueue((Kind.Rejected, 0, tokenizer.Decode(step.Rejected).ReplaceLineEndings("\\n")));
        foreach (int token in step.Bonus) _pieces.Enqueue((Kind.Bonus, Characters(token), ""));
    }

    private int Characters(int token) => Encoding.UTF8.GetCharCount(_detokenizer.Append(token));

    /// <summary>Leaves the rest of the first piece for the next text.</summary>
    private void Shorten(int characters)
    {
        (Kind kind, _, _) = _pieces.Dequeue();
        int others = _pieces.Count;
        _pieces.Enqueue((kind, characters, ""));
        for (; others > 0; others--) _pieces.Enqueue(_pieces.Dequeue());
    }

    private void Append(Kind kind, ReadOnlySpan<char> text)
    {
        if (text.IsEmpty) return;
        Open(kind);
        _marked.Append(text);
    }

    private void Open(Kind kind)
    {
        if (kind == _open) return;
        if (_open != Kind.None) _marked.Append(color ? Reset : _open == Kind.Bonus ? "" : ")");
        _open = kind;
        _marked.Append(kind switch
        {
            Kind.Accepted => color ? Green : "(+",
            Kind.Rejected => color ? Red : "(-",
            Kind.Bonus => color ? Yellow : "",
            _ => "",
        });
    }
}
