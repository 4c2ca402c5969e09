namespace Foretoken.Tokenization.Jinja;

/// <summary>The tests (<c>value is name</c>) that chat templates use. An unknown one is refused when the template is read.</summary>
internal static class JinjaTests
{
    private static readonly Dictionary<string, JinjaTest> s_tests = new()
    {
        ["defined"] = (value, _) => value is not JinjaUndefined,
        ["undefined"] = (value, _) => value is JinjaUndefined,
        ["none"] = (value, _) => value is null,
        ["string"] = (value, _) => value is MarkedText,
        ["mapping"] = (value, _) => value is JinjaMap,
        ["sequence"] = (value, _) => value is List<object?> or MarkedText or JinjaMap,
        ["iterable"] = (value, _) => value is List<object?> or MarkedText or JinjaMap or JinjaUndefined,
        ["number"] = (value, _) => value is long or double or bool,
        ["integer"] = (value, _) => value is long,
        ["float"] = (value, _) => value is double,
        ["boolean"] = (value, _) => value is bool,
        ["true"] = (value, _) => value is true,
        ["false"] = (value, _) => value is false,
        ["callable"] = (value, _) => value is JinjaFunction,
        ["equalto"] = AreEqual,
        ["eq"] = AreEqual,
        ["=="] = AreEqual,
        ["ne"] = (value, arguments) => !AreEqual(value, arguments),
        ["!="] = (value, arguments) => !AreEqual(value, arguments),
        ["lt"] = (value, arguments) => JinjaOperators.Order(value, arguments.Get(0, "other"), arguments.Run) < 0,
        ["le"] = (value, arguments) => JinjaOperators.Order(value, arguments.Get(0, "other"), arguments.Run) <= 0,
        ["gt"] = (value, arguments) => JinjaOperators.Order(value, arguments.Get(0, "other"), arguments.Run) > 0,
        ["ge"] = (value, arguments) => JinjaOperators.Order(value, arguments.Get(0, "other"), arguments.Run) >= 0,
        ["sameas"] = (value, arguments) => arguments.Get(0, "other") is var other
            && (value is null or bool ? Equals(value, other) : value is not null && other is not null && value.GetType() == other.GetType()
                && AreEqual(value, arguments)),
        ["in"] = (value, arguments) => JinjaOperators.Contains(arguments.Get(0, "seq"), value, arguments.Run),
        ["odd"] = (value, arguments) => JinjaOperators.AreEqual(JinjaOperators.Binary("%", value, 2L, arguments.Run), 1L),
        ["even"] = (value, arguments) => JinjaOperators.AreEqual(JinjaOperators.Binary("%", value, 2L, arguments.Run), 0L),
        ["divisibleby"] = (value, arguments) => JinjaOperators.AreEqual(JinjaOperators.Binary("%", value, arguments.Get(0, "num"),
            arguments.Run), 0L),
        ["upper"] = (value, _) => JinjaText.Print(value).Text is var text && text.Any(char.IsUpper) && !text.Any(char.IsLower),
        ["lower"] = (value, _) => JinjaText.Print(value).Text is var text && text.Any(char.IsLower) && !text.Any(char.IsUpper),
    };

    public static JinjaTest? Find(string name) => s_tests.GetValueOrDefault(name);

    public static string Names => string.Join(", ", s_tests.Keys);

    private static bool AreEqual(object? value, JinjaArguments arguments) => JinjaOperators.AreEqual(value, arguments.Get(0, "other"));
}
