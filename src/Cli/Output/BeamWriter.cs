using System.Globalization;
using Foretoken.Generation;

namespace Foretoken.Cli.Output;

/// <summary>Runs a beam search: the best answer on stdout and statistics on stderr, or one JSON object with all answers.</summary>
internal static class BeamWriter
{
    public static int Write(ChatModel model, int[] prompt, BeamOptions options, CliHost host, bool json)
    {
        BeamResult result = model.Language.GenerateBeams(prompt, options, host.Interrupt);
        BeamAnswer best = result.Answers[0];
        if (json)
        {
            host.Output.WriteLine(JsonText.Object(w =>
            {
                w.WriteString("text", best.Text);
                w.WriteStartArray("beams");
                foreach (BeamAnswer answer in result.Answers)
                {
                    w.WriteStartObject();
                    w.WriteString("text", answer.Text);
                    w.WriteNumber("log_probability", answer.LogProbability);
                    w.WriteNumber("score", answer.Score);
                    w.WriteNumber("completion_tokens", answer.Tokens.Count);
                    w.WriteString("finish_reason", answer.FinishReason == FinishReason.Stop ? "stop" : "length");
                    w.WriteEndObject();
                }

                w.WriteEndArray();
                w.WriteNumber("prompt_tokens", prompt.Length);
                w.WriteNumber("steps", result.Steps);
                w.WriteNumber("lengths", result.Lengths);
                w.WriteNumber("drafted_tokens", result.DraftedTokens);
                w.WriteString("drafter", model.Language.Drafter.Name);
                w.WriteRounded("decode_ms", result.Milliseconds, 3);
            }));
        }
        else
        {
            host.Output.Write(best.Text);
            if (!best.Text.EndsWith('\n')) host.Output.WriteLine();
            host.Error.WriteLine(string.Create(
                CultureInfo.InvariantCulture,
                $"[{options.Beams} beams: score {best.Score:F4}, log-probability {best.LogProbability:F4} over {best.Tokens.Count} tokens; {result.Lengths} lengths in {result.Steps} passes, {result.Milliseconds:F0} ms, {result.DraftedTokens} drafts; {model.Name}]"));
        }

        host.Output.Flush();
        return ExitCode.Success;
    }
}
