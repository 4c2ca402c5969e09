using System.Text;
using System.Text.Json;
using Foretoken.Formats;
using Foretoken.Tokenization.Jinja;

namespace Foretoken.Tokenization;

/// <summary>One message of a chat.</summary>
/// <param name="Role">Who speaks: system, user, assistant, tool, ….</param>
/// <param name="Content">What is said.</param>
public sealed record ChatMessage(string Role, string Content)
{
    /// <summary>
    /// Further members that a template may read (<c>tool_calls</c>, <c>reasoning_content</c>, <c>name</c>); a <c>content</c> here replaces
    /// <see cref="Content"/>.
    /// </summary>
    public IReadOnlyDictionary<string, JsonElement>? Extra { get; init; }
}

/// <summary>What a template may be given beside the messages.</summary>
public sealed record ChatTemplateOptions
{
    /// <summary>Tool descriptions, an array; absent is none.</summary>
    public JsonElement? Tools { get; init; }

    /// <summary>Variables of a certain template, such as <c>enable_thinking</c>.</summary>
    public IReadOnlyDictionary<string, JsonElement>? Variables { get; init; }

    /// <summary>
    /// What <c>strftime_now</c> tells. Without a date that function does not exist, so that the same chat always gives the same tokens; templates
    /// then use their own fixed date.
    /// </summary>
    public DateTime? Date { get; init; }
}

/// <summary>
/// A chat template in the subset of Jinja that published templates use, rendered in a closed environment with limits. The text of messages can
/// never become control tokens: <see cref="Encode"/> matches those only in what the template itself wrote. Immutable and thread-safe.
/// </summary>
public sealed class ChatTemplate
{
    private static readonly HashSet<string> s_knownRoles = ["system", "developer", "user", "assistant", "tool", "function", "ipython"];

    private readonly IReadOnlyList<JinjaStatement> _statements;
    private readonly string _file;
    private readonly IReadOnlyDictionary<string, string> _specialTokens;
    private readonly JinjaLimits _limits;

    private ChatTemplate(string source, string file, IReadOnlyDictionary<string, string>? specialTokens, JinjaLimits? limits)
    {
        Source = source;
        _file = file;
        _specialTokens = specialTokens ?? new Dictionary<string, string>();
        _limits = limits ?? new JinjaLimits();
        _statements = JinjaParser.Parse(source, file);
    }

    /// <summary>The template's text.</summary>
    public string Source { get; }

    /// <summary>Reads a template; unknown constructs are refused by name and line.</summary>
    /// <param name="source">The template's text.</param>
    /// <param name="specialTokens">Variables such as <c>bos_token</c>.</param>
    /// <param name="file">Stands for the file in error messages.</param>
    /// <exception cref="TokenizerException">The template is malformed or asks for something unsupported.</exception>
    public static ChatTemplate Parse(string source, IReadOnlyDictionary<string, string>? specialTokens = null, string file = "chat template")
    {
        ArgumentNullException.ThrowIfNull(source);
        return new ChatTemplate(source, file, specialTokens, null);
    }

    /// <summary>The template of a model, a Hugging Face directory or a GGUF file; null if there is none.</summary>
    /// <exception cref="TokenizerException">As <c>Parse</c>.</exception>
    /// <exception cref="ModelFormatException">A GGUF file breaks a rule of its format.</exception>
    public static ChatTemplate? FromModel(string path)
    {
        if (!GgufFile.IsGguf(path)) return FromDirectory(path);
        using var file = new GgufFile(path);
        return FromGguf(file.Metadata);
    }

    /// <summary>The template of an open GGUF file (<c>tokenizer.chat_template</c>), or null.</summary>
    /// <exception cref="TokenizerException">As <c>Parse</c>.</exception>
    public static ChatTemplate? FromGguf(GgufMetadata metadata) => GgufTokenizerReader.ReadTemplate(metadata);

    /// <summary>
    /// The template of a Hugging Face directory: <c>chat_template.jinja</c>, else <c>chat_template</c> of <c>tokenizer_config.json</c>
    /// (a string, or a list of named ones). Null if there is none.
    /// </summary>
    /// <param name="directory">The model directory.</param>
    /// <param name="name">Which of several named templates.</param>
    /// <exception cref="TokenizerException">As <c>Parse</c>, or there is no template of that name.</exception>
    public static ChatTemplate? FromDirectory(string directory, string name = "default")
    {
        TokenizerConfigFile config = TokenizerConfigFile.FromDirectory(directory);
        var special = new Dictionary<string, string>();
        foreach (var (variable, token) in ((string, string?)[])
            [("bos_token", config.BosToken), ("eos_token", config.EosToken), ("pad_token", config.PadToken), ("unk_token", config.UnkToken)])
        {
            if (token is not null)
                special.Add(variable, token);
        }
        string file = Path.Combine(directory, TokenizerFiles.ChatTemplate);
        if (TokenizerFiles.ReadOptional(file) is { } utf8)
            return Parse(Encoding.UTF8.GetString(utf8), special, file);
        JsonField field = config.ChatTemplate;
        if (field.IsNull)
            return null;
        if (field.Element.ValueKind == JsonValueKind.Array)
        {
            field = field.Items().Where(item => item.Required("name").String() == name).Select(item => item.Required("template")).FirstOrDefault();
            if (field.IsNull)
                throw config.ChatTemplate.Error($"there is no template named \"{name}\"", "Ask for one of the names in the file");
        }
        return Parse(field.String(), special, config.File);
    }

    /// <summary>The text of a chat; control tokens stand in it as text.</summary>
    /// <exception cref="TokenizerException">The template refuses the messages, or exceeds its limits.</exception>
    public string Render(IReadOnlyList<ChatMessage> messages, bool addGenerationPrompt = true, ChatTemplateOptions? options = null) =>
        RenderMarked(messages, addGenerationPrompt, options).Text;

    /// <summary>The tokens of a chat. What looks like a control token in the messages is encoded as plain text.</summary>
    /// <exception cref="TokenizerException">As <see cref="Render"/>.</exception>
    public IReadOnlyList<int> Encode(BpeTokenizer tokenizer, IReadOnlyList<ChatMessage> messages, bool addGenerationPrompt = true,
        ChatTemplateOptions? options = null)
    {
        ArgumentNullException.ThrowIfNull(tokenizer);
        var ids = new List<int>();
        tokenizer.EncodeToIds(RenderMarked(messages, addGenerationPrompt, options), ids);
        return ids;
    }

    /// <summary>For tests of the limits.</summary>
    internal static ChatTemplate Parse(string source, JinjaLimits limits) => new(source, "chat template", null, limits);

    private MarkedText RenderMarked(IReadOnlyList<ChatMessage> messages, bool addGenerationPrompt, ChatTemplateOptions? options)
    {
        ArgumentNullException.ThrowIfNull(messages);
        var run = new JinjaRun(_file, _limits);
        var scope = new JinjaScope(null);
        JinjaGlobals.Define(scope, options?.Date);
        foreach (var (name, token) in _specialTokens)
            scope.Set(name, new MarkedText(token));
        foreach (var (name, value) in options?.Variables ?? new Dictionary<string, JsonElement>())
            scope.Set(name, JinjaText.FromJson(value));
        scope.Set("messages", messages.Select(ToValue).ToList());
        scope.Set("add_generation_prompt", addGenerationPrompt);
        scope.Set("tools", options?.Tools is { } tools ? JinjaText.FromJson(tools) : null);
        JinjaStatement.ExecuteAll(_statements, new JinjaScope(scope), run);
        return run.Output.ToMarkedText();
    }

    private static object? ToValue(ChatMessage message)
    {
        var map = new JinjaMap();
        // Templates write "<|" + role + "|>": the usual roles are theirs, any other is untrusted text.
        map.Items["role"] = s_knownRoles.Contains(message.Role) ? new MarkedText(message.Role) : JinjaText.Untrusted(message.Role);
        map.Items["content"] = JinjaText.Untrusted(message.Content);
        foreach (var (name, value) in message.Extra ?? new Dictionary<string, JsonElement>())
            map.Items[name] = JinjaText.FromJson(value);
        return map;
    }
}
