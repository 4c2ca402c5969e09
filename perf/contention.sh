#!/usr/bin/env bash
# How a token's time is spread when other programs want the processors too: decoding alone, then with BUSY processes that only compute.
#
#   perf/contention.sh [BUSY] [arguments of foretoken bench decode]…      1 busy process, --shape llama-3.2-1b --type int8 --tokens 128 --repeat 3
#
# The environment variable FORETOKEN names the executable; without it the Release build's is taken. p99/p50 is of single passes.
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
app="${FORETOKEN:-$here/../src/Cli/bin/Release/net10.0/foretoken}"
[ -x "$app" ] || { echo "$app is not there: build first, or set FORETOKEN to the executable" >&2; exit 2; }
busy=1
if [[ "${1:-}" =~ ^[0-9]+$ ]]; then busy="$1"; shift; fi
[ $# -gt 0 ] || set -- --shape llama-3.2-1b --type int8 --tokens 128 --repeat 3
pids=()
end() { for pid in "${pids[@]}"; do kill "$pid" 2> /dev/null || true; done; }
trap end EXIT
measure() {
    "$app" bench decode "$@" --json 2> /dev/null | jq -r --arg with "$with" '.results[0] | "| \($with) | \(.tokens_per_second) | \(.pass_ms_p50) | \(.pass_ms_p99) | "
        + "\(.pass_ms_p99 / .pass_ms_p50 * 100 | round / 100) |"'
}
echo "| beside | tokens/s | p50 ms | p99 ms | p99/p50 |"
echo "|---|---:|---:|---:|---:|"
with="nothing" measure "$@"
for ((i = 0; i < busy; i++)); do
    while :; do :; done &
    pids+=($!)
done
with="$busy busy" measure "$@"
