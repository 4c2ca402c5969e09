namespace Foretoken.Training.Tasks;

/// <summary>Wordings of arithmetic questions. {0} is the expression; in word problems {n}, {m} are names, {i} a counted thing and {a}..{d} operands.</summary>
internal static class ArithmeticPhrases
{
    /// <summary>Frames around an expression written with signs or as a noun phrase.</summary>
    public static readonly PhraseSet Frames = new(
        ["What is {0}?", "What's {0}?", "Compute {0}.", "Calculate {0}.", "Please compute {0}.", "Please calculate {0}.", "Find {0}.", "How much is {0}?",
         "Tell me {0}.", "Can you compute {0}?", "Could you work out {0}?", "{0}", "{0} =", "{0} = ?", "{0}?", "I need {0}.", "Solve {0}.", "Solve: {0}", "Evaluate {0}.",
         "Give me {0}.", "What does {0} equal?", "What do you get for {0}?", "Do you know what {0} is?", "I want to know {0}.", "Work out {0}.",
         "Help me with {0}.", "My homework asks for {0}.", "Question: {0}?", "The result of {0}?", "Answer this: {0}", "What is the result of {0}?",
         "What is the value of {0}?", "Please solve {0}.", "Can you tell me what {0} is?", "Please tell me {0}.", "How much do you get for {0}?", "Find the value of {0}.",
         "Compute the following: {0}", "Calculate: {0}", "I would like to know {0}."],
        ["Please work out {0}.", "Can you solve {0}?", "What is the answer to {0}?", "Please help me compute {0}.", "Could you tell me {0}?", "Compute: {0}",
         "I want the value of {0}.", "Please find {0}."]);

    /// <summary>Operations as noun phrases; {a} and {b} are numbers.</summary>
    public static readonly Dictionary<char, PhraseSet> Nouns = new()
    {
        ['+'] = new(["{a} plus {b}", "the sum of {a} and {b}", "{a} and {b} together", "the total of {a} and {b}"], ["the sum {a} plus {b}"]),
        ['-'] = new(["{a} minus {b}", "the difference of {a} and {b}", "{a} take away {b}", "the difference between {a} and {b}"], ["{b} less than {a}"]),
        ['*'] = new(["{a} times {b}", "{a} multiplied by {b}", "the product of {a} and {b}", "{a} x {b}"], ["the product {a} times {b}"]),
        ['/'] = new(["{a} divided by {b}", "the quotient of {a} and {b}", "{a} over {b}"], ["{a} split by {b}"]),
    };

    /// <summary>Operations as whole requests.</summary>
    public static readonly Dictionary<char, PhraseSet> Requests = new()
    {
        ['+'] = new(["Add {a} and {b}.", "Please add {a} and {b}.", "Add {b} to {a}.", "Sum up {a} and {b}.", "What do {a} and {b} make?", "Put {a} and {b} together.", "Can you add {a} and {b}?"],
            ["Could you add {a} and {b}?", "Please sum {a} and {b}."]),
        ['-'] = new(["Subtract {b} from {a}.", "Please subtract {b} from {a}.", "Take {b} from {a}.", "Take {b} away from {a}.", "What is left of {a} without {b}?", "Can you subtract {b} from {a}?"],
            ["Could you take {b} from {a}?", "Take away {b} from {a}."]),
        ['*'] = new(["Multiply {a} by {b}.", "Please multiply {a} by {b}.", "Multiply {a} and {b}.", "What do you get for {a} times {b}?", "Take {a} times {b}.", "Can you multiply {a} by {b}?"],
            ["Could you multiply {a} and {b}?", "Please multiply {a} and {b}."]),
        ['/'] = new(["Divide {a} by {b}.", "Please divide {a} by {b}.", "Split {a} into {b} equal parts. How big is one part?", "How many times does {b} go into {a}?", "Can you divide {a} by {b}?"],
            ["Could you divide {a} by {b}?", "Split {a} by {b}."]),
    };

    /// <summary>Word problems by the shape of their expression.</summary>
    public static readonly Dictionary<string, PhraseSet> Stories = new()
    {
        ["a+b"] = new(
            ["{n} has {a} {i} and gets {b} more. How many {i} does {n} have now?", "{n} has {a} {i} and {m} has {b}. How many {i} do they have together?",
             "There are {a} {i} in a box and {b} in a bag. How many {i} are there?", "{n} buys {a} {i} on Monday and {b} on Friday. How many {i} is that?",
             "A shop sold {a} {i} and then {b} more. How many {i} did it sell?", "{n} found {a} {i}. {m} gave {n} {b} more. How many {i} does {n} have?",
             "I have {a} {i}. I get {b} more. How many do I have?", "A farmer has {a} {i} and buys {b} {i}. How many are there now?"],
            ["{n} has {a} {i}. Then {n} gets {b} {i} from {m}. How many {i} does {n} have in total?", "There were {a} {i} and {b} more came. How many {i} are there now?"]),
        ["a-b"] = new(
            ["{n} has {a} {i} and gives {b} to {m}. How many {i} does {n} have left?", "{n} had {a} {i} and lost {b}. How many are left?",
             "There are {a} {i} in a box. {n} takes {b}. How many {i} are left?", "A shop has {a} {i} and sells {b}. How many {i} are left?",
             "I have {a} {i} and give away {b}. How many do I have left?", "{n} needs {a} {i} and has {b}. How many more does {n} need?",
             "Of {a} {i}, {b} are old. How many {i} are not old?", "{n} has {a} {i}. {m} has {b} less. How many {i} does {m} have?"],
            ["{n} has {a} {i}. {m} takes {b} of them. How many {i} are left?", "A box had {a} {i}, but {b} are lost. How many are left?"]),
        ["a*b"] = new(
            ["There are {a} bags with {b} {i} each. How many {i} are there?", "{n} has {a} boxes. Each box holds {b} {i}. How many {i} does {n} have?",
             "A box holds {b} {i}. How many {i} do {a} boxes hold?", "One ticket costs {b} coins. How much do {a} tickets cost?",
             "{n} buys {a} {i} for {b} coins each. How many coins does {n} pay?", "{n} walks {a} miles a day for {b} days. How many miles is that?",
             "There are {a} rows of {b} chairs. How many chairs are there?", "A worker makes {a} {i} a day. How many {i} in {b} days?"],
            ["{n} has {a} bags with {b} {i} each. How many {i} is that?", "There are {a} rows with {b} {i} each. How many {i} are there?"]),
        ["a/b"] = new(
            ["{n} shares {a} {i} between {b} friends. How many {i} does each friend get?", "{a} {i} are put into {b} equal bags. How many {i} are in each bag?",
             "{n} puts {a} {i} into {b} boxes, the same in each. How many {i} are in one box?", "{b} friends share {a} coins equally. How many coins does each get?",
             "A rope of {a} feet is cut into {b} equal parts. How long is each part?", "{n} reads {a} pages in {b} days, the same each day. How many pages a day?"],
            ["{n} shares {a} coins equally between {b} boxes. How many coins are in each box?"]),
        ["a+b-c"] = new(
            ["{n} has {a} {i}, buys {b} more and gives {c} to {m}. How many {i} does {n} have now?", "A bus has {a} people. {b} get on and {c} get off. How many people are on the bus?",
             "{n} had {a} {i}. {m} gave {n} {b} more. Then {n} lost {c}. How many {i} are left?", "There are {a} {i} in a box. {n} puts in {b} and takes out {c}. How many {i} are in the box?",
             "A shop has {a} {i}, gets {b} new ones and sells {c}. How many {i} are left?"],
            ["{n} has {a} {i}. {n} gets {b} more and then loses {c}. How many {i} does {n} have?"]),
        ["a-b+c"] = new(
            ["{n} has {a} {i}, gives {b} to {m} and then finds {c}. How many {i} does {n} have now?", "A bus has {a} people. {b} get off and {c} get on. How many people are on the bus?",
             "There were {a} {i} in a shop. It sold {b} and got {c} new ones. How many {i} are there?", "{n} had {a} coins, paid {b} and got {c} back. How many coins does {n} have?"],
            ["There are {a} {i} in a box. {n} takes out {b} and puts in {c}. How many {i} are in the box?"]),
        ["a+b+c"] = new(
            ["{n} has {a} {i}, {m} has {b} and a friend has {c}. How many {i} do they have together?", "A shop sold {a} {i} on Monday, {b} on Tuesday and {c} on Friday. How many {i} did it sell?",
             "There are {a} red, {b} blue and {c} green {i}. How many {i} are there?", "{n} walked {a} miles, then {b} miles, then {c} miles. How many miles in all?"],
            ["{n} found {a} {i}, then {b}, then {c}. How many {i} is that?"]),
        ["a-b-c"] = new(
            ["{n} has {a} {i}, gives {b} to {m} and loses {c}. How many {i} are left?", "There are {a} {i}. {n} takes {b} and {m} takes {c}. How many are left?",
             "A shop has {a} {i}. It sells {b} on Monday and {c} on Tuesday. How many {i} are left?"],
            ["A box has {a} {i}. {b} are sold and {c} are lost. How many are left?"]),
        ["a*b+c"] = new(
            ["{n} has {a} bags with {b} {i} each and {c} more {i}. How many {i} does {n} have?", "There are {a} boxes with {b} {i} each. {m} brings {c} more. How many {i} are there?",
             "{n} buys {a} tickets for {b} coins each and a book for {c} coins. How many coins does {n} pay?", "{n} makes {a} {i} a day for {b} days. {n} already had {c}. How many {i} does {n} have now?"],
            ["There are {a} rows of {b} chairs and {c} more chairs. How many chairs are there?"]),
        ["a*b-c"] = new(
            ["{n} has {a} bags with {b} {i} each and gives {c} to {m}. How many {i} are left?", "There are {a} boxes with {b} {i} each. {c} are old. How many are not old?",
             "{n} sells {a} {i} for {b} coins each and pays {c} coins for lunch. How many coins are left?", "A shop gets {a} boxes of {b} {i} and sells {c}. How many {i} are left?"],
            ["There are {a} rows of {b} chairs. {c} are taken away. How many chairs are left?"]),
        ["(a+b)*c"] = new(
            ["A bag holds {a} red and {b} blue {i}. How many {i} are in {c} bags?", "{n} makes {a} and {m} makes {b} {i} a day. How many {i} do they make in {c} days?",
             "A meal costs {a} coins and a drink costs {b}. How much do {c} friends pay for both?"],
            ["Each box holds {a} old and {b} new {i}. How many {i} are in {c} boxes?"]),
        ["a*b+c*d"] = new(
            ["{n} buys {a} {i} for {b} coins each and {c} tickets for {d} coins each. How many coins does {n} pay?", "There are {a} bags with {b} {i} and {c} boxes with {d} {i}. How many {i} are there?",
             "{n} works {a} days for {b} coins a day and {c} days for {d} coins a day. How many coins is that?"],
            ["There are {a} rows of {b} chairs and {c} rows of {d} chairs. How many chairs are there?"]),
    };
}
