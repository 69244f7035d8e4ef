"""The models of the benchmarks: shapes of well-known transformers with random weights, made from a seed.

Every engine gets the same numbers: a weight is a function of the seed, its name
and its shape. Here they are written as ONNX graphs (with weights as they are, or
rounded the way the operators of one engine take them) and as GGUF;
peers/torch_model.py builds the same function in PyTorch. Random weights do for
speed and for nothing else: quality is measured on trained models.
"""
import dataclasses
import os
import pathlib
import zlib

import numpy as np

ALIGNMENT = 4096
ROPE_THETA = 500000.0
EPSILON = {"bert": 1e-12, "gpt2": 1e-5, "vit": 1e-12, "llama": 1e-5}
# Rows of logits that are compared, of all texts of a call together; all are computed.
COMPARED_ROWS = 32


@dataclasses.dataclass(frozen=True)
class Spec:
    """The shape of a model. `family` is bert, gpt2, vit or llama."""

    name: str
    family: str
    layers: int
    width: int
    heads: int
    kv_heads: int
    hidden: int
    vocabulary: int
    positions: int

    @property
    def head(self):
        return self.width // self.heads

    @property
    def is_language_model(self):
        return self.family in ("gpt2", "llama")


SPECS = {spec.name: spec for spec in (
    Spec("bert-base", "bert", 12, 768, 12, 12, 3072, 30522, 512),
    # GPT-2 has 1024 positions; a token after 1024 others needs one more.
    Spec("gpt2-small", "gpt2", 12, 768, 12, 12, 3072, 50257, 1280),
    # 196 patches of 16 x 16 x 3 values and the class token; `vocabulary` counts classes.
    Spec("vit-b16", "vit", 12, 768, 12, 12, 3072, 1000, 197),
    Spec("llama-1b", "llama", 16, 2048, 32, 8, 8192, 128256, 0),
    Spec("tiny-bert", "bert", 2, 64, 4, 4, 160, 97, 48),
    Spec("tiny-gpt2", "gpt2", 2, 64, 4, 4, 160, 97, 48),
    Spec("tiny-vit", "vit", 2, 64, 4, 4, 160, 10, 197),
    Spec("tiny-llama", "llama", 2, 64, 4, 2, 160, 97, 0),
)}


@dataclasses.dataclass(frozen=True)
class Cell:
    """What a call does. prefill: reads `length` tokens of `batch` texts; decode: one token after `length` others.

    `last`: logits of the last token alone, by a graph that computes no others.
    """

    what: str
    batch: int
    length: int
    last: bool = False

    def __str__(self):
        form = f"{self.batch}x{self.length}" if self.what == "prefill" else f"after-{self.length}"
        return f"{self.what}-{form}{'-last' if self.last else ''}"


# --- Weights -----------------------------------------------------------------


def shapes(spec):
    """Name and shape of every weight; matrices of linear layers are [in, out]."""
    w, kv = spec.width, spec.kv_heads * spec.head
    found = {}

    def linear(name, rows, columns, bias=True):
        found[f"{name}.weight"] = (rows, columns)
        if bias:
            found[f"{name}.bias"] = (columns,)

    def norm(name, bias=True):
        found[f"{name}.gain"] = (w,)
        if bias:
            found[f"{name}.bias"] = (w,)

    biased = spec.family != "llama"
    if spec.family == "vit":
        linear("patch", w, w)
        found["class_token"] = (1, 1, w)
    else:
        found["embedding"] = (spec.vocabulary, w)
    if spec.positions:
        found["positions"] = (spec.positions, w)
    if spec.family == "bert":
        found["token_types"] = (2, w)
        norm("embedding_norm")
    for i in range(spec.layers):
        norm(f"{i}.norm_1", biased)
        if spec.family == "gpt2":
            linear(f"{i}.qkv", w, 3 * w)
        else:
            for part, columns in (("q", w), ("k", kv), ("v", kv)):
                linear(f"{i}.{part}", w, columns, biased)
        linear(f"{i}.o", w, w, biased)
        norm(f"{i}.norm_2", biased)
        if spec.family == "llama":
            linear(f"{i}.gate", w, spec.hidden, False)
        linear(f"{i}.up", w, spec.hidden, biased)
        linear(f"{i}.down", spec.hidden, w, biased)
    if spec.family != "bert":
        norm("norm", biased)
    if spec.family == "vit":
        linear("classes", w, spec.vocabulary)
    return found


def weight(spec, name, shape, seed=0):
    """f32 array: normal with deviation 0.02, around 1 for the gains of norms."""
    generator = np.random.default_rng([seed, zlib.crc32(f"{spec.name}/{name}".encode())])
    values = generator.standard_normal(shape, dtype=np.float32) * np.float32(0.02)
    return values + np.float32(1) if name.endswith(".gain") else values


class Weights:
    """All weights of a spec in one file, mapped; made when it is not there."""

    def __init__(self, spec, folder, seed=0):
        self.path = pathlib.Path(folder) / f"{spec.name}-{seed}.weights"
        self.entries, offset = {}, 0
        for name, shape in shapes(spec).items():
            self.entries[name] = (offset, shape)
            offset += -(-4 * int(np.prod(shape)) // ALIGNMENT) * ALIGNMENT
        self.bytes = sum(4 * int(np.prod(shape)) for _, shape in self.entries.values())
        if not self.path.exists() or self.path.stat().st_size != offset:
            with write_whole(self.path) as file:
                for name, (begin, shape) in self.entries.items():
                    file.seek(begin)
                    file.write(weight(spec, name, shape, seed).data)
                file.truncate(offset)
        self._map = np.memmap(self.path, np.uint8, "r")

    def __getitem__(self, name):
        offset, shape = self.entries[name]
        return self._map[offset:offset + 4 * int(np.prod(shape))].view(np.float32).reshape(shape)


class write_whole:
    """A file that appears under its name when it is complete."""

    def __init__(self, path):
        self.path, self.temporary = path, path.with_name(f".{path.name}.{os.getpid()}")

    def __enter__(self):
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.file = open(self.temporary, "wb")
        return self.file

    def __exit__(self, kind, *_):
        self.file.close()
        if kind:
            self.temporary.unlink()
        else:
            self.temporary.replace(self.path)


# --- Inputs ------------------------------------------------------------------


def feeds(spec, cell, seed=0):
    """The inputs of a cell by name, without keys and values: arrays with batch first.

    Of decode all tokens are given, the ones before and the one to read.
    """
    generator = np.random.default_rng([seed, cell.batch, cell.length])
    if spec.family == "vit":
        side = 16 * int((spec.positions - 1) ** 0.5)
        return {"pixel_values": generator.standard_normal((cell.batch, 3, side, side), dtype=np.float32)}
    count = cell.length + (cell.what == "decode")
    found = {"input_ids": generator.integers(0, spec.vocabulary, (cell.batch, count))}
    if spec.family == "bert":
        found["attention_mask"] = np.ones((cell.batch, count), np.int64)
        found["token_type_ids"] = np.zeros((cell.batch, count), np.int64)
    return found


def compared_positions(spec, cell):
    """Indices of the positions whose outputs are compared."""
    if cell.what == "decode" or cell.last or not spec.is_language_model:
        return None
    return np.unique(np.linspace(0, cell.length - 1, max(2, COMPARED_ROWS // cell.batch)).round().astype(int))


def empty_past(spec, batch):
    return {f"past_key_values.{i}.{part}": np.zeros((batch, spec.kv_heads, 0, spec.head), np.float32)
            for i in range(spec.layers) for part in ("key", "value")}


def matrix_elements(spec):
    """Elements of the matrices that a token is multiplied with, the tied head among them."""
    count = sum(rows * columns for name, (rows, columns) in
                ((n, s) for n, s in shapes(spec).items() if len(s) == 2) if name.endswith(".weight"))
    return count + (spec.vocabulary * spec.width if spec.is_language_model else 0)


# --- Rounding to fewer bits --------------------------------------------------


def round_columns(matrix):
    """int8 codes of [K, N] and the scale of each column."""
    scales = np.maximum(np.abs(matrix).max(axis=0), np.float32(1e-30)) / np.float32(127)
    return np.clip(np.rint(matrix / scales), -127, 127).astype(np.int8), scales


def round_groups(matrix, bits, group):
    """Unsigned codes [K, N] with zero point 2^(bits-1), and scales [K / group, N]."""
    limit = 1 << (bits - 1)
    groups = matrix.reshape(-1, group, matrix.shape[1])
    at = np.abs(groups).argmax(axis=1, keepdims=True)
    extreme = np.take_along_axis(groups, at, 1)
    scales = np.where(extreme == 0, np.float32(1e-30), -extreme / np.float32(limit))
    codes = np.clip(np.rint(groups / scales), -limit, limit - 1) + limit
    return codes.astype(np.uint8).reshape(matrix.shape), scales[:, 0].astype(np.float32)


# --- ONNX --------------------------------------------------------------------

# How a graph holds the matrices of linear layers:
#   f32           as they are
#   int8-dynamic  DynamicQuantizeLinear and MatMulInteger (ONNX Runtime: activations in int8 too)
#   int8-nbits, int4-nbits   MatMulNBits of com.microsoft, accuracy level 4, groups of GROUP
#   int8-dq, int4-dq         DequantizeLinear of a constant, a scale per column or group (OpenVINO keeps it compressed)
FORMS = ("f32", "int8-dynamic", "int8-nbits", "int4-nbits", "int8-dq", "int4-dq")
GROUP = 128


class _Data:
    """A file of constants beside the graph."""

    def __init__(self, path):
        self.path = path
        self.end = 0
        self.file = None

    def add(self, tensor, array):
        from onnx import TensorProto
        if self.file is None:
            self.file = open(self.path, "wb")
        self.file.seek(self.end)
        array = np.ascontiguousarray(array)
        self.file.write(array.data)
        _refer(tensor, self.path.name, self.end, array.nbytes)
        self.end += -(-array.nbytes // ALIGNMENT) * ALIGNMENT
        assert tensor.data_location == TensorProto.EXTERNAL

    def close(self):
        if self.file:
            self.file.close()


def _refer(tensor, location, offset, length):
    from onnx import TensorProto
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", offset), ("length", length)):
        tensor.external_data.add(key=key, value=str(value))


class _Graph:
    """Builds the graph of a spec, decomposed the way exporters decompose it."""

    def __init__(self, spec, weights, form, data, fixed):
        self.spec, self.weights, self.form, self.data, self.fixed = spec, weights, form, data, fixed
        self.nodes, self.initializers, self.names, self.quantized = [], [], set(), {}

    def op(self, kind, *inputs, outputs=1, name=None, domain="", **attributes):
        from onnx import helper
        stem = name or f"{kind.lower()}_{len(self.nodes)}"
        made = [stem] if outputs == 1 else [f"{stem}_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(kind, list(inputs), made, name=f"node_{stem}", domain=domain, **attributes))
        return made[0] if outputs == 1 else made

    def constant(self, name, value, dtype=np.int64):
        from onnx import numpy_helper
        if name not in self.names:
            self.names.add(name)
            self.initializers.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def ints(self, *values):
        return self.constant("i_" + "_".join(str(v).replace("-", "m") for v in values), values)

    def scalar(self, value):
        return self.constant(f"s_{value}".replace("-", "m"), value)

    def float(self, name, value):
        return self.constant(name, value, np.float32)

    def initializer(self, name, data_type, dims, array=None):
        """An external constant: of the shared file of weights, or of this graph's own."""
        from onnx import TensorProto
        if name not in self.names:
            self.names.add(name)
            tensor = TensorProto(name=name, data_type=data_type, dims=dims)
            if array is None:
                offset, shape = self.weights.entries[name]
                _refer(tensor, self.weights.path.name, offset, 4 * int(np.prod(shape)))
            else:
                self.data.add(tensor, array)
            self.initializers.append(tensor)
        return name

    def weight(self, name):
        from onnx import TensorProto
        return self.initializer(name, TensorProto.FLOAT, self.weights.entries[name][1])

    def product(self, x, name, head=False, output=None):
        """x [.., K] times the matrix of this name, [K, N], or [N, K] for the tied head."""
        from onnx import TensorProto
        if self.form == "f32":
            matrix = self.op("Transpose", self.weight(name), perm=[1, 0]) if head else self.weight(name)
            return self.op("MatMul", x, matrix, name=output)
        matrix = self.weights[name].T if head else self.weights[name]
        k, n = matrix.shape
        if self.form == "int8-dynamic":
            codes, scales = round_columns(matrix)
            if x not in self.quantized:
                self.quantized[x] = self.op("DynamicQuantizeLinear", x, outputs=3)
            q, scale, zero = self.quantized[x]
            weight = self.initializer(f"{name}.codes", TensorProto.INT8, codes.shape, codes)
            zeros = self.initializer(f"{name}.zeros", TensorProto.INT8, scales.shape, np.zeros(n, np.int8))
            y = self.op("Cast", self.op("MatMulInteger", q, weight, zero, zeros), to=TensorProto.FLOAT)
            both = self.op("Mul", scale, self.initializer(f"{name}.scales", TensorProto.FLOAT, scales.shape, scales))
            return self.op("Mul", y, both, name=output)
        if self.form == "int8-dq":
            codes, scales = round_columns(matrix)
            b = self.initializer(f"{name}.codes", TensorProto.INT8, (n, k), codes.T)
            s = self.initializer(f"{name}.scales", TensorProto.FLOAT, (n,), scales)
            wide = self.op("DequantizeLinear", b, s, axis=0)
            return self.op("MatMul", x, self.op("Transpose", wide, perm=[1, 0]), name=output)
        bits = int(self.form[3])
        # The importers want whole groups.
        group = GROUP if k % GROUP == 0 else 32
        codes, scales = round_groups(matrix, bits, group)
        if self.form.endswith("nbits"):
            packed = codes.T.reshape(n, k // group, group)
            if bits == 4:
                packed = packed[..., ::2] | packed[..., 1::2] << 4
            b = self.initializer(f"{name}.codes", TensorProto.UINT8, packed.shape, packed)
            s = self.initializer(f"{name}.scales", TensorProto.FLOAT, (scales.size,), scales.T)
            return self.op("MatMulNBits", x, b, s, name=output, domain="com.microsoft", K=k, N=n, bits=bits,
                           block_size=group, accuracy_level=4)
        # Signed codes: eight less, modulo 16.
        signed = codes.T ^ 8
        b = self.initializer(f"{name}.codes", TensorProto.INT4, (n, k), signed[:, ::2] | signed[:, 1::2] << 4)
        s = self.initializer(f"{name}.scales", TensorProto.FLOAT, scales.T.shape, scales.T)
        wide = self.op("DequantizeLinear", b, s, axis=1, block_size=group)
        return self.op("MatMul", x, self.op("Transpose", wide, perm=[1, 0]), name=output)

    def linear(self, x, name):
        y = self.product(x, f"{name}.weight")
        return self.op("Add", y, self.weight(f"{name}.bias")) if f"{name}.bias" in self.weights.entries else y

    def norm(self, x, name, output=None):
        epsilon = EPSILON[self.spec.family]
        gain = self.weight(f"{name}.gain")
        if self.spec.family != "llama":
            return self.op("LayerNormalization", x, gain, self.weight(f"{name}.bias"), axis=-1, epsilon=epsilon, name=output)
        mean = self.op("ReduceMean", self.op("Pow", x, self.float("two", 2)), self.ints(-1), keepdims=1)
        root = self.op("Sqrt", self.op("Add", mean, self.float("epsilon", epsilon)))
        return self.op("Mul", gain, self.op("Mul", x, self.op("Div", self.float("one", 1), root)), name=output)

    def activation(self, x):
        one, half = self.float("one", 1), self.float("half", 0.5)
        if self.spec.family == "gpt2":
            cube = self.op("Mul", self.op("Pow", x, self.float("three", 3)), self.float("cubic", 0.044715))
            inner = self.op("Mul", self.op("Add", x, cube), self.float("root_2_pi", 0.7978845608028654))
            return self.op("Mul", self.op("Mul", x, half), self.op("Add", self.op("Tanh", inner), one))
        erf = self.op("Erf", self.op("Div", x, self.float("root_2", 2**0.5)))
        return self.op("Mul", self.op("Mul", x, self.op("Add", erf, one)), half)

    def feed_forward(self, x, i):
        up = self.linear(x, f"{i}.up")
        if self.spec.family == "llama":
            gate = self.linear(x, f"{i}.gate")
            up = self.op("Mul", self.op("Mul", gate, self.op("Sigmoid", gate)), up)
        else:
            up = self.activation(up)
        return self.linear(up, f"{i}.down")

    def heads(self, x, count):
        shape = self.op("Concat", self.batch, self.length, self.ints(count, self.spec.head), axis=0)
        return self.op("Transpose", self.op("Reshape", x, shape), perm=[0, 2, 1, 3])

    def rotate(self, x):
        end, half = np.iinfo(np.int64).max, self.spec.head // 2
        low = self.op("Slice", x, self.ints(0), self.ints(half), self.ints(3))
        high = self.op("Slice", x, self.ints(half), self.ints(end), self.ints(3))
        turned = self.op("Concat", self.op("Neg", high), low, axis=-1)
        return self.op("Add", self.op("Mul", x, self.cos), self.op("Mul", turned, self.sin))

    def repeat(self, x):
        spec = self.spec
        if spec.kv_heads == spec.heads:
            return x
        x = self.op("Unsqueeze", x, self.ints(2))
        shape = self.op("Concat", self.batch, self.ints(spec.kv_heads, spec.heads // spec.kv_heads), self.total, self.ints(spec.head), axis=0)
        x = self.op("Expand", x, shape)
        return self.op("Reshape", x, self.op("Concat", self.batch, self.ints(spec.heads), self.total, self.ints(spec.head), axis=0))

    def attention(self, x, i, cached):
        spec = self.spec
        if spec.family == "gpt2":
            parts = self.op("Split", self.linear(x, f"{i}.qkv"), self.constant("thirds", [spec.width] * 3), outputs=3, axis=2)
        else:
            parts = [self.linear(x, f"{i}.{part}") for part in "qkv"]
        q, k, v = (self.heads(part, count) for part, count in zip(parts, (spec.heads, spec.kv_heads, spec.kv_heads)))
        if spec.family == "llama":
            q, k = self.rotate(q), self.rotate(k)
        if cached:
            k = self.op("Concat", f"past_key_values.{i}.key", k, axis=2, name=f"present.{i}.key")
            v = self.op("Concat", f"past_key_values.{i}.value", v, axis=2, name=f"present.{i}.value")
        k, v = self.repeat(k), self.repeat(v)
        scores = self.op("Div", self.op("MatMul", q, self.op("Transpose", k, perm=[0, 1, 3, 2])), self.float("root_head", spec.head**0.5))
        if self.mask:
            scores = self.op("Add", scores, self.mask)
        mixed = self.op("Transpose", self.op("MatMul", self.op("Softmax", scores, axis=-1), v), perm=[0, 2, 1, 3])
        mixed = self.op("Reshape", mixed, self.op("Concat", self.batch, self.length, self.ints(spec.width), axis=0))
        return self.linear(mixed, f"{i}.o")

    def sizes(self, of):
        """Batch and sequence as values; constants where the shape is fixed, which saves an importer the folding."""
        if self.fixed:
            self.batch, self.length = self.ints(self.fixed[0]), self.ints(self.fixed[1])
            return
        shape = self.op("Shape", of)
        self.batch = self.op("Gather", shape, self.ints(0), axis=0)
        self.length = self.op("Gather", shape, self.ints(1), axis=0)

    def causal(self, cached):
        """Positions, the additive mask and the number of tokens with the past, as the exporters write them."""
        scalar = lambda x: self.op("Squeeze", x, self.ints(0))
        past = self.ints(0)
        if cached:
            past = self.op("Gather", self.op("Shape", "past_key_values.0.key"), self.ints(2), axis=0)
        self.total = self.op("Add", past, self.length)
        if self.fixed:
            self.total = self.length
            self.position = self.constant("position", np.arange(self.fixed[1]))
            keys = self.position
        else:
            self.position = self.op("Range", scalar(past), scalar(self.total), self.scalar(1))
            keys = self.op("Range", self.scalar(0), scalar(self.total), self.scalar(1))
        later = self.op("Greater", keys, self.op("Unsqueeze", self.position, self.ints(1)))
        self.mask = self.op("Where", later, self.float("least", np.finfo(np.float32).min), self.float("zero", 0))

    def build(self, cached, last):
        spec, info = self.spec, self.info
        inputs, outputs = [], []
        batch, length = self.fixed or ("batch", "sequence")
        self.mask = None
        if spec.family == "vit":
            inputs.append(info("pixel_values", 1, [batch, 3, 224, 224]))
            self.batch = self.ints(self.fixed[0]) if self.fixed else self.op("Gather", self.op("Shape", "pixel_values"), self.ints(0), axis=0)
            self.length = self.ints(spec.positions)
            # The convolution of the patches as the product it is: its windows do not overlap.
            x = self.op("Reshape", "pixel_values", self.op("Concat", self.batch, self.ints(3, 14, 16, 14, 16), axis=0))
            x = self.op("Transpose", x, perm=[0, 2, 4, 1, 3, 5])
            x = self.op("Reshape", x, self.op("Concat", self.batch, self.ints(196, 768), axis=0))
            if spec.width != 768:
                x = self.op("Slice", x, self.ints(0), self.ints(spec.width), self.ints(2))
            x = self.linear(x, "patch")
            token = self.op("Expand", self.weight("class_token"), self.op("Concat", self.batch, self.ints(1, spec.width), axis=0))
            x = self.op("Add", self.op("Concat", token, x, axis=1), self.weight("positions"))
        else:
            names = ["input_ids"] + (["attention_mask", "token_type_ids"] if spec.family == "bert" else [])
            inputs += [info(name, 7, [batch, length]) for name in names]
            self.sizes("input_ids")
            x = self.op("Gather", self.weight("embedding"), "input_ids")
        if spec.family == "bert":
            positions = self.op("Slice", self.weight("positions"), self.ints(0), self.length, self.ints(0))
            x = self.op("Add", x, self.op("Gather", self.weight("token_types"), "token_type_ids"))
            x = self.norm(self.op("Add", x, positions), "embedding_norm")
            wide = self.op("Unsqueeze", "attention_mask", self.ints(1, 2))
            hidden = self.op("Sub", self.float("one", 1), self.op("Cast", wide, to=1))
            self.mask = self.op("Mul", hidden, self.float("least", np.finfo(np.float32).min))
        if spec.is_language_model:
            if cached:
                for i in range(spec.layers):
                    for part in ("key", "value"):
                        cache = lambda name, n: info(name, 1, [batch, spec.kv_heads, n, spec.head])
                        inputs.append(cache(f"past_key_values.{i}.{part}", "past"))
                        outputs.append(cache(f"present.{i}.{part}", "past + sequence"))
            self.causal(cached)
        if spec.family == "gpt2":
            x = self.op("Add", x, self.op("Gather", self.weight("positions"), self.position))
        if spec.family == "llama":
            half = np.arange(0, spec.head, 2, dtype=np.float64)
            frequencies = self.float("frequencies", (1.0 / ROPE_THETA ** (half / spec.head))[None])
            angles = self.op("MatMul", self.op("Cast", self.op("Unsqueeze", self.position, self.ints(1)), to=1), frequencies)
            angles = self.op("Concat", angles, angles, axis=-1)
            self.cos, self.sin = self.op("Cos", angles), self.op("Sin", angles)
        for i in range(spec.layers):
            if spec.family == "bert":
                x = self.norm(self.op("Add", self.attention(x, i, False), x), f"{i}.norm_1")
                end = "last_hidden_state" if i == spec.layers - 1 else None
                x = self.norm(self.op("Add", self.feed_forward(x, i), x), f"{i}.norm_2", output=end)
                continue
            x = self.op("Add", x, self.attention(self.norm(x, f"{i}.norm_1"), i, cached))
            x = self.op("Add", x, self.feed_forward(self.norm(x, f"{i}.norm_2"), i))
        if spec.family == "bert":
            return inputs, [info("last_hidden_state", 1, [batch, length, spec.width])]
        if last:
            x = self.op("Slice", x, self.ints(-1), self.ints(np.iinfo(np.int64).max), self.ints(1))
        x = self.norm(x, "norm")
        if spec.family == "vit":
            x = self.op("Gather", x, self.scalar(0), axis=1)
            self.op("Add", self.product(x, "classes.weight"), self.weight("classes.bias"), name="logits")
            return inputs, [info("logits", 1, [batch, spec.vocabulary])]
        self.product(x, "embedding", head=True, output="logits")
        return inputs, [info("logits", 1, [batch, 1 if last else length, spec.vocabulary])] + outputs

    @staticmethod
    def info(name, kind, shape):
        from onnx import helper
        return helper.make_tensor_value_info(name, kind, shape)


def onnx_path(spec, folder, form="f32", last=False, fixed=None, seed=0):
    """The file of a graph, made when it is not there; its weights lie beside it.

    `fixed`: (batch, length), a graph for these sizes alone and without a cache.
    Language models have inputs past_key_values.N.key and .value, f32 [batch,
    kv_heads, past, head], and outputs present.N....
    """
    import onnx
    from onnx import helper
    folder = pathlib.Path(folder)
    size = f"-{fixed[0]}x{fixed[1]}" if fixed else ""
    path = folder / f"{spec.name}-{seed}-{form}{'-last' if last else ''}{size}.onnx"
    if path.exists():
        return path
    weights = Weights(spec, folder, seed)
    data = _Data(path.with_suffix(".data"))
    graph = _Graph(spec, weights, form, data, fixed)
    inputs, outputs = graph.build(spec.is_language_model and not fixed, last)
    data.close()
    opset = 21 if form.endswith("-dq") else 18
    domains = [helper.make_opsetid("", opset)]
    if form.endswith("-nbits"):
        domains.append(helper.make_opsetid("com.microsoft", 1))
    model = helper.make_model(helper.make_graph(graph.nodes, spec.name, inputs, outputs, graph.initializers),
                              opset_imports=domains, ir_version=10)
    with write_whole(path) as file:
        file.write(model.SerializeToString(deterministic=True))
    onnx.checker.check_model(str(path))
    return path


# --- GGUF --------------------------------------------------------------------


def gguf_path(spec, folder, kind, seed=0):
    """A file for llama.cpp; kind is f32, bf16, q8_0 or q4_0, of every matrix, the tied embedding among them."""
    import gguf
    path = pathlib.Path(folder) / f"{spec.name}-{seed}-{kind}.gguf"
    if path.exists():
        return path
    weights = Weights(spec, folder, seed)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    writer = gguf.GGUFWriter(str(temporary), "llama", use_temp_file=False)
    writer.add_block_count(spec.layers)
    writer.add_context_length(4096)
    writer.add_embedding_length(spec.width)
    writer.add_feed_forward_length(spec.hidden)
    writer.add_head_count(spec.heads)
    writer.add_head_count_kv(spec.kv_heads)
    writer.add_layer_norm_rms_eps(EPSILON["llama"])
    writer.add_rope_freq_base(ROPE_THETA)
    writer.add_rope_dimension_count(spec.head)
    writer.add_vocab_size(spec.vocabulary)
    writer.add_tokenizer_model("no_vocab")
    types = gguf.GGMLQuantizationType
    target = {"f32": types.F32, "bf16": types.BF16, "q8_0": types.Q8_0, "q4_0": types.Q4_0}[kind]
    writer.add_file_type({"f32": 0, "bf16": 32, "q8_0": 7, "q4_0": 2}[kind])

    def interleaved(matrix, heads):
        """Rows of [out, in]: llama.cpp turns neighbours where the graphs turn halves."""
        rows, columns = matrix.shape
        return matrix.reshape(heads, 2, rows // heads // 2, columns).swapaxes(1, 2).reshape(rows, columns)

    def matrix(name, values):
        values = np.ascontiguousarray(values, np.float32)
        coded = values if kind == "f32" else gguf.quants.quantize(values, target)
        writer.add_tensor(name, coded, raw_dtype=target)

    matrix("token_embd.weight", weights["embedding"])
    writer.add_tensor("output_norm.weight", np.array(weights["norm.gain"]))
    for i in range(spec.layers):
        for ours, theirs in (("norm_1", "attn_norm"), ("norm_2", "ffn_norm")):
            writer.add_tensor(f"blk.{i}.{theirs}.weight", np.array(weights[f"{i}.{ours}.gain"]))
        for part, heads in (("q", spec.heads), ("k", spec.kv_heads)):
            matrix(f"blk.{i}.attn_{part}.weight", interleaved(weights[f"{i}.{part}.weight"].T, heads))
        for ours, theirs in (("v", "attn_v"), ("o", "attn_output"), ("gate", "ffn_gate"), ("up", "ffn_up"), ("down", "ffn_down")):
            matrix(f"blk.{i}.{theirs}.weight", weights[f"{i}.{ours}.weight"].T)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    temporary.replace(path)
    return path
