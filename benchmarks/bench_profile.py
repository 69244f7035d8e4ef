#!/usr/bin/env python3
"""Times ffnc profile against one plain pass over the same samples.

    bench_profile.py [--models pycode-lm,babyllama105] [--samples 10] [--length 256] [--rounds 5] [--json FILE]

The plain pass is the model as `ffnc compile` makes it, one thread, the same
samples one after the other; a profile of the cheap set (moments, hidden) runs
the instrumented stages on one thread, adds up, and writes values, shards and
the file. Compile time is left out on both sides, as is loading. The sides take
turns; reported are medians over rounds, their spread (quartile distance over
median), and ratio = profile / plain. Further sets of probes are timed the same
way.

babyllama105 is looked for in the folder FFN_SHARED (default: ../shared).
"""
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILD = pathlib.Path(os.environ.get("FFN_BUILD_DIR", ROOT / "build" / "release"))
SHARED = pathlib.Path(os.environ.get("FFN_SHARED", ROOT.parent / "shared"))
MODELS = {
    "pycode-lm": (ROOT / "examples" / "pycode-lm" / "pycode-lm.onnx", 256),
    "babyllama105": (SHARED / "models" / "babyllama105.onnx", 105),
}
SETS = {"cheap": "moments,hidden", "default": "moments,hidden,influence", "gram": "moments,hidden,influence,gram"}


def spread(times):
    quartiles = statistics.quantiles(times, n=4)
    return (quartiles[2] - quartiles[0]) / statistics.median(times)


def plain_pass(model, rows):
    begin = time.perf_counter()
    for row in rows:
        model.run(row)
    return time.perf_counter() - begin


def profile_pass(path, data, folder, probes, samples, length):
    done = subprocess.run(
        [BUILD / "bin" / "ffnc", "profile", path, "--calib", data, "-o", folder / "p.safetensors", f"--probes={probes}", "--json",
         f"--samples={samples}", f"--length={length}", "--threads=1"], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(done.stderr)
    report = json.loads(done.stdout)
    return {part: report[f"{part}_seconds"] for part in ("run", "add", "store")}


def measure(name, samples, length, rounds):
    if list((BUILD / "python" / "ffn_mlir").glob("_ffn_mlir*.so")):
        sys.path.insert(0, str(BUILD / "python"))
    import ffn_mlir

    path, vocabulary = MODELS[name]
    result = {"model": name, "samples": samples, "length": length, "rounds": rounds, "sets": {}}
    with tempfile.TemporaryDirectory() as text:
        folder = pathlib.Path(text)
        rows = np.random.default_rng(0).integers(0, vocabulary, (samples, 1, length), dtype=np.int64)
        np.savez(folder / "data.npz", input_ids=rows[:, 0])
        library = folder / "plain.so"
        subprocess.run([BUILD / "bin" / "ffnc", "compile", path, "-o", library], check=True, capture_output=True)
        model = ffn_mlir.load(library, threads=1)
        plain_pass(model, rows)
        for kind, probes in SETS.items():
            plain, parts = [], []
            for _ in range(rounds):
                plain.append(plain_pass(model, rows))
                parts.append(profile_pass(path, folder / "data.npz", folder, probes, samples, length))
            total = [sum(part.values()) for part in parts]
            result["sets"][kind] = {
                "probes": probes, "plain_seconds": statistics.median(plain), "plain_spread": spread(plain),
                "profile_seconds": statistics.median(total), "profile_spread": spread(total),
                **{f"{part}_seconds": statistics.median(p[part] for p in parts) for part in ("run", "add", "store")},
                "ratio": statistics.median(t / p for t, p in zip(total, plain))}
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="pycode-lm")
    parser.add_argument("--samples", type=int, default=10)
    parser.add_argument("--length", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sets", default=",".join(SETS))
    parser.add_argument("--json", type=pathlib.Path)
    arguments = parser.parse_args()
    for kind in list(SETS):
        if kind not in arguments.sets.split(","):
            del SETS[kind]
    results = []
    for name in arguments.models.split(","):
        results.append(measure(name, arguments.samples, arguments.length, arguments.rounds))
        for kind, found in results[-1]["sets"].items():
            print(f"{name} {kind}: plain {1e3 * found['plain_seconds']:.0f} ms ({100 * found['plain_spread']:.0f} %), profile "
                  f"{1e3 * found['profile_seconds']:.0f} ms ({100 * found['profile_spread']:.0f} %): run {1e3 * found['run_seconds']:.0f}, "
                  f"add {1e3 * found['add_seconds']:.0f}, store {1e3 * found['store_seconds']:.0f}; ratio {found['ratio']:.2f}")
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
