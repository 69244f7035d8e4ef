#!/usr/bin/env python3
"""Times compiled transformers on the CPU against the engines that one would use instead.

    cpu.py list                         the rows, and which of them are measured
    cpu.py run [--only REGEX]           measures the rows that are not measured yet
    cpu.py prepare [--only REGEX]       makes the files that they need, and no more
    cpu.py quality                      what fewer bits cost, on trained models
    cpu.py report                       docs/results/cpu.md, .json and .svg from what is measured

Engines other than ffn-mlir come from an environment of their own
(peers/setup.sh makes it). The protocol is in README.md and in protocol.py, which
checks it. Every row is one JSON file under --out: an interrupted run goes on
where it was; a row that other programs disturbed is measured once more, any row
with --again. --run-under puts a command
before the processes that measure, for instance one that keeps a machine quiet.
"""
import argparse
import dataclasses
import hashlib
import json
import os
import pathlib
import re
import shlex
import subprocess
import sys
import tempfile
import time

import numpy as np

import models
import protocol
from models import SPECS, Cell
from protocol import Side, Unavailable, Void

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILD = pathlib.Path(os.environ.get("FFN_BUILD_DIR", ROOT / "build" / "release"))
ROW_SECONDS = 180
PRECISIONS = ("f32", "bf16", "int8", "int4")
# Bits per weight with the scales: ours has one f32 scale per row (int8) or per 128 weights (int4).
OUR_BITS = {"f32": 32, "bf16": 16, "int8": 8, "int4": 4.25}
# How the graph that an engine gets holds its weights.
FORMS = {
    "onnxruntime": {"f32": "f32", "int8": "int8-dynamic", "int4": "int4-nbits"},
    "openvino": {"f32": "f32", "bf16": "f32", "int8": "int8-dq", "int4": "int4-dq"},
}
# Models up to this many weights have their reference from our own interpreter, larger ones from PyTorch in float64.
INTERPRETED_WEIGHTS = 1 << 21


@dataclasses.dataclass(frozen=True)
class Who:
    engine: str
    precision: str
    threads: int = 2

    def __str__(self):
        return f"{self.engine} {self.precision}" + ("" if self.threads == 2 else f" {self.threads}t")


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of the table: `first` against `second`. `goal`: the ratio that is wanted, second's time / first's."""

    section: str
    model: str
    cell: Cell
    first: Who
    second: Who
    goal: float | None = None

    @property
    def id(self):
        return "/".join((self.section, self.model, str(self.cell), f"{self.first} vs {self.second}".replace(" ", "_")))


PREFILL = {
    "bert-base": [(1, 128), (1, 512), (8, 128)],
    "gpt2-small": [(1, 128), (1, 512), (8, 128)],
    "vit-b16": [(1, 197), (8, 197)],
    "llama-1b": [(1, 128), (1, 512)],
}
DECODE = {"gpt2-small": (128, 1024), "llama-1b": (128, 1024)}
OWN_GOALS = {"bf16": 1.9, "int8": 3.6, "int4": 6.5}


def peers_of(precision, model, decode):
    """Engine, its precision and the goal, for our precision."""
    llama = SPECS[model].family == "llama"
    found = {
        "f32": [("onnxruntime", "f32", 1.0 if decode else 1.15), ("openvino", "f32", 1.0), ("torch", "f32", None), ("iree", "f32", None)],
        "bf16": [("onnxruntime", "f32", None if decode else 5.0), ("openvino", "bf16", None if decode else 1.15), ("torch", "bf16", None)],
        "int8": [("onnxruntime", "int8", None if decode else 1.15), ("openvino", "int8", None if decode else 1.15), ("torch", "int8", None)],
        "int4": [("onnxruntime", "int4", 1.1 if decode else None), ("openvino", "int4", 1.1 if decode else None)],
    }[precision]
    if llama:
        found = found + [("llama.cpp", precision, {"f32": 1.0, "int4": 1.1}.get(precision) if decode else None)]
    return found


def all_rows():
    rows = []
    for model, forms in PREFILL.items():
        for batch, length in forms:
            for precision in PRECISIONS:
                for engine, theirs, goal in peers_of(precision, model, False):
                    rows.append(Row("prefill", model, Cell("prefill", batch, length), Who("ours", precision), Who(engine, theirs), goal))
    for model, contexts in DECODE.items():
        for context in contexts:
            cell = Cell("decode", 1, context)
            for precision in PRECISIONS:
                for engine, theirs, goal in peers_of(precision, model, True):
                    rows.append(Row("decode", model, cell, Who("ours", precision), Who(engine, theirs), goal))
                rows.append(Row("bandwidth", model, cell, Who("ours", precision), Who("read", precision), 0.9))
                if precision != "f32":
                    goal = OWN_GOALS[precision] if (model, context) == ("llama-1b", 128) else None
                    rows.append(Row("own", model, cell, Who("ours", precision), Who("ours", "f32"), goal))
    for model, length in (("gpt2-small", 128), ("llama-1b", 128)):
        rows.append(Row("last", model, Cell("prefill", 1, length, True), Who("ours", "f32"), Who("onnxruntime", "f32"), None))
    for model in PREFILL:
        for precision in PRECISIONS:
            form = PREFILL[model][0]
            rows.append(Row("threads", model, Cell("prefill", *form), Who("ours", precision), Who("ours", precision, 1), 1.9))
            if model in DECODE:
                cell = Cell("decode", 1, DECODE[model][0])
                rows.append(Row("threads", model, cell, Who("ours", precision), Who("ours", precision, 1), None))
                rows.append(Row("threads", model, cell, Who("read", precision), Who("read", precision, 1), None))
    return rows


def ruled_out(row):
    """Why a row is not measured at all, or None."""
    for who in (row.first, row.second):
        if who.engine == "iree" and row.cell.what == "decode":
            return "IREE's import of a graph with a growing cache is not set up here"
        if who.engine == "iree" and row.model == "llama-1b":
            return "IREE's importer holds weights of 5 GB several times in memory"
        if who.engine == "torch" and who.precision == "int8":
            return "PyTorch itself has no int8 path for torch.compile"
    return None


def bytes_of_token(spec, precision, context):
    """Weights read, keys and values read, keys and values written, of one token after `context` others."""
    cache = 2 * spec.layers * spec.kv_heads * spec.head * 4
    return int(models.matrix_elements(spec) * OUR_BITS[precision] / 8) + cache * (context + 1)


# --- Preparing: everything that is not timed ---------------------------------


def read_reference(path):
    with np.load(path) as found:
        return {name: found[name] if name == "exact" else found[name].item() for name in found.files}


class Workplace:
    """Files of models, compiled libraries and references, made when they are wanted."""

    def __init__(self, arguments):
        self.folder = arguments.folder
        self.folder.mkdir(parents=True, exist_ok=True)
        self.peers = arguments.peers
        self.cpus = sorted(os.sched_getaffinity(0))[:2]

    def python(self, engine):
        return sys.executable if engine == "ours" or (engine == "read") else self.peers

    def package(self):
        return str(BUILD / "python") if list((BUILD / "python" / "ffn_mlir").glob("_ffn_mlir*.so")) else None

    def config(self, row, who):
        """What the constructor of an engine takes; makes its files."""
        spec, last = SPECS[row.model], row.cell.last
        config = {"model": row.model, "precision": who.precision, "threads": who.threads, "last": last, "folder": str(self.folder)}
        if who.engine == "read":
            return config | {"bytes": bytes_of_token(spec, who.precision, row.cell.length)}
        check = models.Weights(spec, self.folder)
        protocol.check_weights((name, check[name]) for name in check.entries)
        if who.engine == "ours":
            return config | self.compiled(spec, who.precision, last) | {"package": self.package()}
        if who.engine in FORMS:
            form = FORMS[who.engine].get(who.precision)
            if form is None:
                raise Unavailable(f"{who.engine} does not compute in {who.precision} on a CPU")
            return config | {"form": form, "graph": str(models.onnx_path(spec, self.folder, form, last))}
        if who.engine == "iree":
            # Compiled here: it takes minutes.
            length = spec.positions if spec.family == "vit" else row.cell.length
            graph = models.onnx_path(spec, self.folder, fixed=(row.cell.batch, length))
            self.peer("import sys; sys.path.insert(0, sys.argv[1]); from peers import iree; iree.build(sys.argv[2])", ROOT / "benchmarks", graph)
        if who.engine == "llama.cpp":
            kind = {"f32": "f32", "bf16": "bf16", "int8": "q8_0", "int4": "q4_0"}[who.precision]
            self.peer("import sys; sys.path.insert(0, sys.argv[1]); import models; models.gguf_path(models.SPECS[sys.argv[2]], sys.argv[3], sys.argv[4])",
                      ROOT / "benchmarks", row.model, self.folder, kind)
            return config | {"gguf": str(pathlib.Path(self.folder) / f"{row.model}-0-{kind}.gguf")}
        return config

    def peer(self, code, *arguments):
        done = subprocess.run([str(self.peers), "-c", code, *map(str, arguments)], capture_output=True, text=True)
        if done.returncode:
            raise Unavailable((done.stderr.strip().splitlines() or ["no output"])[-1][:500])

    def compiled(self, spec, precision, last):
        """The library of a model, compiled anew when the compiler is another."""
        graph = models.onnx_path(spec, self.folder, "f32", last)
        library = self.folder / f"{graph.stem}-{precision}.so"
        note = library.with_suffix(".json")
        # A tied embedding is read by the lookup too: the head gets a copy in the precision of the row.
        # Rows of activations are rounded as ffnc compile --precision does, and as the engines of the same precision do.
        quantize = {"f32": "", "bf16": ",ffn-quantize{type=bf16 shared=true}"}.get(
            precision, f",ffn-quantize{{type={precision} shared=true activations=int8}}")
        # The latency gate would put the original in the place of what is to be measured.
        command = [str(BUILD / "bin" / "ffnc"), "compile", str(graph), "-o", str(library), "--gate=off",
                   f"--pass-pipeline=builtin.module(ffn-raise{quantize})"]
        stamp = [command[3:], *((p.stat().st_mtime_ns, p.stat().st_size) for p in (BUILD / "bin" / "ffnc", *(BUILD / "lib").glob("libffn*")))]
        stamp = hashlib.sha256(repr(stamp).encode()).hexdigest()
        if note.exists() and library.exists() and (known := json.loads(note.read_text()))["stamp"] == stamp:
            return {"library": str(library), "compile": known["compile"]}
        begin = time.monotonic()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        said = process.stderr.read()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise Unavailable(f"ffnc compile: {said.strip().splitlines()[-1][:500] if said.strip() else process.returncode}")
        weights = pathlib.Path(f"{library}.weights")
        found = {"seconds": time.monotonic() - begin, "cpu_seconds": used.ru_utime + used.ru_stime, "peak_bytes": used.ru_maxrss * 1024,
                 "file_bytes": library.stat().st_size + (weights.stat().st_size if weights.exists() else 0), "options": command[5:]}
        note.write_text(json.dumps({"stamp": stamp, "compile": found}))
        return {"library": str(library), "compile": found}

    def reference_path(self, row):
        return self.folder / f"{row.model}-{row.cell}.reference.npz"

    def reference(self, row):
        """Output in float64 and the error of ONNX Runtime in f32; from a file once made."""
        spec, cell, path = SPECS[row.model], row.cell, self.reference_path(row)
        if not path.exists():
            config = {"model": row.model, "threads": 2, "folder": str(self.folder), "last": cell.last}
            if sum(int(np.prod(s)) for s in models.shapes(spec).values()) <= INTERPRETED_WEIGHTS:
                source, exact = "ffn-interpret", self.interpreted(spec, cell)
            else:
                source, exact = "PyTorch float64", self.once("reference", config | {"precision": "f64"}, cell)
            output = self.once("onnxruntime", config | {"precision": "f32", "form": "f32", "graph": str(models.onnx_path(spec, self.folder, "f32", cell.last))}, cell)
            with models.write_whole(path) as file:
                np.savez(file, exact=exact, onnxruntime_error=protocol.error_of(output, exact), source=source, logits=spec.family != "bert")
        return read_reference(path)

    def once(self, engine, config, cell):
        side = Side(engine, config, self.cpus, self.python(engine), limit=1200)
        try:
            side.ask("cell", cell)
            return side.ask("output", limit=1200)
        finally:
            side.close()

    def interpreted(self, spec, cell):
        inputs = models.feeds(spec, cell)
        if spec.is_language_model:
            inputs |= models.empty_past(spec, cell.batch)
        with tempfile.TemporaryDirectory() as name:
            command = [BUILD / "bin" / "ffn-interpret", models.onnx_path(spec, self.folder, "f32", cell.last), f"--output-dir={name}"]
            for key, value in inputs.items():
                np.save(f"{name}/{key}.in.npy", value)
                command.append(f"--input={key}={name}/{key}.in.npy")
            subprocess.run(list(map(str, command)), check=True, stdout=subprocess.DEVNULL)
            exact = np.load(f"{name}/0.npy").astype(np.float64)
        at = models.compared_positions(spec, cell)
        return exact[:, -1:] if cell.what == "decode" else exact if at is None else exact[:, at]


# --- Measuring ---------------------------------------------------------------


def row_path(out, row):
    return out / f"{row.id.replace('/', '__')}.json"


def disturbed(out, row):
    """Whether other programs used the CPUs while the row was measured."""
    path = row_path(out, row)
    return path.exists() and json.loads(path.read_text()).get("measured", {}).get("disturbed", False)


def write_row(out, row, found):
    found = {"id": row.id, "row": dataclasses.asdict(row), "when": time.strftime("%Y-%m-%d %H:%M:%S"), **found}
    with models.write_whole(row_path(out, row)) as file:
        file.write((json.dumps(found, indent=1) + "\n").encode())
    if "measured" in found:
        m = found["measured"]
        first, second = m["sides"]
        say(f"{row.id}: {1e3 * first['median_seconds']:.2f} ms ({first['spread']:.0%}), {1e3 * second['median_seconds']:.2f} ms "
            f"({second['spread']:.0%}), ratio {m['ratio']:.2f}{' disturbed' if m['disturbed'] else ''}")
    else:
        say(f"{row.id}: {'void' if 'void' in found else 'not measured'}: {found.get('void') or found.get('unavailable')}")


def say(text):
    print(text, file=sys.stderr, flush=True)


def measure_group(job, out):
    """Runs in a process of its own, under --run-under: loads two sides once, measures their cells until the time is up."""
    begin = time.monotonic()
    place_cpus, rows = job["cpus"], job["rows"]
    by_id = {row.id: row for row in all_rows() + tiny_rows()}
    sides = []
    try:
        try:
            for engine, config, python in job["sides"]:
                for side in sides:
                    side.stop()
                sides.append(Side(engine, config, place_cpus, python, limit=job["seconds"]))
        except Unavailable as error:
            for entry in rows:
                write_row(out, by_id[entry["id"]], {"unavailable": str(error)})
            return
        for number, entry in enumerate(rows):
            # The rest is for another process when the time that is left would not do.
            if number and time.monotonic() - begin > 0.5 * job["seconds"]:
                return
            row, reference = by_id[entry["id"]], None
            if entry["reference"]:
                reference = read_reference(entry["reference"])
            try:
                measured = protocol.measure(sides, row.cell, reference, begin + 0.95 * job["seconds"])
                measured["reference"] = reference and {"source": reference["source"], "onnxruntime_error": reference["onnxruntime_error"]}
                write_row(out, row, {"measured": measured, "machine": machine()})
            except Void as error:
                write_row(out, row, {"void": str(error), "machine": machine()})
            except Unavailable as error:
                write_row(out, row, {"unavailable": str(error)})
                return
    finally:
        for side in sides:
            side.close()


def machine():
    cpu = next((line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "")
    flags = next((line.split(":", 1)[1].split() for line in open("/proc/cpuinfo") if line.startswith("flags")), [])
    commit = subprocess.run(["git", "-C", str(ROOT), "describe", "--always", "--dirty"], capture_output=True, text=True).stdout.strip()
    return {"cpu": cpu, "cpus": len(os.sched_getaffinity(0)), "commit": commit,
            "features": [f for f in flags if f.startswith(("avx512", "amx", "avx2", "avx_vnni", "fma"))]}


def available_bytes():
    return next(int(line.split()[1]) * 1024 for line in open("/proc/meminfo") if line.startswith("MemAvailable"))


def prepare_group(place, out, group):
    """Files of the rows of one pair of sides: rows with what the measuring process needs, and the sides."""
    prepared, sides = [], None
    for row in group:
        try:
            sides = [(who.engine, place.config(row, who), str(place.python(who.engine))) for who in (row.first, row.second)]
            entry = {"id": row.id, "reference": None}
            if row.first.engine != "read":
                place.reference(row)
                entry["reference"] = str(place.reference_path(row))
            prepared.append((row, entry))
        except Unavailable as error:
            write_row(out, row, {"unavailable": str(error)})
        except Void as error:
            write_row(out, row, {"void": str(error)})
    return prepared, sides


def run(arguments, rows):
    place, out = Workplace(arguments), arguments.out
    todo = [row for row in rows if arguments.again or not row_path(out, row).exists() or disturbed(out, row)]
    retried = set()
    groups = {}
    for row in todo:
        if reason := ruled_out(row):
            write_row(out, row, {"unavailable": reason})
            continue
        extra = row.cell if "iree" in (row.first.engine, row.second.engine) or "read" in (row.first.engine, row.second.engine) else row.cell.last
        groups.setdefault((row.model, row.first, row.second, extra), []).append(row)
    for group in groups.values():
        prepared, sides = prepare_group(place, out, group)
        if arguments.verb == "prepare":
            continue
        for row, _ in prepared:
            row_path(out, row).unlink(missing_ok=True)
        while left := [(row, entry) for row, entry in prepared if not row_path(out, row).exists()]:
            job = {"cpus": place.cpus, "sides": sides, "rows": [entry for _, entry in left], "seconds": arguments.seconds}
            command = [*shlex.split(arguments.run_under), sys.executable, __file__, "measure", json.dumps(job), "--out", str(out)]
            try:
                code = subprocess.run(command, timeout=arguments.seconds + 600).returncode
            except subprocess.TimeoutExpired:
                code = "no end"
            if not any(row_path(out, row).exists() for row, _ in left):
                # Otherwise a row that always ends its process would be tried for ever.
                write_row(out, left[0][0], {"unavailable": f"the measuring process ended with {code}"})
            for row, _ in left:
                if disturbed(out, row) and row.id not in retried:
                    retried.add(row.id)
                    row_path(out, row).unlink()
    return 0


def tiny_rows():
    """For the tests of this script: models of a few thousand weights, ONNX Runtime alone."""
    return [Row("tiny", model, cell, Who("ours", "f32"), Who("onnxruntime", "f32"))
            for model, cell in (("tiny-bert", Cell("prefill", 2, 7)), ("tiny-gpt2", Cell("prefill", 1, 9)), ("tiny-llama", Cell("decode", 1, 12)))]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=("list", "prepare", "run", "measure", "quality", "report"))
    parser.add_argument("job", nargs="?", help=argparse.SUPPRESS)
    parser.add_argument("--only", default="", metavar="REGEX", help="rows whose names match")
    parser.add_argument("--again", action="store_true", help="measure rows that are measured, too")
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "build" / "bench" / "rows", help="folder of the rows")
    parser.add_argument("--folder", type=pathlib.Path, default=ROOT / "build" / "bench" / "models", help="folder of models, about 35 GB for all")
    parser.add_argument("--peers", type=pathlib.Path, default=ROOT / "build" / "bench-venv" / "bin" / "python", help="Python that has the other engines")
    parser.add_argument("--run-under", default="", metavar="COMMAND", help="put before the processes that measure")
    parser.add_argument("--seconds", type=float, default=ROW_SECONDS, help="limit of a row, loading included")
    parser.add_argument("--results", type=pathlib.Path, default=ROOT / "docs" / "results", help="folder of the report")
    parser.add_argument("--tiny", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.verb == "measure":
        return measure_group(json.loads(arguments.job), arguments.out)
    rows = [row for row in (tiny_rows() if arguments.tiny else all_rows()) if re.search(arguments.only, row.id)]
    if arguments.verb == "list":
        for row in rows:
            found = json.loads(row_path(arguments.out, row).read_text()) if row_path(arguments.out, row).exists() else {}
            state = f"ratio {found['measured']['ratio']:.2f}" if "measured" in found else found.get("void") or found.get("unavailable") or "-"
            print(f"{row.id}: {state}")
        return 0
    if arguments.verb in ("prepare", "run"):
        return run(arguments, rows)
    if arguments.verb == "quality":
        import quality
        return quality.run(BUILD, arguments.out)
    import report
    return report.write(all_rows(), arguments.out, arguments.results, row_path)


if __name__ == "__main__":
    sys.exit(main())
