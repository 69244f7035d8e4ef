#!/usr/bin/env python3
"""Bits per byte of pycode-lm after ffn-carve-moe, beside random partitions with the same router.

    experts_quality.py [--configs S2A2E16,S4A4E16,S6A6E16] [--seeds 5] [--json FILE]

Calibration text is from modules that the model was trained on, evaluation text
from those that it was not. Marks are of the original network (`--sequential`:
each layer's behind carved ones, with a profile for each configuration).
"""
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

from quality import held_out_bytes

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILD = pathlib.Path(os.environ.get("FFN_BUILD_DIR", ROOT / "build" / "release"))
MODEL = ROOT / "examples" / "pycode-lm" / "pycode-lm.onnx"


def ffnc(*arguments):
    done = subprocess.run([str(BUILD / "bin" / "ffnc"), *map(str, arguments)], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr[-2000:])
    return done.stdout


def write_calibration(path):
    sys.path.insert(0, str(MODEL.parent))
    import corpus

    texts = [text for _, text in corpus.split()["training"]]
    path.write_bytes(b"<|endoftext|>".join(texts[::max(1, len(texts) // 60)]))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--configs", default="S2A2E16,S4A4E16,S6A6E16", type=lambda text: text.split(","))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--samples", type=int, default=64)
    parser.add_argument("--length", type=int, default=256)
    parser.add_argument("--sequential", action="store_true")
    parser.add_argument("--json", type=pathlib.Path)
    arguments = parser.parse_args()
    result = {"model": "pycode-lm", "samples": arguments.samples, "length": arguments.length, "sequential": arguments.sequential}
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        write_calibration(folder / "calibration.txt")
        texts = [ids[1:].tolist() for ids in held_out_bytes()]
        (folder / "eval.json").write_text(json.dumps(texts))

        def profile(path, *options):
            ffnc("profile", MODEL, "--calib", folder / "calibration.txt", f"--samples={arguments.samples}", f"--length={arguments.length}",
                 "--for=ffn-carve-moe{topk=10}", "-o", path, *options)
            return path

        def evaluate(passes):
            ffnc("compile", MODEL, "-o", folder / "m.so", "--gate=off", f"--pass-pipeline=builtin.module(ffn-raise{passes})")
            # Ids are bytes.
            return json.loads(ffnc("eval", folder / "m.so", folder / "eval.json", "--bos=0", "--window=256", "--json"))["bits_per_token"]

        result["dense"] = evaluate("")
        print(f"dense {result['dense']:.4f} bits per byte", flush=True)
        marks = None if arguments.sequential else profile(folder / "marks")
        result["rows"] = []
        for config in arguments.configs:
            if arguments.sequential:
                marks = profile(folder / config, "--prefix=rewritten", f"--pass-pipeline=builtin.module(ffn-carve-moe{{profile=%p config={config}}})")
            carve = lambda more="": evaluate(f",ffn-carve-moe{{profile={marks} config={config}{more}}}")
            row = {"config": config, "cmoe": carve(), "random": [carve(f" partition=random seed={seed}") for seed in range(arguments.seeds)]}
            result["rows"].append(row)
            print(f"{config}: CMoE {row['cmoe']:.4f}, random median {statistics.median(row['random']):.4f} "
                  f"[{min(row['random']):.4f}, {max(row['random']):.4f}]", flush=True)
            if arguments.json:
                arguments.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
