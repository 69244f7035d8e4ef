#!/usr/bin/env python3
"""Times matrix products in every precision against oneDNN and against the machine.

    kernels.py [--shapes 1x4096x4096,128x3072x768] [--precisions f32,int8] [--json FILE]

A row is one product y = x W^T + b, `rows x columns x depth`, on one thread. Ours
is a model of one node, compiled by ffnc, called through the Python package into
memory that is there (--activations=int8 is the default of int8 and int4; `int8/f32`
and `int4/f32` keep the rows in f32). oneDNN is the one inside the pinned PyTorch:
weights reordered once to the layout that it prefers, linear_pointwise for f32 and
bf16, dynamically quantized linear for int8. It has no int4 product; there is no
peer in those rows.

Both take turns of a few calls; reported are medians, the distance of the
quartiles over the median (spread), and ratio = time of oneDNN / our time as the
median over the turns. In the same turns loops of multiply-adds in registers and a
sum over a buffer of the size of our weights say what the core can do: `of peak`
is our share of that rate, of bytes for int8 and int4 rows and of f32 elsewhere,
`of read` our weights' bytes per second over it. Outputs must agree with float64
of the weights as given to within what the precision allows, else there is no row.
"""
import argparse
import ctypes
import importlib.metadata
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
import warnings

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILD = pathlib.Path(os.environ.get("FFN_BUILD_DIR", ROOT / "build" / "release"))
SHAPES = "1x4096x4096,4x4096x4096,8x3072x768,32x3072x768,128x3072x768,512x3072x768,128x768x3072"
# The greatest relative L2 distance from float64, for normal weights and rows.
LIMITS = {"f32": 5e-6, "bf16": 6e-3, "int8": 2e-2, "int8/f32": 1e-2, "int4": 0.15, "int4/f32": 0.15}
# Buffers that come and go would be returned to the system each time, at the cost of page faults.
MALLOC = {"MALLOC_MMAP_THRESHOLD_": str(1 << 30), "MALLOC_TRIM_THRESHOLD_": str(1 << 30)}


def write_model(path, weight, bias):
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    info = lambda name, width: helper.make_tensor_value_info(name, TensorProto.FLOAT, ["rows", width])
    graph = helper.make_graph(
        [helper.make_node("Gemm", ["x", "w", "b"], ["y"], transB=1)], "product",
        [info("x", weight.shape[1])], [info("y", weight.shape[0])],
        [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(bias, "b")])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


class Ours:
    def __init__(self, folder, weight, bias, precision):
        import ffn_mlir

        model, library = folder / "model.onnx", folder / "model.so"
        write_model(model, weight, bias)
        weights, _, rows = precision.partition("/")
        subprocess.run([str(BUILD / "bin" / "ffnc"), "compile", str(model), "-o", str(library), f"--precision={weights}",
                        f"--activations={rows or 'int8'}"], check=True)
        self.model = ffn_mlir.load(library, threads=1)
        self.bytes = self.model.info.weight_bytes

    def prepare(self, x):
        self.inputs = {"x": x}
        self.outputs = {"y": np.empty((len(x), self.model.outputs[0].shape[1]), np.float32)}

    def run(self):
        return self.model.run(self.inputs, out=self.outputs)["y"]


class OneDNN:
    def __init__(self, weight, bias, precision):
        import torch

        torch.set_num_threads(1)
        self.torch, self.precision = torch, precision
        weight, bias = torch.from_numpy(weight), torch.from_numpy(bias)
        if precision == "int8":
            torch.backends.quantized.engine = "onednn"
            scales = weight.abs().amax(1) / 127
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                codes = torch.quantize_per_channel(weight, scales, torch.zeros(len(weight), dtype=torch.int64), 0, torch.qint8)
            self.packed = torch.ops.quantized.linear_prepack(codes, bias)
        else:
            self.type = torch.bfloat16 if precision == "bf16" else torch.float32
            self.weight, self.bias = weight.to(self.type), bias.to(self.type)

    def prepare(self, x):
        self.x = self.torch.from_numpy(x)
        if self.precision != "int8":
            self.x = self.x.to(self.type)
            self.packed = self.torch.ops.mkldnn._reorder_linear_weight(self.weight, len(x))

    def run(self):
        if self.precision == "int8":
            return self.torch.ops.quantized.linear_dynamic(self.x, self.packed, False)
        return self.torch.ops.mkldnn._linear_pointwise(self.x, self.packed, self.bias, "none", [], "")


class Machine:
    def __init__(self, folder):
        library = folder / "peak.so"
        subprocess.run(["clang-22", "-O3", "-march=native", "-shared", "-fPIC", str(ROOT / "benchmarks" / "peak.c"), "-o", str(library)], check=True)
        self.library = ctypes.CDLL(str(library))
        for name in ("peak_f32", "peak_int8", "read_rate"):
            getattr(self.library, name).restype = ctypes.c_double
        self.library.peak_f32.argtypes = self.library.peak_int8.argtypes = [ctypes.c_long]
        self.library.read_rate.argtypes = [ctypes.c_void_p, ctypes.c_int64]

    def peak(self, precision):
        peak = self.library.peak_int8 if precision in ("int8", "int4") else self.library.peak_f32
        return max(peak(200000) for _ in range(3))

    def read(self, buffer):
        return self.library.read_rate(buffer.ctypes.data, buffer.nbytes)


def timed(side, calls):
    side.run()
    times = []
    for _ in range(calls):
        begin = time.perf_counter()
        side.run()
        times.append(time.perf_counter() - begin)
    return times


def spread(times):
    quartiles = statistics.quantiles(times, n=4)
    return (quartiles[2] - quartiles[0]) / statistics.median(times)


def find_peer_problem(precision):
    """Why oneDNN cannot take part, or None."""
    if precision not in ("f32", "bf16", "int8"):
        return "PyTorch has no such product of oneDNN"
    try:
        import torch  # noqa: F401
    except ImportError:
        return "PyTorch is not installed"
    return None


def measure(shape, precision, turns, machine):
    rows, columns, depth = shape
    generator = np.random.default_rng(rows + columns + depth)
    weight = generator.standard_normal((columns, depth), dtype=np.float32) / np.float32(depth**0.5)
    bias = generator.standard_normal(columns, dtype=np.float32)
    x = generator.standard_normal((rows, depth), dtype=np.float32)
    with tempfile.TemporaryDirectory() as name:
        ours = Ours(pathlib.Path(name), weight, bias, precision)
        sides = {"ours": ours}
        problem = find_peer_problem(precision)
        if not problem:
            sides["onednn"] = OneDNN(weight, bias, precision)
        want = x.astype(np.float64) @ weight.T.astype(np.float64) + bias
        result = {"rows": rows, "columns": columns, "depth": depth, "precision": precision, "weight_bytes": ours.bytes}
        for side, engine in sides.items():
            engine.prepare(x)
            got = np.asarray(engine.run().float() if side != "ours" else engine.run(), np.float64)
            error = float(np.linalg.norm(got - want) / np.linalg.norm(want))
            if not error < LIMITS[precision]:
                raise SystemExit(f"{side}, {precision}, {shape}: {error:.2g} from float64: no time of this would count")
            result[f"{side}_error"] = error
        buffer = np.ones(max(1, ours.bytes), np.uint8)
        times, ratios, peaks, reads = {side: [] for side in sides}, [], [], []
        calls = max(3, min(50, int(0.01 / timed(ours, 1)[0])))
        for _ in range(turns):
            medians = {}
            for side, engine in sides.items():
                measured = timed(engine, calls)
                times[side] += measured
                medians[side] = statistics.median(measured)
            if "onednn" in sides:
                ratios.append(medians["onednn"] / medians["ours"])
            peaks.append(machine.peak(precision))
            # The first one finds what the other side left in the caches.
            reads.append(max(machine.read(buffer) for _ in range(4)))
    for side in sides:
        result[side] = {"median_seconds": statistics.median(times[side]), "min_seconds": min(times[side]), "spread": spread(times[side])}
    ours = result["ours"]["median_seconds"]
    if ratios:
        result |= {"ratio": statistics.median(ratios), "ratio_min": min(ratios), "ratio_max": max(ratios)}
    else:
        result["onednn"] = f"not measured: {problem}"
    peak = statistics.median(peaks)
    result |= {"gflops": 2e-9 * rows * columns * depth / ours, "peak_gflops": 2e-9 * peak, "read_gb_per_second": 1e-9 * statistics.median(reads)}
    result["of_peak"] = rows * columns * depth / ours / peak if peak else None
    result["of_read"] = result["weight_bytes"] / ours / statistics.median(reads)
    return result


def show(row):
    peer = f"oneDNN {1e6 * row['onednn']['median_seconds']:9.1f} us  ratio {row['ratio']:5.2f}" if "ratio" in row else f"{'no peer':>16}{'':14}"
    share = f"{row['of_peak']:6.1%}" if row["of_peak"] else "     -"
    shape = f"{row['rows']} x {row['columns']} x {row['depth']}"
    print(f"{row['precision']:8} {shape:18} ours {1e6 * row['ours']['median_seconds']:9.1f} us (spread {row['ours']['spread']:4.0%})  {peer}  "
          f"{row['gflops']:7.1f} GFLOP/s  of peak {share}  of read {row['of_read']:6.1%}  error {row['ours_error']:.1e}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", default=SHAPES, type=lambda text: [tuple(map(int, shape.split("x"))) for shape in text.split(",")])
    parser.add_argument("--precisions", default=",".join(LIMITS), type=lambda text: text.split(","))
    parser.add_argument("--turns", type=int, default=9)
    parser.add_argument("--json", type=pathlib.Path, help="rows are added to those of the file")
    arguments = parser.parse_args()
    if any(precision not in LIMITS for precision in arguments.precisions):
        parser.error(f"precisions are {', '.join(LIMITS)}")
    if any(os.environ.get(name) != value for name, value in MALLOC.items()):
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | MALLOC)
    if list((BUILD / "python" / "ffn_mlir").glob("_ffn_mlir*.so")):
        sys.path.insert(0, str(BUILD / "python"))
    found = json.loads(arguments.json.read_text()) if arguments.json and arguments.json.exists() else {"results": []}
    with tempfile.TemporaryDirectory() as folder:
        machine = Machine(pathlib.Path(folder))
        for shape in arguments.shapes:
            for precision in arguments.precisions:
                row = measure(shape, precision, arguments.turns, machine)
                show(row)
                same = lambda other: all(other[key] == row[key] for key in ("rows", "columns", "depth", "precision"))
                found["results"] = [other for other in found["results"] if not same(other)] + [row]
                if arguments.json:
                    cpu = next((line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "")
                    found |= {"cpu": cpu, "torch": importlib.metadata.version("torch") if "torch" in sys.modules else None, "turns": arguments.turns}
                    arguments.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
