#!/usr/bin/env python3
"""Imports and exports every graph of a corpus and judges what comes back.

    roundtrip.py CORPUS BIN [--write EXPECTED]

CORPUS has manifest.json, the graphs, and ref/NAME.npz with inputs and outputs
that ONNX Runtime gave for the original. Without --write the verdicts are
compared with the committed list, which fails in both directions.
"""
import argparse
import json
import pathlib
import re
import subprocess
import sys
import tempfile

import numpy as np
import onnx
import onnxruntime

import onnx_equal

EXPECTED = pathlib.Path(__file__).with_name("roundtrip_expected.json")
# Optimisations are off on both sides; what remains is the summation order of
# whatever kernels ONNX Runtime picks, in f32 at worst over a few layers.
TOLERANCE = {"float16": 2e-3, "float32": 1e-5, "float64": 1e-12}


def session(path):
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def accepted(path, full_check=False):
    try:
        onnx.checker.check_model(str(path), full_check=full_check)
        return True
    except Exception:
        return False


def refusal(path):
    """Why ONNX Runtime does not load a model, cut to its end; empty if it does."""
    try:
        session(path)
        return ""
    except Exception as error:
        # Without the path of the file and the place in their sources.
        return re.sub(r".*(?:failed:|\.(?:cc|h):\d+ )", "", str(error).split("\n")[0]).strip()[-160:]


def load_reference(reference):
    """(inputs, everything stored)."""
    stored = np.load(reference, allow_pickle=False)
    return {key[3:]: stored[key] for key in stored.files if key.startswith("in:")}, stored


def outputs(path, reference):
    """Bits of the outputs for the stored inputs."""
    return [value.tobytes() for value in session(path).run(None, load_reference(reference)[0])]


def differences(path, reference):
    """Names of outputs that differ from the reference beyond the tolerance."""
    feeds, stored = load_reference(reference)
    run = session(path)
    names = [output.name for output in run.get_outputs()]
    bad = []
    for name, value in zip(names, run.run(None, feeds)):
        want = stored.get(f"out:{name}")
        if want is None:
            continue
        if want.shape != value.shape or want.dtype != value.dtype:
            bad.append(name)
        elif want.dtype.kind == "f":
            scale = np.nanmax(np.abs(np.where(np.isfinite(want), want, 0)), initial=0) or 1
            same = np.isclose(value, want, rtol=0, atol=TOLERANCE[str(want.dtype)] * scale, equal_nan=True)
            if not same.all():
                bad.append(name)
        elif not np.array_equal(want, value):
            bad.append(name)
    return bad


def judge(graph, entry, tools, reference):
    """(verdict, detail): ok, differs, reference, unloadable, checker, lists, refused, crashed.

    reference: the original gives the outputs of the export, bit by bit, and not those that were stored for it.
    unloadable: with the reason, and whether the original is loaded.
    """
    with tempfile.TemporaryDirectory() as folder:
        ir, back = pathlib.Path(folder, "m.mlir"), pathlib.Path(folder, "m.onnx")
        for command in (
            [tools / "ffn-translate", "--import-onnx", graph, "-o", ir],
            [tools / "ffn-translate", "--export-onnx", ir, "-o", back],
        ):
            result = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=120)
            if result.returncode == 1 and "[FFN-" in result.stderr:
                code = result.stderr.split("[FFN-")[-1].split("]")[0]
                return "refused", "FFN-" + code
            if result.returncode != 0:
                return "crashed", str(result.returncode)
        for full_check in (False, True):
            if accepted(graph, full_check) and not accepted(back, full_check):
                return "checker", ""
        found = onnx_equal.differences(onnx_equal.load(back), onnx_equal.load(graph))
        if found:
            return "lists", found[0]
        if entry["ort_load"] != "ok":
            return "ok", ""
        if reason := refusal(back):
            both = refusal(graph) == reason
            return "unloadable", f"{'as the original: ' if both else ''}{reason}"
        if reference.exists():
            bad = differences(back, reference)
            if bad:
                same = outputs(back, reference) == outputs(graph, reference)
                return ("reference" if same else "differs"), ",".join(sorted(bad))
        return "ok", ""


def judge_all(corpus, tools):
    verdicts = {}
    for entry in json.loads((corpus / "manifest.json").read_text()):
        name = entry["file"]
        reference = corpus / "ref" / (pathlib.Path(name).stem + ".npz")
        verdict, detail = judge(corpus / name, entry, tools, reference)
        verdicts[name] = f"{verdict} {detail}".strip()
    return verdicts


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=pathlib.Path)
    parser.add_argument("tools", type=pathlib.Path)
    parser.add_argument("--write", action="store_true", help="write the committed list anew")
    arguments = parser.parse_args()
    verdicts = judge_all(arguments.corpus, arguments.tools)
    if arguments.write:
        EXPECTED.write_text(json.dumps(verdicts, indent=1, sort_keys=True) + "\n")
    expected = json.loads(EXPECTED.read_text())
    changed = {name: (expected.get(name), verdicts.get(name)) for name in {*expected, *verdicts} if expected.get(name) != verdicts.get(name)}
    for name, (before, after) in sorted(changed.items()):
        print(f"{name}: expected {before}, is {after}")
    print(f"{sum(verdict == 'ok' for verdict in verdicts.values())} of {len(verdicts)} ok")
    return 1 if changed else 0


if __name__ == "__main__":
    sys.exit(main())
