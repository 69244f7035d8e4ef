#!/usr/bin/env python3
"""Times networks of experts against the dense network that they are carved from.

    experts.py [--shapes gated:2048x8192,plain:768x3072] [--tokens 1,16,256] [--configs S2A2E16] [--json FILE]

A model is a chain of residual networks behind norms whose dense weights are at
least --bytes together (1 GiB), so that a call finds the weights of a layer cold,
as a transformer does. Both models have the same random weights, read from one
file; groups of neurons lie as they come, which changes nothing about the time. The
router is the one of ffn-carve-moe: a neuron of each expert, rows of length one.
Every turn has other tokens, and runs dense, experts, and with --onnxruntime the
dense model in ONNX Runtime, once each. Router, choice, lists and sums are part of
what is timed. Reported are medians, the distance of the quartiles over the median
(spread), and `ratio` = time of dense / time of experts as the median over the
turns with its quartiles. `ideal` is the ratio of the bytes of weights (1 token) or
of the multiply-adds (more); a ratio above it is a fault of the measurement and
marked as such. `loads` counts how many tokens the experts of all layers get.

Random weights say nothing about quality: that is in docs/results/experts.md, on
trained models.
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

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILD = pathlib.Path(os.environ.get("FFN_BUILD_DIR", ROOT / "build" / "release"))
# Relative to the largest value, of a chain of layers in f32 against float64.
LIMIT = 1e-4
# Buffers that come and go would be returned to the system each time, at the cost of page faults.
MALLOC = {"MALLOC_MMAP_THRESHOLD_": str(1 << 30), "MALLOC_TRIM_THRESHOLD_": str(1 << 30)}


class Chain:
    """Weights of the layers, in a file, and the two models over them."""

    def __init__(self, folder, gated, d, m, smallest):
        self.folder, self.gated, self.d, self.m = folder, gated, d, m
        self.names = ["up", "gate", "down"] if gated else ["up", "down"]
        size, path = 4 * d * m * len(self.names), folder / "weights.bin"
        if path.exists():
            self.layers = path.stat().st_size // size
            return
        self.layers = -(-smallest // size)
        generator = np.random.default_rng(d + m)
        with open(path, "wb") as file:
            for _ in range(self.layers):
                for name in self.names:
                    width = m if name == "down" else d
                    (generator.standard_normal(d * m, dtype=np.float32) / np.float32(width**0.5)).tofile(file)

    def weight(self, layer, name):
        shape = (self.d, self.m) if name == "down" else (self.m, self.d)
        return np.memmap(self.folder / "weights.bin", np.float32, "r", 4 * self.d * self.m * (layer * len(self.names) + self.names.index(name)), shape)

    def partition(self, config):
        """Shared neurons, experts, those that run, width of one."""
        shared, active, experts = (int(n) for n in re.fullmatch(r"S(\d+)A(\d+)E(\d+)", config).groups())
        if self.m % experts:
            raise SystemExit(f"{experts} groups do not divide {self.m} neurons")
        return shared * self.m // experts, experts - shared, active, self.m // experts

    def router(self, layer, name, config):
        shared, experts, _, width = self.partition(config)
        rows = np.array(self.weight(layer, name)[shared::width][:experts])
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    def text(self, config=None):
        d, m, activation = self.d, self.m, "silu" if self.gated else "gelu_erf"
        t, size = f"tensor<?x{d}xf32>", 4 * d * m
        lines, offset = [], 0
        for layer in range(self.layers):
            types = {name: f"tensor<{d}x{m}xf32>" if name == "down" else f"tensor<{m}x{d}xf32>" for name in self.names}
            words = []
            for name in self.names:
                lines.append(f'    %{name}{layer} = ffn.weight #ffn.span<"{layer}.{name}" in @weights, {offset}, {size}> : {types[name]}')
                words.append(f"{name} %{name}{layer}")
                offset += size
            operands = [t, *types.values()]
            op = "ffn.feed_forward"
            if config:
                op = "ffn.moe"
                shared, experts, active, _ = self.partition(config)
                for name, source in (("router", "up"), ("router_gate", "gate")):
                    if source in self.names:
                        operands.append(f"tensor<{experts}x{d}xf32>")
                        lines.append(f'    %{name}{layer} = ffn.weight dense<"0x{self.router(layer, source, config).tobytes().hex()}"> : {operands[-1]}')
                        words.append(f"{'router neuron' if name == 'router' else name} %{name}{layer}")
                words.append(f"shared {shared} experts {experts} top_k {active} gating softmax")
            lines += [f'    %h{layer} = ffn.sublayer [#ffn.addend<ffn "layers.{layer}.mlp">] ({"%x" if not layer else f"%h{layer - 1}"}) : ({t}) -> {t} {{',
                      f"    ^bb0(%r: {t}):", f"      %n = ffn.norm rms %r eps 1.0e-6 : {t}",
                      f"      %f = {op} {activation} %n {' '.join(words)} : ({', '.join(operands)}) -> {t}", f"      ffn.yield %f : {t}", "    }"]
        return "\n".join([
            "module attributes {onnx.model = {opset_imports = {ai.onnx = 17 : i64}}} {",
            f'  ffn.file @weights "weights.bin" {{size = {offset} : i64}}',
            f'  func.func @main(%x: {t} {{onnx.name = "x", ffn.dims = ["n", {d}]}}) -> ({t} {{onnx.name = "y"}}) {{',
            *lines, f"    return %h{self.layers - 1} : {t}", "  }", "}", ""])

    def compile(self, name, config=None):
        path = self.folder / f"{name}.mlir"
        path.write_text(self.text(config))
        subprocess.run([str(BUILD / "bin" / "ffnc"), "compile", str(path), "-o", str(path.with_suffix(".so")), "--gate=off"], check=True)
        return path.with_suffix(".so")

    def activate(self, z):
        if self.gated:
            return z / (1 + np.exp(-z))
        import torch

        return torch.nn.functional.gelu(torch.from_numpy(z)).numpy()

    def hidden(self, x, up, gate):
        return self.activate(x @ gate.T) * (x @ up.T) if self.gated else self.activate(x @ up.T)

    def run(self, x, config, kind):
        """The chain in NumPy, and how many tokens each expert of each layer gets."""
        x, loads = x.astype(kind), []
        for layer in range(self.layers):
            n = x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-6)
            get = lambda name: self.weight(layer, name).astype(kind, copy=False) if name in self.names else None
            h = self.hidden(n, get("up"), get("gate"))
            if config:
                shared, experts, active, width = self.partition(config)
                route = lambda name: self.router(layer, name, config).astype(kind) if name in self.names else None
                scores = np.abs(self.hidden(n, route("up"), route("gate")))
                chosen = np.argsort(-scores, axis=-1, kind="stable")[:, :active]
                mask = np.zeros(scores.shape, bool)
                np.put_along_axis(mask, chosen, True, -1)
                loads.append(mask.sum(0))
                h = h * np.concatenate([np.ones((len(h), shared), bool), np.repeat(mask, width, axis=-1)], -1)
            x = x + h @ get("down").T
        return x, np.array(loads)


def spread(times):
    quartiles = statistics.quantiles(times, n=4)
    return (quartiles[2] - quartiles[0]) / statistics.median(times)


class OnnxRuntime:
    def __init__(self, chain, threads):
        import onnxruntime

        model = chain.folder / "dense.onnx"
        if not model.exists():
            subprocess.run([str(BUILD / "bin" / "ffnc"), "compile", str(chain.folder / "dense.mlir"), "--emit=onnx", "-o", str(model)], check=True)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        # Its threads would look for work while the others are timed.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self.session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])

    def run(self, feeds):
        return {"y": self.session.run(None, feeds)[0]}


def measure(chain, sides, config, tokens, turns, seconds):
    generator = np.random.default_rng(tokens)
    draw = lambda: {"x": generator.standard_normal((tokens, chain.d), dtype=np.float32)}
    shared, experts, active, width = chain.partition(config)
    row = {"shape": f"{'gated' if chain.gated else 'plain'}:{chain.d}x{chain.m}", "layers": chain.layers, "config": config, "tokens": tokens}
    # What is timed is right: a few tokens against float64, and the loads of these.
    feeds = draw()
    few = {"x": feeds["x"][:2]}
    for side, wanted in (("dense", None), ("experts", config)):
        exact, _ = chain.run(few["x"], wanted, np.float64)
        got = np.asarray(sides[side].run(few)["y"], np.float64)
        error = float(np.abs(got - exact).max() / np.abs(exact).max())
        if not error < LIMIT:
            raise SystemExit(f"{side}, {row}: {error:.2g} from float64: no time of this would count")
        row[f"{side}_error"] = error
    _, loads = chain.run(feeds["x"], config, np.float32)
    row["loads"] = {"least": int(loads.min()), "median": float(np.median(loads)), "most": int(loads.max()), "empty_share": float((loads == 0).mean())}
    times, ratios, begin = {side: [] for side in sides}, [], time.perf_counter()
    for turn in range(-2, turns):
        feeds = draw()
        taken = {}
        for side, model in sides.items():
            start = time.perf_counter()
            model.run(feeds)
            taken[side] = time.perf_counter() - start
        if turn < 0:
            continue
        for side in sides:
            times[side].append(taken[side])
        ratios.append(taken["dense"] / taken["experts"])
        if time.perf_counter() - begin > seconds and len(ratios) >= 5:
            break
    for side in sides:
        row[side] = {"median_seconds": statistics.median(times[side]), "min_seconds": min(times[side]), "spread": spread(times[side])}
    quartiles = statistics.quantiles(ratios, n=4)
    router = experts * (2 if chain.gated else 1) * chain.d
    ideal = len(chain.names) * chain.d * chain.m / (len(chain.names) * chain.d * (shared + active * width) + router)
    row |= {"turns": len(ratios), "ratio": statistics.median(ratios), "ratio_quartiles": [quartiles[0], quartiles[2]], "ideal": ideal,
            "above_ideal": statistics.median(ratios) > ideal}
    if "onnxruntime" in sides:
        row["dense_against_onnxruntime"] = statistics.median(o / d for o, d in zip(times["onnxruntime"], times["dense"]))
    return row


def show(row):
    peer = f"  dense {row['dense_against_onnxruntime']:.2f}x ONNX Runtime" if "dense_against_onnxruntime" in row else ""
    print(f"{row['shape']:16} {row['config']:8} {row['tokens']:5} tokens  dense {1e3 * row['dense']['median_seconds']:8.2f} ms (spread {row['dense']['spread']:4.0%})"
          f"  experts {1e3 * row['experts']['median_seconds']:8.2f} ms (spread {row['experts']['spread']:4.0%})  ratio {row['ratio']:.2f}"
          f" [{row['ratio_quartiles'][0]:.2f}, {row['ratio_quartiles'][1]:.2f}] of {row['ideal']:.2f}{' ABOVE IDEAL' if row['above_ideal'] else ''}"
          f"  loads {row['loads']['least']}/{row['loads']['median']:.0f}/{row['loads']['most']}{peer}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", default="gated:2048x8192,plain:768x3072")
    parser.add_argument("--tokens", default="1,16,256", type=lambda text: [int(n) for n in text.split(",")])
    parser.add_argument("--configs", default="S2A2E16", type=lambda text: text.split(","))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--turns", type=int, default=15)
    parser.add_argument("--seconds", type=float, default=20.0, help="of a row, after which 5 turns are enough")
    parser.add_argument("--bytes", type=int, default=1 << 30, help="of the dense weights of a model, at least")
    parser.add_argument("--onnxruntime", action="store_true", help="the dense model in ONNX Runtime, too")
    parser.add_argument("--keep", type=pathlib.Path, help="folder of models; those that are there are used again")
    parser.add_argument("--prepare", action="store_true", help="make the models of --keep and measure nothing")
    parser.add_argument("--json", type=pathlib.Path, help="rows are added to those of the file")
    arguments = parser.parse_args()
    if any(os.environ.get(name) != value for name, value in MALLOC.items()):
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | MALLOC)
    if list((BUILD / "python" / "ffn_mlir").glob("_ffn_mlir*.so")):
        sys.path.insert(0, str(BUILD / "python"))
    import ffn_mlir

    rows = json.loads(arguments.json.read_text()) if arguments.json and arguments.json.exists() else []
    with tempfile.TemporaryDirectory() as scratch:
        for shape in arguments.shapes.split(","):
            kind, d, m = re.fullmatch(r"(gated|plain):(\d+)x(\d+)", shape).groups()
            folder = (arguments.keep or pathlib.Path(scratch)) / shape.replace(":", "-")
            folder.mkdir(parents=True, exist_ok=True)
            chain = Chain(folder, kind == "gated", int(d), int(m), arguments.bytes)
            library = lambda name, config=None: folder / f"{name}.so" if (folder / f"{name}.so").exists() else chain.compile(name, config)
            for config in arguments.configs:
                paths = {"dense": library("dense"), "experts": library(config, config)}
                if arguments.prepare:
                    continue
                sides = {side: ffn_mlir.load(path, threads=arguments.threads) for side, path in paths.items()}
                if arguments.onnxruntime:
                    sides["onnxruntime"] = OnnxRuntime(chain, arguments.threads)
                for tokens in arguments.tokens:
                    row = measure(chain, sides, config, tokens, arguments.turns, arguments.seconds) | {"threads": arguments.threads}
                    show(row)
                    rows.append(row)
                    if arguments.json:
                        arguments.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
