#!/usr/bin/env python3
"""Compiles the bundled model three times and measures what comes out.

    demo.py [--json FILE] [--folder DIR] [--quick]

Rows: the model as it is; after the exact rewrites; and with two sublayers
removed (and no other change). Every figure is measured on a compiled artefact,
and is shown as measured, also where a row is bigger or slower than the first.

  file      bytes of the shared library: code, weights and runtime
  tokens/s  one byte at a time with the KV cache, one thread: the best of
            twelve runs of 128 steps behind 64 bytes, rows taking turns
  bits/byte on text that the model was not trained on: the last 512 bytes of
            64 windows of 1,024 bytes, spread evenly over the modules json,
            email and http of the running interpreter's library

Which two sublayers go is measured too, on other text (module wsgiref, neither
trained on nor reported): first each of them alone is removed, then, with the
cheapest one gone, each of the next three.
"""
import argparse
import json
import math
import os
import pathlib
import platform
import sys
import tempfile
import time

import numpy as np

import ffn_mlir

ROOT = pathlib.Path(__file__).resolve().parent.parent
EXAMPLE = ROOT / "examples" / "pycode-lm"
sys.path.insert(0, str(EXAMPLE))
import corpus  # noqa: E402

MODEL = EXAMPLE / "pycode-lm-kv.onnx"
EXACT = "ffn-fold-norm,ffn-merge-parallel{linears},ffn-dedup-weights"
WINDOW, SCORED = 1024, 512
REPORTED, CHOSEN_ON = ("json", "email", "http"), ("wsgiref",)
NEXT = 3
PROMPT = b"def read_lines(path):\n    "


def note(text):
    print(text, file=sys.stderr, flush=True)


def pipeline(removed=(), exact=False):
    passes = ["ffn-raise"]
    if removed:
        passes.append("ffn-prune-sublayers{only=" + ",".join(removed) + "}")
    if exact:
        passes.append(EXACT)
    return f"builtin.module({','.join(passes)})"


class Artefact:
    """A compiled model with its cache: keys and values are inputs and outputs."""

    def __init__(self, path, passes, source=MODEL):
        self.path = ffn_mlir.compile(source, path, pipeline=passes)
        self.passes = passes
        self.model = ffn_mlir.load(self.path)
        self.state = self.model.inputs[1:]
        self.one_thread = self.model.session(threads=1)

    def begin(self):
        """The state before the first byte."""
        shape = lambda value: [{"batch": 1, "past_sequence": 0}.get(dim, dim) for dim in value.shape]
        return {value.name: np.zeros(shape(value), value.dtype) for value in self.state}

    def step(self, tokens, state, runner=None):
        """Logits for `tokens` and the state after them."""
        outputs = (runner or self.model).run({"input_ids": tokens, **state})
        logits = outputs.pop("logits")
        return logits, dict(zip(state, outputs.values()))

    def bits_per_byte(self, windows):
        bits = 0.0
        for window in windows:
            logits, _ = self.step(window[None, :-1], self.begin())
            logits = logits[0, -SCORED:].astype(np.float64)
            top = logits.max(-1, keepdims=True)
            log_sum = top[:, 0] + np.log(np.exp(logits - top).sum(-1))
            bits += (log_sum - logits[np.arange(SCORED), window[-SCORED:]]).sum() / math.log(2)
        return bits / (SCORED * len(windows))

    def tokens_per_second(self, prompt, steps=128):
        _, state = self.step(prompt[None, :64], self.begin(), self.one_thread)
        begin = time.perf_counter()
        for i in range(steps):
            _, state = self.step(prompt[None, 64 + i : 65 + i], state, self.one_thread)
        return steps / (time.perf_counter() - begin)

    def write(self, prompt, count, temperature=0.7, seed=0):
        random = np.random.default_rng(seed)
        tokens = np.frombuffer(corpus.SEPARATOR + prompt, np.uint8).astype(np.int64)[None]
        state, out = self.begin(), bytearray()
        for _ in range(count):
            logits, state = self.step(tokens, state)
            scores = logits[0, -1].astype(np.float64) / temperature
            scores[corpus.SEPARATOR[0]] = -np.inf
            weight = np.exp(scores - scores.max())
            out.append(int(random.choice(len(weight), p=weight / weight.sum())))
            tokens = np.array([[out[-1]]], np.int64)
        return prompt + bytes(out)


def windows(packages, count):
    """`count` windows of WINDOW + 1 bytes, spread evenly over the files."""
    texts = [text for files in corpus.split().values() for name, text in files if corpus.top(name) in packages]
    data = np.frombuffer(b"".join(corpus.SEPARATOR + text for text in texts), np.uint8).astype(np.int64)
    if len(data) < WINDOW + 1:
        raise SystemExit(f"error: the library of this interpreter lacks the source of {', '.join(packages)}")
    return [data[at : at + WINDOW + 1] for at in np.linspace(0, len(data) - WINDOW - 1, count).astype(int)]


def choose(folder, base, text, source=MODEL):
    """The two sublayers whose loss costs least, and what every trial measured."""
    names = [entry["name"] for entry in ffn_mlir.inspect(source)["sublayers"]]
    trials = []

    def loss(removed):
        found = Artefact(os.path.join(folder, "trial.so"), pipeline(removed), source).bits_per_byte(text) - base
        trials.append({"removed": list(removed), "loss": round(found, 4)})
        note(f"  without {' and '.join(removed)}: {found:+.4f} bits per byte")
        return found

    alone = sorted((loss([name]), name) for name in names)
    first = alone[0][1]
    _, second = min((loss([first, name]), name) for _, name in alone[1 : NEXT + 1])
    return [first, second], trials


def machine():
    cpu = platform.processor()
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
        cpu = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), cpu)
    except OSError:
        pass
    return {"cpu": cpu, "cpus": len(os.sched_getaffinity(0)), "python": platform.python_version()}


def measure(folder, quick):
    rows, count = [], 8 if quick else 64
    held_out, other = windows(REPORTED, count), windows(CHOSEN_ON, 2 if quick else 8)
    artefact = lambda name, passes: Artefact(os.path.join(folder, name + ".so"), passes)
    note("compiling the model as it is, and with exact rewrites")
    original = artefact("original", pipeline())
    exact = artefact("exact", pipeline(exact=True))
    note("which two sublayers cost least (text: module wsgiref)")
    removed, trials = choose(folder, original.bits_per_byte(other), other)
    note(f"removing {' and '.join(removed)}")
    pruned = artefact("pruned", pipeline(removed))
    named = [("original", original), ("exact rewrites", exact), ("two sublayers removed", pruned)]
    probe = held_out[0]
    want = original.step(probe[None], original.begin())[0]
    for name, entry in named:
        note(f"bits per byte: {name}")
        got = entry.step(probe[None], entry.begin())[0]
        rows.append({
            "name": name,
            "pipeline": entry.passes,
            "file_bytes": os.path.getsize(entry.path),
            "weight_bytes": entry.model.info.weight_bytes,
            "bits_per_byte": round(entry.bits_per_byte(held_out), 4),
            "largest_logit_difference": float(np.abs(got - want).max() / np.abs(want).max()),
        })
    note("tokens per second, rows taking turns")
    speeds = [[entry.tokens_per_second(probe) for _, entry in named] for _ in range(12)]
    for i, row in enumerate(rows):
        row["tokens_per_second"] = round(max(turn[i] for turn in speeds), 1)
    samples = {name: entry.write(PROMPT, 300).decode("utf-8", "replace") for name, entry in (named[0], named[2])}
    return {"machine": machine(), "removed": removed, "windows": count, "rows": rows, "trials": trials, "samples": samples}


def report(found):
    rows, machine_ = found["rows"], found["machine"]
    print(f"pycode-lm on {machine_['cpu']}, Python {machine_['python']}; one thread for tokens/s")
    print(f"{'':24}{'file bytes':>14}{'tokens/s':>11}{'bits/byte':>11}{'logits differ by':>18}")
    for row in rows:
        print(f"{row['name']:24}{row['file_bytes']:>14,}{row['tokens_per_second']:>11,.0f}"
              f"{row['bits_per_byte']:>11.4f}{row['largest_logit_difference']:>18.1e}")
    print(f"removed: {' and '.join(found['removed'])}, the cheapest two of {len(found['trials'])} trials on module wsgiref")
    for name, text in found["samples"].items():
        print(f"\n--- {name}, temperature 0.7, seed 0\n{text}\n---")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", help="write the figures to this file")
    parser.add_argument("--folder", help="keep the artefacts in this folder")
    parser.add_argument("--quick", action="store_true", help="less text; figures that say little")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        if arguments.folder:
            os.makedirs(arguments.folder, exist_ok=True)
        found = measure(arguments.folder or temporary, arguments.quick)
    report(found)
    if arguments.json:
        pathlib.Path(arguments.json).write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
