using Foretoken.Cli.Options;
using Foretoken.Cli.Output;
using Foretoken.Generation;
using Foretoken.Models;

namespace Foretoken.Cli.Benchmarks;

/// <summary>The flags of <c>bench spec</c> and the choice among what it measures.</summary>
internal sealed class SpecFlags
{
    private const int Maximum = 1 << 20;
    private readonly Flag<IReadOnlyList<DraftChoice>?> _drafters = new(
        "--drafters", "NAMES", "Drafters of spec, as for --draft, separated by spaces; without it, those at hand.", Drafters, null);

    private readonly Flag<int> _limit = new("--limit", "N", "Questions of a bucket in a repeat of spec.", Parse.Integer(1, 10_000, "4 is usual."), 4);
    private readonly Flag<int> _warm = new(
        "--warm", "N", "Other questions of each bucket that every drafter of spec sees before: some remember what earlier requests said.", Parse.Integer(0, 1000, "0 begins with nothing."), 0);

    private readonly Flag<string?> _bucket = new("--bucket", "NAME", "The only bucket of spec; without it all.", Bucket, null);
    private readonly Flag<int> _maxTokens = new("--max-tokens", "N", "Most tokens of an answer of spec.", Parse.Integer(1, Maximum, "256 is usual."), 256);
    private readonly Flag<float> _temperature = new("--temperature", "T", "Temperature of spec.", Parse.Number(0, 100, "0 is greedy."), 0);
    private readonly Flag<string?> _html = new("--html", "FILE", "A page with the table and charts of spec.", Parse.NotEmpty, null);
    private readonly Flag<string?> _merge = new("--merge", "FILES", "Instead of measuring, put results of 'bench spec --json' together; file names separated by spaces.", Parse.NotEmpty, null);
    private readonly Switch _adversarial = new("--adversarial", "Mislead the Governor of spec by drafters that mean ill, and hold it to plain decoding's time.");
    private readonly Flag<int> _batch = new("--batch", "N", "Requests at a time of spec --adversarial.", Parse.Integer(1, 256, "1 and 32 are usual."), 1);
    private readonly Flag<int> _bucketTokens = new("--bucket-tokens", "N", "Tokens per bucket and alternation of spec --adversarial.", Parse.Integer(64, Maximum, "2000 is usual."), 2000);
    private readonly Switch _predict = new("--predict", "Predict what drafts of set acceptances bring, and measure it, on random tokens.");
    private readonly Flag<IReadOnlyList<double>> _acceptances = new("--acceptances", "P,P,…", "Acceptances of spec --predict.", Acceptances, [0.6, 0.8, 0.9]);
    private readonly Flag<int> _drafts = new("--drafts", "K", "Drafts of a step of spec --predict.", Parse.Integer(1, 64, "4 is usual."), 4);

    public IEnumerable<Flag> All =>
        [_drafters, _limit, _warm, _bucket, _maxTokens, _temperature, _html, _merge, _adversarial, _batch, _bucketTokens, _predict, _acceptances, _drafts];

    public int Run(CommandContext context, string? shape, string? model, DirectModelOptions sizes, KvChoice kv, int repeats, TableFormat? format)
    {
        CliHost host = context.Host;
        bool adversarial = _adversarial.Get(context), predict = _predict.Get(context);
        string? merge = _merge.Get(context), html = _html.Get(context), bucket = _bucket.Get(context);
        if ((adversarial ? 1 : 0) + (predict ? 1 : 0) + (merge is null ? 0 : 1) > 1)
            throw new UsageException($"{_adversarial.Name}, {_predict.Name} and {_merge.Name} exclude each other: give one.");
        if (html is not null && (adversarial || predict)) throw new UsageException($"{_html.Name} writes the page of drafters per bucket: leave out {_adversarial.Name} and {_predict.Name}.");
        using OutputFile? page = html is null ? null : OutputFile.Create(html, _html.Name); // before the work, which may take hours
        if (merge is not null) return SpecMerge.Run(merge.Split(' ', StringSplitOptions.RemoveEmptyEntries), page, format, host);
        if (adversarial && shape is not null) throw new UsageException($"{_adversarial.Name} needs text that goes on as text does: give --model instead of --shape.");
        (string? directory, string? adapter) = shape is null ? kv.Locate(ModelLocator.Find(model, host), host) : (null, null);
        int maxTokens = _maxTokens.Get(context);
        var options = new LanguageModelOptions
        {
            WeightType = sizes.WeightType, KvType = sizes.KvType, KvPolicy = sizes.KvPolicy, LearnedEviction = sizes.KvPolicy is null, DmsAdapter = adapter,
            Threads = sizes.Threads, MaxSequences = 1, Cancellation = host.Interrupt,
        };
        if (adversarial)
        {
            var adversaries = new AdversarialRequest(_batch.Get(context), _bucketTokens.Get(context), repeats, format);
            return SpecRunner.RunAdversaries(directory!, options, adversaries, bucket, host);
        }

        using ModelSource? source = shape is not null ? new RandomSource(NamedShapes.Create(shape, SpecRunner.RandomPrompt + maxTokens)) : predict ? ModelLoader.Open(directory!) : null;
        if (predict) return SpecRunner.RunPredictions(source!, shape ?? Path.GetFileName(directory!), options, _acceptances.Get(context), _drafts.Get(context), maxTokens, repeats, format, host);
        IReadOnlyList<DraftChoice> drafters = _drafters.Get(context) ?? SpecRunner.Defaults(directory);
        var request = new SpecRequest(drafters, _limit.Get(context), maxTokens, _temperature.Get(context), repeats, _warm.Get(context), bucket, page, format);
        return source is null ? SpecRunner.Run(directory!, options, request, host) : SpecRunner.Run(source, shape!, options, request, host);
    }

    private static IReadOnlyList<DraftChoice>? Drafters(string text, string source)
    {
        DraftChoice[] choices = [.. text.Split(' ', StringSplitOptions.RemoveEmptyEntries).Select(name => DraftChoice.Parse(name, source))];
        return choices.Length > 0 && choices.All(c => c.Options is not null)
            ? choices
            : throw new UsageException($"{source} names no drafter, or none: name those to measure, for example \"ngram suffix auto\"; plain decoding takes part always.");
    }

    private static string Bucket(string text, string source) => SpecBench.Buckets.Contains(text)
        ? text
        : throw new UsageException($"{source} does not know '{text}': buckets are {string.Join(", ", SpecBench.Buckets)}.");

    private static IReadOnlyList<double> Acceptances(string text, string source) =>
        [.. text.Split(',').Select(part => (double)Parse.Number(0, 1, "for example 0.6,0.8,0.9.")(part, source))];
}
