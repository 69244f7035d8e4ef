#!/usr/bin/env bash
# Installs, builds, and shows the compiler on the bundled model: what the model
# is made of, and three native programs of it with size, speed and quality as
# measured. Arguments go to scripts/demo.py (--json FILE, --folder DIR, --quick).
# PyTorch is not needed.
set -euo pipefail
# shellcheck source=scripts/setup.sh
. "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
case "${1:-}" in
  -h|--help) sed -n '2,5s/^# //p' "$0"; exit 0 ;;
  ""|--json|--json=*|--folder|--folder=*|--quick) ;;
  *) echo "error: unknown argument '$1' (see --help)" >&2; exit 2 ;;
esac
invoked_from="$PWD"
cd "$FFN_ROOT"
ffn_install_packages
ffn_install_python
ffn_note "building"
cmake --preset release >/dev/null
cmake --build --preset release --target ffnc ffn_rt ffn_mlir_ext ffn-python-modules
export PATH="$FFN_ROOT/build/release/bin:$PATH"

ffn_note "this machine"
ffnc doctor
ffn_note "what the bundled model is made of"
ffnc inspect examples/pycode-lm/pycode-lm-kv.onnx
ffn_note "three native programs of it"
cd "$invoked_from"
PYTHONPATH="$FFN_ROOT/build/release/python" "$FFN_ROOT/.venv/bin/python" "$FFN_ROOT/scripts/demo.py" "$@"
