#!/usr/bin/env python3
"""Times compiled models against ONNX Runtime, f32, in prefill and decode.

    bench_forward.py [--models pycode-lm,gpt2-small] [--threads 0,1] [--json FILE]

Two child processes hold one model each, ours and ONNX Runtime's with its
default options, and take turns over pipes. A turn begins when the other process
has stopped using the CPU, has one run that is not counted, then --runs that
are; the first round is not counted either. Then the same turns are taken back
to back, without the wait: there threads that still spin after a run of one side
slow the other down (see README.md). Reported: the median time of a run, the
distance of the quartiles as a part of it (spread), and ratio = time of ONNX
Runtime / our time, above 1 where we are faster, as the median over rounds.
--threads 0 leaves the number to each side.

pycode-lm is the bundled graph with keys and values. gpt2-small has the shape of
GPT-2 small (12 layers, d 768, 12 heads, FFN 3072, vocabulary 50257) and random
weights, made here: good for speed and nothing else.
"""
import argparse
import json
import multiprocessing
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
WIDTH, HEADS, LAYERS, HIDDEN, VOCABULARY, CONTEXT = 768, 12, 12, 3072, 50257, 1024
# A process is idle after this many looks, so many seconds apart, at which it had used less than 1 % of a CPU.
SETTLE_LOOKS, SETTLE_STEP, SETTLE_LIMIT = 3, 0.02, 3


def write_gpt2(path, layers):
    """A graph of GPT-2's form with past and present, opset 17."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    generator = np.random.default_rng(0)
    nodes, initializers = [], []

    def weight(name, *shape):
        values = generator.standard_normal(shape, dtype=np.float32) * np.float32(0.02)
        initializers.append(numpy_helper.from_array(values, name))
        return name

    def constant(name, value, dtype=np.int64):
        initializers.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def node(operator, *inputs, **attributes):
        output = f"{operator.lower()}_{len(nodes)}"
        nodes.append(helper.make_node(operator, list(inputs), [output], **attributes))
        return output

    def norm(x, name):
        initializers.append(numpy_helper.from_array(np.ones(WIDTH, np.float32), f"{name}.weight"))
        return node("LayerNormalization", x, f"{name}.weight", weight(f"{name}.bias", WIDTH), axis=-1)

    def linear(x, name, rows, columns):
        return node("Add", node("MatMul", x, weight(f"{name}.weight", rows, columns)), weight(f"{name}.bias", columns))

    head = WIDTH // HEADS
    zero, one, two, three = (constant(f"i{i}", [i]) for i in range(4))
    split = constant("split", [0, 0, HEADS, head])
    merge = constant("merge", [0, 0, WIDTH])
    thirds = constant("thirds", [WIDTH] * 3)
    scale, least = constant("scale", head**-0.5, np.float32), constant("least", -1e9, np.float32)
    half, unit, root, cubic = (constant(n, v, np.float32) for n, v in
                               (("half", 0.5), ("unit", 1), ("root", 0.7978845608), ("cubic", 0.044715)))
    length = node("Slice", node("Shape", "input_ids"), one, two)
    past = node("Slice", node("Shape", "past_key_values.0.key"), two, three)
    total = node("Add", length, past)
    scalar = constant("scalar", np.zeros(0, np.int64))
    positions = node("Range", node("Reshape", past, scalar), node("Reshape", total, scalar), constant("step", 1))
    keys = node("Range", constant("start", 0), node("Reshape", total, scalar), "step")
    later = node("Greater", node("Unsqueeze", keys, zero), node("Unsqueeze", positions, one))
    embedding = weight("wte", VOCABULARY, WIDTH)
    x = node("Add", node("Gather", embedding, "input_ids"), node("Gather", weight("wpe", CONTEXT, WIDTH), positions))
    outputs = []
    for i in range(layers):
        qkv = node("Split", linear(norm(x, f"h.{i}.ln_1"), f"h.{i}.attn", WIDTH, 3 * WIDTH), thirds, axis=2)
        nodes[-1].output.extend([f"{qkv}_k", f"{qkv}_v"])
        heads = [node("Transpose", node("Reshape", part, split), perm=[0, 2, 1, 3]) for part in (qkv, f"{qkv}_k", f"{qkv}_v")]
        for part, kind in ((1, "key"), (2, "value")):
            nodes.append(helper.make_node("Concat", [f"past_key_values.{i}.{kind}", heads[part]], [f"present.{i}.{kind}"], axis=2))
            outputs.append(f"present.{i}.{kind}")
        scores = node("Mul", node("MatMul", heads[0], node("Transpose", f"present.{i}.key", perm=[0, 1, 3, 2])), scale)
        weights = node("Softmax", node("Where", later, least, scores), axis=-1)
        mixed = node("Reshape", node("Transpose", node("MatMul", weights, f"present.{i}.value"), perm=[0, 2, 1, 3]), merge)
        x = node("Add", x, linear(mixed, f"h.{i}.proj", WIDTH, WIDTH))
        h = linear(norm(x, f"h.{i}.ln_2"), f"h.{i}.fc", WIDTH, HIDDEN)
        inner = node("Mul", node("Add", h, node("Mul", node("Mul", node("Mul", h, h), h), cubic)), root)
        h = node("Mul", node("Mul", h, half), node("Add", node("Tanh", inner), unit))
        x = node("Add", x, linear(h, f"h.{i}.out", HIDDEN, WIDTH))
    nodes.append(helper.make_node("MatMul", [norm(x, "ln_f"), node("Transpose", embedding, perm=[1, 0])], ["logits"]))
    info = helper.make_tensor_value_info
    cache = lambda name, n: info(name, TensorProto.FLOAT, ["batch", HEADS, n, head])
    graph = helper.make_graph(
        nodes, "gpt2_shape",
        [info("input_ids", TensorProto.INT64, ["batch", "sequence"])]
        + [cache(f"past_key_values.{i}.{kind}", "past") for i in range(layers) for kind in ("key", "value")],
        [info("logits", TensorProto.FLOAT, ["batch", "sequence", VOCABULARY])] + [cache(name, "past + sequence") for name in outputs],
        initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path, save_as_external_data=True, location=path.name + ".data")


class Ours:
    def __init__(self, library, threads):
        if list((BUILD / "python" / "ffn_mlir").glob("_ffn_mlir*.so")):
            sys.path.insert(0, str(BUILD / "python"))
        import ffn_mlir

        self.model = ffn_mlir.load(library, threads=threads)

    def run(self, inputs):
        return self.model.run(inputs)["logits"]


class Theirs:
    def __init__(self, model, threads):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self.session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])

    def run(self, inputs):
        return self.session.run(None, inputs)[0]


def worker(connection, kind, path, threads):
    engine = kind(path, threads)
    connection.send("ready")
    inputs = None
    while (request := connection.recv()) is not None:
        if isinstance(request, dict):
            inputs = request
            connection.send(engine.run(inputs))
            continue
        warmups, runs = request
        for _ in range(warmups):
            engine.run(inputs)
        times = []
        for _ in range(runs):
            begin = time.perf_counter()
            engine.run(inputs)
            times.append(time.perf_counter() - begin)
        connection.send(times)


class Side:
    """A child process that runs one engine."""

    def __init__(self, context, kind, path, threads):
        self.connection, other = context.Pipe()
        self.process = context.Process(target=worker, args=(other, kind, str(path), threads), daemon=True)
        self.process.start()
        other.close()
        self.connection.recv()

    def ask(self, request):
        self.connection.send(request)
        return self.connection.recv()

    def cpu_seconds(self):
        tasks = pathlib.Path(f"/proc/{self.process.pid}/task").glob("*/schedstat")
        return sum(int(task.read_text().split()[0]) for task in tasks) * 1e-9

    def settle(self):
        """Waits until the process has left the CPU alone; the seconds that took."""
        begin, used, quiet = time.perf_counter(), self.cpu_seconds(), 0
        while quiet < SETTLE_LOOKS and time.perf_counter() - begin < SETTLE_LIMIT:
            time.sleep(SETTLE_STEP)
            now = self.cpu_seconds()
            quiet = quiet + 1 if now - used < 0.01 * SETTLE_STEP else 0
            used = now
        return time.perf_counter() - begin

    def close(self):
        self.connection.send(None)
        self.process.join()


def spread(times):
    quartiles = statistics.quantiles(times, n=4)
    return (quartiles[2] - quartiles[0]) / statistics.median(times)


def take_turns(sides, rounds, runs, settled):
    times, ratios, pauses = ([], []), [], []
    for number in range(rounds + 1):
        medians = []
        for at, side in enumerate(sides):
            if settled:
                pauses.append(sides[1 - at].settle())
            measured = side.ask((1 if settled else 0, runs))
            medians.append(statistics.median(measured))
            if number:
                times[at].extend(measured)
        if number:
            ratios.append(medians[1] / medians[0])
    names = ("ours", "onnxruntime")
    result = {name: {"median_seconds": statistics.median(t), "min_seconds": min(t), "spread": spread(t)} for name, t in zip(names, times)}
    result |= {"ratio": statistics.median(ratios), "ratio_min": min(ratios), "ratio_max": max(ratios)}
    return result | ({"longest_pause": max(pauses)} if settled else {})


def measure(sides, inputs, rounds, runs):
    """Alternates; the outputs of both must agree."""
    logits = [side.ask(inputs) for side in sides]
    error = float(np.abs(logits[0] - logits[1]).max() / np.abs(logits[1]).max())
    if not error < 1e-3:
        raise SystemExit(f"the outputs differ by {error:.3g}: these times would say nothing")
    found = take_turns(sides, rounds, runs, settled=True)
    return {**found, "back_to_back": take_turns(sides, rounds, runs, settled=False), "difference": error}


def inputs_for(layers, kv_heads, head, vocabulary, length, past):
    generator = np.random.default_rng(length + past)
    inputs = {"input_ids": generator.integers(0, vocabulary, (1, length))}
    for i in range(layers):
        for kind in ("key", "value"):
            inputs[f"past_key_values.{i}.{kind}"] = generator.standard_normal((1, kv_heads, past, head)).astype(np.float32)
    return inputs


def bench(name, model, form, arguments, folder):
    library = folder / f"{name}.so"
    begin = time.perf_counter()
    subprocess.run([str(BUILD / "bin" / "ffnc"), "compile", str(model), "-o", str(library)], check=True)
    print(f"{name}: compiled in {time.perf_counter() - begin:.1f} s", file=sys.stderr)
    context = multiprocessing.get_context("spawn")
    results = []
    for threads in arguments.threads:
        sides = [Side(context, Ours, library, threads), Side(context, Theirs, model, threads)]
        for what, length, past in (("prefill", arguments.prompt, 0), ("decode", 1, arguments.prompt)):
            runs = arguments.runs if what == "prefill" else 4 * arguments.runs
            found = measure(sides, inputs_for(*form, length, past), arguments.rounds, runs)
            results.append({"model": name, "threads": threads, "what": what, "tokens": length, "past": past, **found})
            ours, theirs = found["ours"], found["onnxruntime"]
            print(f"{name:11} {threads or 'all'!s:>3} threads {what:8} ours {1e3 * ours['median_seconds']:8.3f} ms (spread {ours['spread']:.0%})  "
                  f"onnxruntime {1e3 * theirs['median_seconds']:8.3f} ms (spread {theirs['spread']:.0%})  ratio {found['ratio']:.2f}  "
                  f"back to back {found['back_to_back']['ratio']:.2f}", flush=True)
        for side in sides:
            side.close()
    return results


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="pycode-lm,gpt2-small")
    parser.add_argument("--layers", type=int, default=LAYERS, help="of gpt2-small, for a quick look")
    parser.add_argument("--prompt", type=int, default=128, help="tokens read in prefill, and past in decode")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--runs", type=int, default=5, help="of each side in a round; decode takes four times as many")
    parser.add_argument("--threads", type=lambda text: [int(n) for n in text.split(",")], default=[0, 1], help="numbers of threads, 0: each side's default")
    parser.add_argument("--json", type=pathlib.Path)
    arguments = parser.parse_args()
    results = []
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        for model in arguments.models.split(","):
            if model == "pycode-lm":
                results += bench(model, ROOT / "examples" / "pycode-lm" / "pycode-lm-kv.onnx", (8, 4, 32, 256), arguments, folder)
            elif model == "gpt2-small":
                write_gpt2(folder / "gpt2.onnx", arguments.layers)
                results += bench(model, folder / "gpt2.onnx", (arguments.layers, HEADS, WIDTH // HEADS, VOCABULARY), arguments, folder)
            else:
                parser.error(f"no model {model}")
    if arguments.json:
        cpu = next((line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "")
        arguments.json.write_text(json.dumps({"cpu": cpu, "cpus": len(os.sched_getaffinity(0)), "results": results}, indent=2) + "\n")


if __name__ == "__main__":
    main()
