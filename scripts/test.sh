#!/usr/bin/env bash
# Installs, builds and runs all tests; prints a table of times and counts.
# Usage: scripts/test.sh [--with-exporters|--without-exporters] [--only STEP,...]
set -euo pipefail
# shellcheck source=scripts/setup.sh
. "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
started=$(date +%s)
only=()
while [ $# -gt 0 ]; do
  case "$1" in
    --with-exporters) FFN_EXPORTERS=yes ;;
    --without-exporters) FFN_EXPORTERS=no ;;
    --only) shift; only=(--only "${1:?--only needs a list of steps}") ;;
    -h|--help) sed -n '2,3s/^# //p' "$0"; exit 0 ;;
    *) echo "error: unknown argument '$1' (see --help)" >&2; exit 2 ;;
  esac
  shift
done
ffn_install_packages
if ffn_want_exporters; then ffn_install_python exporters; else ffn_install_python; fi
exec "$FFN_ROOT/.venv/bin/python" "$FFN_ROOT/scripts/run_tests.py" --started "$started" "${only[@]}"
