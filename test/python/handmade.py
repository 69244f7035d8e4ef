"""A compiled model made by hand, to test the runtime's binding by itself.

y = 2 x + w over [batch, seq] float32, z = counts int64 [batch, past + seq],
b = bool [batch], where w lies in the weights. x[0] = -1 sleeps 0.4 s.
"""
import pathlib
import struct
import subprocess

SOURCE = r"""
#include <stdint.h>
#include <time.h>
typedef struct { char *allocated, *data; int64_t offset, sizes[2], strides[2]; } Matrix;
typedef struct { char *allocated, *data; int64_t offset, size, stride; } Vector;
extern void *ffn_rt_alloc(int64_t);
extern void ffn_rt_free(void *);
const unsigned char ffn_model_descriptor[] = {%(descriptor)s};
const uint64_t ffn_model_descriptor_size = sizeof ffn_model_descriptor;
typedef struct { void (*body)(void *, int64_t, int64_t); const char *name; } Kernel;
const Kernel ffn_model_kernels[1];
const uint64_t ffn_model_num_kernels = 0;
_Alignas(64) const unsigned char ffn_model_weights[4] = {0, 0, 0x80, 0x3f};
void ffn_model_entry(void **args) {
  Matrix *x = args[0], *y = args[2], *z = args[3];
  Vector *b = args[4], *weights = args[5];
  const float *in = (const float *)x->data;
  float *out = (float *)y->data;
  ffn_rt_free(ffn_rt_alloc(1000));
  if (x->sizes[0] * x->sizes[1] && in[0] == -1) {
    struct timespec wait = {0, 400000000};
    nanosleep(&wait, 0);
  }
  for (int64_t i = 0; i < x->sizes[0] * x->sizes[1]; ++i)
    out[i] = 2 * in[i] + *(const float *)weights->data;
  for (int64_t i = 0; i < z->sizes[0] * z->sizes[1]; ++i)
    ((int64_t *)z->data)[i] = i;
  for (int64_t i = 0; i < b->size; ++i)
    b->data[i] = i %% 2;
}
"""
CONSTANT, SYMBOL, ADD = 0, 1, 2


def text(value):
    data = value.encode()
    return struct.pack("<I", len(data)) + data + b"\0"


def value(name, code, bits, dims):
    out = text(name) + struct.pack("<BBI", code, bits, len(dims))
    for dim, program in dims:
        out += text(dim) + struct.pack("<I", len(program)) + b"".join(struct.pack("<Bq", *step) for step in program)
    return out


def descriptor(features=("sse4.2",), float_type=(2, 32)):
    batch, seq, past = ("batch", [(SYMBOL, 0)]), ("seq", [(SYMBOL, 1)]), ("past", [(SYMBOL, 2)])
    total = ("past + seq", [(SYMBOL, 2), (SYMBOL, 1), (ADD, 0)])
    out = struct.pack("<II", 0x444E4646, 1) + text("by hand") + text("baseline") + text("exact")
    out += struct.pack("<I", len(features)) + b"".join(map(text, features))
    out += struct.pack("<I", 3)
    for name, at in (("batch", (0, 0)), ("seq", (0, 1)), ("past", (1, 1))):
        out += text(name) + struct.pack("<II", *at)
    out += struct.pack("<I", 2) + value("x", *float_type, [batch, seq]) + value("past.0", 2, 32, [batch, past])
    out += struct.pack("<I", 3) + value("y", *float_type, [batch, seq]) + value("z", 0, 64, [batch, total]) + value("b", 6, 8, [batch])
    return out + struct.pack("<Q", 4) + text("") + struct.pack("<II", 0, 0)


def build(folder, build_dir, name="model", **options):
    """The path of the model's shared library."""
    folder = pathlib.Path(folder)
    source, library = folder / f"{name}.c", folder / f"{name}.so"
    source.write_text(SOURCE % {"descriptor": ",".join(map(str, descriptor(**options)))})
    runtime = pathlib.Path(build_dir) / "lib" / "libffn_rt.a"
    subprocess.run(
        ["clang-22", "-shared", "-fPIC", "-O1", "-o", library, source, "-Wl,--whole-archive", runtime, "-Wl,--no-whole-archive", "-lpthread"],
        check=True,
    )
    return library
