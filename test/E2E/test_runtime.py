"""What compiled models say to wrong tensors, to many threads, and to C."""
import ctypes as C
import subprocess
import threading

import numpy as np
import pytest
from artefact import BUNDLED, ROOT, Device, DType, Model, Tensor, compile_model, tensor
from onnx import TensorProto, helper
from test_compile import save

F = TensorProto.FLOAT


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    save(folder / "g.onnx", [helper.make_node("Add", ["a", "b"], ["y"])], [("a", F, ["n", 4]), ("b", F, ["n", 4])],
         [("y", F, ["n", 4])])
    done = compile_model(folder / "g.onnx", folder / "g.so")
    assert done.returncode == 0, done.stderr
    return folder / "g.so"


def run(model, *tensors):
    """Status and text of a run; the last tensor is the output, written with 7 before."""
    inputs, outputs = (Tensor * 2)(*tensors[:2]), (Tensor * 1)(tensors[2])
    status = model.api.session_run(model.session, inputs, 2, outputs, 1)
    return status, model.api.last_error().decode() if status else ""


def changed(array, **fields):
    result = tensor(array)
    for name, value in fields.items():
        setattr(result, name, value)
    return result


def test_wrong_tensors(library):
    model = Model(library)
    a, b, y = (np.full((3, 4), value, np.float32) for value in (1, 2, 7))
    wide = np.zeros((3, 8), np.float32)
    raw = np.zeros(4 * 12 + 4, np.uint8)
    strides = (C.c_int64 * 2)(8, 1)
    huge = (C.c_int64 * 2)(1 << 60, 4)
    cases = {
        "dtype": (2, [changed(a.astype(np.float64)), tensor(b), tensor(y)]),
        "rank": (3, [tensor(a.reshape(12)), tensor(b), tensor(y)]),
        "static size": (4, [tensor(np.zeros((3, 5), np.float32)), tensor(b), tensor(y)]),
        "equal symbols": (4, [tensor(a), tensor(np.zeros((2, 4), np.float32)), tensor(y)]),
        "output size": (4, [tensor(a), tensor(b), tensor(np.zeros((2, 4), np.float32))]),
        "null input": (1, [changed(a, data=None), tensor(b), tensor(y)]),
        "null output": (1, [tensor(a), tensor(b), changed(y, data=None)]),
        "strided": (5, [changed(a, data=wide.ctypes.data, strides=strides), tensor(b), tensor(y)]),
        "misaligned": (5, [changed(a, data=raw.ctypes.data + 1), tensor(b), tensor(y)]),
        "size": (6, [changed(a, shape=C.cast(huge, C.POINTER(C.c_int64))), changed(b, shape=C.cast(huge, C.POINTER(C.c_int64))),
                     changed(y, shape=C.cast(huge, C.POINTER(C.c_int64)))]),
        "overlap": (7, [tensor(a), tensor(b), tensor(a)]),
        "partial overlap": (7, [changed(a, data=wide.ctypes.data), tensor(b), changed(y, data=wide.ctypes.data + 16)]),
        "device": (8, [changed(a, device=Device(2, 0)), tensor(b), tensor(y)]),
        "lanes": (2, [changed(a, dtype=DType(2, 32, 2)), tensor(b), tensor(y)]),
    }
    for name, (wanted, tensors) in cases.items():
        status, text = run(model, *tensors)
        assert status == wanted and "[FFN-R4" in text, (name, status, text)
        assert (y == 7).all() and (a == 1).all(), name
    assert run(model, tensor(a), tensor(b), tensor(y)) == (0, "") and (y == 3).all()


def test_threads_give_the_bits_of_a_serial_run(tmp_path):
    """Sessions of their own and one that is shared, 8 threads: the same bits as one thread after another."""
    assert compile_model(BUNDLED / "pycode-lm.onnx", tmp_path / "m.so").returncode == 0
    serial, shared = Model(tmp_path / "m.so", threads=1), Model(tmp_path / "m.so", threads=2)
    name = serial.inputs[0].name.decode()
    feeds = [{name: np.random.default_rng(i).integers(0, 256, (1 + i % 3, 1 + 2 * i))} for i in range(8)]
    wanted = [serial.run(feed) for feed in feeds]
    failures = []

    def work(i):
        try:
            own = Model(tmp_path / "m.so", threads=1 + i % 3)
            for k in range(12):
                for model in (own, shared):
                    for mine, theirs in zip(model.run(feeds[i]), wanted[i], strict=True):
                        if mine.tobytes() != theirs.tobytes():
                            failures.append((i, k))
        except Exception as error:  # A thread has nobody above it.
            failures.append((i, error))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_batch_does_not_change_bits(tmp_path):
    """A row of a batch has the bits of the same row alone."""
    assert compile_model(BUNDLED / "pycode-lm.onnx", tmp_path / "m.so").returncode == 0
    model = Model(tmp_path / "m.so")
    name = model.inputs[0].name.decode()
    tokens = np.random.default_rng(5).integers(0, 256, (5, 33))
    together = model.run({name: tokens})[0]
    for row in range(5):
        assert model.run({name: tokens[row : row + 1]})[0].tobytes() == together[row : row + 1].tobytes()


def test_example_in_c(library, tmp_path):
    source = ROOT / "examples" / "c" / "run.c"
    program = tmp_path / "run"
    subprocess.run(["clang-22", "-std=c11", "-Wall", "-Wextra", "-Werror", f"-I{ROOT / 'include'}", source, "-ldl", "-o", program], check=True)
    done = subprocess.run([program, library, "5"], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.splitlines()[-1] == "y: 2 dimensions", done.stderr
    assert len(source.read_text().splitlines()) <= 40
    done = subprocess.run([program, tmp_path / "none.so", "5"], capture_output=True, text=True)
    assert done.returncode == 1 and "[FFN-R101]" in done.stderr


def test_thread_sanitizer_over_a_compiled_model(tmp_path):
    """8 threads, 1,000 calls each, on one model: no race in the runtime, and the bits of a serial run."""
    assert compile_model(BUNDLED / "pycode-lm.onnx", tmp_path / "m.o", "--emit=obj").returncode == 0
    sources = [ROOT / "runtime" / f"{name}.cpp" for name in ("Api", "Descriptor", "Features", "Memory", "Pool")]
    common = ["-fsanitize=thread", "-O1", f"-I{ROOT / 'include'}"]
    caller, program = tmp_path / "threads.o", tmp_path / "threads"
    source = ROOT / "test" / "E2E" / "c" / "threads.c"
    subprocess.run(["clang-22", "-std=c11", "-Wall", "-Wextra", "-Werror", *common, "-c", source, "-o", caller], check=True)
    subprocess.run(["clang++-22", "-std=c++20", *common, *sources, caller, tmp_path / "m.o", "-o", program], check=True)
    done = subprocess.run([program, "1000"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "0 failures in 8000 calls\n"), done.stderr[-4000:]
    assert "WARNING" not in done.stderr
