#!/usr/bin/env bash
# Installs, builds, and shows what the compiler does today with the bundled
# model: what it is made of, and that it survives raising, decomposing and
# export. See docs/status.md for what is still to come.
set -euo pipefail
# shellcheck source=scripts/setup.sh
. "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
case "${1:-}" in
  "") ;;
  -h|--help) sed -n '2,4s/^# //p' "$0"; exit 0 ;;
  *) echo "error: unknown argument '$1' (see --help)" >&2; exit 2 ;;
esac
cd "$FFN_ROOT"
ffn_install_packages
ffn_install_python
ffn_note "building"
cmake --preset release >/dev/null
cmake --build --preset release
export PATH="$FFN_ROOT/build/release/bin:$PATH"
model=examples/pycode-lm/pycode-lm.onnx

ffn_note "this machine"
ffnc doctor
ffn_note "what $model is made of"
ffnc inspect "$model"
ffn_note "raised, decomposed, exported: ONNX Runtime on the model and on what came back"
python scripts/roundtrip_demo.py "$model"
