using System.Globalization;
using System.Text;
using Foretoken.Numerics;

namespace Foretoken.Training.Tasks;

/// <summary>
/// Program traces and variable tracking with numbered lines. The solution repeats each line after its number, looks up the operands
/// ("a=3"), computes and writes the whole state, so that every token is a copy or one small sum.
/// </summary>
public sealed class TraceTask : SplitTask
{
    private const int MaximumValue = 99;

    private static readonly string[] Letters = ["a", "b", "c", "d", "x", "y", "z", "n", "m", "k", "p", "q"];

    private static readonly PhraseSet Openings = new(
        ["Run this program:", "Trace this program:", "Follow the program:", "Here is a program:", "Read this program:", "Look at the program:", "Execute these lines:",
         "Trace these lines:", "Go through the lines:", "Consider this code:", "Here is some code:", "Please run this code:", "Step through this code:", "Run the code:", "Given this program:",
         "Work through the program:", "Please trace this program:", "These lines are run in order:", "Code:", "Program:"],
        ["Please follow this program:", "Trace the code:", "Here are the lines of a program:", "Read the code:"]);

    private static readonly PhraseSet Questions = new(
        ["What is {0} at the end?", "What is the final value of {0}?", "What is {0}?", "Find {0} at the end.", "Give the last value of {0}.", "Which value does {0} have at the end?",
         "Tell me {0} after the last line.", "What does {0} equal at the end?", "What is the value of {0} after all lines?", "What is in {0} at the end?", "Print {0}.", "Which number is in {0}?",
         "Find the final value of {0}.", "Compute {0}.", "What is {0} after the program?", "Tell me the value of {0}.", "Return {0}.", "What is the last value of {0}?", "How big is {0} at the end?",
         "Give me {0}."],
        ["What is the value of {0} at the end?", "Please find the last value of {0}.", "Tell me the final value of {0}.", "What is {0} after the last line?"]);

    private static readonly PhraseSet StoryOpenings = new(
        ["Read what happens:", "Keep track of the {i}:", "Here is a story about {i}:", "Follow the {i}:", "Count the {i}:", "This is what happens:", "Some friends share {i}:", "A game with {i}:",
         "Track the {i}:", "Read these lines:"],
        ["Follow what happens:", "Please keep track of the {i}:"]);

    private static readonly PhraseSet StoryQuestions = new(
        ["How many {i} does {0} have at the end?", "How many {i} does {0} have now?", "How many {i} has {0} at the end?", "Tell me how many {i} {0} has.", "Count the {i} of {0}.",
         "What is the number of {i} of {0}?", "How many {i} are with {0} at the end?", "Find the number of {i} of {0} at the end.", "With how many {i} does {0} end?", "How many does {0} have?"],
        ["At the end, how many {i} does {0} have?", "How many {i} does {0} have after all this?"]);

    /// <inheritdoc/>
    public override string Bucket => "trace";

    /// <inheritdoc/>
    protected override TaskExample Draft(SeededRandom random, int level, Phrasing phrasing)
    {
        bool story = level >= 1 && random.Chance(0.25);
        int variables = level switch { <= 1 => 2, <= 3 => random.Next(2, 4), <= 6 => random.Next(2, 4), _ => random.Next(2, 5) };
        int lines = level switch { 0 => 2, 1 => 3, 2 => random.Next(3, 5), 3 => random.Next(4, 6), 4 => random.Next(4, 7), 5 => random.Next(4, 7), 6 => random.Next(5, 7), 7 => random.Next(5, 8), _ => random.Next(6, 8) };
        string[] names = (story ? Words.Names : Letters).ToArray();
        random.Shuffle<string>(names);
        var trace = new Recorder(random, names[..variables], level);
        string item = random.Pick(Words.Counted) + "s";
        for (int line = 1; line <= lines; line++)
        {
            if (story)
            {
                trace.Event(line, item);
            }
            else
            {
                trace.Line(line, lines);
            }
        }
        string asked = trace.Asked();
        string opening = phrasing.Pick(story ? StoryOpenings : Openings).Replace("{i}", item, StringComparison.Ordinal);
        string question = phrasing.Pick(story ? StoryQuestions : Questions).Replace("{i}", item, StringComparison.Ordinal).Replace("{0}", asked, StringComparison.Ordinal);
        string prompt = phrasing.Greet(opening, 0.1) + "\n" + trace.Program + phrasing.Close(question, 0.1);
        if (!story && lines <= 4 && random.Chance(0.15))
        {
            prompt = Inline(random, trace.Program.ToString()) + phrasing.Close(question, 0.1);
        }
        string answer = trace.State[asked].ToString(CultureInfo.InvariantCulture);
        return Example(prompt, $"{trace.Steps}So {asked}={answer}", answer, trace.CanonicalProgram() + "?" + trace.Rank(asked));
    }

    /// <summary>The program as a person types it: without line numbers, on lines of its own or in one line.</summary>
    private static string Inline(SeededRandom random, string program)
    {
        string separator = random.Pick(["\n", "; ", ". "]);
        IEnumerable<string> lines = program.TrimEnd('\n').Split('\n').Select(line => line[(line.IndexOf(' ') + 1)..]);
        return string.Join(separator, lines) + separator;
    }

    /// <summary>Writes a program line by line together with its trace.</summary>
    private sealed class Recorder(SeededRandom random, string[] names, int level)
    {
        private readonly List<string> _assigned = [];
        private string _last = "";

        public Dictionary<string, int> State { get; } = [];

        public StringBuilder Program { get; } = new();

        public StringBuilder Steps { get; } = new();

        public int Rank(string name) => Array.IndexOf(names, name);

        /// <summary>The program with its variables renamed by order, so that a renamed program is the same problem.</summary>
        public string CanonicalProgram()
        {
            var text = new StringBuilder(" ").Append(Program);
            for (int i = 0; i < names.Length; i++)
            {
                text.Replace($" {names[i]} ", $" v{i} ").Replace($" {names[i]}\n", $" v{i}\n").Replace($" {names[i]}.", $" v{i}.");
            }
            return text.ToString();
        }

        /// <summary>Mostly the variable that changed last, else any.</summary>
        public string Asked() => random.Chance(0.5) ? _last : random.Pick(_assigned);

        public void Line(int number, int count)
        {
            int missing = names.Length - _assigned.Count;
            if (missing > 0 && (_assigned.Count == 0 || missing >= count - number || random.Chance(0.6)))
            {
                string fresh = names[_assigned.Count];
                if (_assigned.Count == 0 || random.Chance(number == 2 && count > 2 ? 0.7 : 0.3))
                {
                    int value = random.Next(1, level < 3 ? 10 : 30);
                    Write(number, 1, fresh, value.ToString(CultureInfo.InvariantCulture), "", value);
                    return;
                }
                Assign(number, fresh, 1);
                return;
            }
            bool loop = level >= 4 && random.Chance(0.2);
            Assign(number, random.Pick(_assigned), loop ? random.Next(2, level >= 8 ? 5 : 4) : 1);
        }

        /// <summary>One assignment of an expression over assigned variables; a loop repeats an update of the variable itself.</summary>
        private void Assign(int number, string target, int repeat)
        {
            while (true)
            {
                string left = repeat > 1 ? target : random.Pick(_assigned);
                double roll = random.NextDouble();
                bool variable = level >= 2 && _assigned.Count > 1 && roll < 0.3;
                string right = variable ? random.Pick(_assigned) : random.Next(1, 10).ToString(CultureInfo.InvariantCulture);
                char operation = random.Chance(0.6) ? '+' : '-';
                if (level >= 3 && repeat == 1 && !variable && random.Chance(0.12))
                {
                    operation = '*';
                    right = random.Chance(0.6) ? "2" : "3";
                }
                if (variable && (right == left || right == target && repeat > 1))
                {
                    continue;
                }
                if (level >= 2 && repeat == 1 && left != target && random.Chance(0.1))
                {
                    Write(number, 1, target, left, $" ; {left}={State[left]}", State[left]);
                    return;
                }
                if (Allowed(left, operation, right, repeat))
                {
                    Run(number, target, left, operation, right, repeat);
                    return;
                }
            }
        }

        private int ValueOf(string operand) => State.TryGetValue(operand, out int value) ? value : int.Parse(operand, CultureInfo.InvariantCulture);

        private bool Allowed(string left, char operation, string right, int repeat)
        {
            int value = ValueOf(left);
            for (int i = 0; i < repeat; i++)
            {
                int operand = ValueOf(right);
                value = operation switch { '+' => value + operand, '-' => value - operand, _ => value * operand };
            }
            return value is >= 0 and <= MaximumValue && (operation != '*' || value <= 40) && (!State.ContainsKey(right) || value <= 60);
        }

        private void Run(int number, string target, string left, char operation, string right, int repeat)
        {
            for (int i = 1; i <= repeat; i++)
            {
                int a = ValueOf(left), b = ValueOf(right);
                int value = operation switch { '+' => a + b, '-' => a - b, _ => a * b };
                string lookup = $" ; {left}={a}" + (State.ContainsKey(right) ? $" {right}={b}" : "");
                Write(number, repeat, target, $"{left} {operation} {right}", $"{lookup} ; {a}{operation}{b}={value}", value, i);
            }
        }

        private void Write(int number, int repeat, string target, string expression, string work, int value, int iteration = 1)
        {
            if (iteration == 1)
            {
                Program.Append(CultureInfo.InvariantCulture, $"{number}:").Append(repeat > 1 ? $" repeat {repeat} times:" : "").Append(CultureInfo.InvariantCulture, $" {target} = {expression}\n");
            }
            Set(target, value);
            Steps.Append(CultureInfo.InvariantCulture, $"{number}:").Append(repeat > 1 ? $" repeat {iteration} of {repeat}:" : "")
                .Append(CultureInfo.InvariantCulture, $" {target} = {expression}{work} ->{Snapshot()}\n");
        }

        /// <summary>One sentence of a counting story.</summary>
        public void Event(int number, string item)
        {
            if (_assigned.Count < names.Length)
            {
                int start = random.Next(2, level < 3 ? 10 : 30);
                Sentence(number, $" {names[_assigned.Count]} has {start} {item}", "", (names[_assigned.Count], start));
                return;
            }
            string one = random.Pick(_assigned), two;
            do
            {
                two = random.Pick(_assigned);
            }
            while (two == one);
            int amount = random.Next(2, 10), a = State[one], b = State[two];
            double roll = random.NextDouble();
            if (roll < 0.45 && a >= amount && b + amount <= MaximumValue)
            {
                Sentence(number, $" {one} gives {amount} {item} to {two}", $" ; {one}={a} {two}={b} ; {a}-{amount}={a - amount} {b}+{amount}={b + amount}", (one, a - amount), (two, b + amount));
            }
            else if (roll < 0.7 && a >= amount)
            {
                string verb = random.Pick(["loses", "drops", "sells"]);
                Sentence(number, $" {one} {verb} {amount} {item}", $" ; {one}={a} ; {a}-{amount}={a - amount}", (one, a - amount));
            }
            else
            {
                amount = Math.Min(amount, MaximumValue - a);
                string verb = random.Pick(["finds", "buys", "gets"]);
                Sentence(number, $" {one} {verb} {amount} {item}", $" ; {one}={a} ; {a}+{amount}={a + amount}", (one, a + amount));
            }
        }

        private void Sentence(int number, string sentence, string work, params (string Name, int Value)[] changes)
        {
            Program.Append(CultureInfo.InvariantCulture, $"{number}:{sentence}.\n");
            foreach ((string name, int value) in changes)
            {
                Set(name, value);
            }
            Steps.Append(CultureInfo.InvariantCulture, $"{number}:{sentence}{work} ->{Snapshot()}\n");
        }

        private void Set(string name, int value)
        {
            State[name] = value;
            _last = name;
            if (!_assigned.Contains(name))
            {
                _assigned.Add(name);
            }
        }

        private string Snapshot() => string.Concat(_assigned.Select(name => $" {name}={State[name].ToString(CultureInfo.InvariantCulture)}"));
    }
}
