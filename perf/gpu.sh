#!/usr/bin/env bash
# What only a real GPU can tell, in one call of at most ten minutes, from a published build and without a network:
#
#   dotnet cake --target=Gpu                        on any machine: artifacts/gpu, self-contained, less than 64 MiB; copy it and perf/ to the one with the GPU
#   perf/gpu.sh artifacts/gpu [results]             runs there; needs bash, coreutils and the NVIDIA driver, nothing else
#   perf/gpu.sh --dry-run artifacts/gpu [results]   runs every step on the processor, to see beforehand that all is in place
#
# Steps, the most important first; each has a limit, and one that fails or is cut off takes nothing from the others:
#   check      every module compiled, kernels that spill; logits of the reasoner against the processor's, row invariance, answers with and without drafts
#   answer     the reasoner's answer in f32 mode against the processor's
#   rows       read bandwidth; random Llama shapes in bf16 and int8: tokens per second at batch 1, joules per token, the cost of k rows
#   pytorch    the same shapes with CUDA graphs, then compiled with a static cache (torch-decode.py), where PyTorch is installed
#   sanitizer  compute-sanitizer memcheck and racecheck over a short answer, where it is installed
#
# Results: NAME.jsonl (one line per model), NAME.md (tables, also printed), NAME.log (all commands, what they said, how long they took). The exit code is 0
# when every step that could run was right. GPU_SECONDS shortens the whole, FORETOKEN_PYTHON names the interpreter that has PyTorch.
set -u
usage="usage: perf/gpu.sh [--dry-run] PUBLISHED_FOLDER [RESULTS_FOLDER]"
dry=
if [ "${1:-}" = --dry-run ]; then dry=1; shift; fi
app="${1:?$usage}/foretoken"
results="${2:-perf/results}"
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
python=${FORETOKEN_PYTHON:-python3}
[[ "${GPU_SECONDS:-570}" =~ ^[1-9][0-9]{0,5}$ ]] || { echo "error: GPU_SECONDS must be a number of seconds, not '$GPU_SECONDS': for example 570"; exit 2; }
end=$((SECONDS + ${GPU_SECONDS:-570}))

[ -f "$app" ] || { echo "error: $app is not there: publish first (dotnet cake --target=Gpu)"; exit 2; }
[ -x "$app" ] || chmod +x "$app" 2> /dev/null || { echo "error: $app cannot be executed: chmod +x it"; exit 2; }
for tool in timeout date grep sed paste head tail cut cmp basename mktemp; do
    command -v "$tool" > /dev/null || { echo "error: $tool is not on the path"; exit 2; }
done
mkdir -p "$results" && [ -w "$results" ] || { echo "error: $results cannot be written"; exit 2; }

name="gpu-$(date -u +%Y-%m-%d-%H%M%S)"
json="$results/$name.jsonl"
table="$results/$name.md"
log="$results/$name.log"
scratch=$(mktemp -d) || exit 2
trap 'rm -rf "$scratch"' EXIT
: > "$json"
: > "$log"
failed=0
# every process compiles the kernels again where it cannot keep them
export CUDA_CACHE_DISABLE=0 CUDA_CACHE_PATH="$scratch/compiled" CUDA_CACHE_MAXSIZE=1073741824

note() { echo "$*" >> "$table"; }

# step NAME LIMIT FILE COMMAND…: stdout is added to FILE, stderr to the log; what goes wrong is a line of the table and a failure of the whole.
step() {
    local title=$1 limit=$2 file=$3 left=$((end - SECONDS)) begin=$SECONDS status
    shift 3
    if [ "$left" -lt 5 ]; then
        note "- $title: NOT RUN, the time was up"
        failed=1
        return 1
    fi
    [ "$limit" -lt "$left" ] || limit=$left
    echo "== $title, at most $limit s: $*" | tee -a "$log"
    timeout --kill-after=5 "$limit" "$@" >> "$file" 2> "$scratch/stderr" < /dev/null
    status=$?
    cat "$scratch/stderr" >> "$log"
    echo "== $title: exit code $status after $((SECONDS - begin)) s" | tee -a "$log"
    [ "$status" -eq 0 ] && return 0
    failed=1
    if [ "$status" -eq 124 ] || [ "$status" -eq 137 ]; then note "- $title: CUT OFF after $limit s"
    else note "- $title: FAILED with exit code $status: $(tail -n 1 "$scratch/stderr" | cut -c1-300)"; fi
    return "$status"
}

# field NAME LINE: the value of a field of a JSON line, nothing when it is not there
field() { grep -o "\"$1\": *\(\"[^\"]*\"\|[^],}]*\)" <<< "$2" | head -n 1 | sed 's/^[^:]*: *//; s/"//g'; }

{ echo "# $name${dry:+ (dry run on the processor)}"; echo; } > "$table"

# check
if [ -n "$dry" ]; then step check 60 "$scratch/check" "$app" doctor
else step check 150 "$scratch/check" "$app" doctor --cuda; fi
cat "$scratch/check" >> "$log"
grep -E '^(foretoken|processor|cuda)' "$scratch/check" | sed 's/^/    /' >> "$table"
for model in "$here"/../tests/Fixtures/parity/*/; do # where the repository's files travelled along
    [ -z "$dry" ] && [ -f "$model/config.json" ] || continue
    title=$(basename "$model")
    step "check of $title" 60 "$scratch/$title" "$app" doctor --cuda --model "$model"
    cat "$scratch/$title" >> "$log"
    { echo; echo "    $title"; grep -E '^cuda (logits|tokens|rows|answers)' "$scratch/$title" | sed 's/^/    /'; } >> "$table"
done
note ""

# answer
prompt="What is 12 + 5?"
device=(--device cuda --activations f32)
[ -z "$dry" ] || device=()
if step "answer of the processor" 60 "$scratch/cpu" "$app" run --kv-type f32 --max-tokens 48 "$prompt" &&
    step "answer of the device" 60 "$scratch/gpu" "$app" run "${device[@]+"${device[@]}"}" --kv-type f32 --max-tokens 48 "$prompt"; then
    if cmp -s "$scratch/cpu" "$scratch/gpu"; then note "- answer: equal to the processor's"
    else note "- answer: DIFFERS from the processor's"; cat "$scratch/cpu" "$scratch/gpu" >> "$log"; failed=1; fi
fi

# rows
if [ -n "$dry" ]; then
    step "rows of the reasoner" 60 "$json" "$app" bench rows --model reasoner --tokens 4 --rows 2 --repeat 1 --json
else
    for shape in llama-3.2-1b llama-3.1-8b; do
        for type in bf16 int8; do
            step "rows of $shape $type" 110 "$json" \
                "$app" bench rows --device cuda --shape "$shape" --type "$type" --tokens 256 --rows 2,3,4,6,8,12,16,24,32,48,64 --repeat 5 --json
        done
    done
fi

# pytorch
if ! command -v "$python" > /dev/null; then note "- PyTorch: $python is not installed"
elif ! timeout 60 "$python" -c "import torch" > /dev/null 2>&1; then note "- PyTorch: $python has none"
elif [ -z "$dry" ] && ! timeout 60 "$python" -c "import torch, sys; sys.exit(not torch.cuda.is_available())" > /dev/null 2>&1; then note "- PyTorch: sees no GPU"
elif [ -n "$dry" ]; then step pytorch 120 "$json" "$python" "$here/torch-decode.py" --dry-run
else step pytorch 260 "$json" "$python" "$here/torch-decode.py"; fi

# sanitizer
if command -v compute-sanitizer > /dev/null; then
    if [ -z "$dry" ]; then
        for tool in memcheck racecheck; do
            step "compute-sanitizer $tool" 90 "$results/$name.$tool.txt" \
                compute-sanitizer --tool "$tool" --error-exitcode 9 "$app" run --device cuda --max-tokens 4 "$prompt" && note "- compute-sanitizer $tool: clean"
        done
    fi
else
    note "- compute-sanitizer: not installed"
fi

{
    echo
    echo "| model | type | tokens/s | share of read bandwidth | J/token | cost of k rows in steps of one |"
    echo "|---|---|---:|---:|---:|---|"
    while IFS= read -r line; do
        costs=$(grep -o '"rows": *[0-9]*, *"milliseconds": *[0-9.eE+-]*, *"plain_steps": *[0-9.eE+-]*' <<< "$line" | sed 's/"rows": *\([0-9]*\),.*"plain_steps": *\(.*\)/\1: \2/' | paste -sd , - | sed 's/,/, /g')
        echo "| $(field model "$line") | $(field type "$line") | $(field tokens_per_second "$line") | $(field share_of_bandwidth "$line") | $(field joules_per_token "$line") | $costs |"
    done < <(grep '^{' "$json")
    first=$(grep -m 1 '"read_gb_per_second"' "$json")
    echo
    echo "Device: $(field device "$first"); driver for CUDA $(field driver "$first"); read bandwidth $(field read_gb_per_second "$first") GB/s; $(date -u +%Y-%m-%d)."
    echo "First aims: 65 % of the bandwidth at 1B and 80 % at 8B, 8 rows at most 1.15 and 32 rows at most 1.4 steps of one."
} >> "$table"

cat "$table"
exit $failed
