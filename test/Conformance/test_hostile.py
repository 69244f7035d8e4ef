"""The forty hostile models and their benign twins, in the release and the sanitizer build.

A hostile model ends with its code on stderr, exit status 1, nothing on stdout and no output file, within 10 s and
1 GiB. A twin is imported and exported again, and the export computes the same.
"""
import dataclasses
import os
import pathlib
import resource
import shutil
import signal
import subprocess
import time

import builds
import hostile
import numpy
import onnx
import pytest

SECONDS = 10
BYTES = 1 << 30

CASE_IDS = [f"{number:02}_{name}" for number, (name, *_) in enumerate(hostile.CASES, 1)]


@dataclasses.dataclass
class Run:
    code: int
    stdout: str
    stderr: str
    seconds: float
    peak: int


def run(arguments, folder, sanitizer=False, stack=None):
    """Runs a command under the limits. A sanitizer reserves address space, so there only the resident peak counts."""

    def limit():
        if not sanitizer:
            resource.setrlimit(resource.RLIMIT_AS, (BYTES, BYTES))
        if stack:
            resource.setrlimit(resource.RLIMIT_STACK, (stack, stack))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    out, err = folder / "stdout.txt", folder / "stderr.txt"
    with open(out, "wb") as stdout, open(err, "wb") as stderr:
        begin = time.monotonic()
        process = subprocess.Popen([str(a) for a in arguments], stdout=stdout, stderr=stderr, stdin=subprocess.DEVNULL,
                                   env=builds.sanitizer_environment() if sanitizer else None, preexec_fn=limit)
        while True:
            pid, status, usage = os.wait4(process.pid, os.WNOHANG)
            seconds = time.monotonic() - begin
            if pid:
                break
            if seconds > 2 * SECONDS:
                os.kill(process.pid, signal.SIGKILL)
            time.sleep(0.005)
        process.returncode = os.waitstatus_to_exitcode(status)
    text = [p.read_text(errors="backslashreplace") for p in (out, err)]
    out.unlink()
    err.unlink()
    return Run(process.returncode, *text, seconds, usage.ru_maxrss * 1024)


def check_limits(done):
    assert done.seconds < SECONDS, f"{done.seconds:.1f} s"
    assert done.peak < BYTES, f"{done.peak >> 20} MiB"


def check_refused(done, code, output=None):
    assert done.code == 1, (done.code, done.stderr)
    assert done.stdout.strip() == ""
    errors = [line for line in done.stderr.splitlines() if "error:" in line]
    assert errors and all(f"[FFN-{code}]" in line for line in errors), done.stderr
    if output:
        leftovers = [p.name for p in output.parent.iterdir() if p.name.startswith(output.name)]
        assert leftovers == []
    check_limits(done)


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    made = hostile.build_all(tmp_path_factory.mktemp("hostile"))
    assert [c.id for c in made] == CASE_IDS and len(made) == 40
    return {c.id: c for c in made}


def variants(tool, flag="--help"):
    """(build, sanitizer, stack) of the builds that have the tool with the flag; skipped ones say why."""

    def find(build=None):
        path = builds.tool(tool, build)
        if path is None:
            return None, f"{tool} is not built"
        if flag not in subprocess.run([path, "--help"], capture_output=True, text=True).stdout:
            return None, f"{tool} has no {flag}"
        return path, ""

    release, no_release = find()
    asan, no_asan = find(builds.asan_build())
    skip_release = pytest.mark.skipif(release is None, reason=no_release)
    skip_asan = pytest.mark.skipif(asan is None, reason=f"asan preset: {no_asan}")
    # 512 KiB of stack must do, except where a sanitizer blows up every frame.
    return [
        pytest.param((release, False, None), id="release", marks=skip_release),
        pytest.param((release, False, 512 << 10), id="small-stack", marks=skip_release),
        pytest.param((asan, True, None), id="asan", marks=skip_asan),
    ]


@pytest.mark.parametrize("case_id", CASE_IDS)
@pytest.mark.parametrize("variant", variants("ffn-wire-dump"))
def test_reader(case_id, variant, cases, tmp_path):
    """What can be told from the file alone, without an importer."""
    tool, sanitizer, stack = variant
    case = cases[case_id]
    bad = run([tool, "--check", case.path], tmp_path, sanitizer, stack)
    if case.code and not case.needs_ir:
        check_refused(bad, case.code)
    else:
        assert bad.code == 0, bad.stderr
        check_limits(bad)
    if case.twin:
        done = run([tool, "--check", case.twin], tmp_path, sanitizer, stack)
        assert done.code == 0, done.stderr
        assert "error:" not in done.stderr
        check_limits(done)


def compute(path, feed):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return session.run(None, feed)


def weights(path):
    """Bits of all initializers, by name; sparse ones dense."""
    model = onnx.load(path)
    found = {t.name: onnx.numpy_helper.to_array(t).tobytes() for t in model.graph.initializer}
    for sparse in model.graph.sparse_initializer:
        dense = numpy.zeros(list(sparse.dims), onnx.helper.tensor_dtype_to_np_dtype(sparse.values.data_type))
        dense.flat[onnx.numpy_helper.to_array(sparse.indices)] = onnx.numpy_helper.to_array(sparse.values)
        found[sparse.values.name] = dense.tobytes()
    return found


def without_links(path, folder):
    """A copy of the model for the oracles, which refuse links that we accept."""
    plain = folder / "plain"
    shutil.copytree(pathlib.Path(path).parent, plain)
    return plain / pathlib.Path(path).name


@pytest.mark.parametrize("case_id", CASE_IDS)
@pytest.mark.parametrize("variant", variants("ffn-translate", "--export-onnx"))
def test_import(case_id, variant, cases, tmp_path):
    tool, sanitizer, stack = variant
    case = cases[case_id]
    output = case.path.parent / f"out-{tmp_path.name}.mlir"
    if case.code:
        check_refused(run([tool, "--import-onnx", case.path, "-o", output], tmp_path, sanitizer, stack), case.code, output)
    accepted = case.twin or case.path
    # Beside the model, as spans name its files by relative paths.
    imported = accepted.parent / f"imported-{tmp_path.name}.mlir"
    done = run([tool, "--import-onnx", accepted, "-o", imported], tmp_path, sanitizer, stack)
    assert done.code == 0, done.stderr
    assert done.stdout == "" and "error:" not in done.stderr
    check_limits(done)
    exported = accepted.parent / f"exported-{tmp_path.name}.onnx"
    done = run([tool, "--export-onnx", imported, "-o", exported], tmp_path, sanitizer, stack)
    assert done.code == 0, done.stderr
    check_limits(done)
    original = without_links(accepted, tmp_path)
    ours, theirs = weights(exported), weights(original)
    assert all(ours[name] == bits for name, bits in theirs.items() if name in ours)
    assert "W" in ours or "W" not in theirs, "the weight is gone"
    if case.computes and not sanitizer:
        feed = {"x": numpy.array([[1, -2, 3, 0.25]], numpy.float32)}
        for a, b in zip(compute(original, feed), compute(exported, feed)):
            assert a.tobytes() == b.tobytes() or numpy.array_equal(a, b, equal_nan=True)
