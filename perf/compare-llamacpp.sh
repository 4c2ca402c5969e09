#!/usr/bin/env bash
# Foretoken and llama.cpp on the same GGUF files, alternated, so that both see the same moments of the machine.
#
#   perf/compare-llamacpp.sh PATH_TO_BUILD [--models DIR] [--out DIR] [--case PATTERN]… [--rounds N] [--seconds N] [--threads N] [--type TYPE] [--label NAME] [--foreign PERCENT] [--list] [--report]
#
# PATH_TO_BUILD holds bin/llama-bench, bin/llama-batched-bench and the static libraries of a CMake build (for decoding at a depth, see llama-depth.cpp).
# A case is MODEL/WORK, for example llama-3.2-1b-q8_0/tg128; --case takes shell patterns, --list shows all. Files that are missing are made by
# `foretoken synth` (random weights of the named shape). A round of a case runs both engines once, in turns which goes first. Each run is a line of
# OUT/results[-LABEL].jsonl as soon as it ends; rounds that are there already are not run again, and after --seconds no new round begins: so the whole
# comparison can be made piece by piece. --report, or the end, writes OUT/compare[-LABEL].md and .json: medians, spread, ratios and targets.
# A run during which other programs took more than --foreign percent of the processors (or the host, as steal) is thrown away and repeated, twice at most.
# The environment reaches both engines: FORETOKEN_EMITTER=0 … --label emitter-off makes a table of its own; so does --type TYPE --label NAME, with which
# Foretoken holds the weights of the files in another type.
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
build="" models="artifacts/models" out="artifacts/compare" rounds=3 seconds=1000000 threads="$(nproc)" label="" type="" foreign=5 list=0 only_report=0 patterns=()
app="${FORETOKEN:-$here/../src/Cli/bin/Release/net10.0/foretoken}"
while [ $# -gt 0 ]; do
    case "$1" in
        --models) models="$2"; shift 2 ;;
        --out) out="$2"; shift 2 ;;
        --case) patterns+=("$2"); shift 2 ;;
        --rounds) rounds="$2"; shift 2 ;;
        --seconds) seconds="$2"; shift 2 ;;
        --threads) threads="$2"; shift 2 ;;
        --type) type="$2"; shift 2 ;;
        --label) label="-$2"; shift 2 ;;
        --foreign) foreign="$2"; shift 2 ;;
        --list) list=1; shift ;;
        --report) only_report=1; shift ;;
        -*) echo "unknown option $1: see the head of $0" >&2; exit 2 ;;
        *) build="$1"; shift ;;
    esac
done

# model = shape-type; target = least ratio of tokens per second that is asked for (0: none)
cases() {
    local shape type
    for shape in llama-3.2-1b qwen3-0.6b; do
        for type in q8_0 q4_0 q4_k_m; do
            local big=0; [ $shape = llama-3.2-1b ] && big=1
            local prefill=2; [ $type = q8_0 ] && prefill=3.5
            echo "$shape-$type/tg128 $([ $big = 1 ] && echo 1.1 || echo 1.35)"
            echo "$shape-$type/tg@4096 $([ $big = 1 ] && echo 1.7 || echo 2.5)"
            echo "$shape-$type/tg@16384 $([ $big = 1 ] && echo 2.5 || echo 3.5)"
            echo "$shape-$type/pp512 $prefill"
            echo "$shape-$type/pp2048 $prefill"
            echo "$shape-$type/x16 2"
            echo "$shape-$type/x32 2"
        done
    done
    for type in f16 bf16; do
        echo "llama-3.2-1b-$type/tg128 0"
        echo "llama-3.2-1b-$type/pp512 2"
        echo "llama-3.2-1b-$type/pp2048 2"
    done
}
selected() {
    [ ${#patterns[@]} -gt 0 ] || { cat; return; }
    while read -r name target; do
        local p
        for p in "${patterns[@]}"; do
            # shellcheck disable=SC2053
            if [[ $name == $p ]]; then echo "$name $target"; break; fi
        done
    done
}
if [ $list = 1 ]; then cases | selected | cut -d' ' -f1; exit 0; fi

results="$out/results$label.jsonl"
mkdir -p "$out"
touch "$results"

report() {
    cases | jq -Rn '[inputs | split(" ") | {key: .[0], value: (.[1] | tonumber)}] | from_entries' > "$out/.targets.json"
    jq -s --slurpfile targets "$out/.targets.json" '
        def median: sort | if length % 2 == 1 then .[length / 2 | floor] else (.[length / 2 - 1] + .[length / 2]) / 2 end;
        def figures: {median: median, least: min, most: max};
        group_by(.case) | map(
            (map(select(.engine == "foretoken"))) as $ours | (map(select(.engine == "llama.cpp"))) as $theirs
            | select(($ours | length) > 0 and ($theirs | length) > 0)
            | ($targets[0][.[0].case] // 0) as $target
            | [range([$ours, $theirs | length] | min) as $i | ($ours[$i].tokens_per_second | median) / ($theirs[$i].tokens_per_second | median)] as $ratios
            | {case: .[0].case, foretoken: ([$ours[].tokens_per_second[]] | figures), llama_cpp: ([$theirs[].tokens_per_second[]] | figures),
               ratio: ($ratios | figures), rounds: ($ratios | length), target: $target, met: ($target == 0 or ($ratios | median) >= $target),
               backend: $ours[0].backend, share_of_probe: ([$ours[].share_of_probe] | median), probe_gb_per_second: ([$ours[].probe_gb_per_second] | median)})
        ' "$results" > "$out/compare$label.json"
    {
        echo "| case | Foretoken tok/s | llama.cpp tok/s | ratio | target | % of probe | probe GB/s | rounds |"
        echo "|---|---:|---:|---:|---:|---:|---:|---:|"
        jq -r '
            def digits(n): . * pow(10; n) | round / pow(10; n);
            def shown: (if .median < 100 then 1 else 0 end) as $n | "\(.median | digits($n)) (\(.least | digits($n))–\(.most | digits($n)))";
            .[] | "| \(.case) | \(.foretoken | shown) | \(.llama_cpp | shown) | \(.ratio.median | digits(2)) (\(.ratio.least | digits(2))–\(.ratio.most | digits(2))) | "
                + "\(if .target == 0 then "" else "≥ \(.target) \(if .met then "✓" else "✗" end)" end) | "
                + "\(if (.case | test("/tg")) then (.share_of_probe * 100 | digits(0)) else "" end) | \(.probe_gb_per_second | digits(0)) | \(.rounds) |"' "$out/compare$label.json"
    } > "$out/compare$label.md"
    rm -f "$out/.targets.json"
    cat "$out/compare$label.md"
}
if [ $only_report = 1 ]; then report; exit 0; fi

[ -x "$build/bin/llama-bench" ] || { echo "no bin/llama-bench in '$build': give the path to a build of llama.cpp" >&2; exit 2; }
[ -x "$app" ] || { echo "$app is not there: build first, or set FORETOKEN to the executable" >&2; exit 2; }

model_file() { # MODEL → path; made if missing
    local path="$models/$1.gguf" shape="${1%-*}" type="${1##*-}"
    if [ ! -f "$path" ]; then
        mkdir -p "$models"
        "$app" synth --shape "$shape" --type "$type" --format gguf --context 32768 --out "$path.part.gguf" >&2
        mv "$path.part.gguf" "$path"
    fi
    echo "$path"
}

depth_tool() { # compiled against the build's libraries, once
    local tool="$out/llama-depth" source
    if [ ! -x "$tool" ]; then
        source="$(grep CMAKE_HOME_DIRECTORY "$build/CMakeCache.txt" | cut -d= -f2)"
        g++ -O2 -std=c++17 -I"$source/include" -I"$source/ggml/include" "$here/llama-depth.cpp" -o "$tool" "$build/src/libllama.a" \
            "$build/ggml/src/libggml.a" "$build/ggml/src/libggml-cpu.a" "$build/ggml/src/libggml-base.a" -fopenmp -ldl -lpthread >&2
    fi
    echo "$tool"
}

ours() { # FILE WORK → one object
    local kind
    case "$2" in
        tg@*) kind="depth --depths ${2#tg@} --repeat 3" ;;
        tg*) kind="decode --tokens ${2#tg} --repeat 2" ;;
        pp*) kind="prefill --prompt ${2#pp} --repeat 1" ;;
        x*) kind="batched --sequences ${2#x} --tokens 32 --repeat 2" ;;
    esac
    # shellcheck disable=SC2086
    "$app" bench $kind --model "$1" --threads "$threads" --kv-type f16 ${type:+--type $type} --json 2> /dev/null | jq -c '{engine: "foretoken", backend: .backend,
        tokens_per_second: (.results[0] | [.tokens / .seconds[]]), share_of_probe: .results[0].share_of_probe, probe_gb_per_second: .results[0].probe_gb_per_second}'
}

theirs() {
    local bench="$build/bin/llama-bench -m $1 -t $threads -mmp 0 -o json" depth="${2#tg@}"
    # shellcheck disable=SC2086
    case "$2" in
        tg@*) "$(depth_tool)" "$1" "$depth" 16 3 "$threads" 2> /dev/null | jq -cs '{engine: "llama.cpp", tokens_per_second: [16 / .[].seconds]}' ;;
        tg*) $bench -p 0 -n "${2#tg}" -r 2 2> /dev/null | jq -c '{engine: "llama.cpp", tokens_per_second: .[0].samples_ts}' ;;
        pp*) $bench -p "${2#pp}" -n 0 -r 1 2> /dev/null | jq -c '{engine: "llama.cpp", tokens_per_second: .[0].samples_ts}' ;;
        x*) "$build/bin/llama-batched-bench" -m "$1" -t "$threads" --no-mmap -c 4096 -npp 16 -ntg 32 -npl "${2#x}" --output-format jsonl 2> /dev/null \
            | grep '^{' | jq -c '{engine: "llama.cpp", tokens_per_second: [.speed_tg]}' ;;
    esac
}

busy() { awk '/^cpu / { print $2 + $3 + $4 + $7 + $8 + $9 }' /proc/stat; } # hundredths of a second, of all processors, steal included
own() { awk '{ print $16 + $17 }' /proc/$$/stat; }                          # of children that have ended

record() { # CASE ENGINE ROUND FILE WORK
    local try line_file="$out/.line" busy_before own_before began share
    for try in 1 2 3; do
        busy_before=$(busy) own_before=$(own) began=$(date +%s%N)
        "$2" "$4" "$5" > "$line_file"
        share=$(awk -v b=$(($(busy) - busy_before)) -v o=$(($(own) - own_before)) -v ns=$(($(date +%s%N) - began)) -v n="$(nproc)" \
            'BEGIN { s = (b - o) / (ns / 1e7 * n) * 100; printf "%.1f", s < 0 ? 0 : s }')
        [ -s "$line_file" ] || { echo "$1: $2 gave no figure" >&2; return 1; }
        if awk -v s="$share" -v m="$foreign" 'BEGIN { exit s > m }'; then break; fi
        echo "$1: others took $share % of the processors" >&2
        [ "$try" -lt 3 ] || return 0
    done
    jq -c --arg case "$1" --argjson round "$3" --argjson foreign "$share" '{case: $case, round: $round, foreign_percent: $foreign} + .' "$line_file" >> "$results"
    rm -f "$line_file"
}

while read -r name _; do
    file="$(model_file "${name%/*}")" work="${name##*/}"
    for ((round = 1; round <= rounds; round++)); do
        for engine in $([ $((round % 2)) = 1 ] && echo ours theirs || echo theirs ours); do
            tag=$([ $engine = ours ] && echo foretoken || echo llama.cpp)
            jq -e -s --arg case "$name" --arg engine "$tag" --argjson round "$round" 'any(.[]; .case == $case and .engine == $engine and .round == $round)' \
                "$results" > /dev/null && continue
            if [ $SECONDS -ge "$seconds" ]; then echo "stopped after $SECONDS s at $name, round $round: run again to go on" >&2; exit 0; fi
            echo "$name, round $round: $tag" >&2
            record "$name" $engine "$round" "$file" "$work"
        done
    done
done < <(cases | selected)
report
