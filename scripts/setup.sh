# Sourced by demo.sh and test.sh: installs what is missing, then leaves
# FFN_ROOT set and .venv ready. Idempotent; a satisfied step costs nothing.

FFN_ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
FFN_TORCH_VERSION=2.13.0
FFN_APT_PACKAGES=(
  libmlir-22-dev mlir-22-tools llvm-22-dev llvm-22-tools clang-22
  clang-format-22 lld-22 liblld-22-dev libclang-rt-22-dev libgtest-dev
  ccache cmake ninja-build git python3 python3-venv python3-dev zlib1g-dev libzstd-dev xz-utils
)

ffn_note() { printf '\n== %s\n' "$*" >&2; }

ffn_install_packages() {
  local missing=() package
  for package in "${FFN_APT_PACKAGES[@]}"; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || missing+=("$package")
  done
  [ ${#missing[@]} -eq 0 ] && return 0
  ffn_note "installing ${missing[*]}"
  local sudo=()
  if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || { echo "error: packages are missing and there is no sudo: apt-get install ${missing[*]}" >&2; return 1; }
    sudo=(sudo)
  fi
  "${sudo[@]}" apt-get update -qq
  DEBIAN_FRONTEND=noninteractive "${sudo[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}" >&2
}

# ffn_install_python [exporters]
ffn_install_python() {
  local python="$FFN_ROOT/.venv/bin/python"
  [ -x "$python" ] || { ffn_note "creating .venv"; python3 -m venv "$FFN_ROOT/.venv"; }
  local stamp want
  want="$(cat "$FFN_ROOT/python/requirements.txt")"
  if [ "${1:-}" = exporters ]; then
    want+=$'\n'"$(cat "$FFN_ROOT/python/requirements-exporters.txt")"$'\n'"torch==$FFN_TORCH_VERSION"
  fi
  stamp="$FFN_ROOT/.venv/ffn-installed"
  # What was installed with the exporters serves without them too.
  [ -f "$stamp" ] && [[ "$(cat "$stamp")" == "$want"* ]] && return 0
  ffn_note "installing Python packages"
  if [ "${1:-}" = exporters ]; then
    "$python" -m pip install -q "torch==$FFN_TORCH_VERSION" >&2
    "$python" -m pip install -q -r "$FFN_ROOT/python/requirements.txt" -r "$FFN_ROOT/python/requirements-exporters.txt" >&2
  else
    "$python" -m pip install -q -r "$FFN_ROOT/python/requirements.txt" >&2
  fi
  printf '%s' "$want" > "$stamp"
}

# Exporter tests run when asked for, in CI, and where torch is there already.
ffn_want_exporters() {
  case "${FFN_EXPORTERS:-}" in yes) return 0 ;; no) return 1 ;; esac
  [ -n "${CI:-}" ] && return 0
  [ -d "$FFN_ROOT/.venv" ] && "$FFN_ROOT/.venv/bin/python" -c 'import importlib.util,sys; sys.exit(importlib.util.find_spec("torch") is None)' 2>/dev/null
}

export CCACHE_BASEDIR="$FFN_ROOT" CCACHE_NOHASHDIR=1
export PATH="$FFN_ROOT/.venv/bin:$PATH"
