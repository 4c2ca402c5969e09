namespace Foretoken.Training.Evaluation;

/// <summary>Questions written by hand as a person would type them, none of them from a template.</summary>
public static class PlainQuestions
{
    private static readonly (string Question, string Answer)[] Questions =
    [
        ("What is 37 + 48?", "85"),
        ("hello, please compute 12 * 34, thanks", "408"),
        ("37+48", "85"),
        ("what's 9 times 7", "63"),
        ("125 - 67 = ?", "58"),
        ("Hi! Could you add 230 and 185 for me?", "415"),
        ("please subtract 19 from 84", "65"),
        ("How much is 6 x 15?", "90"),
        ("I have 14 coins and I get 29 more. How many coins do I have?", "43"),
        ("Compute 84 / 6.", "14"),
        ("hey, what is 45 plus 55?", "100"),
        ("Please tell me what 72 minus 38 is.", "34"),
        ("Calculate 23 * 7", "161"),
        ("What is 144 divided by 9?", "16"),
        ("Tom has 25 apples and gives 8 to Anna. How many apples are left?", "17"),
        ("There are 6 boxes with 12 pens each. How many pens are there?", "72"),
        ("What is 12 + 30 - 7?", "35"),
        ("(8 + 4) * 5", "60"),
        ("what is 3 * 14 + 6?", "48"),
        ("Can you multiply 31 by 22?", "682"),
        ("512+389", "901"),
        ("Hello! What is 1000 - 250?", "750"),
        ("Mia buys 4 books for 15 coins each. How many coins does she pay?", "60"),
        ("a = 4; b = a + 9; what is b?", "13"),
        ("Run this program:\n1: x = 5\n2: y = x + 3\n3: x = x - 1\nWhat is y?", "8"),
        ("1: a = 7\n2: a = a + 6\n3: b = a - 4\nWhat is b at the end?", "9"),
        ("Tom: 34, Ann: 12, Ben: 77. What is the number of Ann?", "12"),
        ("Remember these codes: Eva = 515; Sam = 208. What is Sam's code?", "208"),
        ("The code of Leo is 371. The code of Mia is 944. What is the code of Leo?", "371"),
        ("Please repeat: blue cup red box", "blue cup red box"),
        ("Repeat after me: the cat sat near the lake", "the cat sat near the lake"),
        ("Copy this text: green tree old house", "green tree old house"),
        ("Anna went to Rome on Monday with a lamp. Paul went to Oslo on Friday with a bag. Where did Paul go?", "Oslo"),
        ("Jane went to Paris on Sunday with a book. Who went to Paris?", "Jane"),
        ("tok means blue, mip means fox. Translate: mip tok", "fox blue"),
        ("Dictionary: kor = red; lun = dog; vex = tree. What does lun mean?", "dog"),
        ("Use this dictionary: bok is cup, fex is lamp. Translate: bok", "cup"),
        ("Tom is 34 years old and lives in Rome. Write JSON with name, age and city.", "{\"name\": \"Tom\", \"age\": 34, \"city\": \"Rome\"}"),
        ("Make a JSON list with red, green and blue.", "[\"red\", \"green\", \"blue\"]"),
        ("Eva works as a doctor. Give me a JSON object with name and job.", "{\"name\": \"Eva\", \"job\": \"doctor\"}"),
    ];

    /// <summary>The questions as items of the bucket <see cref="HeldOutSuite.PlainBucket"/>.</summary>
    public static IReadOnlyList<EvaluationItem> Items { get; } = [.. Questions.Select(pair => new EvaluationItem(HeldOutSuite.PlainBucket, pair.Question, pair.Answer))];
}
