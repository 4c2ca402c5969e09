#!/usr/bin/env bash
# What only a real GPU can tell, in one call of at most ten minutes, from a published build and without a network:
#
#   dotnet cake --target=Publish                     on any machine; copy artifacts/linux-x64 and perf/gpu.sh to the one with the GPU
#   perf/gpu.sh artifacts/linux-x64 [results]        runs there; needs the NVIDIA driver, nothing else
#
# It compiles every module and names kernels that spill, compares answers of the reasoner with the processor's, runs compute-sanitizer where it is installed,
# and measures read bandwidth, decoding at batch 1 and the cost of k rows for random Llama shapes in bf16 and int8, with energy per token. PyTorch, where it is
# installed with a GPU, decodes the same shapes in the same run (perf/torch-decode.py). Results: JSON lines and a Markdown table in the results folder.
set -u
app="${1:?usage: perf/gpu.sh PUBLISHED_FOLDER [RESULTS_FOLDER]}/foretoken"
results="${2:-perf/results}"
[ -x "$app" ] || { echo "$app is not there: publish first (dotnet cake --target=Publish)"; exit 2; }
mkdir -p "$results"
name="gpu-$(date -u +%Y-%m-%d-%H%M)"
json="$results/$name.jsonl"
table="$results/$name.md"
failed=0
end=$((SECONDS + 580))
remaining() { local left=$((end - SECONDS)); echo $((left > 1 ? left : 1)); }

"$app" doctor > "$results/$name.doctor.txt" 2>&1
{ echo "# $name"; echo; grep -i -E "cuda|gpu|driver" "$results/$name.doctor.txt"; echo; } > "$table"

# answers: the device keeps f32 activations here, as the processor does, so that the tokens must be the same
prompt="What is 12 + 5?"
cpu=$("$app" run --kv-type f32 --max-tokens 48 "$prompt" 2> /dev/null)
gpu=$(timeout "$(remaining)" "$app" run --device cuda --activations f32 --kv-type f32 --max-tokens 48 "$prompt" 2> "$results/$name.run.txt")
if [ "$cpu" = "$gpu" ]; then echo "- answer of the reasoner: equal to the processor's" >> "$table"
else echo "- answer of the reasoner: DIFFERS from the processor's" >> "$table"; failed=1; fi

if command -v compute-sanitizer > /dev/null; then
    for tool in memcheck racecheck; do
        if timeout "$(remaining)" compute-sanitizer --tool "$tool" --error-exitcode 9 "$app" run --device cuda --max-tokens 4 "$prompt" > "$results/$name.$tool.txt" 2>&1
        then echo "- compute-sanitizer $tool: clean" >> "$table"
        else echo "- compute-sanitizer $tool: SEE $name.$tool.txt" >> "$table"; failed=1; fi
    done
else
    echo "- compute-sanitizer: not installed" >> "$table"
fi

echo >> "$table"
for shape in llama-3.2-1b llama-3.1-8b; do
    for type in bf16 int8; do
        [ "$(remaining)" -gt 20 ] || { echo "no time left for $shape $type" >> "$table"; failed=1; continue; }
        timeout "$(remaining)" "$app" bench rows --device cuda --shape "$shape" --type "$type" --tokens 128 --rows 2,4,8,16,32,64 --repeat 5 --json >> "$json" || failed=1
    done
done

if command -v python3 > /dev/null && python3 -c "import torch, sys; sys.exit(not torch.cuda.is_available())" 2> /dev/null; then
    timeout "$(remaining)" python3 "$(dirname "$0")/torch-decode.py" >> "$json" || echo "PyTorch did not finish" >> "$table"
fi

# field NAME LINE: the value of a field of a JSON line
field() { echo "$2" | grep -o "\"$1\": *[^,}]*" | head -1 | sed 's/^[^:]*: *//; s/"//g'; }
{
    echo
    echo "| model | type | tokens/s | share of read bandwidth | J/token | cost of k rows in steps of one |"
    echo "|---|---|---:|---:|---:|---|"
    while IFS= read -r line; do
        costs=$(echo "$line" | grep -o '"rows": *[0-9]*, *"milliseconds": *[0-9.]*, *"plain_steps": *[0-9.]*' | sed 's/"rows": *\([0-9]*\),.*"plain_steps": *\([0-9.]*\)/\1: \2/' | paste -sd ' ')
        echo "| $(field model "$line") | $(field type "$line") | $(field tokens_per_second "$line") | $(field share_of_bandwidth "$line") | $(field joules_per_token "$line") | $costs |"
    done < "$json"
    echo
    echo "Read bandwidth: $(field read_gb_per_second "$(head -1 "$json")") GB/s. Kernels that spill: $(grep -o '"spilling_kernels": *\[[^]]*\]' "$json" | sort -u | paste -sd ' ')."
} >> "$table"

cat "$table"
exit $failed
