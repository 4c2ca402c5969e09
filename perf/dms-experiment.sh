#!/usr/bin/env bash
# The comparison of eviction policies that docs/dms-experiment.md describes: trains the base model, then all runs of models/recipes/dms/experiment.json.
# Interrupt it at any time; called again it goes on where it stopped. The table so far is runs/dms-experiment/table.md. Whole: about four hours of two cores; runs whose scores stand in perf/results/dms-experiment.json are left out.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
dotnet build src/Cli -c Release --nologo -v q
foretoken() { dotnet src/Cli/bin/Release/net10.0/foretoken.dll "$@"; }
[ -f runs/dms-base/finished ] || { foretoken train models/recipes/dms/dms-base.json --out runs/dms-base --resume && touch runs/dms-base/finished; }
foretoken train models/recipes/dms/experiment.json --out runs/dms-experiment --resume
cat runs/dms-experiment/table.md
