"""Compiles models and calls the libraries through the C ABI, with ctypes alone."""
import ctypes as C
import os
import pathlib
import subprocess

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("FFN_BUILD_DIR", ROOT / "build" / "release"))
SHARED = pathlib.Path(os.environ.get("FFN_SHARED", ROOT.parent / "shared")) / "models"
BUNDLED = ROOT / "examples" / "pycode-lm"


class Device(C.Structure):
    _fields_ = [("type", C.c_int32), ("id", C.c_int32)]


class DType(C.Structure):
    _fields_ = [("code", C.c_uint8), ("bits", C.c_uint8), ("lanes", C.c_uint16)]


class Tensor(C.Structure):
    _fields_ = [("data", C.c_void_p), ("device", Device), ("ndim", C.c_int32), ("dtype", DType),
                ("shape", C.POINTER(C.c_int64)), ("strides", C.POINTER(C.c_int64)), ("byte_offset", C.c_uint64)]


class ValueInfo(C.Structure):
    _fields_ = [("struct_size", C.c_size_t), ("name", C.c_char_p), ("dtype", DType), ("ndim", C.c_int32),
                ("shape", C.POINTER(C.c_int64)), ("dim_names", C.POINTER(C.c_char_p))]


class ModelInfo(C.Structure):
    _fields_ = [("struct_size", C.c_size_t), ("producer", C.c_char_p), ("level", C.c_char_p), ("features", C.c_char_p),
                ("numerics", C.c_char_p), ("weight_bytes", C.c_uint64), ("num_inputs", C.c_uint32),
                ("num_outputs", C.c_uint32)]


class SessionOptions(C.Structure):
    _fields_ = [("struct_size", C.c_size_t), ("threads", C.c_uint32)]


class Api(C.Structure):
    _fields_ = [
        ("struct_size", C.c_size_t), ("abi_version", C.c_uint32), ("last_error", C.CFUNCTYPE(C.c_char_p)),
        ("model_info", C.CFUNCTYPE(C.c_int, C.POINTER(ModelInfo))),
        ("input_info", C.CFUNCTYPE(C.c_int, C.c_uint32, C.POINTER(ValueInfo))),
        ("output_info", C.CFUNCTYPE(C.c_int, C.c_uint32, C.POINTER(ValueInfo))),
        ("output_shape", C.CFUNCTYPE(C.c_int, C.POINTER(Tensor), C.c_uint32, C.c_uint32, C.POINTER(C.c_int64), C.c_uint32)),
        ("session_create", C.CFUNCTYPE(C.c_int, C.POINTER(SessionOptions), C.POINTER(C.c_void_p))),
        ("session_destroy", C.CFUNCTYPE(None, C.c_void_p)),
        ("session_run", C.CFUNCTYPE(C.c_int, C.c_void_p, C.POINTER(Tensor), C.c_uint32, C.POINTER(Tensor), C.c_uint32)),
        ("session_memory", C.CFUNCTYPE(C.c_uint64, C.c_void_p)),
    ]


CODES = {"i": 0, "u": 1, "f": 2, "b": 6}
KINDS = {0: "i", 1: "u", 2: "f"}


class RunError(Exception):
    def __init__(self, status, text):
        super().__init__(f"{status}: {text}")
        self.status, self.text = status, text


def tensor(array):
    result = Tensor(array.ctypes.data, Device(1, 0), array.ndim, DType(CODES[array.dtype.kind], 8 * array.itemsize, 1))
    result.keep = (array, (C.c_int64 * max(1, array.ndim))(*array.shape))
    result.shape = C.cast(result.keep[1], C.POINTER(C.c_int64))
    return result


class Model:
    """A compiled model, opened as ffn_load of Runtime.h does."""

    def __init__(self, path, threads=0):
        self.descriptor = os.open(path, os.O_RDONLY)
        self.library = C.CDLL(f"/proc/self/fd/{self.descriptor}", mode=os.RTLD_NOW | os.RTLD_LOCAL)
        self.library.ffn_get_api.restype = C.POINTER(Api)
        self.api = self.library.ffn_get_api(1).contents
        self.info = ModelInfo(C.sizeof(ModelInfo))
        self.check(self.api.model_info(C.byref(self.info)))
        self.inputs = [self.value(self.api.input_info, i) for i in range(self.info.num_inputs)]
        self.outputs = [self.value(self.api.output_info, i) for i in range(self.info.num_outputs)]
        self.session = C.c_void_p()
        options = SessionOptions(C.sizeof(SessionOptions), threads)
        self.check(self.api.session_create(C.byref(options), C.byref(self.session)))

    def value(self, query, index):
        info = ValueInfo(C.sizeof(ValueInfo))
        self.check(query(index, C.byref(info)))
        return info

    def check(self, status):
        if status:
            raise RunError(status, self.api.last_error().decode())

    def run(self, feeds):
        arrays = [np.ascontiguousarray(feeds[info.name.decode()]).reshape(feeds[info.name.decode()].shape) for info in self.inputs]
        inputs = (Tensor * len(arrays))(*[tensor(array) for array in arrays])
        keep = [tensor(array) for array in arrays]
        inputs = (Tensor * len(arrays))(*keep)
        results, kept = [], []
        for i, info in enumerate(self.outputs):
            shape = (C.c_int64 * 16)()
            self.check(self.api.output_shape(inputs, len(arrays), i, shape, 16))
            kind = "?" if info.dtype.code == 6 else KINDS[info.dtype.code] + str(info.dtype.bits // 8)
            results.append(np.empty(list(shape)[: info.ndim], np.dtype(kind)))
            kept.append(tensor(results[-1]))
        outputs = (Tensor * len(kept))(*kept)
        self.check(self.api.session_run(self.session, inputs, len(arrays), outputs, len(kept)))
        return results


def compile_model(model, output, *arguments):
    """Runs ffnc compile; the finished process. What is slower is written too: tests of the gate ask for it themselves."""
    return subprocess.run([str(BUILD / "bin" / "ffnc"), "compile", str(model), "-o", str(output), "--gate=off", *arguments],
                          capture_output=True, text=True, stdin=subprocess.DEVNULL)


def ort_session(model):
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    return ort.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])


def error_of(ours, theirs):
    """max|ours - theirs| / max|theirs|; integers must be equal, NaN and infinity in the same places."""
    assert ours.shape == theirs.shape and ours.dtype == theirs.dtype, (ours.shape, theirs.shape, ours.dtype, theirs.dtype)
    if ours.dtype.kind != "f":
        return 0.0 if np.array_equal(ours, theirs) else float("inf")
    x, y = ours.astype(np.float64), theirs.astype(np.float64)
    finite = np.isfinite(y)
    if not np.array_equal(finite, np.isfinite(x)) or not np.array_equal(x[~finite], y[~finite], equal_nan=True):
        return float("inf")
    scale = np.max(np.abs(y[finite]), initial=0.0)
    difference = np.max(np.abs(x[finite] - y[finite]), initial=0.0)
    return float(difference / scale) if difference else 0.0
