#!/usr/bin/env python3
"""Write a pycode-lm checkpoint as two ONNX graphs over one fp16 weights file.

    export.py CHECKPOINT.pt OUT_DIR [--name pycode-lm]

OUT_DIR then holds

  NAME.weights   every weight as little-endian float16, each tensor at an
                 offset that is a multiple of 64
  NAME.onnx      input_ids int64 [batch, sequence]
                 -> logits float32 [batch, sequence, 256]
  NAME-kv.onnx   input_ids, past_key_values.N.key and .value
                 float32 [batch, kv_heads, past_sequence, head_dim]
                 -> logits, present.N.key and .value
                 [batch, kv_heads, past_sequence + sequence, head_dim]

Both graphs use only standard operators of opset 17, decomposed the way the
PyTorch exporters decompose them, and compute in float32: a Cast follows each
weight. The matrices of the linear layers are stored [in, out], as constant
folding leaves them; the embedding is stored [vocab, dim] and transposed in
the graph for the head that it is tied to. Equal input gives equal files.
"""
import argparse
import os

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

ALIGNMENT = 64
INT64_MAX = np.iinfo(np.int64).max
LINEAR = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


class WeightsFile:
    """The bytes of the weights file, and an external initializer per tensor."""

    def __init__(self, location):
        self.location = location
        self.data = bytearray()
        self.tensors = {}

    def add(self, name, array):
        with np.errstate(over="ignore"):
            half = np.ascontiguousarray(array, dtype="<f2")
        if not np.isfinite(half).all():
            raise SystemExit(f"export.py: {name} does not fit float16")
        self.data += bytes(-len(self.data) % ALIGNMENT)
        tensor = TensorProto(name=name, data_type=TensorProto.FLOAT16, dims=half.shape,
                             data_location=TensorProto.EXTERNAL)
        for key, value in (("location", self.location), ("offset", len(self.data)),
                           ("length", half.nbytes)):
            tensor.external_data.add(key=key, value=str(value))
        self.data += half.tobytes()
        self.tensors[name] = tensor


def pack(state, location):
    """The WeightsFile of a PyTorch state dict."""
    weights = WeightsFile(location)
    for name, value in state.items():
        array = value.detach().float().numpy()
        if any(f".{part}." in name for part in LINEAR):
            array = array.T
        weights.add(name, array)
    return weights


class Graph:
    """Collects nodes and initializers; a node is named after its first output."""

    def __init__(self, weights):
        self.nodes, self.initializers, self.known = [], [], set()
        self.weights = weights

    def op(self, kind, inputs, output, **attributes):
        name = output.rsplit("_output_", 1)[0]
        if output == "logits":
            name = "/lm_head/MatMul"
        self.nodes.append(helper.make_node(kind, inputs, [output], name=name, **attributes))
        return output

    def const(self, name, values, dtype):
        if name not in self.known:
            self.known.add(name)
            self.initializers.append(numpy_helper.from_array(np.array(values, dtype), name))
        return name

    def i64(self, *values):
        return self.const("const_i64_" + "_".join(map(str, values)), values, np.int64)

    def scalar_i64(self, value):
        return self.const(f"const_scalar_i64_{value}", value, np.int64)

    def f32(self, label, value):
        return self.const(f"const_f32_{label}", value, np.float32)

    def weight(self, name):
        """The weight as float32."""
        wide = name + "_f32"
        if name not in self.known:
            self.known.add(name)
            self.initializers.append(self.weights.tensors[name])
            self.op("Cast", [name], wide, to=TensorProto.FLOAT)
        return wide

    def linear(self, x, weight, scope):
        return self.op("MatMul", [x, self.weight(weight)], scope + "/MatMul_output_0")

    def rms_norm(self, x, weight, scope, eps):
        o = lambda kind: f"{scope}/{kind}_output_0"
        square = self.op("Pow", [x, self.f32("two", 2.0)], o("Pow"))
        mean = self.op("ReduceMean", [square], o("ReduceMean"), axes=[-1], keepdims=1)
        mean = self.op("Add", [mean, self.f32("eps", eps)], o("Add"))
        root = self.op("Sqrt", [mean], o("Sqrt"))
        inverse = self.op("Div", [self.f32("one", 1.0), root], o("Div"))
        x = self.op("Mul", [x, inverse], o("Mul"))
        return self.op("Mul", [self.weight(weight), x], o("Mul_1"))

    def split_heads(self, x, heads, size, sizes, scope):
        shape = self.op("Concat", [*sizes, self.i64(heads, size)],
                        scope + "/Concat_output_0", axis=0)
        x = self.op("Reshape", [x, shape], scope + "/Reshape_output_0")
        return self.op("Transpose", [x], scope + "/Transpose_output_0", perm=[0, 2, 1, 3])

    def rotate(self, x, cos, sin, half, scope):
        o = lambda kind: f"{scope}/{kind}_output_0"
        lo = self.op("Slice", [x, self.i64(0), self.i64(half), self.i64(3)], o("Slice"))
        hi = self.op("Slice", [x, self.i64(half), self.i64(INT64_MAX), self.i64(3)],
                     o("Slice_1"))
        hi = self.op("Neg", [hi], o("Neg"))
        turned = self.op("Concat", [hi, lo], o("Concat"), axis=-1)
        straight = self.op("Mul", [x, cos], o("Mul"))
        turned = self.op("Mul", [turned, sin], o("Mul_1"))
        return self.op("Add", [straight, turned], o("Add"))

    def repeat_heads(self, x, cfg, batch, total, scope):
        """[batch, kv_heads, total, size] -> [batch, heads, total, size]"""
        repeat = cfg.heads // cfg.kv_heads
        if repeat == 1:
            return x
        o = lambda kind: f"{scope}/{kind}_output_0"
        size = self.i64(cfg.head_dim)
        x = self.op("Unsqueeze", [x, self.i64(2)], o("Unsqueeze"))
        shape = self.op("Concat", [batch, self.i64(cfg.kv_heads, repeat), total, size],
                        o("Concat"), axis=0)
        x = self.op("Expand", [x, shape], o("Expand"))
        shape = self.op("Concat", [batch, self.i64(cfg.heads), total, size],
                        o("Concat_1"), axis=0)
        return self.op("Reshape", [x, shape], o("Reshape"))


def build(cfg, weights, name, cached):
    """The ModelProto; with `cached`, the graph that takes and returns keys and values."""
    g = Graph(weights)
    size = cfg.head_dim

    # Sizes, positions and the additive mask, shared by all layers.
    shape = g.op("Shape", ["input_ids"], "/model/Shape_output_0")
    batch = g.op("Gather", [shape, g.i64(0)], "/model/Gather_output_0", axis=0)
    sequence = g.op("Gather", [shape, g.scalar_i64(1)], "/model/Gather_1_output_0", axis=0)
    sequence1 = g.op("Unsqueeze", [sequence, g.i64(0)], "/model/Unsqueeze_output_0")
    zero, one = g.scalar_i64(0), g.scalar_i64(1)
    least = float(np.finfo(np.float32).min)
    if cached:
        past_shape = g.op("Shape", ["past_key_values.0.key"], "/model/Shape_1_output_0")
        past = g.op("Gather", [past_shape, g.scalar_i64(2)], "/model/Gather_2_output_0", axis=0)
        total = g.op("Add", [past, sequence], "/model/Add_output_0")
        total1 = g.op("Unsqueeze", [total, g.i64(0)], "/model/Unsqueeze_1_output_0")
        position = g.op("Range", [past, total, one], "/model/Range_output_0")
        column = g.op("Unsqueeze", [position, g.i64(1)], "/model/Unsqueeze_2_output_0")
        key = g.op("Range", [zero, total, one], "/model/Range_1_output_0")
        later = g.op("Greater", [key, column], "/model/Greater_output_0")
        mask = g.op("Where", [later, g.f32("least", least), g.f32("zero", 0.0)],
                    "/model/Where_output_0")
    else:
        total1 = sequence1
        position = g.op("Range", [zero, sequence, one], "/model/Range_output_0")
        column = g.op("Unsqueeze", [position, g.i64(1)], "/model/Unsqueeze_2_output_0")
        square = g.op("Concat", [sequence1, sequence1], "/model/Concat_output_0", axis=0)
        full = g.op("ConstantOfShape", [square], "/model/ConstantOfShape_output_0",
                    value=helper.make_tensor("value", TensorProto.FLOAT, [1], [least]))
        mask = g.op("Trilu", [full, one], "/model/Trilu_output_0", upper=1)

    half = np.arange(0, size, 2, dtype=np.float64)
    inv_freq = (1.0 / cfg.rope_theta ** (half / size)).astype(np.float32)
    column = g.op("Cast", [column], "/model/rotary_emb/Cast_output_0", to=TensorProto.FLOAT)
    angles = g.op("MatMul", [column, g.const("model.rotary_emb.inv_freq", inv_freq[None],
                                             np.float32)],
                  "/model/rotary_emb/MatMul_output_0")
    angles = g.op("Concat", [angles, angles], "/model/rotary_emb/Concat_output_0", axis=-1)
    cos = g.op("Cos", [angles], "/model/rotary_emb/Cos_output_0")
    sin = g.op("Sin", [angles], "/model/rotary_emb/Sin_output_0")

    x = g.op("Gather", [g.weight("model.embed_tokens.weight"), "input_ids"],
             "/model/embed_tokens/Gather_output_0", axis=0)
    for n in range(cfg.layers):
        scope, names = f"/model/layers.{n}", f"model.layers.{n}"
        h = g.rms_norm(x, names + ".input_layernorm.weight", scope + "/input_layernorm", cfg.eps)
        att = scope + "/self_attn"
        q, k, v = (g.linear(h, f"{names}.self_attn.{p}_proj.weight", f"{att}/{p}_proj")
                   for p in "qkv")
        q = g.split_heads(q, cfg.heads, size, [batch, sequence1], att + "/q_heads")
        k = g.split_heads(k, cfg.kv_heads, size, [batch, sequence1], att + "/k_heads")
        v = g.split_heads(v, cfg.kv_heads, size, [batch, sequence1], att + "/v_heads")
        q = g.rotate(q, cos, sin, size // 2, att + "/q_rope")
        k = g.rotate(k, cos, sin, size // 2, att + "/k_rope")
        if cached:
            k = g.op("Concat", [f"past_key_values.{n}.key", k], f"present.{n}.key", axis=2)
            v = g.op("Concat", [f"past_key_values.{n}.value", v], f"present.{n}.value", axis=2)
        k = g.repeat_heads(k, cfg, batch, total1, att + "/k_repeat")
        v = g.repeat_heads(v, cfg, batch, total1, att + "/v_repeat")
        k = g.op("Transpose", [k], att + "/Transpose_output_0", perm=[0, 1, 3, 2])
        s = g.op("MatMul", [q, k], att + "/MatMul_output_0")
        s = g.op("Div", [s, g.f32("sqrt_head_dim", np.sqrt(size))], att + "/Div_output_0")
        s = g.op("Add", [s, mask], att + "/Add_output_0")
        s = g.op("Softmax", [s], att + "/Softmax_output_0", axis=-1)
        s = g.op("MatMul", [s, v], att + "/MatMul_1_output_0")
        s = g.op("Transpose", [s], att + "/Transpose_1_output_0", perm=[0, 2, 1, 3])
        shape = g.op("Concat", [batch, sequence1, g.i64(cfg.heads * size)],
                     att + "/Concat_output_0", axis=0)
        s = g.op("Reshape", [s, shape], att + "/Reshape_output_0")
        s = g.linear(s, names + ".self_attn.o_proj.weight", att + "/o_proj")
        x = g.op("Add", [x, s], scope + "/Add_output_0")

        h = g.rms_norm(x, names + ".post_attention_layernorm.weight",
                       scope + "/post_attention_layernorm", cfg.eps)
        mlp = scope + "/mlp"
        gate = g.linear(h, names + ".mlp.gate_proj.weight", mlp + "/gate_proj")
        soft = g.op("Sigmoid", [gate], mlp + "/act_fn/Sigmoid_output_0")
        gate = g.op("Mul", [gate, soft], mlp + "/act_fn/Mul_output_0")
        up = g.linear(h, names + ".mlp.up_proj.weight", mlp + "/up_proj")
        h = g.op("Mul", [gate, up], mlp + "/Mul_output_0")
        h = g.linear(h, names + ".mlp.down_proj.weight", mlp + "/down_proj")
        x = g.op("Add", [x, h], scope + "/Add_1_output_0")

    x = g.rms_norm(x, "model.norm.weight", "/model/norm", cfg.eps)
    head = g.op("Transpose", [g.weight("model.embed_tokens.weight")],
                "/lm_head/Transpose_output_0", perm=[1, 0])
    g.op("MatMul", [x, head], "logits")

    info = helper.make_tensor_value_info
    inputs = [info("input_ids", TensorProto.INT64, ["batch", "sequence"])]
    outputs = [info("logits", TensorProto.FLOAT, ["batch", "sequence", cfg.vocab])]
    if cached:
        for n in range(cfg.layers):
            for part in ("key", "value"):
                inputs.append(info(f"past_key_values.{n}.{part}", TensorProto.FLOAT,
                                   ["batch", cfg.kv_heads, "past_sequence", size]))
                outputs.append(info(f"present.{n}.{part}", TensorProto.FLOAT,
                                    ["batch", cfg.kv_heads, "past_sequence + sequence", size]))
    graph = helper.make_graph(g.nodes, name, inputs, outputs, g.initializers)
    model = helper.make_model(graph, producer_name="pycode-lm", producer_version="1",
                              opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    helper.set_model_props(model, {k: str(v) for k, v in cfg.to_dict().items()})
    return model


def export(cfg, state, folder, name):
    """Write the three files and check both graphs; returns their paths."""
    os.makedirs(folder, exist_ok=True)
    weights = pack(state, name + ".weights")
    paths = [os.path.join(folder, name + end) for end in (".weights", ".onnx", "-kv.onnx")]
    with open(paths[0], "wb") as f:
        f.write(weights.data)
    for path, cached in zip(paths[1:], (False, True)):
        with open(path, "wb") as f:
            f.write(build(cfg, weights, name, cached).SerializeToString(deterministic=True))
        onnx.checker.check_model(path, full_check=True)
    return paths


def main():
    import torch
    from model import Config
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("checkpoint")
    ap.add_argument("folder")
    ap.add_argument("--name", default="pycode-lm")
    args = ap.parse_args()
    # A checkpoint of train.py also holds the state of its random generator,
    # which only the full unpickler reads: export only your own checkpoints.
    state = torch.load(args.checkpoint, map_location="cpu", weights_only=False)
    for path in export(Config(**state["config"]), state["model"], args.folder, args.name):
        print(f"{path}  {os.path.getsize(path)} bytes")
    print(f"step {state['step']}, {state['tokens']} tokens, {state['spent'] / 60:.1f} minutes")


if __name__ == "__main__":
    main()
