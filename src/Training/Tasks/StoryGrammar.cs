using System.Globalization;
using System.Text.RegularExpressions;
using Foretoken.Numerics;

namespace Foretoken.Training.Tasks;

/// <summary>Clauses of one kind of story. In a clause, (a;b) chooses and a|b is the present or the past tense; {x} and {y} are operands.</summary>
/// <param name="Start">An amount {x}.</param>
/// <param name="Gain">{x} more.</param>
/// <param name="Loss">{x} fewer.</param>
/// <param name="GroupStart">{x} groups of {y} at the beginning; empty where the story has no groups.</param>
/// <param name="GroupGain">{x} groups of {y} more.</param>
/// <param name="GroupLoss">{x} groups of {y} fewer.</param>
/// <param name="Question">Asks for the amount at the end.</param>
internal sealed record StoryKind(string[] Start, string[] Gain, string[] Loss, string[] GroupStart, string[] GroupGain, string[] GroupLoss, string[] Question);

/// <summary>The clauses that word problems of <see cref="VariedArithmeticTask"/> are put together from.</summary>
internal static partial class StoryGrammar
{
    /// <summary>Plurals of what is counted.</summary>
    public static readonly string[] Things =
        ("coins pens books balls cups hats rings apples pears plums lemons stones shirts plates bells keys maps lamps shoes socks rocks cakes ropes cards eggs nuts " +
         "flowers tickets toys chairs bottles spoons clocks drums figs grapes melons cherries tents candles forks").Split(' ');

    private const string More = "({x} more;{x} more {t};another {x};another {x} {t};{x} new {t};{x} {t};{x} (old;red;small;big;blue;green;nice) {t})";
    private const string Gone = "({x};{x} {t};{x} of them;{x} of the {t})";
    private const string Kin = "(a friend;the teacher;a girl;a boy;the baker;{m};{m};{m})";
    private const string Packs = "(bags;boxes;packs;baskets;bottles;rows;groups)";
    private const string Full = "(with {y} {t} each;of {y} {t} each;of {y} {t};with {y} {t} in each;that hold {y} {t} each)";

    private static readonly StoryKind s_person = new(
        ["{n} (has|had;owns|owned;holds|held;keeps|kept) {x} {t}", "{n} (starts|started;begins|began) with {x} {t}", "(at first;in the morning;on (Monday;Sunday;Friday)) {n} (has|had) {x} {t}",
         "in the (bag;room;house;garden;shop) of {n} there (are|were) {x} {t}", "{n} (makes|made;finds|found;buys|bought;gets|got) {x} {t}", "{x} {t} (are|were) in the (bag;box;desk) of {n}"],
        [$"{{n}} (gets|got;buys|bought;finds|found;wins|won;picks|picked;makes|made;takes|took) {More}", $"{Kin} (gives|gave;brings|brought;sends|sent;sells|sold) {{n}} {More}",
         $"{{n}} (gets|got;takes|took;buys|bought) {More} from {Kin}", $"{{n}} (finds|found;buys|bought;picks|picked) {More} (at the (market;shop;school;station);in the (garden;park;forest);on the (beach;road;farm))"],
        [$"{{n}} (gives|gave;sells|sold;sends|sent;brings|brought) {Gone} to {Kin}", $"{{n}} (loses|lost;drops|dropped;sells|sold;uses|used;breaks|broke) {Gone}", $"{{n}} (gives|gave;throws|threw) away {Gone}",
         $"{Kin} (takes|took;gets|got;buys|bought) {Gone} from {{n}}", $"{{n}} (leaves|left;loses|lost;drops|dropped) {Gone} (at the (market;shop;school;station);in the (garden;park;forest);on the (beach;road;farm))"],
        [$"{{n}} (has|had;owns|owned;keeps|kept) {{x}} {Packs} {Full}", $"{{n}} (buys|bought;gets|got;fills|filled;makes|made) {{x}} {Packs} {Full}", $"{{n}} (gets|got;finds|found;makes|made) {{y}} {{t}} (a day;each day;every day) for {{x}} days",
         $"in (each;every) (bag;box;row) of {{n}} there (are|were) {{y}} {{t}}, and there (are|were) {{x}} of them"],
        [$"{{n}} (buys|bought;gets|got;finds|found) {{x}} (;more;new;big) {Packs} {Full}", $"{Kin} (gives|gave;brings|brought;sends|sent) {{n}} {{x}} {Packs} {Full}", "{x} friends (give|gave;bring|brought) {n} {y} {t} each"],
        [$"{{n}} (gives|gave;sells|sold;sends|sent) {{x}} {Packs} {Full} to {Kin}", "{n} (gives|gave;sends|sent) {y} {t} to each of {x} friends", $"{{n}} (loses|lost;sells|sold;uses|used) {{x}} {Packs} {Full}"],
        ["how many {t} (does {n} have;has {n} got;does {n} own;does {n} keep;does {n} hold) (;now;in the end;at the end;after that;then)", "how many {t} are with {n} (now;in the end;at the end)",
         "how many {t} does {n} (end up with;have after all this)", "how big is the number of {t} that {n} has (;now;in the end)"]);

    private static readonly StoryKind s_box = new(
        ["there (are|were) {x} {t} (in;inside) (a;the) {k}", "(a;the) {k} (has|had;holds|held) {x} {t}", "{x} {t} (are|were;lie|lay) in (a;the) {k}", "{n} (puts|put) {x} {t} into (a;the) {k}", "(a;the) {k} with {x} {t} (stands|stood) in the (room;garden;shop;house)"],
        [$"{{n}} (puts|put;drops|dropped) {More} (in;into it;into the {{k}})", $"{Kin} (adds|added;brings|brought) {More}", $"{{x}} more {{t}} (come|came;go|went) into the {{k}}", $"{{n}} (fills|filled) in {More}"],
        [$"{{n}} (takes|took) out {Gone}", $"{{n}} (takes|took;gets|got;removes|removed) {Gone} from the {{k}}", $"{Kin} (takes|took) {Gone} out of it", "{x} (;{t};of the {t}) (are|were) (taken out;lost;broken and thrown away;sold;used)", "{x} {t} (fall|fell) out of the {k}"],
        [$"there (are|were) {{x}} {Packs} {Full} in (a;the) {{k}}", $"{{n}} (puts|put) {{x}} {Packs} {Full} into (a;the) {{k}}"],
        [$"{{n}} (puts|put) in {{x}} (;more) {Packs} {Full}", "{x} (friends;workers;boys;girls) (put|put;bring|brought) in {y} {t} each"],
        [$"{{n}} (takes|took) out {{x}} {Packs} {Full}", "{x} (friends;workers;boys;girls) (take|took) {y} {t} each from the {k}"],
        ["how many {t} (are;do we find;can we count) in the {k} (;now;in the end;at the end;then;after that)", "how many {t} does the {k} hold (;now;in the end;at the end)", "how many {t} are in it (now;in the end;at the end)"]);

    private static readonly StoryKind s_ride = new(
        ["{x} people (are|were;sit|sat) (on;in) (a;the) {v}", "(a;the) {v} (leaves|left;starts|started) (the station;the city;Rome;Paris;Oslo;London) with {x} people", "there (are|were) {x} people (on;in) (a;the) {v}", "(a;the) {v} (takes|took;carries|carried) {x} people"],
        ["{x} (more;new;other) people (get|got;come|came;go|went) on (;at the (next;first;last) (stop;station))", "at the (next;second;first;last) (stop;station), {x} (people;more;others) (get|got;come|came) on", "{x} (;more;others) (get|got;jump|jumped) on", "it (takes|took;picks|picked) up {x} more"],
        ["{x} (people;of them;of the people;men;women) (get|got;go|went) off (;at the (next;first;last) (stop;station))", "at the (next;second;first;last) (stop;station), {x} (people;of them;others) (get|got;go|went) (off;out)", "{x} (leave|left) the {v}", "{x} (of them;people) (leave|left;get|got out)"],
        [], [], [],
        ["how many people are (on;in) the {v} (;now;in the end;at the end;then;after that)", "how many people does the {v} carry (now;in the end;at the end)", "how many people (stay;are still;are left) (on;in) the {v}"]);

    private static readonly StoryKind s_money = new(
        ["{n} (has|had;owns|owned;saves|saved) {x} {u}", "{n} (starts|started;begins|began) the (day;week;year) with {x} {u}", "there (are|were) {x} {u} in the (bag;box;bank) of {n}", "{n} (goes|went) to the (market;shop) with {x} {u}"],
        ["{n} (earns|earned;wins|won;finds|found;gets|got) {x} (;more) {u}", $"{Kin} (pays|paid;gives|gave;sends|sent) {{n}} {{x}} {{u}}", "{n} (sells|sold) (a;an old;a red;a big) (book;lamp;bike;cake;clock;map) for {x} {u}", "{n} (gets|got) {x} {u} (for work;for a day of work;back)"],
        ["{n} (pays|paid;spends|spent) {x} (;{u};of the {u}) (for;on) (a;a new;a small) (book;lamp;bike;cake;clock;map;meal;ticket)", "{n} (loses|lost;spends|spent) {x} (;{u};of them)", $"{{n}} (gives|gave;pays|paid;sends|sent) {{x}} (;{{u}}) to {Kin}", "(a;the) (book;lamp;bike;cake;clock;meal;ticket) (costs|cost) {n} {x} {u}"],
        ["{n} (earns|earned;gets|got;saves|saved) {y} {u} (a day for {x} days;each day for {x} days;every week for {x} weeks)", "{n} (sells|sold) {x} {t} for {y} {u} each"],
        ["{n} (works|worked) {x} days for {y} {u} a day", "{n} (sells|sold) {x} {t} for {y} {u} each", "{x} friends (pay|paid;give|gave) {n} {y} {u} each"],
        ["{n} (buys|bought) {x} {t} for {y} {u} each", "{n} (pays|paid) {y} {u} for each of {x} {t}", "{n} (spends|spent) {y} {u} a day for {x} days"],
        ["how (much money;many {u}) (does {n} have;has {n} got;does {n} keep) (;now;in the end;at the end;then)", "how many {u} (are in the bag of {n};does {n} end up with)"]);

    private static readonly StoryKind s_animals = new(
        ["{x} {z} (are|were;live|lived;sit|sat;stand|stood) {w}", "there (are|were) {x} {z} {w}", "we (see|saw;count|counted) {x} {z} {w}", "(a farmer;{n}) (sees|saw;counts|counted;finds|found) {x} {z} {w}"],
        ["{x} (more;more {z};other {z};new ones;young {z}) (come|came;join|joined them;arrive|arrived)", "then come {x} (more;others;new ones)", "(a farmer;{n}) (brings|brought) {x} (more;more {z};new ones)"],
        ["{x} (;of them;of the {z};{z}) (go|went;run|ran;walk|walked) away", "{x} (;of them;of the {z}) (leave|left;go|went home;are gone|were gone)", "(a farmer;{n}) (takes|took;leads|led;sells|sold) {x} (of them;{z}) (;away)"],
        ["{x} groups of {y} {z} (are|were;live|lived;stand|stood) {w}", "there (are|were) {x} (groups;rows) of {y} {z} {w}"],
        ["{x} (more;other;new) groups of {y} {z} (come|came;arrive|arrived)"],
        ["{x} groups of {y} {z} (leave|left;go|went away;run|ran away)"],
        ["how many {z} are {w} (;now;in the end;at the end;then;after that)", "how many {z} (can we see;can we count;do we find) {w} (now;in the end;at the end)", "how many {z} (stay;are still) {w}"]);

    /// <summary>All kinds; a person with things is the commonest.</summary>
    public static readonly StoryKind[] Kinds = [s_person, s_person, s_person, s_box, s_box, s_ride, s_money, s_money, s_animals];

    /// <summary>Kinds that have groups.</summary>
    public static readonly StoryKind[] Grouped = [.. Kinds.Where(kind => kind.GroupStart.Length > 0)];

    /// <summary>Stories that are one product, sum, difference, quotient or nested operation as a whole: clause and question by shape; {a} to {d} are operands.</summary>
    public static readonly Dictionary<string, (string[] Clauses, string[] Questions)> Whole = new()
    {
        ["a+b"] = (["{n} (has|had;finds|found;buys|bought) {a} {t} and {m} (has|had;finds|found;buys|bought) {b} (;more) (;{t})", "there (are|were) {a} (red;old;big) and {b} (blue;new;small) {t} (in the (box;bag;shop);on the (desk;table))",
                    "{n} (counts|counted;sells|sold;makes|made) {a} {t} (before;on Monday and) {b} (on Tuesday;on Friday;more {t})"],
                   ["how many {t} (is that;are there;do we have;are these) (in all;together;in total;all in all)", "what is the (total;sum;whole number) of {t}", "how many {t} are there if we (count all;put them together)"]),
        ["a-b"] = (["{n} (has|had;keeps|kept;makes|made) {a} {t}, but {m} (has|had;keeps|kept;makes|made) (;only) {b}", "{n} (has|had;finds|found) {a} {t}; {m} (has|had;finds|found) {b} (;{t})"],
                   ["how many (more;more {t}) does {n} have than {m}", "how many (fewer;fewer {t}) does {m} have than {n}", "what is the difference in {t}", "how many {t} must {m} get to have as many as {n}"]),
        ["a*b"] = (["{a} (friends;workers;boys;girls;shops) (have|had;make|made;buy|bought;sell|sold) {b} {t} each", $"{{n}} (has|had;packs|packed;fills|filled) {{a}} {Packs} and (puts|put) {{b}} {{t}} in each", "(each;every one) of {a} (friends;workers;shops;boxes) (has|had;holds|held) {b} {t}",
                    "on each of {a} (tables;desks) there (are|were) {b} {t}", "{n} (makes|made;sells|sold;reads|read;finds|found) {b} {t} (a day for {a} days;every day for {a} days;an hour for {a} hours;a week for {a} weeks)"],
                   ["how many {t} (is that;are there;are these;do we count) (;in all;together;in total)", "what is the total number of {t}", "how many {t} are that"]),
        ["a/b"] = (["{a} {t} (go|went;are put|were put;are packed|were packed) into {b} (bags;boxes;baskets;rows), (as many;the same number) in each", "{b} (friends;workers;boys;girls;shops) (share|shared;split|split) {a} {t} (equally;so that all get the same)",
                    "{n} (makes|made;forms|formed;builds|built) {b} equal (groups;rows;parts) (of;from;out of) {a} {t}", "{n} (has|had) {a} {t} and {b} (friends;boxes;bags), and each (gets|got) the same", "{n} (needs|needed) {b} days for {a} {t}, as many every day", "{n} (deals|dealt;gives|gave) {a} {t} to {b} (friends;boys;girls), to each the same number"],
                   ["how many {t} (is that for each;are that for one;does one get;does every one get;go to each;come to each one)", "how many {t} does each (;one) get", "what is the share of one", "how many {t} for each one"]),
        ["(a+b)*c"] = (["{c} (friends;boys;girls;workers) (have|had;buy|bought;find|found) {a} {t} and {b} (coins;books;cards) each", "(each;every) (bag;box;basket) of {n} (has|had;holds|held) {a} (red;old;big) and {b} (blue;new;small) {t}, and {n} (has|had;keeps|kept) {c} of them",
                        "{n} (makes|made;sells|sold) {a} {t} in the morning and {b} in the evening, (for {c} days;on each of {c} days)"],
                       ["how many things (is that;are there) (;in all;together;in total)", "what is the total", "how many is that in all"]),
        ["(a-b)*c"] = (["(each;every one) of {c} (friends;shops;workers) (has|had;gets|got) {a} {t} and (loses|lost;sells|sold;uses|used) {b} (;of them)", "{n} (makes|made;finds|found) {a} {t} a day and (gives|gave;throws|threw) away {b}, (for {c} days;every day, {c} days long)", "{c} (boxes;bags) (hold|held) {a} {t} each; {n} (takes|took) {b} out of (each;every one)"],
                       ["how many {t} are left (;together;in all;in total)", "how many {t} (remain;are still there) (;in all;together)"]),
        ["a+b+c"] = (["{n} (has|had;makes|made) {a} {t}, {m} (has|had;makes|made) {b} and (a friend;the teacher;the baker) {c}", "there (are|were) {a} {t} in the (house;shop), {b} in the (garden;park) and {c} on the (farm;road)"],
                     ["how many {t} (is that;are there;do they have) (in all;together;in total)", "what is the (total;sum) of {t}"]),
        ["(a+b)/c"] = (["{n} (has|had;brings|brought) {a} {t} and {m} {b}, and {c} (friends;boys;girls) share (all of them;them) equally", "{n} (has|had;buys|bought) {a} {t}, (gets|got;finds|found) {b} more and (puts|put) all into {c} equal (bags;boxes;rows)"],
                       ["how many {t} (does one get;are in each;is that for each one)", "what is one share"]),
        ["(a-b)/c"] = (["{n} (has|had;buys|bought) {a} {t}, (loses|lost;sells|sold;gives away|gave away) {b} and (puts|put;packs|packed) the rest into {c} equal (bags;boxes;rows)", "of {a} {t}, {b} (are|were) (old;broken); {c} (friends;boys;girls) share the others equally"],
                       ["how many {t} (does one get;are in each;is that for each one)", "what is one share"]),
        ["a*b/c"] = (["{a} (bags;boxes) with {b} {t} each (are|were) shared equally by {c} (friends;workers;shops)", "{n} (has|had;buys|bought) {a} packs of {b} {t} and (puts|put;packs|packed) all {t} into {c} equal (boxes;rows;groups)"],
                     ["how many {t} (does one get;are in each;is that for each one)", "what is one share"]),
        ["a/b+c"] = (["{b} friends (share|shared) {a} {t} equally, and {n}, one of them, (has|had;finds|found;gets|got) {c} more", "{n} (gets|got;takes|took) one of {b} equal parts of {a} {t} and then {c} more {t}"],
                     ["how many {t} (does {n} have;has {n} got) (;now;in the end)"]),
        ["a/b-c"] = (["{b} friends (share|shared) {a} {t} equally, and {n}, one of them, (loses|lost;gives away|gave away;sells|sold) {c}", "{n} (gets|got;takes|took) one of {b} equal parts of {a} {t} and (drops|dropped;loses|lost) {c}"],
                     ["how many {t} (does {n} have;has {n} got) (;now;in the end)"]),
    };

    /// <summary>Chooses among (a;b) from the inside out, and one tense for all a|b.</summary>
    public static string Expand(SeededRandom random, string text, bool past)
    {
        while (Choice().Match(text) is { Success: true } match)
        {
            string[] tenses = random.Pick(match.Groups[1].Value.Split(';')).Split('|');
            text = text[..match.Index] + (past ? tenses[^1] : tenses[0]) + text[(match.Index + match.Length)..];
        }
        return Spaces().Replace(text, " ").TrimEnd().Replace(" ,", ",", StringComparison.Ordinal).Replace(" ;", ";", StringComparison.Ordinal);
    }

    /// <summary>Writes a number as the tasks do.</summary>
    public static string Number(int value) => value.ToString(CultureInfo.InvariantCulture);

    [GeneratedRegex(@"\(([^()]*)\)")]
    private static partial Regex Choice();

    [GeneratedRegex(" {2,}")]
    private static partial Regex Spaces();
}
