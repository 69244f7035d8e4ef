#!/usr/bin/env python3
"""Networks and layers left out at run time: share, divergence and tokens/s in one table: docs/results/adaptive-depth.*

    adaptive_depth.py quality   # held-out data; kept in build/adaptive-depth
    adaptive_depth.py calibrate # what calibration says alone, into the same file
    adaptive_depth.py compile   # the libraries that are timed
    adaptive_depth.py time      # a minute or two
    adaptive_depth.py report

Rows of a text decide as they would alone (`prefill=decide`), so one run over a
window has the values of writing it token by token. Time is that of writing a
held-out text behind a prompt, token by token with the cache, in turns with the
original. `--build` names the build folder (default: build/release).
"""
import argparse
import json
import os
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np

import quality

ROOT = pathlib.Path(__file__).resolve().parent.parent
WORK, OUT = ROOT / "build" / "adaptive-depth", ROOT / "docs" / "results"
# Quantiles of what calibration tried on either model, and what it chooses itself.
SKIPS = {"pycode-lm": ("1", "0.99853", "0.99788", "0.99667", "0.99221"), "babyllama105": ("1", "0.959", "0.952", "0.936", "0.870")}
EXITS = ("1", "0.99", "0.95", "0.9", "0.8", "0.6")
PROMPT, WRITTEN, TURNS = 64, 64, 41


def load(build):
    sys.path.insert(0, str(build / "python"))
    import ffn_mlir
    return ffn_mlir


def variants(name):
    """Label, pass, threshold."""
    for threshold in SKIPS[name]:
        yield f"skip {threshold}", "ffn-insert-skip", threshold
    for threshold in EXITS:
        yield f"exit {threshold}", "ffn-insert-early-exit", threshold


def compile_model(build, graph, output, passes=()):
    pipeline = ",".join(["ffn-raise{remarks=false}", *passes])
    subprocess.run([str(build / "bin" / "ffnc"), "compile", str(graph), "-o", str(output), "--gate=off", f"--pass-pipeline=builtin.module({pipeline})"], check=True)


def cases():
    for name, graph, texts in quality.trained():
        if name in SKIPS:
            yield name, graph, texts


def calibrated(build, name, graph):
    """What the pass itself says on data that is neither training nor held-out data."""
    with tempfile.TemporaryDirectory() as folder:
        text = pathlib.Path(folder) / "calib.txt"
        if name == "pycode-lm":
            import sysconfig
            text.write_bytes(b"\n".join(p.read_bytes() for p in sorted((pathlib.Path(sysconfig.get_paths()["stdlib"]) / "wsgiref").glob("*.py"))))
        else:
            text = quality.SHARED / "data" / "grimm_tales.tok105.json"
        pipeline = f"builtin.module(ffn-raise{{remarks=false}},ffn-insert-skip{{calib={text}}})"
        done = subprocess.run([str(build / "bin" / "ffn-opt"), str(graph), f"--pass-pipeline={pipeline}", "-o", os.devnull, "--mlir-print-op-on-diagnostic=false"],
                              check=True, capture_output=True, text=True)
        said = next((line for line in done.stderr.splitlines() if " nats" in line), "nothing was said")
        return re.sub(r"^.*?(?=threshold \d|no threshold)", "", said).split("; a larger")[0]


def measure_quality(build):
    ffn_mlir = load(build)
    rows, said = [], {}
    for name, graph, texts in cases():
        said[name] = calibrated(build, name, graph)
        print(said[name], file=sys.stderr)
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "model.so"
            compile_model(build, graph, path)
            run = lambda: [ffn_mlir.load(str(path)).run(input_ids=ids[None]) for ids in texts]
            plain = [found["logits"][0] for found in run()]
            exact = [quality.log_softmax(x) for x in plain]
            loss = lambda logs: float(np.mean(np.concatenate([-x[np.arange(len(ids) - 1), ids[1:]] for x, ids in zip(logs, texts)])))
            for label, passname, threshold in variants(name):
                compile_model(build, graph, path, [f"{passname}{{threshold={threshold} prefill=decide count=true}}"])
                found = run()
                logs = [quality.log_softmax(x["logits"][0]) for x in found]
                kl = np.concatenate([(np.exp(p) * (p - q)).sum(-1) for p, q in zip(exact, logs)])
                rows.append({"model": name, "label": label, "pass": passname, "threshold": float(threshold), "tokens": int(kl.size),
                             "left_out": float(np.mean(np.concatenate([x["left_out"][0] for x in found]))),
                             "kl": float(kl.mean()), "nll": loss(logs), "nll_original": loss(exact),
                             "same_bits": all(np.array_equal(a, b["logits"][0]) for a, b in zip(plain, found))})
                print(rows[-1], file=sys.stderr)
    (WORK / "quality.json").write_text(json.dumps({"rows": rows, "calibration": said}, indent=1) + "\n")


class Writer:
    """Writes a text that is given, token by token behind a prompt, with the cache."""

    def __init__(self, ffn_mlir, path):
        self.model = ffn_mlir.load(str(path), threads=1)

    def write(self, ids):
        """Seconds of the processor for the tokens behind the prompt; there is one thread."""
        feeds = {f"past_key_values.{i}.{kind}": np.zeros((1, 4, 0, 32), np.float32) for i in range(8) for kind in ("key", "value")}
        seconds, at = 0.0, 0
        while at < PROMPT + WRITTEN:
            count = PROMPT if at == 0 else 1
            feeds["input_ids"] = np.ascontiguousarray(ids[None, at : at + count])
            begin = time.process_time()
            results = self.model.run(**feeds)
            if at:
                seconds += time.process_time() - begin
            feeds = {key.replace("present", "past_key_values"): value for key, value in results.items() if key.startswith("present")}
            at += count
        return seconds


def compile_for_time(build):
    graph = ROOT / "examples" / "pycode-lm" / "pycode-lm-kv.onnx"
    compile_model(build, graph, WORK / "plain.so")
    for label, passname, threshold in variants("pycode-lm"):
        compile_model(build, graph, WORK / f"{label}.so", [f"{passname}{{threshold={threshold}}}"])


def measure_time(build):
    ffn_mlir = load(build)
    texts = quality.held_out_bytes()
    plain, rows = Writer(ffn_mlir, WORK / "plain.so"), []
    for label, _, _ in variants("pycode-lm"):
        sides = [plain, Writer(ffn_mlir, WORK / f"{label}.so")]
        times = [[], []]
        for turn in range(TURNS + 1):
            ids = texts[turn % len(texts)]
            for side in ((0, 1), (1, 0))[turn % 2]:
                seconds = sides[side].write(ids)
                if turn:
                    times[side].append(seconds)
        ratios = [a / b for a, b in zip(*times)]
        quartiles = statistics.quantiles(ratios, n=4)
        rows.append({"label": label, "tokens_per_second": [WRITTEN / statistics.median(side) for side in times], "speedup": quartiles[1], "quartiles": [quartiles[0], quartiles[2]]})
        print(rows[-1], file=sys.stderr)
    (WORK / "time.json").write_text(json.dumps(rows, indent=1) + "\n")


def report():
    measured = json.loads((WORK / "quality.json").read_text())
    times = {row["label"]: row for row in json.loads((WORK / "time.json").read_text())}
    lines = ["# Depth chosen at run time", "", f"""\
`ffn-insert-skip` leaves out networks behind one that changed a token's state by
little, `ffn-insert-early-exit` all layers behind a check at which the prediction
has settled ([design](../design/adaptive-depth.md)). Written by
`benchmarks/adaptive_depth.py`; all figures are in [adaptive-depth.json](adaptive-depth.json).
Left out: of the sublayers of the model, of which the networks are half, the mean over
tokens. KL(original || adaptive) and NLL are of held-out data, in nats a token.
Tokens/s: one thread, held-out texts written token by token with the cache
behind a prompt of 64, called from Python, by the processor time of the process
(other work shared the machine), median of {TURNS} turns with the original; in
brackets the quartiles of the ratio.""", ""]
    near = [row["label"] for row in measured["rows"] if row["model"] == "pycode-lm" and row["kl"] <= 0.02 and not row["same_bits"]]
    best = max(near, key=lambda label: times[label]["speedup"])
    lines += [f"Of the thresholds with at most 0.02 nats on pycode-lm the fastest is {best}, at {times[best]['speedup']:.2f} times the original "
              f"({times[best]['quartiles'][0]:.2f} to {times[best]['quartiles'][1]:.2f}): trained models of 8 and 5 layers have no networks that are idle and "
              "few tokens that are clear early. More is saved only at a divergence that nobody would accept. So calibration inserts nothing here by "
              "default, and `ffnc compile` times whatever is asked for by threshold.", ""]
    sublayers = {"pycode-lm": 16, "babyllama105": 10}
    for name in SKIPS:
        rows = [row for row in measured["rows"] if row["model"] == name]
        if not rows:
            continue
        lines += [f"## {name}", "", f"{rows[0]['tokens']:,} tokens, NLL of the original {rows[0]['nll_original']:.4f}. What the pass says with `calib=`: {measured['calibration'][name]}", "",
                  "| threshold | left out | KL | NLL | tokens/s, original | ratio |", "| --- | --- | --- | --- | --- | --- |"]
        for row in rows:
            timed = times.get(row["label"]) if name == "pycode-lm" else None
            kl = "0, bits equal" if row["same_bits"] else f"{row['kl']:.4f}"
            speed = f"{timed['tokens_per_second'][1]:,.0f}, {timed['tokens_per_second'][0]:,.0f} | {timed['speedup']:.2f} ({timed['quartiles'][0]:.2f} to {timed['quartiles'][1]:.2f})" if timed else " | "
            lines.append(f"| {row['label']} | {100 * row['left_out'] / sublayers[name]:.1f} % | {kl} | {row['nll']:.4f} | {speed} |")
        if name != "pycode-lm":
            lines += ["", "The file of this model has no cache: every token reads the whole text again, and there is no decode to save time of."]
        lines.append("")
    OUT.joinpath("adaptive-depth.md").write_text("\n".join(lines))
    OUT.joinpath("adaptive-depth.json").write_text(json.dumps({**measured, "time": list(times.values())}, indent=1) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("quality", "calibrate", "compile", "time", "report"))
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build" / "release")
    arguments = parser.parse_args()
    WORK.mkdir(parents=True, exist_ok=True)
    if arguments.what == "quality":
        measure_quality(arguments.build)
    elif arguments.what == "calibrate":
        found = json.loads((WORK / "quality.json").read_text())
        found["calibration"] = {name: calibrated(arguments.build, name, graph) for name, graph, _ in cases()}
        (WORK / "quality.json").write_text(json.dumps(found, indent=1) + "\n")
    elif arguments.what == "compile":
        compile_for_time(arguments.build)
    elif arguments.what == "time":
        measure_time(arguments.build)
    else:
        report()


if __name__ == "__main__":
    main()
