#!/usr/bin/env bash
# Makes the Python environment of the engines that benchmarks/cpu.py compares
# with: setup.sh [FOLDER], by default build/bench-venv. Idempotent. One that
# cannot be installed is reported, and its rows say so later.
set -euo pipefail

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
VENV="${1:-$ROOT/build/bench-venv}"
[ -x "$VENV/bin/python" ] || python3 -m venv "$VENV"
pip=("$VENV/bin/python" -m pip install -q)

# torch first: what depends on it must find this version.
"${pip[@]}" torch==2.13.0
# Each by itself, so that one that is missing does not take the others with it.
grep -v '^#' "$ROOT/benchmarks/peers/requirements.txt" | while read -r package; do
  "${pip[@]}" "$package" || echo "setup.sh: $package cannot be installed" >&2
done
# Built here from source, for the features of this CPU: about half an hour of CPU time.
CMAKE_ARGS="-DGGML_NATIVE=ON -DLLAVA_BUILD=OFF" "${pip[@]}" llama-cpp-python==0.3.36 ||
  echo "setup.sh: llama-cpp-python cannot be installed" >&2
