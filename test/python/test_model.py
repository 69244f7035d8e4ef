"""Running compiled models: signature, zero copy, coded refusals, threads."""
import ctypes
import threading
import time

import handmade
import numpy as np
import pytest
from conftest import BUILD

import ffn_mlir


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("model")


@pytest.fixture(scope="module")
def path(folder):
    return handmade.build(folder, BUILD)


@pytest.fixture(scope="module")
def model(path):
    return ffn_mlir.load(path, threads=1)


def arrays(batch=2, seq=3, past=4):
    x = np.arange(batch * seq, dtype=np.float32).reshape(batch, seq)
    return x, np.zeros((batch, past), np.float32)


def refused(code, call):
    with pytest.raises(ffn_mlir.Error) as caught:
        call()
    assert caught.value.code == f"FFN-{code}", caught.value
    assert caught.value.diagnostics[0].text == str(caught.value)
    return str(caught.value)


def test_signature(model, path):
    assert model.inputs == (
        ffn_mlir.Value("x", "float32", ("batch", "seq")),
        ffn_mlir.Value("past.0", "float32", ("batch", "past")),
    )
    assert [(v.name, v.dtype, v.shape) for v in model.outputs] == [
        ("y", "float32", ("batch", "seq")),
        ("z", "int64", ("batch", "past + seq")),
        ("b", "bool", ("batch",)),
    ]
    assert model.info == ffn_mlir.ModelInfo("by hand", "baseline", ("sse4.2",), "exact", 4)
    assert model.path == str(path)
    assert "x, past.0" in repr(model)


@pytest.mark.parametrize("batch,seq,past", [(2, 3, 4), (1, 1, 0), (0, 5, 2), (3, 0, 1)])
def test_outputs_by_name(model, batch, seq, past):
    x, p = arrays(batch, seq, past)
    before = x.copy()
    got = model.run(x, p)
    assert list(got) == ["y", "z", "b"]
    np.testing.assert_array_equal(got["y"], 2 * x + 1)
    np.testing.assert_array_equal(got["z"].ravel(), np.arange(batch * (past + seq)))
    assert got["z"].dtype == np.int64 and got["b"].dtype == np.bool_
    np.testing.assert_array_equal(got["b"], np.arange(batch) % 2 == 1)
    np.testing.assert_array_equal(x, before)


def test_inputs_by_name_position_and_both(model):
    x, p = arrays()
    want = model.run(x, p)["y"]
    for got in (model.run({"past.0": p, "x": x}), model.run(x, **{"past.0": p}), model.run(**{"x": x, "past.0": p})):
        np.testing.assert_array_equal(got["y"], want)


def test_wrong_names_and_counts(model):
    x, p = arrays()
    assert "x, past.0" in refused("R400", lambda: model.run({"x": x, "y": p}))
    assert "'past.0': missing" in refused("R400", lambda: model.run(x))
    refused("R400", lambda: model.run(x, p, p))
    refused("R400", lambda: model.run(x, p, x=x))
    refused("R400", lambda: model.run({"x": x}, **{"past.0": p}))
    refused("R400", lambda: model.run(x, p, out=[None]))
    refused("R400", lambda: model.run(x, p, out={"q": x}))
    for count in (-1, 257):
        refused("R400", lambda: model.session(count))
        refused("R400", lambda: ffn_mlir.load(model.path, threads=count))


class Spy:
    """Hands out NumPy's DLPack capsule and counts."""

    def __init__(self, array):
        self.array, self.asked = array, 0

    def __dlpack__(self, **options):
        self.asked += 1
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()


def test_anything_with_dlpack_is_taken(model):
    x, p = arrays()
    spy = Spy(x)
    np.testing.assert_array_equal(model.run(spy, p)["y"], 2 * x + 1)
    assert spy.asked == 1


def test_buffers_are_taken(model):
    x, p = arrays()
    np.testing.assert_array_equal(model.run(memoryview(x), p)["y"], 2 * x + 1)


def test_torch_tensors(model):
    torch = pytest.importorskip("torch", reason="the exporters group is not installed")
    x, p = arrays()
    out = torch.zeros(2, 3)
    at = out.data_ptr()
    got = model.run(torch.from_numpy(x), torch.from_numpy(p), out={"y": out})
    assert got["y"] is out and out.data_ptr() == at
    np.testing.assert_array_equal(out.numpy(), 2 * x + 1)
    refused("R401", lambda: model.run(torch.from_numpy(x).double(), p))
    refused("R406", lambda: model.run(torch.zeros(3, 2).T, p))


def test_no_copy_of_inputs(model):
    # 256 MB of input and 1 MB of new memory at most: a copy would show.
    resource = pytest.importorskip("resource")
    x = np.zeros((1, 1 << 26), np.float32)
    y = np.zeros_like(x)
    z = np.zeros((1, 1 << 26), np.int64)
    run = lambda: model.run(x, np.zeros((1, 0), np.float32), out=[y, z, None])
    run()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    run()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1024
    assert y[0, -1] == 1


def test_read_only_input_is_fine_and_stays(model):
    x, p = arrays()
    x.flags.writeable = False
    np.testing.assert_array_equal(model.run(x, p)["y"], 2 * x + 1)


def test_caller_owned_outputs(model):
    x, p = arrays()
    y, z = np.zeros((2, 3), np.float32), np.zeros((2, 7), np.int64)
    got = model.run(x, p, out=[y, z, None])
    assert got["y"] is y and got["z"] is z and got["b"].shape == (2,)
    assert y[1, 2] == 11
    got = model.run(x, p, out={"z": z})
    assert got["z"] is z and got["y"] is not y
    assert "'y'" in refused("R403", lambda: model.run(x, p, out={"y": np.zeros((2, 4), np.float32)}))
    y.flags.writeable = False
    refused("R406", lambda: model.run(x, p, out={"y": y}))
    refused("R407", lambda: model.run(x, p, out={"y": x}))


def test_refusals(model):
    x, p = arrays()
    assert "float64" in refused("R401", lambda: model.run(x.astype(np.float64), p)).replace("float 64", "float64")
    refused("R402", lambda: model.run(x[0], p))
    assert "batch" in refused("R403", lambda: model.run(x, np.zeros((3, 4), np.float32)))
    assert "list" in refused("R400", lambda: model.run([[1.0, 2.0]], p))
    refused("R400", lambda: model.run(1.0, p))
    wide = np.zeros((2, 6), np.float32)
    refused("R406", lambda: model.run(wide[:, ::2], p))
    refused("R406", lambda: model.run(np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3)), p))
    raw = np.zeros(4 * 6 + 2, np.uint8)
    odd = raw[2:].view(np.float32).reshape(2, 3) if raw.ctypes.data % 4 == 0 else raw[: 4 * 6].view(np.float32).reshape(2, 3)
    assert odd.ctypes.data % 4 == 2
    refused("R406", lambda: model.run(odd, p))
    swapped = x.astype(">f4")
    refused("R406", lambda: model.run(swapped, p))


class DLTensor(ctypes.Structure):
    _fields_ = [
        ("data", ctypes.c_void_p), ("device_type", ctypes.c_int32), ("device_id", ctypes.c_int32), ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)), ("strides", ctypes.c_void_p), ("byte_offset", ctypes.c_uint64),
        ("manager", ctypes.c_void_p), ("deleter", ctypes.c_void_p),
    ]


class Foreign:
    """A capsule made by hand: any device, lanes, pointer."""

    def __init__(self, array, device=1, lanes=1, data=None):
        self.array = array
        self.shape = (ctypes.c_int64 * array.ndim)(*array.shape)
        self.tensor = DLTensor(
            array.ctypes.data if data is None else data, device, 0, array.ndim, 2, 32, lanes,
            ctypes.cast(self.shape, ctypes.POINTER(ctypes.c_int64)), None, 0, None, None,
        )

    def __dlpack__(self, stream=None):
        new = ctypes.pythonapi.PyCapsule_New
        new.restype, new.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
        return new(ctypes.addressof(self.tensor), b"dltensor", None)


def test_foreign_capsules(model):
    x, p = arrays()
    np.testing.assert_array_equal(model.run(Foreign(x), p)["y"], 2 * x + 1)
    refused("R405", lambda: model.run(Foreign(x, device=2), p))
    refused("R401", lambda: model.run(Foreign(x, lanes=4), p))
    refused("R400", lambda: model.run(Foreign(x, data=0), p))


def test_bfloat16(folder):
    ml_dtypes = pytest.importorskip("ml_dtypes")
    wide = ffn_mlir.load(handmade.build(folder, BUILD, "brain", float_type=(4, 16)))
    assert wide.inputs[0].dtype == "bfloat16"
    x = np.zeros((0, 3), ml_dtypes.bfloat16)
    assert wide.run(x, np.zeros((0, 1), np.float32))["y"].dtype == ml_dtypes.bfloat16
    refused("R401", lambda: wide.run(np.zeros((0, 3), np.float32), np.zeros((0, 1), np.float32)))


def test_load_refusals(folder):
    refused("R101", lambda: ffn_mlir.load(folder / "none.so"))
    (folder / "text.so").write_text("no library")
    refused("R101", lambda: ffn_mlir.load(folder / "text.so"))
    refused("R301", lambda: ffn_mlir.load(handmade.build(folder, BUILD, "future", features=("avx9000",))))


def test_a_file_compiled_again_gives_the_new_code(folder, tmp_path):
    first = ffn_mlir.load(handmade.build(tmp_path, BUILD))
    second_path = handmade.build(tmp_path, BUILD, "other", features=())
    second_path.replace(tmp_path / "model.so")
    second = ffn_mlir.load(tmp_path / "model.so")
    assert first.info.features == ("sse4.2",) and second.info.features == ()


def test_sessions(model):
    x, p = arrays()
    session = model.session(threads=2)
    for _ in range(3):
        np.testing.assert_array_equal(session.run(x, p)["y"], 2 * x + 1)
    assert session.memory > 0
    del model
    np.testing.assert_array_equal(session.run(x, p)["y"], 2 * x + 1)


def test_the_gil_is_released_and_runs_overlap(model):
    x, p = arrays()
    x[0, 0] = -1
    threads = [threading.Thread(target=model.run, args=(x, p)) for _ in range(2)]
    begin = time.monotonic()
    for thread in threads:
        thread.start()
    # Were the GIL held, this line would wait for both.
    assert threads[1].is_alive() and time.monotonic() - begin < 0.35
    for thread in threads:
        thread.join()
    assert time.monotonic() - begin < 0.75


def test_eight_threads_give_serial_results(model):
    inputs = [np.full((2, 3), n, np.float32) for n in range(8)]
    p = np.zeros((2, 1), np.float32)
    wrong = []

    def work(n):
        for _ in range(500):
            if not np.array_equal(model.run(inputs[n], p)["y"], 2 * inputs[n] + 1):
                wrong.append(n)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_text_passes_the_checks_of_the_importer():
    text = """func.func @main(%x: tensor<4xf32>) -> tensor<4xf32> {
  %y = onnx.node "Add" v14 (%x, %x) : (tensor<4xf32>, tensor<4xf32>) -> tensor<4xf32>
  return %y : tensor<4xf32>
}
"""
    assert '"Add"' in str(ffn_mlir.parse_module(text))
    with pytest.raises(ffn_mlir.Error) as caught:
        ffn_mlir.parse_module(text.replace("(%x, %x) : (tensor<4xf32>, tensor<4xf32>)", "(%x) : (tensor<4xf32>)"))
    assert caught.value.code == "FFN-I503"
