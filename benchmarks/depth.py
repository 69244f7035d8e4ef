#!/usr/bin/env python3
"""Quality against the number of removed sublayers, for every method: docs/results/depth.*

    depth.py [--models NAMES] [--evopress all|share] [--work DIR] [--out DIR]
    depth.py --time | --check

Models: the bundled one, and, where ../shared/models is there, babyllama105,
stories260K and KWT-1. Every set that a method chooses is measured on held-out
data by the compiled model itself, whose sublayers are left out at run time (the
tests show that this gives the bits of a model without them).

What is measured is kept in --work (build/depth) and not measured again: an
interrupted run goes on where it was. EvoPress searches anew for every number,
which is most of the work: `--evopress share` does so at 25 % alone. `--time`
only times the search and adds the figure to the result; run it on a machine
that does nothing else. `--check` compares page and charts with the JSON.
"""
import argparse
import hashlib
import itertools
import json
import math
import os
import pathlib
import statistics
import sys
import tempfile
import time

import numpy as np

import ffn_mlir
import line_chart

ROOT = pathlib.Path(__file__).resolve().parent.parent
EXAMPLE = ROOT / "examples" / "pycode-lm"
SHARED = ROOT.parent / "shared"
sys.path.insert(0, str(EXAMPLE))
import corpus  # noqa: E402

SAMPLES, LENGTH = 10, 256  # the paper's calibration
HELD_OUT = 16  # windows of the bundled model
SEEDS = 20
SHARE, PROTECT = 0.25, 0.4
FEW_SUBSETS, MOST_SUBSETS = 200, 2000
CHUNK = 64


def note(text):
    print(text, file=sys.stderr, flush=True)


# ---- models and data -------------------------------------------------------


def spread(data, count, length):
    """`count` windows of `length`, spread evenly."""
    return [data[at : at + length] for at in np.linspace(0, len(data) - length, count).astype(int)]


def ids(window):
    return {"input_ids": np.asarray(window, np.int64)[None]}


def python_text(packages):
    texts = [text for files in corpus.split().values() for name, text in files if corpus.top(name) in packages]
    data = np.frombuffer(b"".join(corpus.SEPARATOR + text for text in texts), np.uint8)
    if len(data) < LENGTH:
        raise SystemExit(f"error: the library of this interpreter lacks the source of {', '.join(packages)}")
    return data


def pycode():
    return {
        "path": EXAMPLE / "pycode-lm.onnx",
        "calibration": [ids(w) for w in spread(python_text(("wsgiref",)), SAMPLES, LENGTH)],
        "held_out": [ids(w) for w in spread(python_text(("json", "email", "http")), HELD_OUT, LENGTH)],
        "about": f"calibrated on {SAMPLES} x {LENGTH} bytes of module wsgiref, measured on {HELD_OUT} x {LENGTH} bytes of json, email and http; "
                 "none of them was trained on",
    }


def write_samples(path, bos):
    """Text that the model writes itself, at temperature 1."""
    random = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        model = ffn_mlir.load(ffn_mlir.compile(path, os.path.join(folder, "model.so")))
        tokens = np.full((SAMPLES, 1), bos, np.int64)
        while tokens.shape[1] < LENGTH:
            logits = model.run(tokens)["logits"][:, -1].astype(np.float64)
            weight = np.exp(logits - logits.max(-1, keepdims=True))
            weight /= weight.sum(-1, keepdims=True)
            drawn = np.array([[random.choice(len(row), p=row)] for row in weight])
            tokens = np.concatenate([tokens, drawn], axis=1)
    return [ids(row) for row in tokens]


def story_model(name, tokens):
    path = SHARED / "models" / f"{name}.onnx"
    held_out = []
    for document in json.loads((SHARED / "data" / f"stories_own_dev.{tokens}.json").read_text()):
        # Every window begins as a document does.
        for at in range(1, len(document), LENGTH - 1):
            held_out.append(ids([document[0], *document[at : at + LENGTH - 1]]))
    return {
        "path": path,
        "calibration": write_samples(path, 1),
        "held_out": held_out,
        "about": f"calibrated on {SAMPLES} x {LENGTH} tokens that the model wrote itself at temperature 1, measured on the twelve stories "
                 f"of stories_own_dev.txt ({sum(w['input_ids'].size - 1 for w in held_out):,} tokens)",
    }


def kwt():
    data = np.load(SHARED / "models" / "kwt1" / "kwt1_eval_dev.npz")
    clips, labels = data["mfcc"].astype(np.float32), data["label"]
    sample = lambda i: {"mfcc": clips[i][None]}
    # 99 tokens a clip: as many tokens as ten sequences of 256.
    calibration = range(0, len(clips), 12)
    held_out = [i for i in range(len(clips)) if i % 12]
    return {
        "path": SHARED / "models" / "kwt1" / "kwt1_ln17.onnx",
        "calibration": [sample(i) for i in calibration],
        "held_out": [sample(i) for i in held_out],
        "targets": [[int(labels[i])] for i in held_out],
        "about": f"post-norm; calibrated on {len(calibration)} clips without labels, measured on the other {len(held_out)} (one speaker, "
                 "never seen in training)",
    }


MODELS = {
    "pycode-lm": pycode,
    "babyllama105": lambda: story_model("babyllama105", "tok105"),
    "stories260K": lambda: story_model("stories260K", "tok512"),
    "KWT-1": kwt,
}


def available():
    return [name for name in MODELS if name == "pycode-lm" or (SHARED / "models").is_dir()]


def fingerprint(case):
    """Of model and data: figures of others are not taken for these."""
    digest = hashlib.sha256(case["path"].read_bytes())
    for file in sorted(case["path"].parent.glob(case["path"].stem + "*weights")):
        digest.update(file.read_bytes())
    for sample in case["calibration"] + case["held_out"]:
        for array in sample.values():
            digest.update(array.tobytes())
    digest.update(repr(case.get("targets")).encode())
    return digest.hexdigest()[:16]


# ---- measuring -------------------------------------------------------------


class Store:
    """What is known, written after every step."""

    def __init__(self, path, key):
        self.path = path
        self.data = {"fingerprint": key, "orders": {}, "held_out": {}}
        if path.exists():
            known = json.loads(path.read_text())
            if known["fingerprint"] == key:
                self.data = known

    def save(self):
        self.path.parent.mkdir(parents=True, exist_ok=True)
        part = self.path.with_suffix(".part")
        part.write_text(json.dumps(self.data))
        part.replace(self.path)


def key_of(names):
    return " ".join(sorted(names))


def half_up(value):
    return math.floor(value + 0.5)


def choose(case, store, evopress):
    """For each method the sets at every k where it is defined, {method: {k: [names]}}."""
    orders = store.data["orders"]
    searcher = None

    def order(key, **options):
        nonlocal searcher
        if key not in orders:
            if searcher is None:
                searcher = ffn_mlir.Evaluator(str(case["path"]), case["calibration"])
            note(f"  choosing: {key}")
            try:
                found = searcher.search(**options)
                orders[key] = {"order": found.order, "evaluations": found.evaluations}
            except ffn_mlir.Error as error:
                if error.code != "FFN-P111":
                    raise
                orders[key] = {"order": [], "undefined": str(error)}
            store.save()
        return orders[key]["order"]

    if "sublayers" not in store.data:
        searcher = ffn_mlir.Evaluator(str(case["path"]), case["calibration"])
        store.data["sublayers"] = [[s.names[0], s.kinds[0], s.block] for s in searcher.sublayers if not s.fixed]
        store.save()
    sublayers = store.data["sublayers"]
    n = len(sublayers)
    attentions = sum(kind == "attention" for _, kind, _ in sublayers)
    blocks = [[name for name, _, b in sublayers if b == block] for block in sorted({b for _, _, b in sublayers})]
    nested = lambda names: {k: names[:k] for k in range(1, len(names) + 1) if k < n}
    sets = {
        "finercut": nested(order("finercut", method="finercut", count=n)),
        "finercut, protect=0": nested(order("finercut, protect=0", method="finercut", protect=0, count=n)),
        "block-influence": nested(order("block-influence", method="block-influence", count=n)),
        "2ssp, stage 2": nested(order("2ssp, stage 2", method="2ssp", count=attentions)),
    }
    whole = order("block-influence, whole blocks", method="block-influence", whole_blocks=True, count=n)
    sets["block-influence, whole blocks"] = {
        k: whole[:k] for k in itertools.accumulate(len(b) for b in sorted(blocks, key=lambda b: whole.index(b[0]))) if k < n}
    # What FinerCut without protection runs: every candidate that is left, each round.
    cost = [sum(n - t for t in range(k)) for k in range(n)]
    at = half_up(SHARE * n)
    known = lambda k: evopress == "all" or k == at or f"evopress {k}" in orders
    sets["evopress"] = {
        k: order(f"evopress {k}", method="evopress", count=k, evaluations=4 * cost[k]) for k in range(1, n) if known(k)}
    for seed in range(SEEDS):
        sets[f"random {seed}"] = nested(order(f"random {seed}", method="random", seed=seed, count=n))
    return n, at, sets


def misses(store, k, sets):
    """Whether a FinerCut is no better than ShortGPT or the median of the draws at k."""
    nll = lambda key: store.data["held_out"][key_of(sets[key][k])]["nll"]
    bound = min(nll("block-influence"), statistics.median(nll(f"random {seed}") for seed in range(SEEDS)))
    return max(nll("finercut"), nll("finercut, protect=0")) >= bound


def enumerate_sets(store, n, k, sets):
    """Every set of k sublayers, where they are few, or fewer and a miss asks for them."""
    if math.comb(n, k) <= (MOST_SUBSETS if misses(store, k, sets) else FEW_SUBSETS):
        names = [name for name, _, _ in store.data["sublayers"]]
        sets["all"] = dict(enumerate(itertools.combinations(names, k)))


def measure(case, store, sets):
    """Held-out figures of all sets into the store."""
    known, metrics = store.data["held_out"], ("nll", "error") if "targets" in case else ("nll",)
    wanted = {key_of(names): list(names) for by_k in sets.values() for names in by_k.values()}
    wanted[""] = []
    todo = sorted(key for key in wanted if key not in known)
    if not todo:
        return
    evaluator = ffn_mlir.Evaluator(str(case["path"]), case["held_out"], targets=case.get("targets"))
    for at in range(0, len(todo), CHUNK):
        chunk = todo[at : at + CHUNK]
        found = [evaluator.measure([wanted[key] for key in chunk], metric) for metric in metrics]
        for key, *values in zip(chunk, *found):
            known[key] = dict(zip(metrics, values))
        store.save()
        note(f"  held-out: {min(at + CHUNK, len(todo))} of {len(todo)} sets")


def best_unprotected(store, n, values):
    """Of the sets that FinerCut's protection leaves to choose from, the best."""
    first = math.floor(n * PROTECT / 2) + 1
    closed = {name for name, _, block in store.data["sublayers"] if block < first}
    open_ = [(value, names) for value, names in values if not closed & set(names)]
    return {"subsets": len(open_), "least": open_[0][0], "best": list(open_[0][1])} if open_ else None


def summarize(case, store, n, k, sets):
    known = store.data["held_out"]
    nll = lambda names: known[key_of(names)]["nll"]
    methods = {}
    for method, by_k in sets.items():
        if not method.startswith(("random", "all")):
            methods[method] = {i: {"removed": list(names), **known[key_of(names)]} for i, names in by_k.items()}
    random = {}
    for i in range(1, n):
        values = sorted(nll(sets[f"random {seed}"][i]) for seed in range(SEEDS))
        low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
        random[i] = {"median": middle, "quartiles": [low, high], "least": values[0], "greatest": values[-1]}
    found = {
        "about": case["about"], "sublayers": n, "at": k, "original": known[""],
        "methods": methods, "random": random,
        "searches": {m: {x: v for x, v in o.items() if x != "order"} for m, o in store.data["orders"].items()},
    }
    if "all" in sets:
        values = sorted((nll(names), names) for names in sets["all"].values())
        found["exhaustive"] = {
            "subsets": len(values), "best": list(values[0][1]), "least": values[0][0],
            "median": statistics.median(v for v, _ in values),
            "unprotected": best_unprotected(store, n, values),
            "rank": {m: 1 + sum(v < by_k[k]["nll"] for v, _ in values) for m, by_k in methods.items() if k in by_k},
        }
    return found


def time_search():
    """Seconds of FinerCut to 25 % of the bundled model, after compilation."""
    case = pycode()
    evaluator = ffn_mlir.Evaluator(str(case["path"]), case["calibration"])
    k = half_up(SHARE * len(evaluator.sublayers))
    seconds = {}
    for protect in (0.4, 0.0):
        begin = time.monotonic()
        found = evaluator.search("finercut", count=k, protect=protect)
        seconds[f"protect={protect:g}"] = {"seconds": round(time.monotonic() - begin, 2), "runs of a sample": found.evaluations}
    return {"removed": k, "samples": SAMPLES, "length": LENGTH, "cpus": len(os.sched_getaffinity(0)), "searches": seconds}


# ---- the page --------------------------------------------------------------

SHOWN = (
    ("finercut", "FinerCut", "#1f5fa8"),
    ("finercut, protect=0", "FinerCut, protect=0", "#4aa3df"),
    ("block-influence", "ShortGPT, sublayers", "#d1843f"),
    ("block-influence, whole blocks", "ShortGPT, blocks", "#8a5a2b"),
    ("2ssp, stage 2", "2SSP, stage 2", "#8e5bb5"),
    ("evopress", "EvoPress", "#3f9d55"),
)


def number(value):
    return "" if value is None else f"{value:.3f}" if math.isfinite(value) else "inf"


def section(name, found):
    n, k, methods = found["sublayers"], found["at"], found["methods"]
    value = lambda method, i: methods[method].get(str(i), methods[method].get(i))
    lines = [f"## {name}", "", f"{n} sublayers; {found['about']}.", "",
             f"![held-out loss of {name} against removed sublayers](depth-{name}.svg)", ""]
    lines += [f"At {k} of {n} ({SHARE:.0%}):", ""]
    extra = "exhaustive" in found
    error = "error" in found["original"]
    lines.append("| | nats | " + ("wrong | " if error else "") + (f"rank of {found['exhaustive']['subsets']:,} | " if extra else "") + "removed |")
    lines.append("| --- | --- | " + ("--- | " if error else "") + ("--- | " if extra else "") + "--- |")

    def row(title, nats, wrong="", rank="", removed=""):
        lines.append(f"| {title} | {nats} | " + (f"{wrong} | " if error else "") + (f"{rank} | " if extra else "") + f"{removed} |")

    row("original", number(found["original"]["nll"]), f"{found['original'].get('error', 0):.1%}")
    for key, title, _ in SHOWN:
        entry = value(key, k)
        if entry:
            row(title, number(entry["nll"]), f"{entry.get('error', 0):.1%}",
                found["exhaustive"]["rank"][key] if extra else "", ", ".join(entry["removed"]))
    random = found["random"].get(str(k), found["random"].get(k))
    low, high = random["quartiles"]
    row(f"random, median of {SEEDS} (quartiles)", f"{number(random['median'])} ({number(low)} to {number(high)})")
    if extra:
        best = found["exhaustive"]
        row("best of all sets, by the held-out data itself", number(best["least"]), "", 1, ", ".join(best["best"]))
        if best["unprotected"]:
            inside = best["unprotected"]
            row(f"best of the {inside['subsets']} that protection admits", number(inside["least"]), "", "", ", ".join(inside["best"]))
    lines += ["", f"Nats on held-out data at every number of removed sublayers (original: {number(found['original']['nll'])}):", ""]
    lines.append("| removed | " + " | ".join(title for _, title, _ in SHOWN) + " | random: median (quartiles) |")
    lines.append("| --- " * (len(SHOWN) + 2) + "|")
    for i in range(1, n):
        random = found["random"].get(str(i), found["random"].get(i))
        cells = [number((value(key, i) or {}).get("nll")) for key, _, _ in SHOWN]
        low, high = (number(q) for q in random["quartiles"])
        lines.append(f"| {i} | " + " | ".join(cells) + f" | {number(random['median'])} ({low} to {high}) |")
    return lines + [""]


def verdict(results):
    lines = ["| model | removed | FinerCut | FinerCut, protect=0 | ShortGPT, sublayers | random, median | best of all sets |",
             "| --- | --- | --- | --- | --- | --- | --- |"]
    for name, found in results["models"].items():
        k = found["at"]
        at = lambda by_k: by_k.get(str(k), by_k.get(k))
        cells = [number(at(found["methods"][key])["nll"]) for key in ("finercut", "finercut, protect=0", "block-influence")]
        best = number(found["exhaustive"]["least"]) if "exhaustive" in found else "not enumerated"
        lines.append(f"| {name} | {k} of {found['sublayers']} | " + " | ".join(cells) + f" | {number(at(found['random'])['median'])} | {best} |")
    return lines


def count_wins(results, key):
    over = {"random": 0, "shortgpt": 0}
    for found in results["models"].values():
        k = found["at"]
        at = lambda by_k: by_k.get(str(k), by_k.get(k))
        mine = at(found["methods"][key])["nll"]
        over["random"] += mine < at(found["random"])["median"]
        over["shortgpt"] += mine < at(found["methods"]["block-influence"])["nll"]
    return over


def page(results):
    total = len(results["models"])
    lines = ["# Removing sublayers", "",
             "Attention and feed-forward sublayers left out, chosen by each method of `ffn-prune-sublayers` on calibration data and measured "
             "on held-out data: mean negative log likelihood in nats (of the next token; of the label for KWT-1), less is better. Nothing was "
             "trained afterwards. Written by `benchmarks/depth.py`; [depth.json](depth.json) has every figure and every set.", "",
             f"## At {SHARE:.0%}, rounded half up", "", *verdict(results), ""]
    for key, title, _ in SHOWN[:2]:
        wins = count_wins(results, key)
        lines.append(f"- {title}: better than the median of {SEEDS} random draws in {wins['random']} of {total}, than ShortGPT in {wins['shortgpt']} of {total}.")
    lines += ["", "FinerCut's protection (its published default, 0.4) keeps the first floor(0.2 n) + 1 blocks until floor(0.4 n) + 1 sublayers "
              "are gone: more than half of the blocks of a model of five, so that few candidates are left. `protect=0` opens all of them.", ""]
    if "time" in results:
        timed = results["time"]
        lines += [f"FinerCut to {SHARE:.0%} of pycode-lm ({timed['removed']} sublayers) on {timed['samples']} x {timed['length']} tokens, after "
                  f"compilation, on {timed['cpus']} CPUs ({results['machine']['cpu']}): " +
                  ", ".join(f"{found['seconds']} s with `{name}` ({found['runs of a sample']} runs of a sample, parts counted as whole)"
                            for name, found in timed["searches"].items()) + ".", ""]
    lines += ["## Methods", "",
              "- FinerCut: greedy, Jensen-Shannon distance from the original logits.",
              "- ShortGPT: 1 - cos of the residual before and behind a sublayer, or a block.",
              "- 2SSP, stage 2: greedy over attentions, likelihood of the first calibration sample; where there is a next token.",
              f"- EvoPress: KL distance, four times the evaluations of FinerCut with `protect=0` at the same number, one seed.",
              f"- Random: {SEEDS} seeds.",
              "- FinerCut, ShortGPT and 2SSP choose nested sets; EvoPress searches anew for every number (empty cells: not run, or not defined).", ""]
    for name, found in results["models"].items():
        lines += section(name, found)
    return "\n".join(lines).rstrip() + "\n"


def draw(results):
    """{file name: text} of everything."""
    results = json.loads(json.dumps(results))
    files = {"depth.json": json.dumps(results, indent=1) + "\n", "depth.md": page(results)}
    for name, found in results["models"].items():
        at = lambda by_k: {int(i): v for i, v in by_k.items()}
        start = (0, found["original"]["nll"])
        lines = [(title, color, [start] + [(i, v["nll"]) for i, v in sorted(at(found["methods"][key]).items())])
                 for key, title, color in SHOWN if found["methods"][key]]
        random = at(found["random"])
        lines.append(("random, median", "#888888", [start] + [(i, v["median"]) for i, v in sorted(random.items())]))
        band = ("random, quartiles", "#888888", [(i, *v["quartiles"]) for i, v in sorted(random.items())])
        greatest = max(v["quartiles"][1] for v in random.values())
        files[f"depth-{name}.svg"] = line_chart.draw(
            f"{name}: held-out loss without sublayers", "removed sublayers", "nats", lines, band, cap=greatest)
    return files


def write(out, results):
    out.mkdir(parents=True, exist_ok=True)
    for name, text in draw(results).items():
        part = out / (name + ".part")
        part.write_text(text)
        part.replace(out / name)


def check(out):
    stale = [name for name, text in draw(json.loads((out / "depth.json").read_text())).items() if (out / name).read_text() != text]
    if stale:
        raise SystemExit(f"stale in {out}: {', '.join(stale)}; benchmarks/depth.py writes them")


def machine():
    lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    cpu = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")
    return {"cpu": cpu, "cpus": len(os.sched_getaffinity(0)), "python": sys.version.split()[0]}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", help="names separated by commas; default: all that are there")
    parser.add_argument("--evopress", choices=("all", "share"), default="all", help="at every number, or at 25 %% alone")
    parser.add_argument("--check", action="store_true", help="only compare page and charts with the JSON")
    parser.add_argument("--time", action="store_true", help="only time the search")
    parser.add_argument("--work", type=pathlib.Path, default=ROOT / "build" / "depth", help="what is measured already")
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "docs" / "results")
    arguments = parser.parse_args()
    if arguments.check:
        return check(arguments.out)
    final = arguments.out / "depth.json"
    results = json.loads(final.read_text()) if final.exists() else {"models": {}}
    results["machine"] = machine()
    if arguments.time:
        results["time"] = time_search()
        note(json.dumps(results["time"]))
    else:
        names = arguments.models.split(",") if arguments.models else available()
        for name in names:
            if name not in available():
                raise SystemExit(f"error: no model '{name}', there are {', '.join(available())}")
            note(name)
            case = MODELS[name]()
            store = Store(arguments.work / f"{name}.json", fingerprint(case))
            n, k, sets = choose(case, store, arguments.evopress)
            measure(case, store, sets)
            enumerate_sets(store, n, k, sets)
            measure(case, store, sets)
            results["models"][name] = summarize(case, store, n, k, sets)
        results["models"] = {name: results["models"][name] for name in MODELS if name in results["models"]}
    write(arguments.out, results)


if __name__ == "__main__":
    main()
