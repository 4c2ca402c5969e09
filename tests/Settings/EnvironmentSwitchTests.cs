using Foretoken.Settings;

namespace Foretoken.Tests.Settings;

public sealed class EnvironmentSwitchTests
{
    [Theory]
    [InlineData("1", true)]
    [InlineData("true", true)]
    [InlineData("0", false)]
    [InlineData("false", false)]
    [InlineData("", null)]
    [InlineData(null, null)]
    public void Values_that_have_a_meaning(string? value, bool? meaning) => Assert.Equal(meaning, EnvironmentSwitch.Parse("SOME_NAME", value));

    [Theory]
    [InlineData("2")]
    [InlineData("on")]
    [InlineData("OFF")]
    [InlineData("TRUE")]
    [InlineData("0 ")]
    [InlineData("-1")]
    public void Every_other_value_is_refused_with_name_value_rule_and_remedy(string value)
    {
        var e = Assert.Throws<EnvironmentVariableException>(() => EnvironmentSwitch.Parse("SOME_NAME", value));
        Assert.Equal(("SOME_NAME", $"SOME_NAME must be 1 or 0, not '{value}': set it to 1 (on) or 0 (off), or unset it."), (e.Variable, e.Message));
    }
}
