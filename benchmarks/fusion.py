#!/usr/bin/env python3
"""FFN Fusion on trained models, and its time: docs/results/fusion.*

    fusion.py quality [--models NAMES]   # held-out data; kept in build/fusion
    fusion.py time [--only trained|large] # run it on an idle machine
    fusion.py report

`quality` removes attentions by FinerCut until a run of five networks stands in a
row, then fuses every window of 2, 3 and 4 networks of each run, and measures the
compiled models on held-out text. `time` takes turns between a fused and an
unfused library, call by call. `report` writes the page and its pictures from
what both left.
"""
import argparse
import itertools
import json
import pathlib
import statistics
import tempfile
import time

import numpy as np

import depth
import ffn_mlir

ROOT = pathlib.Path(__file__).resolve().parent.parent
WORK, OUT = ROOT / "build" / "fusion", ROOT / "docs" / "results"
LENGTHS, TOKENS = (2, 3, 4), (1, 16, 128)
MODELS = ("pycode-lm", "babyllama105")
WIDTH, HIDDEN, NETWORKS = 2048, 8192, 3


def pipeline(*passes):
    return f"builtin.module({','.join(['ffn-raise{remarks=false}', *passes])})"


def raised(path, *passes):
    module = ffn_mlir.load_onnx(path)
    ffn_mlir.PassManager.parse(pipeline(*passes)).run(module)
    return module


def nll(library, samples):
    """Mean over the next tokens of all samples, in nats."""
    model = ffn_mlir.load(library)
    total = count = 0
    for sample in samples:
        ids = sample["input_ids"]
        logits = model.run(sample)["logits"][0].astype(np.float64)[:-1]
        logits -= logits.max(-1, keepdims=True)
        total += (np.log(np.exp(logits).sum(-1)) - logits[np.arange(len(logits)), ids[0, 1:]]).sum()
        count += len(logits)
    return total / count


def runs_of(sublayers, removed):
    """Names of networks with no attention between them."""
    runs, current = [], []
    for sublayer in sublayers:
        if sublayer.names[0] in removed:
            continue
        if sublayer.kinds[0] == "ffn":
            current.append(sublayer.names[0])
            continue
        runs.append(current)
        current = []
    return [run for run in [*runs, current] if run]


def quality(name):
    case = depth.MODELS[name]()
    evaluator = ffn_mlir.Evaluator(case["path"], case["calibration"])
    attentions = sum(s.kinds[0] == "attention" for s in evaluator.sublayers)
    order = evaluator.search("finercut", count=attentions, kinds=("attention",), protect=0).order
    for count in range(1, attentions + 1):
        runs = runs_of(evaluator.sublayers, order[:count])
        if max(map(len, runs)) > max(LENGTHS):
            break
    removed = list(order[:count])
    prune = f"ffn-prune-sublayers{{only={','.join(removed)}}}"
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        np.savez(folder / "calibration.npz", input_ids=np.concatenate([s["input_ids"] for s in case["calibration"]]))
        matrix = folder / "matrix.json"
        measure = f"ffn-parallelize{{max-distance=0 matrix={matrix} calib={folder / 'calibration.npz'} samples={depth.SAMPLES}}}"
        raised(case["path"], measure)
        result = {"model": name, "about": case["about"], "removed": removed, "runs": runs, "matrix": json.loads(matrix.read_text())}
        raised(case["path"], prune, measure)
        result["pruned_matrix"] = json.loads(matrix.read_text())

        def measured(*passes):
            return nll(ffn_mlir.compile(ffn_mlir.load_onnx(case["path"]), str(folder / "model.so"), pipeline=pipeline(*passes)), case["held_out"])

        result["original"], result["unfused"] = measured(), measured(prune)
        names, distance = result["pruned_matrix"]["names"], result["pruned_matrix"]["distance"]
        result["windows"] = []
        for run, length in itertools.product(runs, LENGTHS):
            for at in range(len(run) - length + 1):
                window = run[at : at + length]
                places = [names.index(entry) for entry in window]
                largest = max(distance[i][j] for i, j in itertools.combinations(places, 2))
                fuse = f"ffn-parallelize{{keep-last=false only={','.join(window)}}}"
                result["windows"].append({"networks": window, "length": length, "last": at + length == len(run), "distance": largest, "nll": measured(prune, fuse)})
                depth.note(f"{name}: {result['windows'][-1]}")
    return result


def large_model(folder):
    """Gated networks in a row, with random weights."""
    import onnx
    from onnx import TensorProto, helper

    random, data, offset, initializers, nodes = np.random.default_rng(0), folder / "large.bin", 0, [], []

    def weight(name, shape):
        nonlocal offset
        tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=shape, data_location=TensorProto.EXTERNAL)
        values = random.standard_normal(shape, np.float32) * np.float32(shape[0] ** -0.5) if len(shape) == 2 else random.uniform(0.5, 1.5, shape).astype(np.float32)
        with open(data, "ab") as file:
            file.write(values.tobytes())
        for key, value in (("location", data.name), ("offset", str(offset)), ("length", str(values.nbytes))):
            tensor.external_data.add(key=key, value=value)
        offset += values.nbytes
        initializers.append(tensor)

    hidden = "x"
    for i in range(NETWORKS):
        for key, shape in (("n", [WIDTH]), ("g", [WIDTH, HIDDEN]), ("u", [WIDTH, HIDDEN]), ("d", [HIDDEN, WIDTH])):
            weight(f"{key}{i}", shape)
        nodes += [helper.make_node("RMSNormalization", [hidden, f"n{i}"], [f"z{i}"], axis=-1, epsilon=1e-5)]
        steps = (("MatMul", f"z{i} g{i}", "p"), ("MatMul", f"z{i} u{i}", "q"), ("Sigmoid", f"p{i}", "s"), ("Mul", f"p{i} s{i}", "a"),
                 ("Mul", f"a{i} q{i}", "h"), ("MatMul", f"h{i} d{i}", "f"), ("Add", f"{hidden} f{i}", "x"))
        for op, inputs, output in steps:
            nodes.append(helper.make_node(op, inputs.split(), [f"{output}{i}"]))
        hidden = f"x{i}"
    value = lambda name: helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", WIDTH])
    graph = helper.make_graph(nodes, "large", [value("x")], [value(hidden)], initializers)
    path = folder / "large.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=10), path)
    return path


def libraries(which):
    """(label, file of the unfused library, of the fused one, how to make inputs)."""
    WORK.mkdir(parents=True, exist_ok=True)
    if which == "large":
        files = [WORK / "large-apart.so", WORK / "large-fused.so"]
        if not all(file.exists() for file in files):
            path = large_model(WORK)
            ffn_mlir.compile(path, str(files[0]), pipeline=pipeline("ffn-fold-norm"))
            ffn_mlir.compile(path, str(files[1]), pipeline=pipeline("ffn-fusion{keep-last=false}"))
        draw = np.random.default_rng(1)
        return [(f"{NETWORKS} gated networks {WIDTH}/{HIDDEN}, random weights", *files, lambda n: {"x": draw.standard_normal((n, WIDTH)).astype(np.float32)})]
    found = []
    for name in MODELS:
        done = json.loads((WORK / f"{name}.json").read_text())
        best = choose(done, 3, True)
        prune = f"ffn-prune-sublayers{{only={','.join(done['removed'])}}}"
        fuse = f"ffn-fusion{{round keep-last=false only={','.join(best['networks'])}}}"
        files = [WORK / f"{name}-apart.so", WORK / f"{name}-fused.so"]
        path = depth.MODELS[name]()["path"]
        ffn_mlir.compile(path, str(files[0]), pipeline=pipeline(prune, "ffn-fold-norm{round}"))
        ffn_mlir.compile(path, str(files[1]), pipeline=pipeline(prune, fuse))
        found.append((f"{name}, 3 networks fused", *files, lambda n: {"input_ids": np.random.default_rng(2).integers(3, 100, (1, n))}))
    return found


def choose(done, length, rule):
    """The window of least distance; with the rule the last of a run stays out."""
    return min((w for w in done["windows"] if w["length"] == length and not (rule and w["last"])), key=lambda w: w["distance"])


def measure_time(which, threads):
    results = []
    for label, apart, fused, inputs in libraries(which):
        models = [ffn_mlir.load(str(file), threads=threads) for file in (apart, fused)]
        for tokens in TOKENS:
            feed, spent = inputs(tokens), ([], [])
            for model in models * 3:
                model.run(feed)
            begin, turn = time.perf_counter(), 0
            while turn < 15 or (time.perf_counter() - begin < 3 and turn < 200):
                for side in (0, 1) if turn % 2 else (1, 0):
                    start = time.perf_counter()
                    models[side].run(feed)
                    spent[side].append(time.perf_counter() - start)
                turn += 1
            medians = [statistics.median(times) for times in spent]
            ratios = sorted(a / b for a, b in zip(*spent))
            results.append({
                "case": label, "tokens": tokens, "threads": threads, "apart": medians[0], "fused": medians[1], "turns": turn,
                "ratio": statistics.median(ratios), "quartiles": [ratios[len(ratios) // 4], ratios[3 * len(ratios) // 4]],
            })
            print(results[-1], flush=True)
    return results


def heat_map(matrix, title):
    """The upper triangle; the darker, the more the later depends on the earlier."""
    names, cell, left, top = matrix["names"], 22, 200, 190
    size = len(names) * cell
    known = [v for row in matrix["distance"] for v in row if v is not None]
    most = max(known)
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + size + 20}" height="{top + size + 50}" font-family="sans-serif" font-size="11">',
             f'<rect width="100%" height="100%" fill="#fff"/><text x="10" y="18" font-size="14">{title}</text>']
    short = [name.removeprefix("model.").removeprefix("/") for name in names]
    for i, row in enumerate(matrix["distance"]):
        parts.append(f'<text x="{left - 6}" y="{top + i * cell + 15}" text-anchor="end">{short[i]}</text>')
        parts.append(f'<text transform="translate({left + i * cell + 15},{top - 6}) rotate(-90)">{short[i]}</text>')
        for j, value in enumerate(row):
            if value is None:
                continue
            shade = int(245 - 215 * (value / most) ** 0.5)
            parts.append(f'<rect x="{left + j * cell}" y="{top + i * cell}" width="{cell - 1}" height="{cell - 1}" fill="rgb({shade},{shade},250)">'
                         f"<title>{short[j]} without {short[i]}: {value:.4f}</title></rect>")
    parts.append(f'<text x="10" y="{top + size + 30}">row: left out; column: how far its contribution turns, '
                 f"1 - cos from {min(known):.4f} (light) to {most:.3f} (dark)</text></svg>")
    return "".join(parts) + "\n"


def median_of(values):
    return f"{statistics.median(values):+.4f} of {len(values)}" if values else "-"


def summary():
    """How often the chosen window is no worse than the median window, and what the last network of a run costs."""
    chosen = rule = cases = 0
    for name in MODELS:
        done = json.loads((WORK / f"{name}.json").read_text())
        for length in LENGTHS:
            windows = [w for w in done["windows"] if w["length"] == length]
            last = [w["nll"] for w in windows if w["last"]]
            before = [w["nll"] for w in windows if not w["last"]]
            cases += 1
            chosen += choose(done, length, True)["nll"] <= statistics.median(w["nll"] for w in windows)
            rule += statistics.median(before) <= statistics.median(last)
    return (f" The window of least distance is no worse than the median window in {chosen} of {cases} cases; "
            f"windows that stop before the last of their run are better than the one that takes it in, in {rule} of {cases}.")


def report():
    lines = [HEAD]
    for name in MODELS:
        done = json.loads((WORK / f"{name}.json").read_text())
        (OUT / f"fusion-{name}.svg").write_text(heat_map(done["matrix"], f"{name}: dependency of sublayers"))
        lines.append(f"\n## {name}\n\n{done['about'][0].upper() + done['about'][1:]}. Removed by FinerCut: "
                     f"{', '.join(done['removed'])}. Runs of networks: {', '.join(str(len(run)) for run in done['runs'])}.\n")
        lines.append(f"NLL in nats a token: original {done['original']:.4f}, without these attentions {done['unfused']:.4f}. More by fusing:\n")
        lines.append("| networks fused | least distance, last of run stays out | least distance, last may be in | all windows: median, range "
                     "| windows that stop before the last: median | that take it in: median |\n| --- | --- | --- | --- | --- | --- |")
        for length in LENGTHS:
            windows = [w for w in done["windows"] if w["length"] == length]
            more = lambda w: w["nll"] - done["unfused"]
            every = sorted(map(more, windows))
            chosen = [f"{more(choose(done, length, rule)):+.4f}" for rule in (True, False)]
            lines.append(f"| {length} | {' | '.join(chosen)} | {statistics.median(every):+.4f}, {every[0]:+.4f} to {every[-1]:+.4f} "
                         f"| {median_of([more(w) for w in windows if not w['last']])} | {median_of([more(w) for w in windows if w['last']])} |")
        lines.append(f"\n![dependency of the sublayers of {name}](fusion-{name}.svg)")
    lines[0] += summary()
    lines.append("\n## Time\n\nOne network of three reads the same weights as three in a row, so on one device only the start of kernels and "
                 "their tails can be saved; the published gain comes from fewer exchanges between devices.\n\n| | threads | tokens | apart, ms | fused, ms | apart / fused, median of turns | quartiles | turns |\n"
                 "| --- | --- | --- | --- | --- | --- | --- | --- |")
    for file in sorted(WORK.glob("time-*.json")):
        for row in json.loads(file.read_text()):
            lines.append(f"| {row['case']} | {row['threads']} | {row['tokens']} | {row['apart'] * 1e3:.3g} | {row['fused'] * 1e3:.3g} "
                         f"| {row['ratio']:.3f} | {row['quartiles'][0]:.3f}, {row['quartiles'][1]:.3f} | {row['turns']} |")
    (OUT / "fusion.md").write_text("\n".join(lines) + "\n")
    found = {
        "quality": [json.loads((WORK / f"{name}.json").read_text()) for name in MODELS],
        "time": [row for file in sorted(WORK.glob("time-*.json")) for row in json.loads(file.read_text())],
    }
    (OUT / "fusion.json").write_text(json.dumps(found, indent=1) + "\n")


HEAD = """# FFN Fusion

`ffn-fusion` lets networks in a row read one input and makes one wide network of
them. Written by `benchmarks/fusion.py`; all figures are in
[fusion.json](fusion.json). Attentions are removed until five networks stand in a
row; distances are those of the calibration data, quality is that of the
compiled models on held-out data. Every window of 2, 3 and 4 networks of every
run was measured, so a random window is the median of its row."""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("quality", "time", "report"))
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--only", choices=("trained", "large"), default="trained")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    WORK.mkdir(parents=True, exist_ok=True)
    if arguments.what == "quality":
        for name in arguments.models.split(","):
            (WORK / f"{name}.json").write_text(json.dumps(quality(name), indent=1))
    elif arguments.what == "time":
        (WORK / f"time-{arguments.only}-{arguments.threads}.json").write_text(json.dumps(measure_time(arguments.only, arguments.threads), indent=1))
    else:
        report()


if __name__ == "__main__":
    main()
