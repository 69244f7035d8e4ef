"""Keys and values that stay where they are, logits of the last token, no allocation in a run."""
import ctypes as C
import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from artefact import BUILD, BUNDLED, Api, Model, RunError, Tensor, compile_model, tensor

MODEL = BUNDLED / "pycode-lm-kv.onnx"


class AppendInfo(C.Structure):
    _fields_ = [("struct_size", C.c_size_t), ("input", C.c_uint32), ("output", C.c_uint32), ("axis", C.c_uint32)]


class FullApi(C.Structure):
    _fields_ = Api._fields_ + [
        ("session_profile", C.c_void_p), ("session_kernel_time", C.c_void_p),
        ("append_info", C.CFUNCTYPE(C.c_int, C.c_uint32, C.POINTER(AppendInfo))),
        ("session_appended_bytes", C.CFUNCTYPE(C.c_uint64, C.c_void_p)),
    ]


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    path = tmp_path_factory.mktemp("cache") / "model.so"
    assert compile_model(MODEL, path).returncode == 0
    return path


def full_api(model):
    api = C.cast(C.pointer(model.api), C.POINTER(FullApi)).contents
    assert api.struct_size >= C.sizeof(FullApi)
    return api


def pairs_of(model):
    """(input, output, axis) of every cache."""
    api, found = full_api(model), []
    info = AppendInfo(C.sizeof(AppendInfo))
    while api.append_info(len(found), C.byref(info)) == 0:
        found.append((info.input, info.output, info.axis))
    return found


def strided(array):
    """A tensor with the strides of the array, which may be a part of a larger one."""
    result = tensor(array)
    result.strides_kept = (C.c_int64 * array.ndim)(*[stride // array.itemsize for stride in array.strides])
    result.strides = C.cast(result.strides_kept, C.POINTER(C.c_int64))
    return result


class Text:
    """A text whose keys and values lie in memory with room for `room` tokens."""

    def __init__(self, path, room, batch=1, threads=1):
        self.model, self.batch, self.length = Model(path, threads), batch, 0
        self.pairs = pairs_of(self.model)
        self.session_run = self.model.api.session_run
        self.caches = {}
        for i, o, axis in self.pairs:
            info = self.model.inputs[i]
            shape = [info.shape[d] for d in range(info.ndim)]
            shape = [room if d == axis else batch if size < 0 else size for d, size in enumerate(shape)]
            self.caches[i] = np.full(shape, np.nan, np.float32)

    def feed(self, ids, past=None):
        """Logits; `past` are other arrays to read the past from."""
        count = ids.shape[1]
        part = lambda array, axis, n: array[(slice(None),) * axis + (slice(0, n),)]
        inputs, outputs = [None] * len(self.model.inputs), [None] * len(self.model.outputs)
        for i, o, axis in self.pairs:
            inputs[i] = strided((past or {}).get(i, part(self.caches[i], axis, self.length)))
            outputs[o] = strided(part(self.caches[i], axis, self.length + count))
        for i, info in enumerate(self.model.inputs):
            if inputs[i] is None:
                assert info.name == b"input_ids"
                inputs[i] = tensor(ids)
        for o, info in enumerate(self.model.outputs):
            if outputs[o] is None:
                logits = np.empty((self.batch, count, info.shape[2]), np.float32)
                outputs[o] = tensor(logits)
        array = lambda tensors: (Tensor * len(tensors))(*tensors)
        self.model.check(self.session_run(self.model.session, array(inputs), len(inputs), array(outputs), len(outputs)))
        self.length += count
        self.appended = full_api(self.model).session_appended_bytes(self.model.session)
        return logits


def test_cache_in_place_gives_the_same_bits_and_copies_nothing(library):
    ids = np.random.default_rng(0).integers(0, 256, (2, 12))
    apart = Model(library, 1)
    text = Text(library, room=17, batch=2)
    assert len(text.pairs) == 16
    names = [(apart.inputs[i].name, apart.outputs[o].name) for i, o, _ in text.pairs]
    assert all(past.decode().replace("past_key_values", "present") == present.decode() for past, present in names)
    past = {apart.inputs[i].name.decode(): np.zeros([2 if n < 0 else n for n in cache.shape[:2]] + [0, cache.shape[3]], np.float32)
            for i, cache in text.caches.items()}
    row = sum(cache[..., :1, :].nbytes for cache in text.caches.values())
    at = 0
    for count in (5, 1, 1, 3, 2):
        step = np.ascontiguousarray(ids[:, at : at + count])
        results = apart.run({"input_ids": step, **past})
        logits = text.feed(step)
        for i, o, axis in text.pairs:
            past[apart.inputs[i].name.decode()] = results[o]
            assert np.array_equal(results[o], text.caches[i][:, :, : at + count])
        wanted = next(results[k] for k, info in enumerate(apart.outputs) if info.name == b"logits")
        assert np.array_equal(logits, wanted)
        # Only what is new was written; apart, the past is written again.
        assert text.appended == count * row
        assert full_api(apart).session_appended_bytes(apart.session) == (at + count) * row
        at += count
        # Nothing was written behind the text.
        assert all(np.isnan(cache[:, :, at:]).all() for cache in text.caches.values())


def test_past_elsewhere_is_copied(library):
    ids = np.arange(6).reshape(1, 6)
    text, other = Text(library, 9), Text(library, 9)
    text.feed(ids), other.feed(ids)
    old = {i: np.ascontiguousarray(cache[:, :, :6]) for i, cache in other.caches.items()}
    for cache in other.caches.values():
        cache[:] = np.nan
    step = np.array([[7]])
    assert np.array_equal(text.feed(step), other.feed(step, past=old))
    assert other.appended == 7 * text.appended
    assert all(np.array_equal(text.caches[i][:, :, :7], other.caches[i][:, :, :7]) for i in text.caches)


def test_overlap_that_is_no_append_is_refused(library):
    text = Text(library, 9)
    text.feed(np.arange(4).reshape(1, 4))
    first, second = [i for i, _, _ in text.pairs][:2]
    before = {i: cache.copy() for i, cache in text.caches.items()}
    for past in (
        {first: text.caches[second][:, :, :4], second: text.caches[first][:, :, :4]},  # exchanged
        {first: text.caches[first].reshape(1, -1, 32)[:, : 4 * text.caches[first].shape[1]].reshape(1, -1, 4, 32)},  # other strides
        {first: text.caches[first][:, :, 1:5]},  # starts elsewhere
    ):
        with pytest.raises(RunError, match="FFN-R407"):
            text.feed(np.array([[1]]), past=past)
    for i, cache in text.caches.items():
        assert np.array_equal(cache, before[i], equal_nan=True)


def test_rows_that_overlap_are_refused(library):
    text = Text(library, 9)
    text.feed(np.arange(4).reshape(1, 4))
    first = text.pairs[0][0]
    narrow = np.lib.stride_tricks.as_strided(np.zeros((1, 64, 64, 32), np.float32), (1, text.caches[first].shape[1], 4, 32), (4, 4, 128, 4))
    with pytest.raises(RunError, match="FFN-R406"):
        text.feed(np.array([[1]]), past={first: narrow})


def test_driver_keeps_the_cache_in_place(library):
    done = subprocess.run([BUILD / "bin" / "ffnc", "bench", library, "--repeat", "1", "--prompt-tokens", "40", "--decode-tokens", "3", "--json"],
                          capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    # 8 layers of keys and values, 4 heads of 32 floats.
    assert found["cache_in_place"] and found["cache_bytes_of_a_step"] == 8 * 2 * 4 * 32 * 4


def test_last_token_logits(library, tmp_path):
    last = tmp_path / "last.so"
    assert compile_model(MODEL, last, "--last-token-logits").returncode == 0
    whole, cut = Model(library, 1), Model(last, 1)
    empty = {info.name.decode(): np.zeros((2, 4, 0, 32), np.float32) for info in whole.inputs if info.name != b"input_ids"}
    at = [info.name for info in whole.outputs].index(b"logits")
    for length in (1, 2, 33):
        ids = np.random.default_rng(length).integers(0, 256, (2, length))
        a, b = whole.run({"input_ids": ids, **empty}), cut.run({"input_ids": ids, **empty})
        assert b[at].shape == (2, 1, 256)
        assert np.array_equal(a[at][:, -1:], b[at])
        assert all(np.array_equal(x, y) for k, (x, y) in enumerate(zip(a, b)) if k != at)
    generate = lambda path: json.loads(subprocess.run(
        [BUILD / "bin" / "ffnc", "generate", path, "--prompt", "def f(x):", "--max-tokens", "12", "--json"],
        capture_output=True, text=True, check=True).stdout)["ids"]
    # A model file is compiled for the last token; all three agree.
    assert generate(last) == generate(library) == generate(MODEL)
    text = tmp_path / "text.py"
    text.write_text("x = 1\n" * 20)
    done = subprocess.run([BUILD / "bin" / "ffnc", "eval", last, text, "--whole-file"], capture_output=True, text=True)
    assert done.returncode == 1 and "FFN-D205" in done.stderr


COUNTER = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdint.h>
#include <stdlib.h>
static volatile int64_t count;
#define REAL(name) ((typeof(&name))dlsym(RTLD_NEXT, #name))
void *malloc(size_t n) { static void *(*f)(size_t); if (!f) f = REAL(malloc); __atomic_add_fetch(&count, 1, 5); return f(n); }
int posix_memalign(void **p, size_t a, size_t n) { __atomic_add_fetch(&count, 1, 5); return REAL(posix_memalign)(p, a, n); }
void *aligned_alloc(size_t a, size_t n) { __atomic_add_fetch(&count, 1, 5); return REAL(aligned_alloc)(a, n); }
void *realloc(void *p, size_t n) { __atomic_add_fetch(&count, 1, 5); return REAL(realloc)(p, n); }
int64_t count_run(int (*run)(void *, void *, uint32_t, void *, uint32_t), void *session, void *in, uint32_t n, void *out, uint32_t m) {
  int64_t before = count;
  return run(session, in, n, out, m) ? -1 : count - before;
}
int64_t count_malloc(void) { int64_t before = count; free(malloc(10000)); return count - before; }
"""

COUNTED = r"""
import ctypes as C, sys
sys.path.insert(0, sys.argv[3])
import numpy as np
from artefact import tensor
from test_cache import Text
counter = C.CDLL(sys.argv[1])
counter.count_run.restype = counter.count_malloc.restype = C.c_int64
assert counter.count_malloc() == 1
for threads in (1, 2):
    text = Text(sys.argv[2], 80, threads=threads)
    run, counts = C.cast(text.session_run, C.c_void_p), []
    text.session_run = lambda *a: counts.append(counter.count_run(run, *a)) or 0
    text.feed(np.zeros((1, 40), np.int64))
    for _ in range(8):
        text.feed(np.zeros((1, 1), np.int64))
    print(*counts)
"""


def test_no_allocation_in_a_run(library, tmp_path):
    source, shim = tmp_path / "counter.c", tmp_path / "counter.so"
    source.write_text(COUNTER)
    subprocess.run(["clang-22", "-shared", "-fPIC", "-O1", "-fno-builtin", "-o", shim, source], check=True)
    done = subprocess.run([sys.executable, "-c", COUNTED, shim, library, pathlib.Path(__file__).parent],
                          env={**os.environ, "LD_PRELOAD": str(shim)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for line in done.stdout.splitlines():
        first, *later = map(int, line.split())
        # The first run of a session makes its memory; so does the first step of one token, which needs another size.
        assert first > 0 and len(later) == 8 and later[2:] == [0] * 6, line
