namespace Foretoken.Training.Tasks;

/// <summary>The closed word lists of all tasks: short common words, so that a vocabulary of 1024 covers most of them with one or two tokens.</summary>
public static class Words
{
    public static readonly string[] Names = Split(
        "Tom Ann Ben Eva Sam Mia Max Lea Leo Ida Jon Amy Dan Kim Bob Zoe Tim Joy Ray Sue Jim Lily Nick Rosa Paul Nina Mark Emma Luke Anna " +
        "Adam Sara Carl Ella Ivan Ruby Hugo Vera Omar Kate Finn Jane Kurt Lucy Noah Maya Otto Gina Dave Mary John Alice Peter Helen David Laura Frank Clara Oscar Diana");

    public static readonly string[] Cities = Split(
        "Rome Paris London Berlin Madrid Oslo Vienna Prague Milan Dublin Athens Cairo Tokyo Delhi Lima Boston Denver Dallas Miami Seoul Lisbon Geneva Zurich Moscow");

    public static readonly string[] Colors = Split("red blue green black white brown gray pink gold silver purple yellow");

    public static readonly string[] Animals = Split(
        "cat dog fox cow pig hen owl bee ant bat bear wolf lion duck goat deer frog fish horse mouse sheep tiger snake bird");

    public static readonly string[] Objects = Split(
        "box key cup hat pen bag map ball book lamp ring coin door desk bell boat car bike cake rope shoe sock tent tree leaf rock drum fork clock chair " +
        "table phone paper bottle stone spoon plate glass shirt candle");

    public static readonly string[] Fruits = Split("apple pear plum fig lemon grape peach melon mango cherry");

    public static readonly string[] Places = Split("house garden park school shop market hill lake river bridge forest station beach farm road field");

    public static readonly string[] PastVerbs = Split("ran sat slept played walked waited jumped looked sang stood danced rested");

    public static readonly string[] Adjectives = Split("old small big quiet happy young tired warm cold nice");

    public static readonly string[] Days = Split("Monday Tuesday Wednesday Thursday Friday Saturday Sunday");

    public static readonly string[] Jobs = Split("baker doctor farmer driver teacher singer cook nurse pilot painter writer judge");

    /// <summary>Things that are counted in word problems; the plural adds an s.</summary>
    public static readonly string[] Counted = Split("coin pen book ball cup hat ring apple pear plum lemon stone shirt plate bell key");

    /// <summary>English words that dictionaries translate to.</summary>
    public static readonly string[] Plain = [.. Colors, .. Animals, .. Objects, .. Fruits];

    /// <summary>Invented words of three letters, none of them an English word of the other lists.</summary>
    public static readonly string[] Invented = Invent();

    private static string[] Split(string words) => words.Split(' ');

    private static string[] Invent()
    {
        string[] starts = Split("bo da fe gi ko lu mi ne po ri su ta vo wi zu");
        HashSet<string> taken = [.. Plain, .. Places, .. PastVerbs, .. Split("bot dam dan fen fer git kop luk mil min mix net nek pop pot rip rim sum sup tan tap tar tax wit win")];
        return [.. from start in starts from end in "kmnprtx" let word = start + end where !taken.Contains(word) select word];
    }
}
