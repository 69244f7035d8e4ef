"""How two engines are timed against one another, and when the figures are void.

Each side is a process of its own on the same CPUs. They take turns call by call,
and the side whose turn it is not is stopped: threads that look for work after a
run, as every engine's do, take no CPU from the other. A row is void (`Void`)
when a setting is not what the row says, when outputs are not those of the model,
or when the stopped side used a CPU; a void row has no times.
"""
import multiprocessing.connection
import os
import pathlib
import signal
import statistics
import subprocess
import time

import numpy as np

WARMUP_CALLS, TIMED_TURNS, TIMED_SECONDS = 3, 15, 20.0
# A turn of calls shorter than this has several, and the first one, which finds cold caches and sleeping threads, does not count.
SHORT_TURN = 0.1
# Part of the timed period that other programs may have used of the CPUs before a row says so.
FOREIGN_LIMIT = 0.05
# The oracle is in order while ONNX Runtime is within this, and every f32 engine must be.
F32_LIMIT = 1e-3
COSINE_LIMIT = {"f32": 0.999999, "bf16": 0.999, "int8": 0.99, "int4": 0.9}
WORKER = pathlib.Path(__file__).resolve().parent / "peers" / "worker.py"


class Void(Exception):
    """The measurement says nothing, and why."""


class Unavailable(Exception):
    """An engine cannot do what it is asked, and why."""


class Side:
    """An engine in a process of its own. `config`: what its constructor takes; threads and precision are always there."""

    def __init__(self, engine, config, cpus, python, limit=600):
        self.engine, self.config, self.cpus = engine, config, sorted(cpus)
        requests, self._requests = os.pipe()
        self._answers, answers = os.pipe()
        self.process = subprocess.Popen(
            [str(python), str(WORKER), engine, str(requests), str(answers)], pass_fds=(requests, answers),
            preexec_fn=lambda: os.sched_setaffinity(0, self.cpus),
            env={**os.environ, "OMP_NUM_THREADS": str(config["threads"])})
        os.close(requests)
        os.close(answers)
        self.requests = multiprocessing.connection.Connection(self._requests, readable=False)
        self.answers = multiprocessing.connection.Connection(self._answers, writable=False)
        self.stopped = False
        try:
            self.info = self.ask("load", config, limit=limit)
        except BaseException:
            self.close()
            raise

    def ask(self, *request, limit=600):
        """The answer of the worker. Unavailable: what it says, or that it ended or took more than `limit` seconds."""
        self.resume()
        try:
            self.requests.send(request)
            if not self.answers.poll(limit):
                raise Unavailable(f"{self.engine}: no answer to '{request[0]}' in {limit:.0f} s")
            kind, value = self.answers.recv()
        except (EOFError, BrokenPipeError):
            code = self.process.wait()
            raise Unavailable(f"{self.engine}: its process ended with {code} during '{request[0]}'") from None
        if kind == "error":
            raise Unavailable(f"{self.engine}: {value}")
        return value

    def cpu_seconds(self):
        tasks = pathlib.Path(f"/proc/{self.process.pid}/task").glob("*/schedstat")
        return sum(int(task.read_text().split()[0]) for task in tasks) * 1e-9

    def stop(self):
        if self.stopped:
            return
        os.kill(self.process.pid, signal.SIGSTOP)
        for task in pathlib.Path(f"/proc/{self.process.pid}/task").glob("*/stat"):
            while task.read_text().rsplit(")", 1)[1].split()[0] not in "TtZX":
                time.sleep(0.0005)
        self.stopped = True

    def resume(self):
        if self.stopped:
            os.kill(self.process.pid, signal.SIGCONT)
            self.stopped = False

    def peak_bytes(self):
        for line in pathlib.Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
        return 0

    def close(self):
        self.resume()
        try:
            self.requests.send(("stop",))
            self.process.wait(10)
        except (OSError, subprocess.TimeoutExpired):
            self.process.kill()
            self.process.wait()
        self.requests.close()
        self.answers.close()


# --- Checks ------------------------------------------------------------------


def check_settings(side):
    """The engine runs with the threads, CPUs and precision that the row says."""
    info, config, name = side.info, side.config, side.engine
    if info["affinity"] != side.cpus:
        raise Void(f"{name} runs on CPUs {info['affinity']}, not on {side.cpus}")
    if info["threads"] != config["threads"]:
        raise Void(f"{name} has {info['threads']} threads, not {config['threads']}")
    if info["precision"] != config["precision"]:
        raise Void(f"{name} computes in {info['precision']}, not in {config['precision']}")
    if name == "openvino":
        want = "bf16" if config["precision"] == "bf16" else "f32"
        if info["precision_hint"] != want:
            raise Void(f"OpenVINO's precision hint is {info['precision_hint']}, not {want}")
    if name == "onnxruntime" and info["graph_optimization"] != "ORT_ENABLE_ALL":
        raise Void(f"ONNX Runtime optimises with {info['graph_optimization']}")
    if name == "torch" and info["parameter_dtype"] != {"f32": "torch.float32", "bf16": "torch.bfloat16"}[config["precision"]]:
        raise Void(f"torch.compile has weights in {info['parameter_dtype']}")


def check_weights(arrays):
    """Random data without zeros: on all-zero operands some CPUs are faster than on any others."""
    for name, array in arrays:
        some = np.asarray(array).reshape(-1)[:1 << 20]
        if np.count_nonzero(some) < 0.999 * some.size or (some.size > 1 and np.ptp(some) == 0):
            raise Void(f"the weight {name} is no random data")


def error_of(output, exact):
    """e(y) = max|y - y64| / max|y64|."""
    return float(np.abs(output.astype(np.float64) - exact).max() / np.abs(exact).max())


def divergence(output, exact):
    """Mean over rows of KL(softmax(exact) || softmax(output)), in nats."""
    def log_softmax(x):
        x = x.astype(np.float64)
        x = x - x.max(-1, keepdims=True)
        return x - np.log(np.exp(x).sum(-1, keepdims=True))
    p, q = log_softmax(exact), log_softmax(output)
    return float((np.exp(p) * (p - q)).sum(-1).mean())


def check_output(name, precision, output, reference, ours):
    """Quality of an output against the float64 one; Void where it is not that of the model.

    `reference`: {"exact": f64 array, "onnxruntime_error": e of ONNX Runtime in
    f32, "logits": whether the output is logits}. f32 of ours must be within
    4 max(e(ONNX Runtime), 2^-22); f32 of others within 1e-3; fewer bits by cosine.
    """
    exact = reference["exact"]
    if output is None or output.shape != exact.shape:
        raise Void(f"{name} gives an output of shape {getattr(output, 'shape', None)}, not {exact.shape}")
    if not np.isfinite(output).all():
        raise Void(f"{name} gives values that are not finite")
    oracle = float(reference["onnxruntime_error"])
    if not oracle < F32_LIMIT:
        raise Void(f"ONNX Runtime differs from float64 by {oracle:.3g}: the oracle is not in order")
    wide = output.astype(np.float64).ravel()
    norms = np.linalg.norm(wide) * np.linalg.norm(exact)
    found = {"error": error_of(output, exact), "cosine": float(wide @ exact.ravel() / norms) if norms else 0.0}
    if reference["logits"]:
        found["kl"] = divergence(output, exact)
        found["top1"] = float((output.argmax(-1) == exact.argmax(-1)).mean())
    limit = 4 * max(oracle, 2.0**-22) if ours else F32_LIMIT
    if precision == "f32" and not found["error"] <= limit:
        raise Void(f"{name} differs from float64 by {found['error']:.3g}, the limit is {limit:.3g}")
    if not found["cosine"] >= COSINE_LIMIT[precision]:
        raise Void(f"{name} has a cosine of {found['cosine']:.6f} to float64, the limit of {precision} is {COSINE_LIMIT[precision]}")
    return found


def check_turns(turns, seconds):
    """At least 15 turns, or 20 seconds of calls of this side."""
    if turns < TIMED_TURNS and seconds < TIMED_SECONDS:
        raise Void(f"only {turns} turns and {seconds:.1f} s of calls")


# --- Turns -------------------------------------------------------------------


def cpu_times(cpus):
    """(busy, stolen) seconds so far of these CPUs."""
    busy = stolen = 0.0
    tick = os.sysconf("SC_CLK_TCK")
    for line in open("/proc/stat"):
        name, *values = line.split()
        if name[:3] == "cpu" and name[3:].isdigit() and int(name[3:]) in cpus:
            user, nice, system, _, _, irq, soft, steal = map(int, values[:8])
            busy += (user + nice + system + irq + soft) / tick
            stolen += steal / tick
    return busy, stolen


def spread(values):
    """Distance of the quartiles as a part of the median."""
    if len(values) < 2:
        return 0.0
    low, middle, high = statistics.quantiles(values, n=4)
    return (high - low) / middle


def take_turns(sides, deadline, turns=TIMED_TURNS, seconds=TIMED_SECONDS):
    """Warms up and alternates two sides until each has its turns, or its seconds, or the deadline (monotonic) is reached.

    Returns times of both and the ratio second / first: above 1 where the first is faster.
    """
    per_turn = []
    for at, side in enumerate(sides):
        sides[1 - at].stop()
        last = side.ask("calls", WARMUP_CALLS)[-1]
        per_turn.append(1 if last >= SHORT_TURN else min(1000, int(SHORT_TURN / last) + 2))
    medians, spent, ratios = ([], []), [0.0, 0.0], []
    foreign = total = stolen = 0.0
    while len(ratios) < turns and min(spent) < seconds:
        if time.monotonic() > deadline:
            break
        for at, side in enumerate(sides):
            other = sides[1 - at]
            other.stop()
            before = other.cpu_seconds()
            busy, used = cpu_times(side.cpus), side.cpu_seconds()
            begin = time.perf_counter()
            times = side.ask("calls", per_turn[at])
            wall = time.perf_counter() - begin
            now = cpu_times(side.cpus)
            foreign += max(0.0, now[0] - busy[0] - (side.cpu_seconds() - used))
            stolen += now[1] - busy[1]
            total += wall * len(side.cpus)
            if other.cpu_seconds() - before > 0.01 * wall:
                raise Void(f"{other.engine} used a CPU while {side.engine} was timed")
            counted = times[1:] if len(times) > 1 else times
            medians[at].append(statistics.median(counted))
            spent[at] += sum(times)
        ratios.append(medians[1][-1] / medians[0][-1])
    for at in (0, 1):
        check_turns(len(ratios), spent[at])
    found = [{"median_seconds": statistics.median(m), "min_seconds": min(m), "max_seconds": max(m), "spread": spread(m),
              "calls": len(m) * max(1, n - 1)} for m, n in zip(medians, per_turn)]
    quartiles = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else [ratios[0]] * 3
    return {"sides": found, "ratio": statistics.median(ratios), "ratio_quartiles": [quartiles[0], quartiles[2]], "turns": len(ratios),
            "foreign_share": foreign / total, "stolen_share": stolen / total, "disturbed": foreign / total > FOREIGN_LIMIT}


def measure(sides, cell, reference, deadline, **amount):
    """One cell of two loaded sides: outputs compared, then times. `reference` None: nothing to compare (reading memory)."""
    quality = []
    for at, side in enumerate(sides):
        check_settings(side)
        sides[1 - at].stop()
        side.ask("cell", cell)
        output = side.ask("output")
        if side.engine == "read":
            quality.append(None)
        elif reference is None:
            raise Void(f"there is nothing to compare the output of {side.engine} with")
        else:
            quality.append(check_output(side.engine, side.config["precision"], output, reference, side.engine == "ours"))
    found = take_turns(sides, deadline, **amount)
    for at, side in enumerate(sides):
        found["sides"][at] |= {"quality": quality[at], "peak_bytes": side.peak_bytes(), "info": side.info}
    return found
