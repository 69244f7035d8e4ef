#!/bin/sh
# The report of a real run: the bundled model without a quarter of its sublayers.
# Writes build/report/report.html and, where Chromium is installed, the picture
# of its beginning that the README shows, docs/results/report.png.
#
#   scripts/report_demo.sh [BUILD]     BUILD: build/release
set -eu
cd "$(dirname "$0")/.."
build=${1:-build/release}
ffnc=$build/bin/ffnc
model=examples/pycode-lm/pycode-lm.onnx
calib=examples/pycode-lm/train.py
out=build/report
rm -rf "$out"
mkdir -p "$out/run"

# Text that the model was not trained on.
python3 - "$out/heldout.txt" <<'EOF'
import pathlib
import sys
import sysconfig

library = pathlib.Path(sysconfig.get_paths()["stdlib"])
files = [path for name in ("json", "email", "http") for path in sorted((library / name).glob("*.py"))]
pathlib.Path(sys.argv[1]).write_bytes(b"".join(path.read_bytes() for path in files))
EOF

"$ffnc" compile "$model" -o "$out/original.so"
"$ffnc" compile "$model" -o "$out/pruned.so" --json --pass-pipeline="builtin.module(ffn-raise,ffn-prune-sublayers{method=finercut ratio=0.25 samples=8 length=256 calib=$calib})" > "$out/run/compile.json"
"$ffnc" compare "$out/original.so" "$out/pruned.so" --data "$out/heldout.txt" --window 256 --samples 32 --json > "$out/run/compare.json"
"$ffnc" bench "$out/original.so" "$out/pruned.so" --prompt-tokens 128 --decode-tokens 16 --threads 1 --json > "$out/run/bench.json"
for analysis in cost vocab-projection; do
  "$ffnc" analyze $analysis "$model" --json > "$out/run/$analysis.json"
done
for analysis in dependency isotropy neurons rank sensitivity sparsity spectral; do
  "$ffnc" analyze $analysis "$model" --calib "$calib" --samples 16 --json > "$out/run/$analysis.json"
done
"$ffnc" report "$out/run" -o "$out/report.html" --title "pycode-lm without a quarter of its sublayers"
ls -l "$out/report.html"

chromium=$(command -v chromium || command -v chromium-browser || command -v google-chrome || true)
if [ -z "$chromium" ]; then
  echo "no Chromium: docs/results/report.png stays as it is" >&2
  exit 0
fi
# No name is resolved: what the page needs is in it.
"$chromium" --headless --no-sandbox --disable-gpu --hide-scrollbars --host-resolver-rules="MAP * ~NOTFOUND" \
  --window-size=940,1500 --screenshot="$PWD/docs/results/report.png" "file://$PWD/$out/report.html" 2> "$out/chromium.log"
ls -l docs/results/report.png
